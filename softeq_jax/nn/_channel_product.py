"""1x1 convolutions as one matrix product, which XLA differentiates without transposing copies."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def channel_product(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Any = "VALID",
    *_: Any,
    precision: Any = None,
    **__: Any,
) -> jax.Array:
    """A 1x1 convolution as the product of ``[n h' w', in]`` with ``[in, out]``.

    Stands for ``jax.lax.conv_general_dilated`` in a Flax convolution. The rows are one axis, so
    the gradient of the kernel is one product as well; with the grid left standing XLA copies it
    transposed.

    Args:
      x: ``[n, h, w, in]``, or with any other number of grid axes.
      kernel: ``[1, 1, in, out]``.
      strides: along each axis of the grid: every so many positions are kept.
      padding: ``"SAME"`` or ``"VALID"``, which add nothing here, or zeros before and after.
      precision: of the product.

    Returns:
      ``[n, h', w', out]``.

    Raises:
      ValueError: the window is larger than one position, or the channels are in groups.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from flax import linen
      >>> from softeq_jax import nn
      >>> layer = linen.Conv(64, (1, 1), strides=2, conv_general_dilated=nn.channel_product)
      >>> layer.init_with_output(jax.random.key(0), jnp.zeros((8, 32, 32, 16)))[0].shape
      (8, 16, 16, 64)
    """
    *window, inputs, outputs = kernel.shape
    if max(window) > 1 or inputs != x.shape[-1]:
        raise ValueError(
            f"channel_product needs a kernel [1, .., 1, {x.shape[-1]}, out] for x of shape "
            f"{x.shape}, got {kernel.shape}"
        )
    if not isinstance(padding, str) and any(map(any, padding)):
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    x = x[(slice(None), *(slice(None, None, step) for step in strides))]
    rows = jnp.matmul(x.reshape(-1, inputs), kernel.reshape(inputs, outputs), precision=precision)
    return rows.reshape(*x.shape[:-1], outputs)
