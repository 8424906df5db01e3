"""The relaxed layers for Flax NNX."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack

import jax.numpy as jnp
from jax.nn import initializers

from softeq_jax._checks import known_options
from softeq_jax.nn import _branches
from softeq_jax.nn._operations import Array, Padding, affine, convolve, pair
from softeq_jax.projections import Projector

try:
    from flax import nnx
except ImportError as error:
    raise ImportError("softeq_jax.nn.nnx needs flax: pip install softeq-jax[models]") from error

Initializer = Callable[..., Array]

_LECUN = initializers.lecun_normal()


@dataclasses.dataclass(frozen=True)
class _Fixed:
    """Keeps projectors out of the state of a module: they are constants, not variables."""

    kernel: Projector
    bias: Projector | None


class RelaxedOptions(TypedDict, total=False):
    """Options of the relaxed layers: attributes of ``softeq_jax.nn.RelaxedDense``, with its
    defaults."""

    bias_projector: Projector | None
    use_bias: bool
    kernel_init: Initializer
    free_init: Initializer
    bias_init: Initializer
    dtype: Any
    param_dtype: Any


class _Relaxed(nnx.Module):
    """Variables and weights of a relaxed layer, whatever it does with them."""

    def __init__(
        self,
        shape: tuple[int, ...],
        projector: Projector,
        *,
        rngs: nnx.Rngs,
        **options: Unpack[RelaxedOptions],
    ) -> None:
        known_options(options, RelaxedOptions, type(self).__name__)
        bias_projector, use_bias = options.get("bias_projector"), options.get("use_bias", True)
        kernel_init = options.get("kernel_init", _LECUN)
        free_init = options.get("free_init", initializers.zeros)
        bias_init = options.get("bias_init", initializers.zeros)
        dtype, param_dtype = options.get("dtype"), options.get("param_dtype", jnp.float32)
        _branches.check_projectors(projector, bias_projector, use_bias, len(shape))
        self.projectors = _Fixed(projector, bias_projector)
        self.dtype = dtype
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, param_dtype))
        self.free_kernel = nnx.Param(free_init(rngs.params(), shape, param_dtype))
        self.bias = self.free_bias = nnx.data(None)
        if use_bias:
            self.bias = nnx.Param(bias_init(rngs.params(), shape[-1:], param_dtype))
        if bias_projector is not None:
            self.free_bias = nnx.Param(free_init(rngs.params(), shape[-1:], param_dtype))

    def _weights(self, theta: Any) -> tuple[Array, Array | None]:
        """(kernel, bias or None) of the layer at theta."""
        _branches.check_theta(theta)
        kernel = _branches.relaxed(
            self.projectors.kernel, self.kernel[...], self.free_kernel[...], theta
        )
        if self.bias is None:
            return kernel, None
        free = None if self.free_bias is None else self.free_bias[...]
        return kernel, _branches.relaxed(self.projectors.bias, self.bias[...], free, theta)


class RelaxedLinear(_Relaxed):
    """``y = x (P W_e + theta B) + bias``: ``softeq_jax.nn.RelaxedDense`` for NNX.

    Variables ``kernel``, ``free_kernel``, ``bias`` and ``free_bias``, as there.

    Args:
      in_features: in.
      out_features: out.
      projector: of the kernel ``[in, out]``, with a hard mask.
      rngs: for the initializers.
      options: see ``RelaxedOptions``.

    Call:
      x: ``[..., in]``.
      theta: scalar in [0, 1], may be traced; no default.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        projector: Projector,
        *,
        rngs: nnx.Rngs,
        **options: Unpack[RelaxedOptions],
    ) -> None:
        super().__init__((in_features, out_features), projector, rngs=rngs, **options)

    def __call__(self, x: Array, theta: float | Array) -> Array:
        kernel, bias = self._weights(theta)
        return affine(x, kernel, bias, self.dtype)


class RelaxedConv(_Relaxed):
    """A planar convolution with two branches: ``softeq_jax.nn.RelaxedConv`` for NNX.

    Args:
      in_features: input channels.
      out_features: output channels.
      projector: of the kernel ``[kh, kw, in, out]``, with a hard mask.
      kernel_size: one or two positive integers.
      strides: one or two positive integers.
      padding: ``"SAME"``, ``"VALID"``, pixels on every side, or ``((top, bottom), (left, right))``.
      rngs: for the initializers.
      options: see ``RelaxedOptions``.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        projector: Projector,
        *,
        rngs: nnx.Rngs,
        kernel_size: int | Sequence[int] = 3,
        strides: int | Sequence[int] = 1,
        padding: Padding = "SAME",
        **options: Unpack[RelaxedOptions],
    ) -> None:
        window = pair(kernel_size, "kernel_size")
        super().__init__((*window, in_features, out_features), projector, rngs=rngs, **options)
        self.strides = pair(strides, "strides")
        frozen = isinstance(padding, str | int)
        self.padding = padding if frozen else tuple((before, after) for before, after in padding)

    def __call__(self, x: Array, theta: float | Array) -> Array:
        kernel, bias = self._weights(theta)
        return convolve(
            x, kernel, bias, strides=self.strides, padding=self.padding, dtype=self.dtype
        )
