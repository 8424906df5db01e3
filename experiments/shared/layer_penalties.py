"""Penalties on the free branches of relaxed layers, on the inputs that the layers see."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax import regularizers
from softeq_jax.reps import Rep

Kernels = Mapping[str, jax.Array]
Representations = Mapping[str, tuple[Rep, Rep]]
LayerPenalty = Callable[[Kernels, Kernels], jax.Array]
"""From kernels ``[c, d]`` and inputs ``[..., c]``, by the paths of their layers, to a scalar."""


def lie_and_norm(representations: Representations) -> LayerPenalty:
    r"""``sqrt(R_Lie) + sqrt(R_norm)`` of linear layers.

    Sums over the layers of means over items, of the Lie derivative of a kernel and of the norm of
    what it gives; the roots are taken after the sums.

    Args:
      representations: on inputs and outputs, by the paths of the layers.
    """
    inside = {path: pair[0] for path, pair in representations.items()}
    outside = {path: pair[1] for path, pair in representations.items()}

    def penalty(kernels: Kernels, inputs: Kernels) -> jax.Array:
        lie = regularizers.lie_activation_penalty(
            _apply, kernels, inputs, inside, outside, root=True
        )
        return lie + regularizers.activation_norm_penalty(
            _apply, kernels, inputs, outside, root=True
        )

    return penalty


def scrambled_lie_and_norm(
    representations: Representations, weight_of: Callable[[str], float] = lambda path: 1.0
) -> LayerPenalty:
    r"""What the released code of constraint relaxation computes in the place of ``lie_and_norm``.

    The images ``A_k x`` of the three generators stand one behind the other, a vector of length
    3 c, and are read as ``[c, 3]`` instead of ``[3, c]``: the kernel meets entries of different
    generators and coordinates. The term does not vanish on equivariant kernels (section B.3 of
    the specification).

    Args:
      representations: of SO(3) or O(3), as of ``lie_and_norm``.
      weight_of: how often a layer's Lie term is counted.
    """
    outside = {path: pair[1] for path, pair in representations.items()}
    generators = {
        path: tuple(np.asarray(rep.lie_matrices()) for rep in pair)
        for path, pair in representations.items()
    }

    def penalty(kernels: Kernels, inputs: Kernels) -> jax.Array:
        total = jnp.zeros(())
        for path, (enter, leave) in generators.items():
            x, kernel = jax.lax.stop_gradient(inputs[path]), kernels[path]
            moved = jnp.einsum("kij,...j->...ki", jnp.asarray(enter, x.dtype), x)
            scrambled = moved.reshape(*x.shape, 3)
            found = jnp.einsum("...ck,cd->...kd", scrambled, kernel)
            wanted = jnp.einsum("kij,...j->...ki", jnp.asarray(leave, x.dtype), x @ kernel)
            square = jnp.sum((found - wanted) ** 2, axis=(-1, -2))
            total = total + weight_of(path) * jnp.mean(square)
        root = jnp.where(total > 0, jnp.sqrt(jnp.where(total > 0, total, 1.0)), 0.0)
        return root + regularizers.activation_norm_penalty(
            _apply, kernels, inputs, outside, root=True
        )

    return penalty


def _apply(kernels: Kernels, inputs: Kernels) -> dict[str, jax.Array]:
    return {path: inputs[path] @ kernel for path, kernel in kernels.items()}
