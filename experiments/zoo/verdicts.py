"""Tests of claims about a zoo: a share above a level, training against architecture."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

from experiments.shared.claims import Claim, Finding, Verdict, difference_text
from experiments.shared.statistics import Interval, mean_interval, paired
from experiments.shared.studies import Line, Metric, Study


@dataclasses.dataclass(frozen=True)
class Exceeds:
    """The mean of a metric over final networks, seeds of one averaged, is above a level."""

    metric: str
    level: float

    def judge(self, study: Study, lines: Sequence[Line], claim: Claim) -> Finding:
        """Holds if Student's interval over the networks is above the level, fails if below."""
        del claim
        metric = study.metric(self.metric)
        by_row: dict[str, list[float]] = {}
        for line in lines:
            value = float(line.get(self.metric, math.nan))
            if line.get("final") and math.isfinite(value):
                by_row.setdefault(line["row"], []).append(value)
        means = [sum(values) / len(values) for values in by_row.values()]
        found = mean_interval(means)
        verdict = Verdict.UNKNOWN
        if found.known and found.low > self.level:
            verdict = Verdict.HOLDS
        elif found.known and found.high <= self.level:
            verdict = Verdict.FAILS
        above = sum(mean > self.level for mean in means)
        text = (
            f"{metric.title}: {_said(metric, found)}, {found.runs} networks, {above} of them above "
            f"{metric.shown(self.level)}; above on average: {verdict}"
        )
        return Finding(text, verdict)


@dataclasses.dataclass(frozen=True)
class TrainingDecides:
    """Training changes a metric by more than architectures differ in it after training.

    Of every seed, the mean over networks of ``|log y_end - log y_init|``, and the mean over pairs
    of networks of ``|log y_end - log y'_end|``; paired over seeds, as logarithms.
    """

    metric: str

    def judge(self, study: Study, lines: Sequence[Line], claim: Claim) -> Finding:
        """Holds if the interval of the ratio is above 1, fails if it is below."""
        del claim
        metric = study.metric(self.metric)
        values: dict[int, dict[str, dict[str, float]]] = {}
        for line in lines:
            value = float(line.get(self.metric, math.nan))
            if line.get("checkpoint") in ("init", "end") and value > 0:
                seed = values.setdefault(line["seed"], {})
                seed.setdefault(line["network"], {})[line["checkpoint"]] = math.log(value)
        changes, spreads = {}, {}
        for seed, networks in values.items():
            both = [found for found in networks.values() if len(found) == 2]
            if len(both) < 2:
                continue
            changes[seed] = _mean([abs(x["end"] - x["init"]) for x in both])
            pairs = itertools.combinations([x["end"] for x in both], 2)
            spreads[seed] = _mean([abs(a - b) for a, b in pairs])
        logs = [{k: math.log(max(v, 1e-12)) for k, v in x.items()} for x in (changes, spreads)]
        found = paired(*logs)
        verdict = Verdict.UNKNOWN
        if found.known and found.low > 0:
            verdict = Verdict.HOLDS
        elif found.known and found.high <= 0:
            verdict = Verdict.FAILS
        numbers = ""
        if changes:
            by = [math.exp(_mean(list(x.values()))) for x in (changes, spreads)]
            numbers = f" ({by[0]:.3g}-fold by training, {by[1]:.3g}-fold between networks)"
        ratio = difference_text(dataclasses.replace(metric, log=True), found)
        text = (
            f"{metric.title}: the change by training exceeds the difference between networks by "
            f"{ratio}{numbers}, {found.runs} seeds; larger: {verdict}"
        )
        return Finding(text, verdict)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _said(metric: Metric, found: Interval) -> str:
    if math.isnan(found.value):
        return "-"
    inside = f" [{metric.shown(found.low)}, {metric.shown(found.high)}]" if found.known else ""
    return metric.shown(found.value) + inside
