"""Strengths chosen on held-out data: every method at the best of those that it was tried with."""

from collections.abc import Sequence

import numpy as np

from experiments.shared.report import markdown_table, over_runs
from experiments.shared.studies import Line, Metric

Rows = dict[str, list[Line]]


def at_the_best(lines: list[Line], held_out: Metric, condition: str | None = None) -> list[Line]:
    """The runs of every family at the strength that is best on held-out data, on average.

    Args:
      lines: of all rows; each has a ``family``, what its strengths share.
      held_out: the metric that decides.
      condition: setting within whose values the choice is made, or None.

    Returns:
      Their lines, rows renamed to the family (with a condition "family at value"), and the floors.
    """
    sign = 1.0 if held_out.better == "higher" else -1.0
    found = []
    for (family, value), rows in _tried(lines, condition).items():
        best = max(rows.values(), key=lambda those: sign * _mean(those, held_out))
        name = family if condition is None else f"{family} at {value:g}"
        found += [line | {"row": name} for line in best]
    return found + [line for line in lines if line.get("floor")]


def table(lines: list[Line], metrics: Sequence[Metric], condition: str | None = None) -> list[str]:
    """Part of a page: all rows of the families that were tried with several strengths.

    Args:
      lines: of all rows.
      metrics: columns, the first the one on held-out data.
      condition: as of ``at_the_best``.
    """
    several = [rows for rows in _tried(lines, condition).values() if len(rows) > 1]
    cells = []
    for row, those in (item for rows in several for item in rows.items()):
        numbers = [over_runs([m.scale * line[m.key] for line in those]) for m in metrics]
        cells.append([row, *(f"{mean:.3g} ± {error:.2g}" for mean, error in numbers)])
    if not cells:
        return []
    head = ("row", *(m.title for m in metrics))
    return ["All strengths (mean ± standard error):", markdown_table(head, *cells)]


def _tried(lines: list[Line], condition: str | None) -> dict[tuple[str, float], Rows]:
    found: dict[tuple[str, float], Rows] = {}
    for line in lines:
        if not line.get("floor"):
            value = 0.0 if condition is None else line[condition]
            rows = found.setdefault((line["family"], value), {})
            rows.setdefault(line["row"], []).append(line)
    return found


def _mean(lines: list[Line], metric: Metric) -> float:
    return float(np.mean([line[metric.key] for line in lines]))
