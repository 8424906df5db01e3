"""Writers of scalars: a CSV table that survives a killed run, TensorBoard, several, none."""

import abc
import contextlib
import csv
import io
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from softeq_jax._atomic import replacing

_log = logging.getLogger(__name__)

STEP = "step"
_FLUSH_SECONDS = 2


class Writer(abc.ABC):
    """Takes named scalars of a step; a context manager that closes itself.

    Example:
      >>> import softeq_jax as sq
      >>> class Printer(sq.training.watch.Writer):
      ...     write = lambda self, step, values: print(step, values)
      ...     close = lambda self: print("closed")
      >>> with Printer() as writer:
      ...     writer.write(1, {"loss": 0.5})
      1 {'loss': 0.5}
      closed
    """

    @abc.abstractmethod
    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the values of a step.

        Args:
          step: number of steps taken; not below that of an earlier call.
          values: scalars (Python, NumPy or JAX) by name.

        Raises:
          TypeError: the step is no integer, or a value is no real scalar; the message names it.
          ValueError: the step is negative or below an earlier one, or the writer is closed.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Writes what is left and closes the files; a second call does nothing."""

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class NullWriter(Writer):
    """Writes nothing: for all hosts but the first.

    Example:
      >>> import softeq_jax as sq
      >>> with sq.training.watch.NullWriter() as writer:
      ...     writer.write(1, {"loss": 0.5})
    """

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class Writers(Writer):
    """Hands everything to each of some writers, in order.

    Args:
      *writers: closed together with this one, each of them even if another fails to close.

    Example:
      >>> import softeq_jax as sq
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     files = [sq.training.watch.CsvWriter(f"{folder}/{name}.csv") for name in "ab"]
      ...     with sq.training.watch.Writers(*files) as writer:
      ...         writer.write(1, {"loss": 0.5})
      ...     sorted(path.name for path in pathlib.Path(folder).iterdir())
      ['a.csv', 'b.csv']
    """

    def __init__(self, *writers: Writer):
        self._writers = writers

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Writer.write`."""
        for writer in self._writers:
            writer.write(step, values)

    def close(self) -> None:
        """See `Writer.close`."""
        with contextlib.ExitStack() as stack:
            for writer in reversed(self._writers):
                stack.callback(writer.close)


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
        is not there is begun. One that is damaged is moved to `<path>.damaged`, with a warning in
        the log, and begun again with the rows before the damage: no log keeps a run from going on.

    Raises:
      FileExistsError: `path` exists and `resume_step` is None.
      TypeError, ValueError: `resume_step` is no integer, or negative.

    Example:
      >>> import softeq_jax as sq
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with sq.training.watch.CsvWriter(f"{folder}/train.csv") as writer:
      ...         writer.write(1, {"loss": 0.5})
      ...     pathlib.Path(folder, "train.csv").read_text().split()
      ['step,loss', '1,0.5']
    """

    def __init__(self, path: str | os.PathLike[str], resume_step: int | None = None):
        self._path = Path(path).absolute()
        after = resumed(resume_step)
        if resume_step is None and self._path.exists():
            raise FileExistsError(
                f"{self._path} exists: pass resume_step to continue it, or another path"
            )
        self._columns, rows = _whole(self._path) if self._path.exists() else ((STEP,), [])
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
            rows = _whole(self._path)[1]
            self._columns = (*self._columns, *new)
            self._file = self._rewritten(rows)
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


def _read(path: Path) -> tuple[tuple[str, ...], list[list[str]], str]:
    """The columns and rows of a table, without a last line that does not end, and its damage.

    Damage is said in words, "" if there is none; the rows are those before it.
    """
    if not path.is_file():
        return (STEP,), [], "not a file"
    whole, table, damage = path.read_bytes().rpartition(b"\n")[0], [], ""
    try:
        for row in csv.reader(io.StringIO(whole.decode()), strict=True):
            table.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        damage = f"after line {len(table)} it is no CSV table ({error})"
    if not table:
        return (STEP,), [], damage
    columns, rows = tuple(table[0]), table[1:]
    if columns[:1] != (STEP,) or len(set(columns)) < len(columns):
        return (STEP,), [], f"line 1 is {columns}, expected different names, the first {STEP!r}"
    last = -1
    for number, row in enumerate(rows, start=2):
        step = int(row[0]) if row and re.fullmatch("[0-9]{1,18}", row[0]) else -1
        if len(row) != len(columns) or step <= last or not all(map(_is_number, row[1:])):
            expected = f"{len(columns)} cells, the first a step after {last}, numbers or empty"
            return columns, rows[: number - 2], f"line {number} is {row}, expected {expected}"
        last = step
    return columns, rows, damage


def _is_number(cell: str) -> bool:
    try:
        return not cell or float(cell) is not None
    except ValueError:
        return False


def _whole(path: Path) -> tuple[tuple[str, ...], list[list[str]]]:
    """The columns and rows of a table up to its damage; a damaged one is moved away."""
    columns, rows, damage = _read(path)
    if not damage:
        return columns, rows
    target, number = path.with_name(f"{path.name}.damaged"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.damaged{number}")
    path.rename(target)
    _log.warning("%s: damaged, moved to %s: %s", path, target, damage)
    return columns, rows


class TensorBoardWriter(Writer):
    """Scalars in an event file of TensorBoard.

    Each writer adds a file to the folder. Values are float32, as TensorBoard stores scalars; they
    reach the file within two seconds, and all of them by `close`. Characters that a tag cannot
    have become "_".

    Args:
      folder: of the event files; made if it is missing.
      resume_step: None for a new run. A resumed run gives the step of its checkpoint, and
        TensorBoard hides what earlier files have after it.

    Raises:
      ImportError: tensorboardX is not installed.
      FileExistsError: the folder has event files and `resume_step` is None.
      TypeError, ValueError: `resume_step` is no integer, or negative.

    Example:
      >>> import softeq_jax as sq
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with sq.training.watch.TensorBoardWriter(folder) as writer:
      ...         writer.write(1, {"loss": 0.5})
      ...     len(list(pathlib.Path(folder).iterdir()))  # one event file
      1
    """

    def __init__(self, folder: str | os.PathLike[str], resume_step: int | None = None):
        folder, after = Path(folder).absolute(), resumed(resume_step)
        earlier = len(list(folder.glob("events.out.tfevents.*")))
        if earlier and resume_step is None:
            raise FileExistsError(
                f"{folder} has {earlier} event files: pass resume_step to continue the run, or "
                f"another folder"
            )
        # The library names a file by the second; without a suffix a resumed run might replace
        # the file of the run before.
        self._writer = _summary_writer()(
            logdir=str(folder),
            purge_step=None if resume_step is None else after + 1,
            flush_secs=_FLUSH_SECONDS,
            filename_suffix=f".{earlier:04d}",
        )
        self._folder = folder
        self._last = after

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Writer.write`."""
        if self._writer is None:
            raise ValueError(f"{self._folder}: the writer is closed")
        self._last, numbers = checked(step, values, self._last)
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, global_step=self._last)

    def close(self) -> None:
        """See `Writer.close`."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "TensorBoardWriter needs tensorboardX: pip install softeq-jax[train]"
        ) from error
    return SummaryWriter


def checked(step: Any, values: Mapping[str, Any], last: int) -> tuple[int, dict[str, float]]:
    """The step and the values as Python numbers.

    Args:
      step: of this call.
      values: of this call.
      last: the step of the call before, -1 if there is none.

    Raises:
      TypeError, ValueError: see `Writer.write`.
    """
    number = _integer(step)
    if number is None:
        raise TypeError(f"step is {step!r}, expected an integer")
    if number < 0 or number < last:
        expected = f"at least {last}, the last one written" if last >= 0 else "at least 0"
        raise ValueError(f"step is {number}, expected {expected}")
    return number, {name: _scalar(name, value) for name, value in values.items()}


def resumed(resume_step: Any) -> int:
    """The step after which a resumed run writes; -1 for a new run.

    Raises:
      TypeError: it is no integer.
      ValueError: it is negative.
    """
    if resume_step is None:
        return -1
    number = _integer(resume_step)
    if number is None:
        raise TypeError(f"resume_step is {resume_step!r}, expected an integer or None")
    if number < 0:
        raise ValueError(f"resume_step is {number}, expected at least 0")
    return number


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return value.__index__()
    except (AttributeError, TypeError):
        return None


def _scalar(name: Any, value: Any) -> float:
    if not isinstance(name, str) or not name.strip() or len(name.splitlines()) != 1:
        raise TypeError(f"a value is called {name!r}, expected a name of one line")
    shape = getattr(value, "shape", ())
    try:
        if shape != () or isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"value {name!r} is a {type(value).__name__} of shape {shape}, expected a real scalar"
        ) from None
