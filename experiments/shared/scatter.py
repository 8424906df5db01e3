"""The figure of a study that draws none of its own: performance against defect."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import NullFormatter

from experiments.shared.claims import comparable
from experiments.shared.figures import finish, plt
from experiments.shared.runs import Chosen
from experiments.shared.studies import Line
from softeq_jax._text import plural

ROUNDING = 1e-6
"""Defects below it are 0 to rounding, and stand at the left edge of a logarithmic axis."""
COLORS = ("#c1553b", "#1b6ca8")
GRAY = "#b9b9b9"
_TOUCHING = 0.04  # of the height: words of floors that are closer would lie on each other


def scatter(chosen: Chosen, lines: Sequence[Line], path: Path, title: str) -> None:
    """Performance against defect, all runs; or performance row by row.

    The row of the first claim and its reference have colors, the others, which the table tells
    apart, are gray; without a claim every row has a color. Of a study with a condition, what stands
    under that of the claim.
    """
    study = chosen.study
    claim = study.claims[0] if study.claims else None
    if claim:
        lines = comparable(study, lines, claim.reference)
    main, defect = study.metrics[0], study.defect
    rows = list(dict.fromkeys(line["row"] for line in lines if not line.get("floor")))
    named = [row for row in ((claim.row, claim.reference) if claim else rows) if row in rows]
    palette = COLORS if claim else plt.get_cmap("tab20").colors  # pyright: ignore[reportAttributeAccessIssue]
    colors = dict(zip(named, palette, strict=False))
    figure, axis = plt.subplots(figsize=(9, 5), layout="constrained")
    shown: list[float] = []
    measured = [line for line in lines if line["row"] in rows and main.key in line]
    edge = None
    if defect and study.metric(defect).log:
        edge = exact_edge([line.get(defect, math.nan) for line in measured])
    for number, row in enumerate(rows):
        those = [line for line in measured if line["row"] == row]
        y = [main.scale * line[main.key] for line in those]
        if defect:
            metric = study.metric(defect)
            drawn = [at_edge(line.get(defect, math.nan), edge) for line in those]
            x = [metric.scale * max(value, metric.least) for value in drawn]
        else:
            x = [float(number)] * len(y)
        strong = row in colors
        style: dict[str, Any] = {"ms": 8, "zorder": 3} if strong else {"ms": 5, "zorder": 2}
        label = row if strong else None
        axis.plot(x, y, "o", color=colors.get(row, GRAY), label=label, alpha=0.85, **style)
        shown += y
    others = sum(row not in colors for row in rows)
    if others:
        axis.plot(
            [], [], "o", color=GRAY, ms=5, label=f"{plural(others, 'other row')}, see the table"
        )
    axis.set(ylabel=main.title, yscale="log" if main.log else "linear")
    _floors(axis, lines, main, [value for value in shown if math.isfinite(value)])
    if defect:
        metric = study.metric(defect)
        axis.set(xlabel=metric.title, xscale="log" if metric.log else "linear")
        if edge is not None:
            mark_edge(axis, metric.scale * edge)
    else:
        axis.set_xticks(range(len(rows)), rows, rotation=25, ha="right", fontsize=8)
    if (defect and len(colors) <= 20) or claim:
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
    finish(figure, path, title)


def exact_edge(defects: Sequence[float]) -> float | None:
    """Where defects that are 0 to rounding stand beside others: half a decade below the decade of
    the smallest of those; None unless there are both kinds."""
    others = [x for x in defects if x >= ROUNDING]
    if not others or not any(x < ROUNDING for x in defects):
        return None
    return 10 ** (math.floor(math.log10(min(others))) - 0.5)


def at_edge(defect: float, edge: float | None) -> float:
    """A defect as drawn, see ``exact_edge``."""
    return edge if edge is not None and defect < ROUNDING else defect


def mark_edge(axis: Any, edge: float) -> None:
    """Labels the place of what is 0 to rounding on a logarithmic x axis."""
    high = axis.get_xlim()[1]
    first = math.ceil(math.log10(edge))
    decades = [10.0**n for n in range(first, math.floor(math.log10(high)) + 1)]
    axis.set_xlim(0.6 * edge, high)
    axis.set_xticks([edge, *decades], ["0", *(f"{x:g}" for x in decades)])
    axis.set_xticks([k * x for x in decades for k in range(2, 10) if k * x < high], minor=True)
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(f"{axis.get_xlabel()} (0: to rounding)")


def _floors(axis: Any, lines: Sequence[Line], main: Any, shown: Sequence[float]) -> None:
    """Dotted lines of the floors; those far away, which would press the rows together, in words."""
    floors = {line["row"]: main.scale * line[main.key] for line in lines if _is_floor(line, main)}
    if not shown or not floors:
        return
    scale = math.log if main.log and min(*shown, *floors.values()) > 0 else float
    low, high = scale(min(shown)), scale(max(shown))
    room = max(high - low, 1e-9)
    far, near = [], []
    for row, value in sorted(floors.items(), key=lambda item: item[1]):
        if low - room < scale(value) < high + room:
            axis.axhline(value, color="0.5", ls=":", lw=1)
            if near and scale(value) - scale(near[-1][1]) < _TOUCHING * room:
                row = f"{near.pop()[0]}; {row}"
            near.append((row, value))
        else:
            side = "below" if scale(value) < low else "above"
            far.append(f"{row}: {value:.3g}, {side}")
    for said, value in near:
        place = (0.01, value)
        axis.annotate(said, place, fontsize=8, xycoords=("axes fraction", "data"), va="bottom")
    if far:
        axis.text(0.01, 0.01, "\n".join(far), fontsize=8, color="0.3", transform=axis.transAxes)


def _is_floor(line: Line, main: Any) -> bool:
    return bool(line.get("floor")) and main.key in line
