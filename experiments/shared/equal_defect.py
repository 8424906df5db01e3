"""Comparison at equal defect: the performance of two families of rows where both move as much."""

import dataclasses
import fnmatch
from collections.abc import Sequence

import numpy as np

from experiments.shared.claims import Claim, Finding, Verdict, difference_text
from experiments.shared.statistics import mean_interval
from experiments.shared.studies import Line, Study


@dataclasses.dataclass(frozen=True)
class AtEqualDefect:
    """The rows of a family are better than other rows of the same defect.

    A dial in one family does not do what the same number does in another, so that rows are compared
    where their defects agree: the performance of `row` (of the claim, a glob) is joined to a line
    over the defect, seed by seed, and read off at the defect of every row of `reference` (a glob)
    that lies between its ends. The gain of a seed is the mean over those rows; the interval is
    Student's over the seeds that have all the rows.

    Attributes:
      metric: performance.
      ends: globs of rows that belong to the family's line, too: strict and free.
    """

    metric: str
    ends: tuple[str, ...] = ()

    def judge(self, study: Study, lines: Sequence[Line], claim: Claim) -> Finding:
        """Holds if the whole interval of the mean gain is above 0, fails if it is below."""
        metric = study.metric(self.metric)
        sign = 1.0 if metric.better == "higher" else -1.0
        own, other = ((claim.row, *self.ends), (claim.reference,))
        lines = [line for line in lines if not line.get("floor") and _any(line, own + other)]
        rows = {line["row"] for line in lines}
        gains, compared, given = [], 0, 0
        for seed in sorted({line["seed"] for line in lines}):
            here = [line for line in lines if line["seed"] == seed]
            if {line["row"] for line in here} != rows:
                continue
            curve, points = (
                np.array(
                    sorted(
                        (float(line[study.defect]), metric.transformed(line[metric.key]))
                        for line in here
                        if _any(line, globs)
                    )
                ).reshape(-1, 2)
                for globs in (own, other)
            )
            if len(curve) < 2 or not len(points):
                continue
            inside = (points[:, 0] >= curve[0, 0]) & (points[:, 0] <= curve[-1, 0])
            compared, given = compared + int(inside.sum()), given + len(points)
            at, theirs = points[inside].T
            if len(at):
                gains.append(
                    float(np.mean(sign * (np.interp(at, curve[:, 0], curve[:, 1]) - theirs)))
                )
        gain = mean_interval(gains)
        verdict = Verdict.UNKNOWN
        if gain.known and (gain.low > 0 or gain.high <= 0):
            verdict = Verdict.HOLDS if gain.low > 0 else Verdict.FAILS
        change = difference_text(metric, gain if sign > 0 else -gain)
        text = (
            f"{metric.title}: {claim.row} against {claim.reference} at equal defect {change}, "
            f"{gain.runs} seeds, {compared} of {given} runs between the ends; better: {verdict}"
        )
        return Finding(text, verdict)


def _any(line: Line, globs: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(line["row"], glob) for glob in globs)
