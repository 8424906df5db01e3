r"""Band-limited samples of a grid at any position, and the low-pass that belongs to them.

A rotation that keeps every frequency a grid can hold does not exist: the square of frequencies
turns, and its corners leave. What survives every rotation is the disc of radius 1/2 cycle per
entry, whose kernel is the *jinc*

    K(r) = J_1(pi r) / (2 r),          K(0) = pi / 4,

here times the window ``sinc(r / a)`` for ``r < a = 6``. An image is rotated by reading
``sum_q K(R^-1 p - q) x(q)``, straight from the continuous kernel, and an image that is to be
compared with a rotated one goes through ``sum_q K(p - q) x(q)``, the *pseudo-rotation*: both
then have the same spectrum. This is the idea of EQ-R (StyleGAN3, measures.md C) with two
differences: there the band is the overlap of two squares, turned against each other, so that the
filter depends on the angle, and the filtered image is upsampled four times and read bilinearly.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures._layouts import Placement

Array = jax.Array | np.ndarray
RADIUS = 6
"""Entries from the center of the kernel to its end."""
_STEPS = 4096  # of the kernel's table, per entry; linear interpolation errs by below 3e-8

_TINY = 1e-12  # keeps the distance differentiable where a sample meets an entry


def sample_bandlimited(
    x: Array, axes: tuple[int, int], rows: jax.Array, cols: jax.Array
) -> jax.Array:
    """Samples of the low-passed grid at fractional indices, zero outside.

    Args:
      x: floating point.
      axes: the row and the column axis of ``x``.
      rows: ``[h, w]`` row indices.
      cols: ``[h, w]`` column indices.

    Returns:
      ``sum_q K x(q) / sum_q K`` over the ``(2 * RADIUS + 1)^2`` entries q around each position,
      with the shape and dtype of ``x``; constants are kept where the support is inside.
    """
    x = jnp.asarray(x)
    return _sample(x, jnp.asarray(_table()), jnp.asarray(rows), jnp.asarray(cols), axes)


def lowpass(x: Array, axes: tuple[int, int]) -> jax.Array:
    """The pseudo-rotation: the grid as ``sample_bandlimited`` sees it at its own entries.

    Args:
      x: floating point.
      axes: the row and the column axis of ``x``.
    """
    h, w = x.shape[axes[0]], x.shape[axes[1]]
    rows, cols = jnp.meshgrid(jnp.arange(h) * 1.0, jnp.arange(w) * 1.0, indexing="ij")
    return sample_bandlimited(x, axes, rows, cols)


def check_isotropic(placement: Placement) -> None:
    """ValueError unless rows and columns have the same pitch: the band is a disc."""
    y, x = placement.pitch
    if abs(y - x) > 1e-6:
        raise ValueError(
            f"a band-limited rotation needs the same pitch along rows and columns, got {(y, x)}: "
            f"crop or pad the input to a square, or choose interpolation='bilinear'"
        )


@functools.partial(jax.jit, static_argnames="axes")
def _sample(
    x: jax.Array, table: jax.Array, rows: jax.Array, cols: jax.Array, axes: tuple[int, int]
) -> jax.Array:
    moved = jnp.moveaxis(x, axes, (0, 1))
    h, w = moved.shape[:2]
    wide = moved.astype(jnp.promote_types(x.dtype, jnp.float32))
    rows, cols, table = (value.astype(wide.dtype) for value in (rows, cols, table))
    top, left = jnp.round(rows), jnp.round(cols)
    side = 2 * RADIUS + 1
    trailing = (1,) * (x.ndim - 2)

    def add(tap: jax.Array, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        total, norm = sums
        r, c = top + tap // side - RADIUS, left + tap % side - RADIUS
        distance = jnp.sqrt(jnp.maximum((rows - r) ** 2 + (cols - c) ** 2, _TINY))
        weight = _kernel(table, distance)
        inside = (r >= 0) & (r < h) & (c >= 0) & (c < w)
        row, col = jnp.clip(r, 0, h - 1).astype(int), jnp.clip(c, 0, w - 1).astype(int)
        kept = jnp.where(inside, weight, 0.0).reshape(*weight.shape, *trailing)
        return total + kept * wide[row, col], norm + weight

    zeros = jnp.zeros((*rows.shape, *wide.shape[2:]), wide.dtype), jnp.zeros_like(rows)
    total, norm = jax.lax.fori_loop(0, side * side, add, zeros)
    result = total / norm.reshape(*norm.shape, *trailing)
    return jnp.moveaxis(result, (0, 1), axes).astype(x.dtype)


def _kernel(table: jax.Array, r: jax.Array) -> jax.Array:
    """The windowed jinc by linear interpolation; 0 from RADIUS on."""
    position = jnp.minimum(r * _STEPS, RADIUS * _STEPS - 1.0)
    low = jnp.floor(position)
    index, part = low.astype(int), position - low
    value = (1 - part) * table[index] + part * table[index + 1]
    return jnp.where(r < RADIUS, value, 0.0)


@functools.cache
def _table() -> np.ndarray:
    from scipy.special import j1

    r = np.arange(RADIUS * _STEPS + 1) / _STEPS
    jinc = np.full_like(r, np.pi / 4)
    jinc[1:] = j1(np.pi * r[1:]) / (2 * r[1:])
    return jinc * np.sinc(r / RADIUS)
