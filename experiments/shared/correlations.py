r"""Rank correlations over networks that are compared within strata (family, data set).

Ranks are taken within each stratum, centered, and divided by its size; what all strata say together
is the correlation of these. With one stratum it is Spearman's.
"""

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from experiments.shared.claims import Claim, Finding, Verdict
from experiments.shared.statistics import LEVEL, NOTHING, Interval
from experiments.shared.studies import Line, Study

_DRAWS = 10_000


def rank_correlation(
    x: Sequence[float], y: Sequence[float], strata: Sequence[Hashable] | None = None
) -> Interval:
    """Spearman's correlation within strata, with its interval.

    The interval is Fisher's, ``tanh(atanh r +- 1.96 sqrt((1 + r^2 / 2) / (n - k - 2)))`` for n
    networks in k strata (Bonett and Wright 2000 for k = 1); p is the share of 10,000 permutations
    within strata that correlate as much. Values that are not finite and strata of fewer than
    three networks are left out.

    Args:
      x: a value each network.
      y: another.
      strata: what each network is compared within; None: all with each other.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    names = [0] * len(a) if strata is None else list(strata)
    given = np.isfinite(a) & np.isfinite(b)
    parts = []
    for name in dict.fromkeys(names):
        index = [i for i, other in enumerate(names) if other == name and given[i]]
        if len(index) > 2:
            parts.append((_ranks(a[index]), _ranks(b[index])))
    n, k = sum(len(part[0]) for part in parts), len(parts)
    if not parts:
        return dataclasses.replace(NOTHING, runs=n)
    size = math.sqrt(sum(u @ u for u, _ in parts) * sum(v @ v for _, v in parts))
    if not size:
        return dataclasses.replace(NOTHING, runs=n)
    r = float(np.clip(sum(u @ v for u, v in parts) / size, -1, 1))
    rng = np.random.default_rng(0)
    drawn = np.zeros(_DRAWS)
    for u, v in parts:
        drawn += rng.permuted(np.tile(v, (_DRAWS, 1)), axis=1) @ u / size
    p = (1 + int(np.sum(np.abs(drawn) >= abs(r) - 1e-12))) / (_DRAWS + 1)
    freedom = n - k - 2
    if freedom < 1:
        return Interval(r, p=p, runs=n)
    half = stats.norm.ppf((1 + LEVEL) / 2) * math.sqrt((1 + r * r / 2) / freedom)
    middle = math.atanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))
    return Interval(r, math.tanh(middle - half), math.tanh(middle + half), p, n)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Centered ranks in units of the number of values; equal ones share theirs."""
    ranks = stats.rankdata(values)
    return (ranks - ranks.mean()) / len(values)


def said(found: Interval) -> str:
    """A correlation with its interval."""
    if math.isnan(found.value):
        return "-"
    inside = f" [{found.low:+.2f}, {found.high:+.2f}]" if found.known else ""
    return f"{found.value:+.2f}{inside}"


@dataclasses.dataclass(frozen=True)
class Correlates:
    """A metric goes with another, over single networks within strata.

    Attributes:
      metric: key of the one.
      other: key of the other.
      sign: 1 if large goes with large, -1 if large goes with small.
      within: settings whose values divide the networks into strata.
      only: settings that the networks have.
      everywhere: whether every stratum must be on that side, too.
    """

    metric: str
    other: str
    sign: int = 1
    within: tuple[str, ...] = ()
    only: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    everywhere: bool = False

    def judge(self, study: Study, lines: Sequence[Line], claim: Claim) -> Finding:
        """Holds if interval and permutations are on the side of the sign, fails if opposite.

        With `everywhere` it fails, too, where a stratum's own interval is on the other side, and
        nothing can be told where its value is.
        """
        chosen = self.chosen(lines)
        found = self.correlation(chosen)
        titles = [study.metric(key).title for key in (self.metric, self.other)]
        parts = {name: self.correlation(part) for name, part in self._strata(chosen).items()}
        by_stratum = [
            f"{', '.join(map(str, name))} {said(own)} ({own.runs})" for name, own in parts.items()
        ]
        verdict = Verdict.UNKNOWN
        if found.known and found.p < 1 - LEVEL:
            verdict = self._side(found)
        if self.everywhere:
            if any(self._side(own) is Verdict.FAILS for own in parts.values()):
                verdict = Verdict.FAILS
            elif verdict is Verdict.HOLDS and any(
                self.sign * own.value < 0 for own in parts.values()
            ):
                verdict = Verdict.UNKNOWN
        p = "" if math.isnan(found.p) else f", p = {found.p:.2g}"
        where = f" within {', '.join(self.within)}" if self.within else ""
        each = f" ({'; '.join(by_stratum)})" if len(by_stratum) > 1 else ""
        asked = "go together" if self.sign > 0 else "go opposite ways"
        asked += " everywhere" if self.everywhere else ""
        text = (
            f"{titles[0]} and {titles[1]}: rank correlation{where} {said(found)}{p}, "
            f"{found.runs} networks{each}; {asked}: {verdict}"
        )
        return Finding(text, verdict)

    def _side(self, found: Interval) -> Verdict:
        ends = sorted((self.sign * found.low, self.sign * found.high))
        if not found.known:
            return Verdict.UNKNOWN
        return Verdict.HOLDS if ends[0] > 0 else Verdict.FAILS if ends[1] < 0 else Verdict.UNKNOWN

    def chosen(self, lines: Sequence[Line]) -> list[Line]:
        """The networks that are compared; no floors."""
        return [
            line
            for line in lines
            if not line.get("floor") and all(line.get(k) == v for k, v in self.only.items())
        ]

    def correlation(self, lines: Sequence[Line]) -> Interval:
        """Over networks that were chosen."""
        x, y = (
            [float(line.get(key, math.nan)) for line in lines] for key in (self.metric, self.other)
        )
        return rank_correlation(x, y, [self._stratum(line) for line in lines])

    def _stratum(self, line: Line) -> tuple[Any, ...]:
        return tuple(line.get(key) for key in self.within)

    def _strata(self, lines: Sequence[Line]) -> dict[tuple[Any, ...], list[Line]]:
        found: dict[tuple[Any, ...], list[Line]] = {}
        for line in lines:
            found.setdefault(self._stratum(line), []).append(line)
        return found
