"""Rows of the softening studies as a terminal table and as Markdown."""

from collections.abc import Callable, Sequence
from typing import Any

from experiments.shared.report import Row, markdown_table
from softeq_jax._text import table

COLUMNS: dict[str, tuple[str, Callable[[Row], str]]] = {
    "name": ("setting", lambda row: row["name"]),
    "kept": ("kept", lambda row: f"{row['kept']:.2f}"),
    "images": ("images", lambda row: str(row["images"])),
    "accuracy": ("top-1", lambda row: percent(row["accuracy"], row["accuracy_se"])),
    "accuracy_change": ("top-1 change", lambda row: f"{100 * row['accuracy_change']:+.2f}"),
    "rotated": (
        "top-1 rotated",
        lambda row: percent(row["accuracy_rotated"], row["accuracy_rotated_se"]),
    ),
    "kl_30": ("KL at 30", lambda row: f"{row['kl_30']:.3f} ±{row['kl_30_se']:.3f}"),
    "change": ("KL change", lambda row: f"{100 * row['kl_30_change']:+.0f}%"),
    "floor": ("floor", lambda row: f"{row['floor_30']:.3f}"),
    "kl_90": ("KL at 90", lambda row: f"{row['kl_90']:.3f}"),
    "certified": ("bound to 30", lambda row: f"{row['certified']:.3g}"),
    "measured": ("measured", lambda row: f"{row['measured']:.3g}"),
    "group": (
        "bound, measured over group",
        lambda row: f"{row['certified_group']:.3g}, {row['measured_group']:.3g}",
    ),
    "layers": ("layers certified", lambda row: row["layers"]),
}
COMMON = ("accuracy", "kl_30")
LEGEND = (
    "kept: share of the filtered weight space. Changes: against the unfiltered row, over the "
    "images that all rows share. top-1 rotated: mean over the angles up to 30 degrees. KL: "
    "KL(f(x) || f(Rx)) in nats at +-30 and at 90 degrees; floor: KL(f(x) || f(R^-1 R x)) at 30, "
    "what two bilinear resamplings and cut corners do with no rotation left. bound to 30: "
    "certified relative movement of the filtered weights under rotations of SO(2) by at most 30 "
    "degrees, beside the measured one; then both over the whole group of the row. layers "
    "certified: convolutions whose operator defect is bounded over the whole group. +- is one "
    "standard error over images."
)


def percent(value: float, error: float | None = None) -> str:
    """``81.03 +-0.39``."""
    text = f"{100 * value:.2f}"
    return text if error is None else f"{text} ±{100 * error:.2f}"


def terminal_table(rows: Sequence[Row], columns: Sequence[str] = tuple(COLUMNS)) -> str:
    """Aligned text with a header."""
    head, *lines = _cells(rows, columns)
    return table(head, lines, rule=True)


def markdown_page(title: str, rows: Sequence[Row]) -> str:
    """A page with the title, the table and how to read it."""
    return f"# {title}\n\n{markdown_table(*_cells(rows))}\n\n{LEGEND}\n"


def _cells(rows: Sequence[Row], columns: Sequence[str] = tuple(COLUMNS)) -> list[list[str]]:
    chosen = [COLUMNS[column] for column in columns]
    return [[title for title, _ in chosen], *([text(row) for _, text in chosen] for row in rows)]


def with_changes(rows: Sequence[Row], reference: Row) -> list[dict[str, Any]]:
    """Adds the changes of top-1 and of KL at 30 degrees against the unfiltered row.

    A row that was evaluated on more images than the others keeps its numbers over the images that
    all share as ``accuracy_common`` and ``kl_30_common``; the changes are over those.
    """

    def common(row: Row, key: str) -> float:
        return row.get(f"{key}_common", row[key])

    return [
        {
            **row,
            "accuracy_change": common(row, "accuracy") - common(reference, "accuracy"),
            "kl_30_change": common(row, "kl_30") / common(reference, "kl_30") - 1.0,
        }
        for row in rows
    ]


def nearest_to_target(rows: Sequence[Row], reference: Row) -> Row:
    """The row closest to the target, by the held-out images: the smallest sum of misses.

    The target is an accuracy within 0.5 point of the unfiltered row at 30 % less KL at 30
    degrees; a miss counts in units of 0.5 point and of 30 %.
    """

    def miss(row: Row) -> float:
        lost = reference["holdout_accuracy"] - row["holdout_accuracy"]
        saved = 1.0 - row["holdout_kl_30"] / reference["holdout_kl_30"]
        return max(0.0, lost / 0.005 - 1.0) + max(0.0, 1.0 - saved / 0.3)

    return min(rows, key=miss)
