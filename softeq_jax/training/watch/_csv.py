"""Scalars in one wide CSV table that survives a killed run."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from softeq_jax._atomic import replacing
from softeq_jax.training.watch._writers import Writer, checked, resumed

STEP = "step"


class CsvWriter(Writer):
    """A table with one row for each step and one column for each name, the first being "step".

    A row is in the file when `write` returns. Values are written by `repr` as float64, so that
    they are read back as they were; NaN is "nan". A name that was not yet there adds a column:
    the file is rewritten at once, with empty cells in the rows before. Several writes of one step
    share its row, in which a later value of the same name replaces the earlier one.

    Args:
      path: the file; missing folders are made.
      resume_step: None for a new run. A resumed run gives the step of its checkpoint: rows after
        it are removed, and so is a last line that a killed process left unfinished. A file that
        is not there is begun.

    Raises:
      FileExistsError: `path` exists and `resume_step` is None.
      TypeError, ValueError: `resume_step` is no integer, or negative.
      ValueError: the file to resume is not such a table; the message has the line.
    """

    def __init__(self, path: str | os.PathLike[str], resume_step: int | None = None):
        self._path = Path(path).absolute()
        after = resumed(resume_step)
        if resume_step is None and self._path.exists():
            raise FileExistsError(
                f"{self._path} exists: pass resume_step to continue it, or another path"
            )
        self._columns, rows = _read(self._path) if self._path.exists() else ((STEP,), [])
        rows = [row for row in rows if int(row[0]) <= after]
        self._last = int(rows[-1][0]) if rows else -1
        self._row = _cells(self._columns, rows[-1]) if rows else {}
        self._file = self._rewritten(rows)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Writer.write`; besides, ValueError for a value called "step"."""
        if self._file is None:
            raise ValueError(f"{self._path}: the writer is closed")
        step, numbers = checked(step, values, self._last)
        if STEP in numbers:
            raise ValueError(f"a value is called {STEP!r}, which is the name of the first column")
        new = [name for name in numbers if name not in self._columns]
        if new:
            self._file.close()
            self._columns = (*self._columns, *new)
            self._file = self._rewritten(_read(self._path)[1])
        cells = {name: repr(number) for name, number in numbers.items()}
        if step == self._last:
            cells = self._row | cells
        else:
            self._start = self._file.seek(0, os.SEEK_END)
        line = _line([str(step), *(cells.get(name, "") for name in self._columns[1:])])
        # One unbuffered write: a killed process leaves the row before or after it.
        self._file.seek(self._start)
        self._file.write(line)
        self._file.truncate()
        self._last, self._row = step, cells

    def close(self) -> None:
        """See `Writer.close`."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _rewritten(self, rows: Sequence[Sequence[str]]) -> io.FileIO:
        """The file with the present columns and these rows, opened behind the last one."""
        width = len(self._columns)
        lines = [_line([*row, *[""] * (width - len(row))]) for row in [self._columns, *rows]]
        with replacing(self._path) as partial:
            partial.write_bytes(b"".join(lines))
        file = self._path.open("r+b", buffering=0)
        self._start = file.seek(0, os.SEEK_END) - (len(lines[-1]) if rows else 0)
        return file


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _cells(columns: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    return {name: cell for name, cell in zip(columns[1:], row[1:], strict=True) if cell}


def _read(path: Path) -> tuple[tuple[str, ...], list[list[str]]]:
    """The columns and rows of a table, without a last line that does not end.

    Raises:
      ValueError: it is no such table.
    """
    whole = path.read_bytes().rpartition(b"\n")[0]
    try:
        table = list(csv.reader(io.StringIO(whole.decode())))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV table ({error})") from error
    if not table:
        return (STEP,), []
    columns, rows = tuple(table[0]), table[1:]
    if columns[:1] != (STEP,) or len(set(columns)) < len(columns):
        raise ValueError(
            f"{path}: line 1 is {columns}, expected different names, the first {STEP!r}"
        )
    last = -1
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns) or not row[0].isdecimal() or int(row[0]) <= last:
            raise ValueError(
                f"{path}: line {number} is {row}, expected {len(columns)} cells, the first a step "
                f"after {last}"
            )
        last = int(row[0])
    return columns, rows
