"""Figures of the softening studies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared.figures import finish, plt
from experiments.shared.report import Row
from softeq_jax import groups

GRAY = "#444444"
COLORS = {"C4": "#1b6ca8", "D4": "#c1553b", "SO(2)": "#3f8f4f"}
MARKERS = {
    "C4": {"marker": "o", "markersize": 9, "markerfacecolor": "none", "linewidth": 2.4},
    "D4": {"marker": "s", "markersize": 5, "linewidth": 1.0},
    "SO(2)": {"marker": "^", "markersize": 6, "linewidth": 1.4},
}


def trade_off(rows: Sequence[Row], reference: Row, path: Path, title: str) -> None:
    """Change of accuracy against change of invariance error, and bounds beside measurements.

    Args:
      rows: as written by ``experiments.soften``, the unfiltered one among them.
      reference: the unfiltered row.
      path: PNG to write.
      title: of the figure.
    """
    filtered = [row for row in rows if row["name"] != reference["name"]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
    left.axhline(0, color=GRAY, linewidth=1)
    left.axvline(0, color=GRAY, linewidth=1)
    left.plot([-30, -30, -100], [100, -0.5, -0.5], color=GRAY, linestyle=":", linewidth=1)
    for number, row in enumerate(filtered, 1):
        color = COLORS.get(_symbol(row["group"]), GRAY)
        x, y = 100 * row["kl_30_change"], 100 * row["accuracy_change"]
        left.plot(x, y, "o", markersize=15, color=color)
        left.annotate(str(number), (x, y), ha="center", va="center", color="white", fontsize=8)
    x = [100 * row["kl_30_change"] for row in filtered]
    y = [100 * row["accuracy_change"] for row in filtered]
    left.set_xlim(min([-36, *x]) - 3, max([2, *x]) + 2)
    left.set_ylim(min([-1, *y]) - 1, max([1, *y]) + 0.5)
    left.set_xlabel("change of KL at 30 degrees (%)")
    left.set_ylabel("change of top-1 upright (points)")
    left.set_title("against the unfiltered row; dotted: the target", fontsize=9)

    at = np.arange(len(filtered))
    for shift, key, color in ((-0.2, "certified", "#9bb8d3"), (0.2, "measured", "#1b6ca8")):
        right.barh(at + shift, [row[key] for row in filtered], 0.38, label=key, color=color)
    right.axvline(reference["certified"], color=GRAY, linewidth=1)
    names = [f"{row['name']}  {number}" for number, row in enumerate(filtered, 1)]
    right.set_yticks(at, names, fontsize=8)
    right.invert_yaxis()
    right.set_xlabel("movement of the filtered weights, relative to their norm")
    right.set_title("SO(2) rotations to 30 degrees; line: unfiltered", fontsize=9)
    right.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    finish(figure, path, title)


def levels(
    rows: Mapping[str, Sequence[Row]], references: Mapping[str, Row], path: Path, title: str
) -> None:
    """Per network (row of panels): accuracy, invariance error and bound against the level.

    Args:
      rows: for each network its filtered rows, with ``group``, ``cutoff`` and the numbers of a
        study row.
      references: its unfiltered row.
      path: PNG to write.
      title: of the figure.
    """
    figure, axes = plt.subplots(
        len(rows), 3, figsize=(12, 3.4 * len(rows)), layout="constrained", squeeze=False
    )
    for line, (network, filtered) in zip(axes, rows.items(), strict=True):
        reference = references[network]
        for group in dict.fromkeys(row["group"] for row in filtered):
            chosen = sorted(
                (row for row in filtered if row["group"] == group), key=lambda row: row["cutoff"]
            )
            symbol = _symbol(group)
            style = {"color": COLORS.get(symbol, GRAY), **MARKERS.get(symbol, {"marker": "x"})}
            x = [row["cutoff"] for row in chosen]
            _curve(line[0], x, chosen, "accuracy", 100, style | {"label": _symbol(group)})
            _curve(line[0], x, chosen, "accuracy_rotated", 100, style | {"linestyle": "--"})
            _curve(line[1], x, chosen, "kl_30", 1, style)
            line[2].plot(x, [row["certified"] for row in chosen], **style)
            line[2].plot(
                x, [row["measured"] for row in chosen], "+", color=style["color"], markersize=11
            )
        gray = {"color": GRAY, "linewidth": 1}
        line[0].axhline(100 * reference["accuracy"], label="unfiltered", **gray)
        line[0].axhline(100 * reference["accuracy_rotated"], linestyle="--", **gray)
        line[1].axhline(reference["kl_30"], **gray)
        line[1].axhline(reference["floor_30"], linestyle=":", **gray)
        line[0].set_ylabel(f"{network}\ntop-1 (%)")
        line[1].set_ylabel("KL at 30 degrees (nats)")
        line[2].set_ylabel("relative movement of weights")
        for axis in line:
            axis.set_xlabel("level kept (cutoff, 1/rad)")
        line[2].axhline(reference["certified"], **gray)
        line[2].set_ylim(bottom=-0.05)
        line[0].legend(fontsize=7, frameon=False)
    axes[0][0].set_title("accuracy: upright (solid), rotated (dashed)", fontsize=9)
    axes[0][1].set_title("invariance error; dotted: interpolation floor", fontsize=9)
    axes[0][2].set_title("moved by 30 degrees: certified (line), measured (+)", fontsize=9)
    finish(figure, path, title)


def _curve(
    axis: Any, x: list[float], rows: list[Row], key: str, scale: float, style: dict[str, Any]
) -> None:
    y = [scale * row[key] for row in rows]
    error = [scale * row[f"{key}_se"] for row in rows]
    axis.errorbar(x, y, yerr=error, capsize=2, **style)


def _symbol(group: str) -> str:
    return repr(groups.from_name(group))
