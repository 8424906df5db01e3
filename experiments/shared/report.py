"""Rows of a study selected and written: Markdown, CSV, text files that are never half there."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from softeq_jax._atomic import replacing

Row = Mapping[str, Any]


def select(rows: Iterable[Row], **values: Any) -> list[Row]:
    """The rows with these values."""
    return [row for row in rows if all(row[key] == value for key, value in values.items())]


def markdown_table(head: Sequence[str], *lines: Sequence[str]) -> str:
    """Cells as a Markdown table."""
    both = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in both)


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """All fields of all rows, full precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file so that a reader never sees half of it."""
    with replacing(path) as partial:
        partial.write_text(text)
