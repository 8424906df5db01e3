"""Relaxed group convolutions for Flax Linen."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from softeq_jax._checks import whole
from softeq_jax.nn import _branches
from softeq_jax.nn._operations import Array, Padding, convolve, pair
from softeq_jax.projections import Projector
from softeq_jax.relaxation import group_axis, mixed_banks


class RelaxedGroupConv(linen.Module):
    r"""A planar group convolution with weights over the group's elements (Wang et al. 2022).

    Its kernel is :math:`\sum_l w_l \odot P \psi_l`, see ``relaxation.mixed_banks``: a strict group
    convolution while the numbers of each w_l are equal, and otherwise one that knows where up is.
    Translations are kept. Inputs ``[..., h, w, in]``; any finite planar group that acts on the
    window, and any representations of which one is regular.

    Variables: ``kernels`` psi ``[banks, kh, kw, in, out]``, ``group_weights`` w ``[banks, order]``,
    which start equal, at ``1 / sqrt(banks)``, and ``bias``, which is projected.

    Attributes:
      features: out.
      projector: of one kernel, such as ``projector("h w i o", {"h w": I, "i": 4 * R, "o": 8 * R})``
        with R regular; a hard mask.
      bias_projector: of the bias; needed if the group acts on the outputs and there is a bias.
      banks: L.
      kernel_size, strides, padding: see ``RelaxedConv``.
      use_bias: whether there is a bias.
      kernel_init, bias_init: initializers, the former of each bank.
      dtype: of the computation, None is that of the inputs and parameters.
      param_dtype: of the parameters.

    Raises:
      ValueError: no regular representation on either side, fewer than one bank, a smooth mask,
        shapes or projectors that do not fit.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> R, I = sq.reps.regular(sq.groups.cyclic(4)), sq.reps.image(sq.groups.cyclic(4), (3, 3))
      >>> P = sq.projector("h w i o", {"h w": I, "o": R})
      >>> layer = sq.nn.RelaxedGroupConv(4, P, use_bias=False)
      >>> x = jnp.ones((1, 5, 5, 1))
      >>> y, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
      >>> y.shape, jax.tree.map(jnp.shape, variables["params"])
      ((1, 5, 5, 4), {'group_weights': (2, 4), 'kernels': (2, 3, 3, 1, 4)})
    """

    features: int
    projector: Projector
    bias_projector: Projector | None = None
    banks: int = 2
    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Callable[..., Array] = linen.initializers.lecun_normal()
    bias_init: Callable[..., Array] = linen.initializers.zeros
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """The layer on ``[..., h, w, in]``."""
        _branches.check_projectors(self.projector, self.bias_projector, self.use_bias, 4)
        banks = whole(self.banks, "banks")
        shape = (*pair(self.kernel_size, "kernel_size"), x.shape[-1], self.features)

        def draw(key: Array) -> Array:
            keys = jax.random.split(key, banks)
            return jnp.stack([self.kernel_init(k, shape, self.param_dtype) for k in keys])

        axis = group_axis(self.projector)
        even = linen.initializers.constant(banks**-0.5)
        kernels = self.param("kernels", draw)
        weights = self.param(
            "group_weights", even, (banks, axis.order if axis else 0), self.param_dtype
        )
        kernel = jnp.asarray(mixed_banks(self.projector, kernels, weights))
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
            bias = _branches.relaxed(self.bias_projector, bias, None, 0.0)
        strides = pair(self.strides, "strides")
        return convolve(x, kernel, bias, strides=strides, padding=self.padding, dtype=self.dtype)

    def fold(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """The parameters of the nearest strict layer: the projected kernel, and the bias.

        Args:
          params: this layer's own parameters.

        Returns:
          ``{"kernel": ...}`` with ``"bias"`` if there is one, for ``linen.Conv``.

        Raises:
          ValueError: parameters of another layer.
        """
        wanted = {"kernels", "group_weights"} | ({"bias"} if self.use_bias else set())
        if set(params) != wanted:
            raise ValueError(f"expected the parameters {sorted(wanted)}, got {sorted(params)}")
        mixed = mixed_banks(self.projector, params["kernels"], params["group_weights"])
        found: dict[str, Any] = {"kernel": self.projector(mixed)}
        if self.use_bias:
            found["bias"] = _branches.folded(self.bias_projector, params["bias"], None, 0.0)
        return found
