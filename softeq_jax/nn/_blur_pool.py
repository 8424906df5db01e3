r"""Blur-pooling: a binomial low-pass filter before each stride, per channel.

Along each axis of the map, with weights ``w_k = binom(K - 1, k) / 2^(K - 1)``,

.. math:: y_i = \sum_k w_k \, x_{s i + k - p}, \qquad p = \lfloor (K - 1) / 2 \rfloor,

which multiplies a wave of frequency w (radians per pixel) by ``cos(w / 2)^(K - 1)``: 1 for a
constant, 0 at Nyquist. Zhang, "Making convolutional networks shift-invariant again" (2019).

**Symmetry.** The filter is its own mirror image and the padding is the same on both sides, so the
layer commutes with the mirrors and quarter turns of the map where the positions that the stride
keeps lie symmetrically on it, ``(n + 2 p - K) % s == 0`` on each side n:

* odd K (3, 5, 7) reads around pixels: n - 1 is a multiple of s (stride 2: odd sides, 33 to 17);
* even K (2, 4, 6) reads around the points between pixels: n - 2 is a multiple of s (stride 2: even
  sides, 32 to 16).

**Norm.** ``||y|| <= ||x||`` for every side, K, stride and padding here. It is enough to show it
along one axis without the stride, which only leaves entries of y out. There y is cut out of
``z = sum_k w_k S^k e``, with shifts S, which keep the norm, so that ``||z|| <= sum_k w_k ||e|| =
||e||``, and e is x continued: by zeros on the infinite grid, or periodically on a ring of n, where
``||e|| = ||x||``; or mirrored on a ring of 2 n, where ``||e||^2 = 2 ||x||^2`` and z is mirrored as
well, so that at most half of ``||z||^2`` lies in y. ``certificates.averaging`` hands this to
``certificates.compose``.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from softeq_jax._checks import whole

PADDINGS = {"symmetric": "symmetric", "zeros": "constant", "circular": "wrap"}
"""What lies beyond the edge, and NumPy's name for it."""


def blur_pool(
    x: jax.Array, taps: int = 3, stride: int = 2, padding: str = "symmetric"
) -> jax.Array:
    """A map, blurred along both axes, at every ``stride``-th position.

    Args:
      x: ``[..., h, w, c]``, floating point; 16-bit floats are computed in float32.
      taps: K of the binomial filter, at least 2: 3, 5, 7, or an even number; see above.
      stride: along both axes.
      padding: beyond the edge are "symmetric" (the map mirrored, its edge repeated: constants stay
        constant), "zeros", or "circular" (the map again).

    Returns:
      ``[..., h', w', c]`` in the dtype of x, ``h' = (h + 2 p - K) // stride + 1``: for odd K
      ``ceil(h / stride)``, for even K and stride ``h // 2`` at stride 2.

    Raises:
      TypeError: x is not floating point.
      ValueError: fewer than three axes, taps below 2, a stride below 1, an unknown padding, or a
        map that is smaller than the filter leaves room for (an even K on one pixel).

    Example:
      >>> import jax.numpy as jnp
      >>> from softeq_jax import nn
      >>> stripes = jnp.tile(jnp.array([0.0, 1.0]), (8, 4))[..., None]  # the finest there are
      >>> nn.blur_pool(stripes)[0, 1:, 0]  # without the blur: all 0, one pixel further: all 1
      Array([0.5, 0.5, 0.5], dtype=float32)
    """
    whole(taps, "taps", 2)
    whole(stride, "stride")
    if padding not in PADDINGS:
        raise ValueError(f"no padding is called {padding!r}, choose from {list(PADDINGS)}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"blur_pool needs a floating point map, got {x.dtype}: convert it")
    if x.ndim < 3:
        raise ValueError(f"x must be [..., h, w, channels], got shape {x.shape}")
    y = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
    for axis in (y.ndim - 3, y.ndim - 2):
        y = _along(y, axis, taps, stride, PADDINGS[padding])
    return y.astype(x.dtype)


def _along(x: jax.Array, axis: int, taps: int, stride: int, mode: Any) -> jax.Array:
    """Mirrored taps are added first, so that mirrors commute to the last bit."""
    reach = (taps - 1) // 2
    n = x.shape[axis] + 2 * reach
    count = (n - taps) // stride + 1
    if x.shape[axis] < 1 or count < 1:
        raise ValueError(f"an axis of {x.shape[axis]} pixels is too short for {taps} taps")
    pads = [(reach, reach) if i == axis else (0, 0) for i in range(x.ndim)]
    padded = jnp.pad(x, pads, mode=mode)

    def read(k: int) -> jax.Array:
        stop = k + stride * (count - 1) + 1
        return jax.lax.slice_in_dim(padded, k, stop, stride, axis)

    total = 2.0 ** (taps - 1)
    parts = [
        math.comb(taps - 1, k) / total * (read(k) + read(taps - 1 - k)) for k in range(taps // 2)
    ]
    if taps % 2:
        parts.append(math.comb(taps - 1, reach) / total * read(reach))
    return functools.reduce(jnp.add, parts)


class BlurPool(linen.Module):
    """``blur_pool`` as a layer, without parameters.

    In networks: a layer of stride s becomes one of stride 1, its nonlinearity, and this.

    Attributes:
      taps: of the binomial filter, see ``blur_pool``.
      stride: along both axes.
      padding: see ``blur_pool``.

    Call:
      x: ``[..., h, w, c]``.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> checks = jnp.indices((4, 4)).sum(0)[None, ..., None] % 2.0
      >>> y, variables = sq.nn.BlurPool(taps=2).init_with_output(jax.random.key(0), checks)
      >>> y.shape, float(y.min()), float(y.max()), variables
      ((1, 2, 2, 1), 0.5, 0.5, {})
    """

    taps: int = 3
    stride: int = 2
    padding: str = "symmetric"

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The blurred map at every ``stride``-th position."""
        return blur_pool(x, self.taps, self.stride, self.padding)
