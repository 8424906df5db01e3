"""Claims named in advance and their verdicts: holds, does not hold, cannot tell."""

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy import stats

from experiments.shared.statistics import (
    LEVEL,
    NOTHING,
    Interval,
    RowSeedModel,
    paired,
    slope,
)
from experiments.shared.studies import Line, Metric, Study


class Verdict(enum.StrEnum):
    """What the runs say of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNKNOWN = "cannot tell"

    @classmethod
    def all_of(cls, verdicts: "Sequence[Verdict]") -> "Verdict":
        """The verdict of tests that must all hold."""
        if verdicts and all(v is cls.HOLDS for v in verdicts):
            return cls.HOLDS
        return cls.FAILS if cls.FAILS in verdicts else cls.UNKNOWN


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one test.

    Attributes:
      text: a sentence with the numbers.
      verdict: of this test.
    """

    text: str
    verdict: Verdict


class Test(Protocol):
    """What a claim is tested by."""

    def judge(self, study: Study, lines: Sequence[Line], claim: "Claim") -> Finding:
        """The finding in the lines that are compared."""
        ...


@dataclasses.dataclass(frozen=True)
class Claim:
    """One row against one reference, named before anything was run.

    Attributes:
      text: the claim in words.
      row: of which it is claimed.
      reference: what that row is compared with; Dunnett's comparison is with it too.
      tests: which must all hold ("at once").
    """

    text: str
    row: str
    reference: str
    tests: tuple[Test, ...]

    def judge(self, study: Study, lines: Sequence[Line]) -> tuple[Verdict, list[Finding]]:
        """The verdict with the findings it rests on."""
        findings = [test.judge(study, lines, self) for test in self.tests]
        return Verdict.all_of([finding.verdict for finding in findings]), findings


@dataclasses.dataclass(frozen=True)
class Better:
    """The row is better in a metric, by more than `by` (a share of it for logarithmic ones).

    The interval is Student's in the row + seed model, at 95 %: the pair was named in advance.
    Where the noise of the pair is more than twice that of all rows, it is the paired one.
    """

    metric: str
    by: float = 0.0

    def judge(self, study: Study, lines: Sequence[Line], claim: Claim) -> Finding:
        """Holds if the whole interval of the gain is above `by`, fails if it is below."""
        metric = study.metric(self.metric)
        gain, pair = _gain(study, lines, claim, metric)
        return _finding(metric, claim, gain, _threshold(metric, self.by), ("better", pair))


@dataclasses.dataclass(frozen=True)
class NotWorse:
    """The row is not worse in a metric by more than a margin set in advance (non-inferiority).

    The margin is in units of the metric, or for logarithmic ones a share (0.05: 5 %).
    """

    metric: str
    margin: float

    def judge(self, study: Study, lines: Sequence[Line], claim: Claim) -> Finding:
        """Holds if the whole interval of the gain is above minus the margin."""
        metric = study.metric(self.metric)
        gain, pair = _gain(study, lines, claim, metric)
        margin = math.log1p(self.margin) if metric.log else self.margin
        by = f"{100 * self.margin:g} %" if metric.log else f"{metric.scale * self.margin:g}"
        return _finding(metric, claim, gain, -margin, (f"worse by at most {by}", pair))


@dataclasses.dataclass(frozen=True)
class Grows:
    """The gain of the row over the reference grows with the study's condition (noise).

    `row` and `reference` of the claim are then names without the condition; the setting `family`
    holds them.
    """

    metric: str
    family: str

    def judge(self, study: Study, lines: Sequence[Line], claim: Claim) -> Finding:
        """Holds if the interval of the mean slope over seeds is above 0."""
        metric = study.metric(self.metric)
        values: dict[tuple[str, int, float], float] = {}
        for line in lines:
            if line.get(self.family) in (claim.row, claim.reference):
                key = (line[self.family], line["seed"], float(line[study.condition]))
                values[key] = metric.transformed(line.get(metric.key))
        sign = 1.0 if metric.better == "higher" else -1.0
        differences: dict[int, dict[float, float]] = {}
        for (name, seed, at), value in values.items():
            other = values.get((claim.reference, seed, at))
            if name == claim.row and other is not None:
                differences.setdefault(seed, {})[at] = sign * (value - other)
        found = slope(differences)
        said = f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]" if found.known else "-"
        text = (
            f"{metric.title}: the gain of {claim.row} over {claim.reference} grows by {said} "
            f"{'(logarithm) ' if metric.log else ''}per unit of {study.condition} "
            f"({found.runs} seeds)"
        )
        return Finding(text, _verdict(found, 0.0))


@dataclasses.dataclass(frozen=True)
class OverItems:
    """The change from the reference that runs measure item by item is better than a threshold.

    For runs whose test items are nearly the same, so that seeds alone tell too little: the variance
    of the mean over seeds is that of one run over its items, plus what seeds add. Every line has
    the change in `metric` and its standard error over items in `metric` with `_se` behind it.

    Attributes:
      metric: the change.
      least: what the gain must be above; negative for a margin that a loss must stay within.
    """

    metric: str
    least: float = 0.0

    def judge(self, study: Study, lines: Sequence[Line], claim: Claim) -> Finding:
        """Holds if the whole normal interval of the gain is above `least`, fails if it is below."""
        metric = study.metric(self.metric)
        found = over_items([line for line in lines if line["row"] == claim.row], self.metric)
        gain = found if metric.better == "higher" else -found
        said = f"better by more than {metric.shown(self.least)}" if self.least else "better"
        if self.least < 0:
            said = f"worse by at most {metric.shown(-self.least)}"
        verdict = _verdict(gain, self.least)
        text = f"{metric.title}: {claim.row} {difference_text(metric, found)}, {found.runs} seeds"
        return Finding(f"{text}; {said}: {verdict}", verdict)


def over_items(lines: Sequence[Line], key: str) -> Interval:
    """The mean of a change over runs whose items are nearly the same; see `OverItems`."""
    values = np.array([line[key] for line in lines], float)
    errors = np.array([line[f"{key}_se"] for line in lines], float)
    if not len(values):
        return NOTHING
    added = values.var(ddof=1) / len(values) if len(values) > 1 else 0.0
    error = math.sqrt(np.mean(errors**2) + added)
    half = float(stats.norm.ppf(0.5 + 0.5 * LEVEL)) * error
    mean = float(values.mean())
    p = float(2 * stats.norm.sf(abs(mean) / error)) if error else math.nan
    return Interval(mean, mean - half, mean + half, p, len(values))


@dataclasses.dataclass(frozen=True)
class Beats:
    """The row is better than a floor, seed by seed: no learned row counts before it is."""

    metric: str
    floor: str

    def judge(self, study: Study, lines: Sequence[Line], claim: Claim) -> Finding:
        """Holds if the paired interval of the gain is above 0."""
        metric = study.metric(self.metric)
        mine, theirs = (_by_seed(lines, name, metric) for name in (claim.row, self.floor))
        gain = paired(mine, theirs)
        against = dataclasses.replace(claim, reference=self.floor)
        gain = gain if metric.better == "higher" else -gain
        return _finding(metric, against, gain, 0.0, ("better", ""))


def model_of(lines: Sequence[Line], metric: Metric) -> RowSeedModel:
    """The row + seed model of lines, floors left out."""
    return RowSeedModel(
        [
            (line["row"], line["seed"], metric.transformed(line.get(metric.key)))
            for line in lines
            if not line.get("floor")
        ]
    )


def comparable(study: Study, lines: Sequence[Line], reference: str) -> list[Line]:
    """The lines under the same condition as a row, those of a study without conditions all."""
    here = [line for line in lines if line["row"] == reference]
    if not study.condition or not here:
        return list(lines)
    at = here[0].get(study.condition)
    return [line for line in lines if line.get(study.condition) == at]


def difference_text(metric: Metric, gain: Interval) -> str:
    """A difference with its interval: per cent of the reference's for logarithmic metrics."""
    if math.isnan(gain.value):
        return "-"
    numbers = (gain.value, gain.low, gain.high)
    if metric.log:
        value, low, high = (100 * math.expm1(x) if x < 500 else math.inf for x in numbers)
        unit = " %"
    else:
        value, low, high = (metric.scale * x for x in numbers)
        unit = ""
    digits = 3 if metric.digits is None or metric.log else metric.digits + 1
    form = "+.3g" if metric.digits is None or metric.log else f"+.{digits}f"
    inside = f" [{low:{form}}, {high:{form}}]" if gain.known else ""
    return f"{value:{form}}{unit}{inside}"


def _by_seed(lines: Sequence[Line], row: str, metric: Metric) -> dict:
    return {
        line["seed"]: metric.transformed(line.get(metric.key))
        for line in lines
        if line["row"] == row
    }


def _threshold(metric: Metric, by: float) -> float:
    return -math.log1p(-by) if metric.log else by


def _gain(
    study: Study, lines: Sequence[Line], claim: Claim, metric: Metric
) -> tuple[Interval, str]:
    """How much better the row is, positive if it is, and what the pair alone says.

    Where the noise of the pair is more than twice that of all rows, the pair decides.
    """
    if not metric.better:
        raise ValueError(f"{metric.key} of {study.name} is neither better higher nor lower")
    model = model_of(comparable(study, lines, claim.reference), metric)
    found = model.difference(claim.row, claim.reference)
    mine, theirs = (_by_seed(lines, name, metric) for name in (claim.row, claim.reference))
    pair = paired(mine, theirs)
    said = f"the pair alone {difference_text(metric, pair)}" if pair.known else ""
    if pair.known and model.deviation < pair.deviation / (2 * math.sqrt(2)):
        found, said = pair, "by the pair alone, whose noise is more than twice that of all rows"
    return (found if metric.better == "higher" else -found), said


def _verdict(gain: Interval, least: float) -> Verdict:
    if not gain.known:
        return Verdict.UNKNOWN
    if gain.low > least:
        return Verdict.HOLDS
    return Verdict.FAILS if gain.high <= least else Verdict.UNKNOWN


def _finding(
    metric: Metric, claim: Claim, gain: Interval, least: float, what: tuple[str, str]
) -> Finding:
    change = gain if metric.better == "higher" else -gain
    verdict = _verdict(gain, least)
    missing = "" if gain.known else f" ({gain.runs} runs are too few)"
    p = "" if math.isnan(gain.p) else f", p = {gain.p:.2g}"
    text = (
        f"{metric.title}: {claim.row} against {claim.reference} {difference_text(metric, change)}"
        f"{p}, {gain.runs} seeds{missing}{f'; {what[1]}' if what[1] else ''}; {what[0]}: {verdict}"
    )
    return Finding(text, verdict)
