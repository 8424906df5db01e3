"""What each tool buys: robustness per point of accuracy, as a table and as one scatter."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.shared.figures import finish, plt
from experiments.shared.report import markdown_table
from experiments.shared.studies import Line, Tables

REFERENCE = "free, augmented"
PUBLISHED = "not fine-tuned"
COLORS = {
    "free": "#777777",
    REFERENCE: "#1b6ca8",
    "strict": "#c1553b",
    "penalty": "#8a5aa8",
}
HEATS = ("#8fbf6f", "#3f8f4f", "#1f5f2f")
MARKS = "os^Dv"


def sections(lines: list[Line], tables: Tables) -> list[str]:
    """Every tool against the augmented unfiltered network, by what it gives for what it takes."""
    cells = []
    for network, rows in _means(lines).items():
        base = rows.get(REFERENCE)
        for family, (accuracy, rotated, kl) in rows.items():
            if base is None or family == REFERENCE:
                continue
            lost, gained = base[0] - accuracy, rotated - base[1]
            less = 1 - kl / base[2]
            price = f"{100 * less / lost:+.1f} %" if lost > 0 else "nothing lost"
            cells.append(
                (network, family, f"{-lost:+.2f}", f"{gained:+.2f}", f"{-100 * less:+.1f} %", price)
            )
    head = ("network", "tool", "accuracy", "accuracy at 30 degrees", "KL", "KL less, per point")
    said = (
        f"Means over seeds, against {REFERENCE} on the same network. The last column divides the "
        "per cent of KL that a tool takes away by the points of upright accuracy that it costs."
    )
    return ["## What a tool buys", markdown_table(head, *cells), said]


def draw(lines: list[Line], tables: Tables, path: Path, title: str) -> None:
    """Accuracy against KL, all runs of all networks: a color a tool, a mark a network."""
    figure, axis = plt.subplots(figsize=(9, 5.5), layout="constrained")
    marks = dict(zip(dict.fromkeys(line["network"] for line in lines), MARKS, strict=False))
    families = list(dict.fromkeys(line["family"] for line in lines if line.get("family")))
    heats = dict(zip((f for f in families if f not in COLORS), HEATS, strict=False))
    colors = {family: {**COLORS, **heats}[family] for family in families} | {PUBLISHED: "white"}
    for line in lines:
        published = line["row"] == f"{PUBLISHED} on {line['network']}"
        family = PUBLISHED if published else line.get("family")
        if family is not None:
            style = {"mfc": colors[family], "mec": "black", "mew": 0.5, "ms": 7, "alpha": 0.8}
            axis.plot(line["kl"], line["accuracy"], marks[line["network"]], **style)
    for name, color in colors.items():
        axis.plot([], [], "o", mfc=color, mec="black", mew=0.5, label=name)
    for name, mark in marks.items():
        axis.plot([], [], mark, color="black", label=name)
    axis.set(xlabel="KL at 30 degrees (nats)", ylabel="accuracy (%)", xscale="log")
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    finish(figure, path, title)


def _means(lines: Sequence[Line]) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Network to tool to mean accuracy, rotated accuracy and (geometric) KL."""
    found: dict[str, dict[str, list[Line]]] = {}
    for line in lines:
        if line.get("family"):
            found.setdefault(line["network"], {}).setdefault(line["family"], []).append(line)
    return {
        network: {
            family: (
                float(np.mean([x["accuracy"] for x in runs])),
                float(np.mean([x["rotated_accuracy"] for x in runs])),
                math.exp(float(np.mean([math.log(max(x["kl"], 1e-12)) for x in runs]))),
            )
            for family, runs in families.items()
        }
        for network, families in found.items()
    }
