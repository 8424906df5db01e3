"""Depthwise windows as sums of shifted maps: what is fast on CPUs."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def shifted_windows(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Any,
    *_: Any,
    **__: Any,
) -> jax.Array:
    """A depthwise convolution as a sum of shifted maps, one for each tap of the window.

    XLA makes one loop of it; its convolutions in groups of one channel take ten times as long on
    CPUs.

    Args:
      x: ``[n, h, w, c]``.
      kernel: ``[kh, kw, 1, c]``.
      strides: along both axes.
      padding: ``"SAME"``, or pixels before and after on both axes.

    Returns:
      ``[n, h', w', c]``, the dtype of ``x``; summed in float32 at least.
    """
    window = kernel.shape[:2]
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:3], window, strides, padding)
    exact = jnp.promote_types(x.dtype, jnp.float32)
    kernel, inputs = kernel.astype(exact), x.dtype
    x = jnp.pad(x.astype(exact), ((0, 0), *padding, (0, 0)))
    sizes = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:3], window, strides, strict=True)]
    result = jnp.zeros((), exact)
    for i in range(window[0]):
        for j in range(window[1]):
            rows, columns = (
                slice(start, start + step * (size - 1) + 1, step)
                for start, step, size in zip((i, j), strides, sizes, strict=True)
            )
            result = result + x[:, rows, columns] * kernel[i, j, 0]
    return result.astype(inputs)
