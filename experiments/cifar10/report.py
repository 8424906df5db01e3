"""What each tool buys: robustness per point of accuracy, as a table and as one scatter."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
FAR = ("free", "strict")
"""Tools too far from the augmented network to be drawn beside it."""


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
    """Accuracy against KL of all runs; beside it the tools close to the augmented network."""
    figure, (every, near) = plt.subplots(1, 2, figsize=(11, 5.2), layout="constrained")
    marks = dict(zip(dict.fromkeys(line["network"] for line in lines), MARKS, strict=False))
    families = list(dict.fromkeys(line["family"] for line in lines if line.get("family")))
    heats = dict(zip((f for f in families if f not in COLORS), HEATS, strict=False))
    colors = {family: {**COLORS, **heats}[family] for family in families} | {PUBLISHED: "white"}

    def point(axis: Any, line: Line, family: str, x: float, y: float) -> None:
        style = {"mfc": colors[family], "mec": "black", "mew": 0.5, "ms": 7, "alpha": 0.8}
        axis.plot(x, y, marks[line["network"]], **style)

    references = {(x["network"], x["seed"]): x for x in lines if x.get("family") == REFERENCE}
    for line in lines:
        published = line["row"] == f"{PUBLISHED} on {line['network']}"
        family = PUBLISHED if published else line.get("family")
        if family is None:
            continue
        point(every, line, family, line["kl"], line["accuracy"])
        reference = references.get((line["network"], line["seed"]))
        if family not in (*FAR, PUBLISHED, REFERENCE) and reference is not None:
            less = 100 * (line["kl"] / reference["kl"] - 1)
            point(near, line, family, less, line["accuracy"] - reference["accuracy"])
    for name, color in colors.items():
        every.plot([], [], "o", mfc=color, mec="black", mew=0.5, label=name)
    for name, mark in marks.items():
        every.plot([], [], mark, color="black", label=name)
    every.set(xlabel="KL at 30 degrees (nats)", ylabel="accuracy (%)", xscale="log")
    every.set_title("all runs", fontsize=10)
    near.axhline(0, color="#777777", lw=0.8)
    near.axvline(0, color="#777777", lw=0.8)
    near.set(xlabel="change of the KL (%)", ylabel="change of the accuracy (points)")
    near.set_title(f"against {REFERENCE} of the same seed", fontsize=10)
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
