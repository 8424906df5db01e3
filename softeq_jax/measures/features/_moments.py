r"""Pearson correlation and moments of pairs of vectors, in forms that do not cancel.

    corr(a, b) = <a - mean a, b - mean b> / (|a - mean a| |b - mean b|)

is taken in two passes (center, then multiply) after dividing by the largest magnitude, never as
``E[ab] - E[a] E[b]``: small features do not underflow and large offsets cost no digits beyond
those that the features themselves have lost (measures.md B). Over many batches the centered sums
of two merge as (Chan, Golub & LeVeque, 1983)

    S = S_1 + S_2 + n_1 n_2 / (n_1 + n_2) (m_1 - m_2)(m_1 - m_2)^T,

in double precision on the host, so nothing is ever subtracted from a sum of raw squares.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Centered(NamedTuple):
    """Centered samples, scaled per series to a largest magnitude of 1 before centering.

    Attributes:
      values: deviations from the mean, 0 at positions that do not count.
      norm: their Euclidean norm, the sample axis reduced to length 1.
      alive: bool, whether the deviation is more than ``eps`` of the root mean square (and more
        than ``floor`` in units of the feature); same shape as ``norm``.
    """

    values: jax.Array
    norm: jax.Array
    alive: jax.Array


def centered(
    x: jax.Array, weights: jax.Array, axis: int, eps: float = 1e-5, floor: float = 0.0
) -> Centered:
    """Series centered and scaled for ``correlation``.

    Args:
      x: floating point.
      weights: 0 or 1, broadcastable to ``x``: which samples count.
      axis: the axis of the samples.
      eps: a series is constant if its standard deviation is at most ``eps`` times its root mean
        square; some 100 roundings of float32 by default.
      floor: a series is constant, too, if its standard deviation is at most this.
    """
    count = jnp.maximum(jnp.sum(jnp.broadcast_to(weights, x.shape), axis, keepdims=True), 1)
    kept = jnp.where(weights > 0, x, 0)
    scale = jnp.max(jnp.abs(kept), axis, keepdims=True)
    unit = kept / jnp.where(scale > 0, scale, 1)
    values = jnp.where(weights > 0, unit - jnp.sum(unit, axis, keepdims=True) / count, 0)
    norm = jnp.sqrt(jnp.sum(values**2, axis, keepdims=True))
    deviation = norm / jnp.sqrt(count)
    magnitude = jnp.sqrt(jnp.sum(unit**2, axis, keepdims=True) / count)
    alive = (deviation > eps * magnitude) & (deviation * scale > floor)
    return Centered(values, norm, alive)


def correlation(a: Centered, b: Centered, axis: int) -> jax.Array:
    """Pearson correlation along an axis, which is removed; 0 where either series is constant.

    Callers leave out what is not alive in both.
    """
    inner = jnp.sum(a.values * b.values, axis, keepdims=True)
    product = a.norm * b.norm
    ratio = jnp.where(product > 0, inner / jnp.where(product > 0, product, 1), 0)
    return jnp.squeeze(jnp.clip(ratio, -1, 1), axis)


def mean_over(values: jax.Array, alive: jax.Array) -> jax.Array:
    """Mean over the last axis of what is alive; NaN where nothing is."""
    count = jnp.sum(alive, axis=-1)
    total = jnp.sum(jnp.where(alive, values, 0), axis=-1)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)


@dataclasses.dataclass(frozen=True)
class Moments:
    """Of rows ``x`` ``[n, p]`` and ``y`` ``[n, q]``; the sums are over centered rows.

    Attributes:
      count: n.
      x: mean ``[p]``.
      y: mean ``[q]``.
      xx: ``[p, p]``, or ``[p]`` (the diagonal alone).
      xy: ``[p, q]``, or ``[p]``.
      yy: ``[q, q]``, or ``[q]``.
    """

    count: int
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of all rows together."""
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        weight = self.count * other.count / count
        outer = np.outer if self.xx.ndim == 2 else np.multiply
        dx, dy = other.x - self.x, other.y - self.y
        return Moments(
            count,
            self.x + dx * (other.count / count),
            self.y + dy * (other.count / count),
            self.xx + other.xx + weight * outer(dx, dx),
            self.xy + other.xy + weight * outer(dx, dy),
            self.yy + other.yy + weight * outer(dy, dy),
        )


def moments(x: np.ndarray, y: np.ndarray, diagonal: bool = False) -> Moments:
    """The moments of rows, in float64.

    Args:
      x: ``[n, p]``, n >= 1.
      y: ``[n, q]``.
      diagonal: keep only the variances and the covariances of column i with column i.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean_x, y - mean_y
    if diagonal:
        sums = (x * x).sum(axis=0), (x * y).sum(axis=0), (y * y).sum(axis=0)
    else:
        sums = x.T @ x, x.T @ y, y.T @ y
    return Moments(len(x), mean_x, mean_y, *sums)


def column_correlation(m: Moments, eps: float) -> np.ndarray:
    """Pearson correlation of column i of x with column i of y; NaN where either is constant.

    Args:
      m: moments (full or diagonal).
      eps: a column is constant if its standard deviation is at most eps times its root mean
        square.
    """
    xx, xy, yy = (np.diagonal(s) if s.ndim == 2 else s for s in (m.xx, m.xy, m.yy))
    alive = np.ones(xx.shape, bool)
    for total, mean in ((xx, m.x), (yy, m.y)):
        variance = total / m.count
        alive &= variance > eps**2 * (variance + mean**2)
    scale = np.where(alive, np.sqrt(xx) * np.sqrt(yy), 1.0)
    return np.where(alive, xy / scale, np.nan)
