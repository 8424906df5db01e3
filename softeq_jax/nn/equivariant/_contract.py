"""Invariant scalars of vectors and tensors."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from softeq_jax.nn.equivariant._dense import EquivariantDense
from softeq_jax.nn.equivariant._fields import check_features, fields
from softeq_jax.reps import Rep

Array = jax.Array


def contracted(rep: Rep, features: int) -> int:
    """Number of scalars that ``Contraction(rep, features)`` returns.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.so(3)
      >>> R = sq.reps.trivial(G, 5) + 2 * sq.reps.vector(G)
      >>> sq.nn.equivariant.contracted(R, features=4)  # one kind of vectors
      4
    """
    return features * len(fields(rep).moved)


def contraction_maps(rep: Rep, features: int) -> dict[str, Rep]:
    """What the maps ``left`` and ``right`` of ``Contraction(rep, features)`` lead to.

    With ``project=False`` a plan needs ``dense_rules`` (without biases) for each of them, from
    ``rep``.

    Raises:
      ValueError: the group moves nothing in ``rep``, or ``features`` is below 1.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> sq.nn.equivariant.contraction_maps(2 * V, features=4)
      {'left': 4·V(SO(3)), 'right': 4·V(SO(3))}
    """
    moved = fields(rep).moved
    if not moved or features < 1:
        raise ValueError(
            f"a contraction needs vectors or tensors and features >= 1, got {rep!r}, {features}"
        )
    kinds = [features * field.rep for field in moved]
    total = kinds[0]
    for kind in kinds[1:]:
        total = total + kind
    return {"left": total, "right": total.dual}


class Contraction(linen.Module):
    r"""Learned bilinear forms of the copies that the group moves.

    For each kind U of vectors or tensors in the input, and j = 1 .. features,

    .. math:: s_j = \frac{1}{\sqrt{\dim U}} \langle (R x)_j, (L x)_j \rangle,
              \qquad L : V \to n U, \quad R : V \to n U^*,

    with equivariant linear maps L and R and the canonical pairing of a representation with its
    dual. No linear map leads from vectors to scalars; for O(n) and the Lorentz group every
    invariant polynomial of vectors is a polynomial in their inner products (the first fundamental
    theorem), which are these.
    Where U and its dual are isomorphic, R lowers indices by the invariant form, such as the
    metric of Minkowski. For inputs of covariance 1 a scalar starts with a variance near 1.

    Variables: ``left/kernel`` and ``right/kernel``.

    Attributes:
      rep: of the inputs, real.
      features: scalars for each kind.
      project: whether the maps are projected; see ``EquivariantDense``.
      param_dtype: of the kernels.

    Call:
      x: ``[..., rep.dim]``.

    Returns:
      ``[..., features * kinds]``, invariant; see ``contracted``.

    Raises:
      ValueError: as ``contraction_maps``, or the last axis has another length.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> layer = sq.nn.equivariant.Contraction(2 * V, features=4)
      >>> x = jnp.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
      >>> y, variables = layer.init_with_output(jax.random.key(0), x)
      >>> y.shape, bool(jnp.allclose(y, layer.apply(variables, -x), atol=1e-5))
      ((1, 4), True)
    """

    rep: Rep
    features: int
    project: bool = True
    param_dtype: Any = jnp.float32

    @linen.compact
    def __call__(self, x: Array) -> Array:
        check_features(self.rep, x)
        options = {"project": self.project, "use_bias": False, "param_dtype": self.param_dtype}
        left, right = (
            EquivariantDense(self.rep, output, name=name, **options)(x)
            for name, output in contraction_maps(self.rep, self.features).items()
        )
        scalars, start = [], 0
        for field in fields(self.rep).moved:
            stop = start + self.features * field.rep.dim
            shape = (*x.shape[:-1], self.features, field.rep.dim)
            pair = left[..., start:stop].reshape(shape) * right[..., start:stop].reshape(shape)
            scalars.append(jnp.sum(pair, axis=-1) / math.sqrt(field.rep.dim))
            start = stop
        return jnp.concatenate(scalars, axis=-1)
