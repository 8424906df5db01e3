r"""Statistics of studies: a row + seed model, Dunnett's comparison, paired and block intervals.

All runs of a study that answer one question are fitted by

.. math:: y_{rs} = \mu_r + \beta_s + \epsilon_{rs},

a mean of the row and a shift of the seed (initial weights, data and order, which rows share). With
every row at every seed the residuals have (rows - 1)(seeds - 1) degrees of freedom; in general the
number of runs minus the rank of the model. The noise is taken as equal in all rows:
`RowSeedModel.spread` looks at that.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
_DRAWS = 200_000


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    Attributes:
      value: the estimate; NaN where there is none.
      low: lower end of the 95 % interval; NaN where it cannot be told.
      high: upper end.
      p: two-sided probability of an estimate as far from 0 without any difference.
      runs: how many it comes from.
      deviation: standard deviation of what it is the mean of; NaN where it is of no mean.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    runs: int = 0
    deviation: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def __neg__(self) -> "Interval":
        return dataclasses.replace(self, value=-self.value, low=-self.high, high=-self.low)


NOTHING = Interval(math.nan)


class RowSeedModel:
    """The row + seed model of the runs of several rows, by least squares.

    Args:
      runs: (row, seed, value), the value already transformed; those that are not finite are left
        out.

    Attributes:
      rows: in order of appearance.
      freedom: degrees of freedom of the residuals.
      deviation: standard deviation of the residuals; NaN without freedom.
    """

    def __init__(self, runs: Sequence[tuple[str, Hashable, float]]):
        runs = [run for run in runs if math.isfinite(run[2])]
        self.rows = list(dict.fromkeys(row for row, _, _ in runs))
        seeds = list(dict.fromkeys(seed for _, seed, _ in runs))
        design = np.zeros((len(runs), len(self.rows) + len(seeds)))
        for i, (row, seed, _) in enumerate(runs):
            design[i, self.rows.index(row)] = 1
            design[i, len(self.rows) + seeds.index(seed)] = 1
        self._counts = design.sum(axis=0)[: len(self.rows)].astype(int)
        values = np.array([value for _, _, value in runs])
        inverse = np.linalg.pinv(design, rcond=1e-10)
        self._estimates = inverse @ values
        self._covariance = inverse @ inverse.T
        self._estimable = inverse @ design
        self.residuals = {
            (row, seed): float(e)
            for (row, seed, _), e in zip(runs, values - design @ self._estimates, strict=True)
        }
        self.freedom = len(runs) - (np.linalg.matrix_rank(design) if runs else 0)
        self._rounding = 1e-13 * float(np.abs(values).max(initial=0))
        left = math.sqrt(sum(e * e for e in self.residuals.values()))
        if left <= self._rounding * math.sqrt(len(runs)):
            left = 0.0
        self.deviation = left / math.sqrt(self.freedom) if self.freedom else math.nan

    def difference(self, row: str, reference: str) -> Interval:
        """Mean of a row minus that of another, with Student's interval, for one named pair."""
        found = self._contrast(row, reference)
        if found is None:
            return NOTHING
        value, error, runs = found
        return _student(value, error, self.freedom, runs)

    def dunnett(self, reference: str) -> dict[str, Interval]:
        """Every other row minus the reference; together the intervals hold with 95 %.

        Critical values are those of the largest of correlated Student variables, drawn 200,000
        times with one fixed key; probabilities below 1e-3 are Bonferroni's, which are larger.
        """
        others = [row for row in self.rows if row != reference]
        found = {row: self._contrast(row, reference) for row in others}
        found = {row: contrast for row, contrast in found.items() if contrast is not None}
        if not found or not self.freedom:
            return {row: Interval(c[0], runs=c[2]) for row, c in found.items()}
        vectors = np.stack([self._vector(row, reference) for row in found])
        covariance = vectors @ self._covariance @ vectors.T
        scale = np.sqrt(np.diag(covariance))
        largest = _largest_t(
            tuple(map(tuple, np.round(covariance / np.outer(scale, scale), 9))), int(self.freedom)
        )
        critical = float(np.quantile(largest, LEVEL))
        result = {}
        for row, (value, error, runs) in found.items():
            t = _ratio(value, error)
            single = len(found) * 2 * float(stats.t.sf(t, self.freedom))
            p = single if single < 1e-3 else float(np.mean(largest >= t))
            half = critical * error
            result[row] = Interval(value, value - half, value + half, p, runs)
        return result

    def spread(self) -> tuple[float, tuple[str, Hashable] | None, float]:
        """Largest residual in standard deviations, its run, and how uneven the rows' noise is.

        The last is the ratio of the largest to the smallest root mean square of a row's residuals
        (NaN with fewer than two rows of two runs).
        """
        if not self.deviation > 0:
            return 0.0, None, math.nan
        run, e = max(self.residuals.items(), key=lambda item: abs(item[1]))
        by_row = [
            math.sqrt(np.mean([e**2 for (r, _), e in self.residuals.items() if r == row]))
            for row, count in zip(self.rows, self._counts, strict=True)
            if count > 1
        ]
        uneven = math.nan
        if len(by_row) > 1:
            uneven = max(by_row) / min(by_row) if min(by_row) > 0 else math.inf
        return abs(e) / self.deviation, run, uneven

    def _vector(self, row: str, reference: str) -> np.ndarray:
        vector = np.zeros(len(self._estimates))
        vector[self.rows.index(row)] += 1
        vector[self.rows.index(reference)] -= 1
        return vector

    def _contrast(self, row: str, reference: str) -> tuple[float, float, int] | None:
        """Difference, its standard error, and the runs of the smaller row; None: not there."""
        if row not in self.rows or reference not in self.rows:
            return None
        vector = self._vector(row, reference)
        if np.abs(vector @ self._estimable - vector).max() > 1e-8:
            return None  # the rows share no seed, not even through others
        value = float(vector @ self._estimates)
        error = self.deviation * math.sqrt(float(vector @ self._covariance @ vector))
        runs = min(self._counts[self.rows.index(name)] for name in (row, reference))
        return (0.0 if abs(value) <= 10 * self._rounding else value), error, int(runs)


@functools.lru_cache(maxsize=64)
def _largest_t(correlation: tuple[tuple[float, ...], ...], freedom: int) -> np.ndarray:
    """Draws of the largest absolute value of Student variables with these correlations."""
    rng = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(np.array(correlation))
    root = vectors * np.sqrt(np.clip(values, 0, None))
    normal = rng.standard_normal((_DRAWS, len(root))) @ root.T
    scale = np.sqrt(rng.chisquare(freedom, _DRAWS) / freedom)
    return np.abs(normal).max(axis=1) / scale


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean of independent values with Student's interval; differences of pairs, say."""
    given = np.array([v for v in values if math.isfinite(v)], np.float64)
    if not given.size:
        return NOTHING
    if given.size < 2:
        return Interval(float(given[0]), runs=1)
    rounding = 1e-13 * float(np.abs(given).max())
    deviation = float(given.std(ddof=1))
    deviation = 0.0 if deviation <= rounding else deviation
    error = deviation / math.sqrt(given.size)
    found = _student(float(given.mean()), error, given.size - 1, int(given.size))
    return dataclasses.replace(found, deviation=deviation)


def paired(mine: Mapping[Any, float], theirs: Mapping[Any, float]) -> Interval:
    """Mean of the differences over the seeds that both have."""
    return mean_interval([mine[key] - theirs[key] for key in mine if key in theirs])


def slope(differences: Mapping[Any, Mapping[float, float]]) -> Interval:
    """How differences grow with a strength: the mean over seeds of each seed's slope.

    Args:
      differences: seed to strength to difference; seeds with one strength are left out.
    """
    slopes = []
    for by_strength in differences.values():
        x = np.array(list(by_strength), np.float64)
        y = np.array(list(by_strength.values()), np.float64)
        given = np.isfinite(y)
        if len(set(x[given])) > 1:
            slopes.append(float(np.polyfit(x[given], y[given], 1)[0]))
    return mean_interval(slopes)


def block_interval(
    statistic: Callable[[np.ndarray], float],
    blocks: Sequence[Hashable],
    samples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic of dependent items, with the percentile interval over blocks drawn again.

    Args:
      statistic: from int indices of items (with repetitions) to a number.
      blocks: what each item belongs to: a video, a scene, a stretch of time, a simulation.
      samples: number of draws.
      seed: of the draws.
    """
    members: dict[Hashable, list[int]] = {}
    for index, block in enumerate(blocks):
        members.setdefault(block, []).append(index)
    parts = [np.array(indices) for indices in members.values()]
    value = float(statistic(np.arange(len(blocks))))
    if len(parts) < 2:
        return Interval(value, runs=len(parts))
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(np.concatenate([parts[i] for i in rng.integers(0, len(parts), len(parts))]))
        for _ in range(samples)
    ]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    below = (np.sum(np.array(drawn) <= 0) + 1) / (samples + 1)
    above = (np.sum(np.array(drawn) >= 0) + 1) / (samples + 1)
    p = min(1.0, 2 * float(min(below, above)))
    return Interval(value, float(low), float(high), p, len(parts))


def _ratio(value: float, error: float) -> float:
    return abs(value) / error if error else (0.0 if value == 0 else math.inf)


def _student(value: float, error: float, freedom: int, runs: int) -> Interval:
    if not freedom:
        return Interval(value, runs=runs)
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    p = 2 * float(stats.t.sf(_ratio(value, error), freedom))
    return Interval(value, value - half, value + half, p, runs)
