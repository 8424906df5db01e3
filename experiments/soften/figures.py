"""Figures of the softening studies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.shared.figures import finish, plt
from experiments.shared.report import Row
from softeq_jax import groups

GRAY = "#555555"
COLORS = {"C4": "#1b6ca8", "D4": "#c1553b", "SO(2)": "#3f8f4f"}
MARKERS = {"C4": "o", "D4": "s", "SO(2)": "^"}
GAIN, LOSS = -30.0, -0.5
"""What a softened network is to reach: change of KL in per cent, of top-1 in points."""
SAME = 1e-3
"""Share by which a bound and a measurement may differ in a figure that draws one for both."""


def trade_off(rows: Sequence[Row], reference: Row, path: Path, title: str) -> None:
    """Change of accuracy against change of invariance error, and the bound of every row.

    Args:
      rows: as written by ``experiments.soften``, the unfiltered one among them.
      reference: the unfiltered row.
      path: PNG to write.
      title: of the figure.
    """
    filtered = [row for row in rows if row["name"] != reference["name"]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12.5, 5), layout="constrained")
    x = [100 * row["kl_30_change"] for row in filtered]
    y = [100 * row["accuracy_change"] for row in filtered]
    left.set_xlim(min([GAIN - 8, *x]) - 2, 3)
    left.set_ylim(min([-2, *y]) - 1, max([1, *y]) + 1)
    left.axhspan(LOSS, left.get_ylim()[1], 0, _share(left, GAIN), color="#e3efe5", zorder=0)
    left.text(*_corner(left), "the aim", color=COLORS["SO(2)"], va="top")
    left.plot(0, 0, "*", color=GRAY, markersize=13)
    left.annotate("unfiltered", (0, 0), (-6, 9), textcoords="offset points", ha="right")
    for number, (row, a, b) in enumerate(zip(filtered, x, y, strict=True), 1):
        left.plot(a, b, "o", markersize=15, color=COLORS.get(_symbol(row["group"]), GRAY))
        left.annotate(str(number), (a, b), ha="center", va="center", color="white", fontsize=9)
    left.set_xlabel("change of KL under rotations by 30 degrees (%)")
    left.set_ylabel("change of top-1, upright (points)")
    left.set_title(_reached(x, y), fontsize=10)

    for number, row in enumerate(filtered):
        color = COLORS.get(_symbol(row["group"]), GRAY)
        right.barh(number, row["certified"], 0.7, color=color)
        if abs(row["certified"] - row["measured"]) > SAME * reference["certified"]:
            right.plot(row["measured"], number, "k|", markersize=14)
    right.axvline(reference["certified"], color=GRAY, linewidth=1)
    place = reference["certified"], len(filtered) - 0.4
    right.annotate("unfiltered ", place, ha="right", va="center", color=GRAY)
    names = [f"{row['name']}  {number}" for number, row in enumerate(filtered, 1)]
    right.set_yticks(range(len(filtered)), names)
    right.set_ylim(len(filtered), -0.7)
    right.set_xlabel("bound of the movement by rotations to 30 degrees / norm")
    same = all(
        abs(row["certified"] - row["measured"]) <= SAME * reference["certified"] for row in rows
    )
    right.set_title(
        "The bounds are attained: what was measured equals them"
        if same
        else "Bounds; black marks: what was measured",
        fontsize=10,
    )
    for symbol in dict.fromkeys(_symbol(row["group"]) for row in filtered):
        right.plot([], [], "s", color=COLORS.get(symbol, GRAY), label=f"filtered under {symbol}")
    figure.legend(loc="outside lower center", frameon=False, ncols=4)
    finish(figure, path, title)


def _share(axis: Any, x: float) -> float:
    low, high = axis.get_xlim()
    return (x - low) / (high - low)


def _corner(axis: Any) -> tuple[float, float]:
    (x, _), (low, high) = axis.get_xlim(), axis.get_ylim()
    return x + 0.5, high - 0.03 * (high - low)


def _reached(x: Sequence[float], y: Sequence[float]) -> str:
    """In words how many rows are in the corner that was aimed at."""
    there = sum(a <= GAIN and b >= LOSS for a, b in zip(x, y, strict=True))
    aim = f"{-GAIN:.0f} % less KL for at most {-LOSS:g} points"
    return f"{there or 'None'} of {len(x)} filters reached the aim: {aim}"


def levels(
    rows: Mapping[str, Sequence[Row]], references: Mapping[str, Row], path: Path, title: str
) -> None:
    """Per network accuracy against invariance error; every filter a point, named by its level.

    Args:
      rows: for each network its filtered rows, with ``group``, ``cutoff`` and the numbers of a
        study row.
      references: its unfiltered row.
      path: PNG to write.
      title: of the figure.
    """
    figure, axes = plt.subplots(
        1, len(rows), figsize=(6.2 * len(rows), 4.8), layout="constrained", squeeze=False
    )
    for axis, (network, filtered) in zip(axes[0], rows.items(), strict=True):
        reference = references[network]
        _points(axis, filtered)
        x, y = reference["kl_30"], 100 * reference["accuracy"]
        axis.plot(x, y, "*", color=GRAY, markersize=14)
        axis.annotate("unfiltered", (x, y), (0, 9), textcoords="offset points", ha="center")
        axis.axvline(reference["floor_30"], color=GRAY, linestyle=":", linewidth=1)
        axis.annotate(
            "interpolation alone",
            (reference["floor_30"], 0.02),
            (4, 0),
            xycoords=axis.get_xaxis_transform(),
            textcoords="offset points",
            rotation=90,
            fontsize=8,
            color=GRAY,
        )
        axis.margins(0.14)
        axis.set_xlabel("KL of the prediction under rotations by 30 degrees (nats)")
        axis.set_ylabel("top-1 upright (%); numbers: levels kept")
        axis.set_title(f"{network}: {best(filtered, reference)}", fontsize=10)
    for symbol, marker in MARKERS.items():
        axes[0][0].plot([], [], marker, color=COLORS[symbol], label=f"filtered under {symbol}")
    figure.legend(loc="outside lower center", frameon=False, ncols=len(MARKERS))
    finish(figure, path, title)


def _points(axis: Any, rows: Sequence[Row]) -> None:
    """The points, those of equal numbers as one with the names of all."""
    together: dict[tuple[float, float], list[Row]] = {}
    for row in rows:
        together.setdefault((round(row["kl_30"], 3), round(row["accuracy"], 4)), []).append(row)
    for number, ((x, accuracy), those) in enumerate(sorted(together.items())):
        symbols = [_symbol(row["group"]) for row in those]
        for symbol, size in zip(symbols, (11, 6), strict=False):
            axis.plot(x, 100 * accuracy, MARKERS[symbol], color=COLORS[symbol], markersize=size)
        names = dict.fromkeys(
            f"{row['cutoff']:.2g}" if row["cutoff"] else "strict" for row in those
        )
        axis.annotate(
            ", ".join(names),
            (x, 100 * accuracy),
            (0, -14 if number % 2 else 9),
            textcoords="offset points",
            ha="center",
        )


def best(rows: Sequence[Row], reference: Row, lose: float = 0.05) -> str:
    """What the filter does that changes predictions least among those that lose little accuracy."""
    kept = [row for row in rows if row["accuracy"] >= reference["accuracy"] - lose]
    if not kept:
        return f"every filter costs more than {100 * lose:.0f} points"
    row = min(kept, key=lambda row: row["kl_30"])
    kl = 100 * (row["kl_30"] / reference["kl_30"] - 1)
    points = 100 * (row["accuracy"] - reference["accuracy"])
    level = f"to level {row['cutoff']:.2g}" if row["cutoff"] else "strict"
    price = "gains" if points > 0 else "costs"
    said = f"and {price} {abs(points):.1f} points" if abs(points) >= 0.05 else "and costs nothing"
    return f"{_symbol(row['group'])} {level} takes {-kl:.0f} % of the KL {said}"


def _symbol(group: str) -> str:
    return repr(groups.from_name(group))
