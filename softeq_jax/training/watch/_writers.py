"""What a writer of scalars is, several of them as one, and one that writes nothing."""

import abc
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any


class Writer(abc.ABC):
    """Takes named scalars of a step; a context manager that closes itself."""

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
        """Writes what is left and gives the files back; a second call does nothing."""

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
    """Writes nothing: for all hosts but the first."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class Writers(Writer):
    """Hands everything to each of some writers, in order.

    Args:
      *writers: closed together with this one, each of them even if another fails to close.
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
