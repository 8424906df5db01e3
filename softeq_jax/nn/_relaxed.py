"""Relaxed layers for Flax Linen."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from softeq_jax.nn import _branches
from softeq_jax.nn._operations import Array, Padding, affine, convolve, pair
from softeq_jax.projections import Projector

Initializer = Callable[..., Array]


class _Relaxed(linen.Module):
    """Variables and weights of a relaxed layer, whatever it does with them."""

    features: int
    projector: Projector
    bias_projector: Projector | None = None
    use_bias: bool = True
    kernel_init: Initializer = linen.initializers.lecun_normal()
    free_init: Initializer = linen.initializers.zeros
    bias_init: Initializer = linen.initializers.zeros
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def _weights(self, shape: tuple[int, ...], theta: Any) -> tuple[Array, Array | None]:
        """(kernel, bias or None) of the layer at theta."""
        _branches.check_projectors(self.projector, self.bias_projector, self.use_bias, len(shape))
        _branches.check_theta(theta)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        free = self.param("free_kernel", self.free_init, shape, self.param_dtype)
        kernel = _branches.relaxed(self.projector, kernel, free, theta)
        if not self.use_bias:
            return kernel, None
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        if self.bias_projector is None:
            return kernel, bias
        free = self.param("free_bias", self.free_init, (self.features,), self.param_dtype)
        return kernel, _branches.relaxed(self.bias_projector, bias, free, theta)

    def fold(self, params: Mapping[str, Array], theta: float = 0.0) -> dict[str, Array]:
        """The parameters of the plain strict layer: ``P (W_e + theta B)``, theorem 9.

        Args:
          params: this layer's own parameters.
          theta: the last theta, in [0, 1].

        Returns:
          ``{"kernel": ...}`` with ``"bias"`` if there is one, for ``linen.Dense`` or
          ``linen.Conv``.

        Raises:
          ValueError: theta outside [0, 1], or parameters of another layer.
        """
        _branches.check_theta(theta)
        wanted = {"kernel", "free_kernel"} | ({"bias"} if self.use_bias else set())
        wanted |= {"free_bias"} if self.bias_projector is not None else set()
        if set(params) != wanted:
            raise ValueError(f"expected the parameters {sorted(wanted)}, got {sorted(params)}")
        projectors = {"kernel": self.projector, "bias": self.bias_projector}
        return {
            name: _branches.folded(p, params[name], params.get(f"free_{name}"), theta)
            for name, p in projectors.items()
            if name in params
        }


class RelaxedDense(_Relaxed):
    r"""A dense layer with an equivariant and a free branch, ``y = x (P W_e + theta B) + bias``.

    Variables: ``kernel`` W_e ``[in, out]``, ``free_kernel`` B, ``bias`` and, where the
    representation moves it, ``free_bias``, combined alike. ``kernel`` and ``bias`` are what
    plans name; ``fold`` and ``softeq_jax.nn.fold`` leave nothing else. The output at theta = 0 does
    not depend on the free branch, which a concrete 0 leaves out of the computation.

    Attributes:
      features: out.
      projector: of the kernel, ``projector("i o", {"i": V.dual, "o": U})``, with a hard mask.
      bias_projector: of the bias, ``projector("o", {"o": U})``; needed if the kernel's projector
        acts on the output axis.
      use_bias: whether there is a bias.
      kernel_init, free_init, bias_init: initializers; the free branch starts at zero.
      dtype: of the computation, None is that of the inputs and parameters.
      param_dtype: of the parameters.

    Call:
      x: ``[..., in]``.
      theta: scalar in [0, 1], may be traced; 0 for evaluation. It has no default, so that none can
        be left on by accident.

    Raises:
      ValueError: theta outside [0, 1], a smooth mask, shapes or projectors that do not fit.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.cyclic(2))
      >>> layer = sq.nn.RelaxedDense(2, sq.projector("i o", {"i": R, "o": R}), use_bias=False)
      >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> y, _ = layer.init_with_output(jax.random.key(0), x, theta=0.0)
      >>> bool(jnp.allclose(y[0], y[1, ::-1]))  # equivariant at theta = 0
      True
    """

    @linen.compact
    def __call__(self, x: Array, theta: float | Array) -> Array:
        kernel, bias = self._weights((x.shape[-1], self.features), theta)
        return affine(x, kernel, bias, self.dtype)


class RelaxedConv(_Relaxed):
    """A planar convolution with an equivariant and a free branch; see ``RelaxedDense``.

    Kernels are ``[kh, kw, in, out]``, inputs ``[..., h, w, in]``. The layer is equivariant under
    the symmetries of the pixel lattice if the padding is symmetric and the strides divide
    ``h + 2 pad - kh`` (and so for w). "SAME" pads one side only where it must at a stride.

    Attributes:
      kernel_size: one or two positive integers.
      strides: one or two positive integers.
      padding: ``"SAME"``, ``"VALID"``, pixels on every side, or ``((top, bottom), (left, right))``.
      projector: of the kernel, such as ``projector("h w i o", {"h w": I})``.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> P = sq.projector("h w i o", {"h w": sq.reps.image(sq.groups.cyclic(4), (3, 3))})
      >>> layer, x = sq.nn.RelaxedConv(2, P), jnp.ones((1, 5, 5, 1))
      >>> y, variables = layer.init_with_output(jax.random.key(0), x, theta=0.0)
      >>> y.shape, sorted(variables["params"])
      ((1, 5, 5, 2), ['bias', 'free_kernel', 'kernel'])
    """

    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"

    @linen.compact
    def __call__(self, x: Array, theta: float | jax.Array) -> Array:
        window = pair(self.kernel_size, "kernel_size")
        kernel, bias = self._weights((*window, x.shape[-1], self.features), theta)
        strides = pair(self.strides, "strides")
        return convolve(x, kernel, bias, strides=strides, padding=self.padding, dtype=self.dtype)
