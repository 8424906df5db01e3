"""Rows of the softening studies as a terminal table and as Markdown."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.shared.figures import waiting
from experiments.shared.report import Row, markdown_table
from experiments.shared.studies import Line, Tables
from experiments.soften import figures
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
REFERENCE = "unfiltered"
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
    return table(head, lines, right="-" + "r" * len(columns), rule=True)


def finished(lines: Sequence[Line]) -> tuple[list[dict[str, Any]], Row | None]:
    """Lines of rows with their changes against the unfiltered one, and that one if it is there.

    Without it there are no rows to show.
    """
    rows = [{"name": line["row"], **line} for line in lines if not line.get("floor")]
    reference = next((row for row in rows if row["name"] == REFERENCE), None)
    return ([], None) if reference is None else (with_changes(rows, reference), reference)


def sections(lines: list[Line], tables: Tables) -> list[str]:
    """The table of all measurements, and how to read it."""
    rows, _ = finished(lines)
    if not rows:
        return [f"The row {REFERENCE!r} is not finished: no changes yet."]
    return ["## All measurements", markdown_table(*_cells(rows)), LEGEND]


def draw(lines: list[Line], tables: Tables, path: Path, title: str) -> None:
    """Accuracy against error, and bounds beside measurements."""
    rows, reference = finished(lines)
    if reference is None or len(rows) < 2:
        waiting(path, title, f"{REFERENCE!r} and another row are needed for the figure")
    else:
        figures.trade_off(rows, reference, path, title)


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
