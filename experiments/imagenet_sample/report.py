"""The ImageNet study as a table of how far each network went for free, and as curves."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.shared.claims import over_items
from experiments.shared.figures import finish, plt, waiting
from experiments.shared.report import Row, markdown_table, over_runs
from experiments.shared.statistics import Interval
from experiments.shared.studies import Line, Tables

MARGIN = 0.01
"""Top-1 that softening may cost, set in advance."""

LEGEND = (
    "Changes are from the network as published, image by image, with the interval of the images' "
    "sampling error (the table above has the spread of overlapping splits alone, which is "
    "smaller). Free: the whole interval of top-1 is above minus one point. Bound: certified "
    "relative movement of the filtered kernels under rotations of SO(2) by at most 30 degrees, and "
    "under the whole group of the row. Layers: convolutions whose operator defect is certified "
    "over the group; those of stride 2 on even maps never are, as their padding is not symmetric, "
    "and under SO(2) none is."
)
COLORS = {"c4": "#1b6ca8", "so2": "#c1553b"}


def sections(lines: list[Line], tables: Tables) -> list[str]:
    """The table of changes with their intervals over images."""
    del tables
    head = (
        *("row", "top-1 (points)", "rotated (points)", "KL (nats)", "KL (%)", "free"),
        *("kept", "bound to 30", "bound, group", "layers"),
    )
    cells = [_cells(mine) for mine in by_row(lines)]
    return ["## Changes over images", markdown_table(head, *cells), LEGEND]


def by_row(lines: Sequence[Line]) -> list[list[Line]]:
    """The runs of every row that is no floor."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        if not line.get("floor"):
            found.setdefault(line["row"], []).append(line)
    return list(found.values())


def _cells(mine: Sequence[Line]) -> list[str]:
    top, rotated, kl = (
        over_items(mine, f"{key}_change") for key in ("accuracy", "rotated_accuracy", "kl")
    )
    before = mean(mine, "kl") - kl.value
    share = 100 * kl.value / before if before > 0 else math.nan
    first = mine[0]
    return [
        first["row"],
        _interval(top, 100, 2),
        _interval(rotated, 100, 2),
        _interval(kl, 1, 4),
        f"{share:+.0f}",
        "yes" if top.low > -MARGIN else "no" if top.high <= -MARGIN else "cannot tell",
        f"{first['kept']:.3f}",
        f"{first['certified']:.3g}",
        f"{first['certified_group']:.3g}",
        str(first["layers"]),
    ]


def _interval(found: Interval, scale: float, digits: int) -> str:
    value, low, high = (scale * x for x in (found.value, found.low, found.high))
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def mean(mine: Sequence[Row], key: str) -> float:
    """Mean over the runs of a row."""
    return over_runs([line[key] for line in mine])[0]


def draw(lines: list[Line], tables: Tables, path: Path, title: str) -> None:
    """Top-1 upright and rotated, and KL, against softness; a column for each network."""
    del tables
    found = by_row(lines)
    networks = list(dict.fromkeys(mine[0]["network"] for mine in found))
    if not networks:
        waiting(path, title, "no run is finished")
        return
    figure, axes = plt.subplots(
        2,
        len(networks),
        figsize=(3.2 + 3.4 * len(networks), 7.5),
        layout="constrained",
        sharex="col",
        sharey="row",
        squeeze=False,
    )
    for (above, below), network in zip(axes.T, networks, strict=True):
        mine = [runs for runs in found if runs[0]["network"] == network]
        _panels(above, below, mine)
        above.set_title(network)
        below.set_xlabel("softness (equally spaced)")
    axes[0, 0].set_ylabel("top-1 (%), rotated dotted")
    axes[1, 0].set_ylabel("KL (nats)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    finish(figure, path, title)


def _panels(above: Any, below: Any, rows: Sequence[Sequence[Line]]) -> None:
    """The curves of one network: a color a group, open marks for new batch statistics."""
    ticks = sorted({softness(mine[0]) for mine in rows})
    for group, color in COLORS.items():
        for new in (False, True):
            # What is not filtered at all ends the curves of every group.
            curve = [
                mine
                for mine in rows
                if mine[0]["new_statistics"] == new
                and (mine[0]["group"] == group or softness(mine[0]) == 1)
            ]
            curve.sort(key=lambda mine: softness(mine[0]))
            if not any(mine[0]["group"] == group and softness(mine[0]) < 1 for mine in curve):
                continue
            at = [ticks.index(softness(mine[0])) for mine in curve]
            style = {"color": color, "marker": "o", "mfc": "white" if new else color, "lw": 1.2}
            label = f"{group.upper()}, {'new' if new else 'old'} statistics"
            for key, line in (("accuracy", "-"), ("rotated_accuracy", ":")):
                values = [100 * mean(mine, key) for mine in curve]
                above.plot(at, values, ls=line, label=label if line == "-" else None, **style)
            below.plot(at, [mean(mine, "kl") for mine in curve], **style)
    below.set_xticks(range(len(ticks)), [f"{value:g}" for value in ticks], fontsize=8)
    below.set_yscale("log")


def softness(line: Line) -> float:
    """Of the kernels, or of the positions where the kernels are left alone."""
    dials = line["dials"]
    return dials.get("position_softness", 1.0) if dials["softness"] == 1 else dials["softness"]
