"""What layers compute: affine maps and convolutions, in one dtype."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array
Padding = str | int | Sequence[tuple[int, int]]
"""``"SAME"``, ``"VALID"``, pixels on every side, or ``((top, bottom), (left, right))``."""
_LAYOUTS = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def affine(x: Array, kernel: Array, bias: Array | None = None, dtype: Any = None) -> Array:
    """``x @ kernel + bias``.

    Args:
      x: ``[..., in]``.
      kernel: ``[in, out]``.
      bias: ``[out]``, or None.
      dtype: of the computation; None is the common one of all arrays.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> sq.nn.affine(jnp.array([1.0, 2.0]), jnp.eye(2), jnp.ones(2))
      Array([2., 3.], dtype=float32)
    """
    x, kernel, bias = _as_dtype(dtype, x, kernel, bias)
    y = x @ kernel
    return y if bias is None else y + bias


def convolve(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: Sequence[int] | None = None,
    padding: Padding = "SAME",
    dtype: Any = None,
) -> Array:
    """Cross-correlation of images or volumes, plus a bias.

    Args:
      x: ``[..., h, w, in]``, or ``[..., d, h, w, in]``.
      kernel: ``[kh, kw, in, out]``, or ``[kd, kh, kw, in, out]``.
      bias: ``[out]``, or None.
      strides: along each axis of the grid; 1 if not given.
      padding: see ``Padding``.
      dtype: of the computation; None is the common one of all arrays.

    Raises:
      ValueError: x has fewer axes.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 2))
      >>> y = sq.nn.convolve(x, kernel, padding="VALID")
      >>> y.shape, float(y[0, 0, 0, 0])
      ((1, 2, 2, 2), 9.0)
    """
    x, kernel, bias = _as_dtype(dtype, x, kernel, bias)
    rank = kernel.ndim - 2
    if x.ndim < rank + 1:
        axes = "h, w" if rank == 2 else "d, h, w"
        raise ValueError(f"x must be [..., {axes}, channels], got shape {x.shape}")
    if isinstance(padding, int):
        padding = ((padding, padding),) * rank
    lead = x.shape[: x.ndim - rank - 1]
    batch = x.reshape(-1, *x.shape[len(lead) :])
    out = jax.lax.conv_general_dilated(
        batch, kernel, strides or (1,) * rank, padding, dimension_numbers=_LAYOUTS[rank]
    )
    y = out.reshape(*lead, *out.shape[1:])
    return y if bias is None else y + bias


def pair(value: int | Sequence[int], name: str) -> tuple[int, int]:
    """Two positive integers from one or two.

    Raises:
      ValueError: anything else.
    """
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2 or any(v < 1 for v in values):
        raise ValueError(f"{name} must be one or two positive integers, got {value!r}")
    return values[0], values[1]


def _as_dtype(
    dtype: Any, x: Array, kernel: Array, bias: Array | None
) -> tuple[Array, Array, Array | None]:
    """The arrays in the dtype, or in their common one if it is None."""
    present = (x, kernel) if bias is None else (x, kernel, bias)
    common = jnp.result_type(*present) if dtype is None else dtype
    x, kernel = jnp.asarray(x, common), jnp.asarray(kernel, common)
    return x, kernel, None if bias is None else jnp.asarray(bias, common)
