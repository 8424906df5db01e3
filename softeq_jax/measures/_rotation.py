r"""Rotating images for evaluation, and what a rotation does to a classifier.

Evaluation rotates by bilinear resampling with zero fill, as the published numbers do. That is no
group action: it blurs and cuts corners. How much of a measured error is due to it is measured
apart, by the *interpolation floor*: the same distance between an image and its rotation forth
and back.
"""

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray


def rotate_bilinear(images: Array, angle: Array | float) -> jax.Array:
    """Rotates images counter-clockwise about their center, bilinear, zero outside.

    Args:
      images: [..., h, w, c], floating point.
      angle: scalar, in radians; may be traced. Quarter turns of square images agree with
        ``np.rot90(images, 1, axes=(-3, -2))`` to rounding.

    Returns:
      Array of the same shape and dtype.

    Raises:
      TypeError: integer images (convert and normalize them first).
      ValueError: fewer than three axes.
    """
    images = jnp.asarray(images)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images must be floating point, got {images.dtype}")
    if images.ndim < 3:
        raise ValueError(f"images must have axes [..., h, w, c], got shape {images.shape}")
    h, w = images.shape[-3:-1]
    row, col = jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij")
    x, y = col - 0.5 * (w - 1), 0.5 * (h - 1) - row
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    source_col = cos * x + sin * y + 0.5 * (w - 1)
    source_row = 0.5 * (h - 1) - (cos * y - sin * x)
    top, left = jnp.floor(source_row), jnp.floor(source_col)
    result = jnp.zeros(images.shape, jnp.promote_types(images.dtype, jnp.float32))
    for down in (0, 1):
        for right in (0, 1):
            r, c = top + down, left + right
            weight = (1 - jnp.abs(source_row - r)) * (1 - jnp.abs(source_col - c))
            inside = (r >= 0) & (r < h) & (c >= 0) & (c < w)
            rows = jnp.clip(r, 0, h - 1).astype(int)
            cols = jnp.clip(c, 0, w - 1).astype(int)
            values = images[..., rows, cols, :]
            result = result + jnp.where(inside, weight, 0.0)[..., None] * values
    return result.astype(images.dtype)


def kl_divergence(logits: Array, other: Array) -> jax.Array:
    """``KL(softmax(logits) || softmax(other))`` per example, natural logarithm.

    Args:
      logits: [..., c].
      other: [..., c].

    Returns:
      [...], non-negative up to rounding, in nats.
    """
    p, q = jax.nn.log_softmax(logits), jax.nn.log_softmax(other)
    return jnp.sum(jnp.exp(p) * (p - q), axis=-1)


def mean_and_error(values: Array) -> tuple[float, float]:
    """Mean and its standard error over independent examples; host-side, float64.

    The error is ``std / sqrt(n)`` with the unbiased standard deviation (0 for one example).
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if values.size == 0:
        raise ValueError("no values to average")
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    return float(values.mean()), float(spread / np.sqrt(values.size))
