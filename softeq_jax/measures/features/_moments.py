r"""First and second moments of pairs of vectors, merged batch by batch in double precision.

The centered sums of two batches merge as (Chan, Golub & LeVeque, 1983)

    S = S_1 + S_2 + n_1 n_2 / (n_1 + n_2) (m_1 - m_2)(m_1 - m_2)^T,

so nothing is ever subtracted from a sum of raw squares. Host side, NumPy.
"""

import dataclasses

import numpy as np


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
