"""What the study shows beside its claims: equivariance stage by stage, and against accuracy."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.shared.figures import finish, plt, waiting
from experiments.shared.report import markdown_table
from experiments.shared.studies import Line, Tables

COLORS = {"resnet": "#1b6ca8", "vit": "#c1553b", "mixer": "#3f8f4f"}
UNTRAINED = ", untrained"
KINDS = {"resnet": "ResNet", "vit": "ViT", "mixer": "MLP-Mixer"}


def sections(lines: list[Line], tables: Tables) -> list[str]:
    """Equivariance of every stage with its controls, means over seeds."""
    found = tables.get("stages", [])
    if not found:
        return []
    cells = []
    for (row, transform, layer), values in _by_stage(found).items():
        cells.append((row, transform, layer, *(_shown(values[key]) for key in _COLUMNS)))
    head = ("row", "transform", "stage", *_COLUMNS.values())
    said = (
        "Means over seeds of the correlation of features F of an image x: of F(g x) with g F(x), "
        "with g F(x') of another image, and with F(x); dead: the share of channels left out. Maps "
        "are whole; of a ResNet turned about their middle, half a pitch from the image's."
    )
    return ["## Stage by stage", said, markdown_table(head, *cells)]


_COLUMNS = {
    "equivariance": "equivariance",
    "equivariance_control": "of another image",
    "invariance": "invariance",
    "invariance_control": "of another image",
    "dead_fraction": "dead",
}


def _by_stage(found: Sequence[Line]) -> dict[tuple[str, str, str], dict[str, float]]:
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in found:
        groups.setdefault((line["row"], line["transform"], line["layer"]), []).append(line)
    return {
        key: {name: _mean([line.get(name, math.nan) for line in those]) for name in _COLUMNS}
        for key, those in groups.items()
    }


def _mean(values: Sequence[float]) -> float:
    given = [value for value in values if math.isfinite(value)]
    return float(np.mean(given)) if given else math.nan


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def draw(lines: list[Line], tables: Tables, path: Path, title: str) -> None:
    """Learned equivariance row by row; beside it stage by stage, and against accuracy."""
    shown = [line for line in lines if math.isfinite(line.get("shift", math.nan))]
    if not shown:
        waiting(path, title, "no network is measured yet")
        return
    _by_row(shown, path, title)
    _against_accuracy(shown, path.with_name(f"{path.stem}_accuracy.png"))
    if tables.get("stages"):
        _over_stages(lines, tables["stages"], path.with_name(f"{path.stem}_stages.png"))


def is_trained(line: Line) -> bool:
    """Whether the row is no control."""
    return line["checkpoint"] == "end" and not line.get("floor")


def _by_row(lines: Sequence[Line], path: Path, title: str) -> None:
    rows = list(dict.fromkeys(line["row"] for line in lines))[::-1]
    figure, axis = plt.subplots(figsize=(8, 1 + 0.35 * len(rows)), layout="constrained")
    for line in lines:
        face = COLORS[line["family"]] if is_trained(line) else "none"
        axis.plot(
            line["shift"],
            rows.index(line["row"]),
            "o",
            mfc=face,
            mec=COLORS[line["family"]],
            alpha=0.8,
        )
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xlabel("equivariance of the last stage to shifts, minus control (open: controls)")
    finish(figure, path, title)


def _against_accuracy(lines: Sequence[Line], path: Path) -> None:
    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for family, name in KINDS.items():
        those = [x for x in lines if x["family"] == family and is_trained(x)]
        if those:
            x, y = ([line[key] for line in those] for key in ("shift", "accuracy"))
            axis.plot(x, y, "o", color=COLORS[family], label=name, alpha=0.8)
    axis.set(xlabel="equivariance to shifts, minus control", ylabel="accuracy (%)")
    if axis.lines:
        axis.legend(frameon=False)
    finish(figure, path, "Accuracy against learned equivariance, a point a network")


def _over_stages(lines: Sequence[Line], found: Sequence[Line], path: Path) -> None:
    """One panel a kind, as their stages are no counterparts."""
    family = {line["row"]: line["family"] for line in lines if not line.get("floor")}
    kinds = [kind for kind in KINDS if kind in family.values()]
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(4 * len(kinds), 4), layout="constrained", squeeze=False, sharey=True
    )
    values = _by_stage([line for line in found if line["transform"] == "shift"])
    for axis, kind in zip(axes[0], kinds, strict=True):
        rows = [name for name, own in family.items() if own == kind]
        bases = list(dict.fromkeys(name.removesuffix(UNTRAINED) for name in rows))
        for row in rows:
            stages = [key for key in values if key[0] == row]
            names = [layer for _, _, layer in stages]
            color = plt.get_cmap("tab10")(bases.index(row.removesuffix(UNTRAINED)) % 10)
            line = "o--" if row.endswith(UNTRAINED) else "o-"
            for key, style in (("equivariance", line), ("equivariance_control", ":")):
                heights = [values[stage][key] for stage in stages]
                label = row if key == "equivariance" else None
                axis.plot(names, heights, style, color=color, ms=3.5, lw=1.2, label=label)
        axis.tick_params(axis="x", rotation=60)
        axis.set_title(KINDS[kind], fontsize=10)
        if axis.lines:
            axis.legend(frameon=False, fontsize=7)
    axes[0, 0].set_ylabel("correlation under shifts")
    title = "Equivariance to shifts, stage by stage (dashed: untrained; dotted: another image's)"
    finish(figure, path, title)
