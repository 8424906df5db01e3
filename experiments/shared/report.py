"""Rows of a study selected and written: Markdown, CSV, text files that are never half there."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softeq_jax._atomic import replacing
from softeq_jax.measures import mean_and_error

Row = Mapping[str, Any]


def select(rows: Iterable[Row], **values: Any) -> list[Row]:
    """The rows with these values."""
    return [row for row in rows if all(row[key] == value for key, value in values.items())]


def over_runs(values: Sequence[float]) -> tuple[float, float]:
    """Mean over runs and its standard error (NaN for a single run)."""
    mean, error = mean_and_error(np.asarray(values, np.float64))
    return mean, error if len(values) > 1 else math.nan


def markdown_table(head: Sequence[str], *lines: Sequence[str]) -> str:
    """Cells as a Markdown table."""
    both = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in both)


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """All fields of all rows, full precision."""
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file so that a reader never sees half of it."""
    with replacing(path) as partial:
        partial.write_text(text)
