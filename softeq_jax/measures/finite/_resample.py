r"""Interpolation: shifts by fractions of an entry, and samples between the entries of a grid.

A shift by s reads ``out[i] = sum_k w_k x[i + floor(-s) + k]`` with weights that depend on the
fraction of ``-s`` alone, so it is separable and costs one gather per tap and axis.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray
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
    """Moves the content of an array along one axis by any number of entries.

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
    result = sum(
        weight * _read(wide, axis, index + offset, boundary)
        for weight, offset in zip(weights, range(first, last + 1), strict=True)
    )
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
      shift: as of ``shift_axis``; whole shifts (within 1e-4) read a single entry.
      interpolation: likewise.
      boundary: likewise; nothing is outside of a circle.
      lobes: likewise.

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
