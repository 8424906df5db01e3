r"""Interpolation on grids: shifts by fractions, bilinear samples and band-limited samples.

A shift by s reads ``out[i] = sum_k w_k x[i + floor(-s) + k]`` with weights that depend on the
fraction of ``-s`` alone, so it is separable and costs one gather per tap and axis.

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

from softeq_jax.measures.base._functions import Array
from softeq_jax.measures.base._layouts import Placement

BOUNDARIES = ("circular", "zero", "edge", "reflect")
INTERPOLATIONS = ("exact", "bilinear", "lanczos")
LANCZOS = 3
"""Lobes of the Lanczos window; it has twice as many taps."""
WHOLE = 1e-4
"""Up to this distance from an integer (in entries) a position counts as one."""


def lanczos(t: Array, lobes: int = LANCZOS) -> jax.Array:
    """The Lanczos kernel ``sinc(t) sinc(t / a)`` for ``|t| < a``, else 0.

    Here ``sinc(t) = sin(pi t) / (pi t)``.

    Args:
      t: positions, in entries.
      lobes: a.
    """
    t = jnp.asarray(t)
    return jnp.where(jnp.abs(t) < lobes, jnp.sinc(t) * jnp.sinc(t / lobes), 0.0)


def taps(interpolation: str, lobes: int = LANCZOS) -> tuple[int, int]:
    """The first and last offset k that an interpolation reads."""
    return {"exact": (0, 0), "bilinear": (0, 1), "lanczos": (1 - lobes, lobes)}[interpolation]


def shift_axis(
    x: Array,
    axis: int,
    shift: Array | float,
    interpolation: str = "lanczos",
    boundary: str = "circular",
    lobes: int = LANCZOS,
) -> jax.Array:
    """An array whose content is moved along one axis by any number of entries.

    Args:
      x: an array; floating point unless the interpolation is "exact".
      axis: of the shift.
      shift: entries towards higher indices; may be traced. "exact" rounds it to an integer.
      interpolation: "exact" (a gather), "bilinear" (two taps) or "lanczos": ``2 * lobes`` taps
        (six by default), normalized to sum to 1, as StyleGAN3's EQ-T-frac uses (measures.md C).
      boundary: what is read outside: "circular", "zero", "edge" (the last entry) or "reflect"
        (the mirror image that does not repeat it).
      lobes: a of the Lanczos window.

    Returns:
      An array with the shape and dtype of ``x``; 16-bit floats are interpolated in float32.
    """
    x = jnp.asarray(x)
    n = x.shape[axis]
    if interpolation == "exact":
        index = jnp.arange(n) - jnp.round(jnp.asarray(shift)).astype(int)
        return _read(x, axis, index, boundary)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    source = -jnp.asarray(shift, wide.dtype)
    base = jnp.floor(source)
    fraction = source - base
    first, last = taps(interpolation, lobes)
    offsets = jnp.arange(first, last + 1)
    if interpolation == "bilinear":
        weights = jnp.stack([1 - fraction, fraction])
    else:
        weights = lanczos(fraction - offsets, lobes)
        weights = weights / jnp.sum(weights)
    index = jnp.arange(n) + base.astype(int)
    result = jnp.asarray(0, wide.dtype)
    for weight, offset in zip(weights, range(first, last + 1), strict=True):
        result = result + weight * _read(wide, axis, index + offset, boundary)
    return result.astype(x.dtype)


def axis_mask(
    n: int,
    shift: Array | float,
    interpolation: str = "lanczos",
    boundary: str = "circular",
    lobes: int = LANCZOS,
) -> jax.Array:
    """Which entries of ``shift_axis`` read nothing from outside.

    Args:
      n: length of the axis.
      shift: see ``shift_axis``; whole shifts (within 1e-4) read a single entry.
      interpolation: see ``shift_axis``.
      boundary: see ``shift_axis``; nothing is outside of a circle.
      lobes: see ``shift_axis``.

    Returns:
      float32 ``[n]`` of zeros and ones.
    """
    if boundary == "circular":
        return jnp.ones(n, jnp.float32)
    source = -jnp.asarray(shift, float)
    whole = jnp.abs(source - jnp.round(source)) < WHOLE
    first, last = taps(interpolation, lobes)
    i = jnp.arange(n)
    low = i + jnp.where(whole, jnp.round(source), jnp.floor(source) + first)
    high = i + jnp.where(whole, jnp.round(source), jnp.floor(source) + last)
    return ((low >= 0) & (high <= n - 1)).astype(jnp.float32)


@functools.partial(jax.jit, static_argnames="axes")
def sample_bilinear(x: Array, axes: tuple[int, int], rows: jax.Array, cols: jax.Array) -> jax.Array:
    """Bilinear samples of a grid at fractional indices, zero outside.

    Args:
      x: floating point.
      axes: the row and the column axis of ``x``.
      rows: ``[h, w]`` row indices.
      cols: ``[h, w]`` column indices.

    Returns:
      An array with the shape (for the same h and w) and dtype of ``x``.
    """
    x = jnp.asarray(x)
    moved = jnp.moveaxis(x, axes, (0, 1))
    h, w = moved.shape[:2]
    wide = moved.astype(jnp.promote_types(x.dtype, jnp.float32))
    rows, cols = rows.astype(wide.dtype), cols.astype(wide.dtype)
    trailing = (1,) * (x.ndim - 2)
    top, left = jnp.floor(rows), jnp.floor(cols)
    result = jnp.zeros((*rows.shape, *wide.shape[2:]), wide.dtype)
    for r in (top, top + 1):
        for c in (left, left + 1):
            weight = (1 - jnp.abs(rows - r)) * (1 - jnp.abs(cols - c))
            inside = (r >= 0) & (r < h) & (c >= 0) & (c < w)
            row = jnp.clip(r, 0, h - 1).astype(int)
            col = jnp.clip(c, 0, w - 1).astype(int)
            weight = jnp.where(inside, weight, 0.0).reshape(*rows.shape, *trailing)
            result = result + weight * wide[row, col]
    return jnp.moveaxis(result, (0, 1), axes).astype(x.dtype)


def _read(x: jax.Array, axis: int, index: jax.Array, boundary: str) -> jax.Array:
    """``x`` at indices of one axis that may lie outside."""
    n = x.shape[axis]
    if boundary == "circular":
        return jnp.take(x, index % n, axis=axis)
    if boundary == "reflect":
        period = max(2 * (n - 1), 1)
        folded = index % period
        return jnp.take(x, jnp.minimum(folded, period - folded), axis=axis)
    values = jnp.take(x, jnp.clip(index, 0, n - 1), axis=axis)
    if boundary == "edge":
        return values
    form = [1] * x.ndim
    form[axis] = n
    inside = ((index >= 0) & (index < n)).reshape(form)
    return jnp.where(inside, values, jnp.zeros((), x.dtype))


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
