"""Faults met while a checkpoint is read: of the machine, or of the checkpoint."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_OF_THE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENAMETOOLONG}
_PASSING = (
    "EIO EMFILE ENFILE ESTALE ENOSPC EDQUOT EACCES EPERM EROFS ENOMEM EAGAIN EBUSY EINTR ENXIO "
    "ENODEV ETIMEDOUT ENETDOWN ENETUNREACH ECONNRESET ECONNREFUSED ECONNABORTED EHOSTDOWN "
    "EHOSTUNREACH ENOTCONN EREMOTEIO ENOLCK ESHUTDOWN"
)
_NUMBERS = [getattr(errno, name) for name in _PASSING.split() if hasattr(errno, name)]
_STATUS = "UNAVAILABLE|RESOURCE_EXHAUSTED|PERMISSION_DENIED|DEADLINE_EXCEEDED|CANCELLED|ABORTED"
_WORDS = re.compile("|".join([*map(re.escape, map(os.strerror, _NUMBERS)), _STATUS]))
"""What TensorStore writes into its errors, which have no number."""


class DamagedCheckpoint(ValueError):
    """A checkpoint that cannot be read, or that has changed since it was written."""


def reading(read: Callable[[], Any], folder: Path, what: str) -> Any:
    """What `read` returns, or an error that tells whose fault it is.

    A checkpoint is called damaged only when nothing in the errors speaks of the machine, every
    file in the folder can be read to its end, and reading it a second time fails as well.

    Args:
      read: reads a part of a checkpoint; Orbax and TensorStore raise many kinds of errors.
      folder: of the checkpoint.
      what: is read, for the message.

    Raises:
      DamagedCheckpoint: it is damaged.
      OSError: the machine cannot read it now: a fault of a disk or network, too many open files,
        missing permissions, no memory.
    """
    for again in (True, False):
        try:
            return read()
        except Exception as error:
            fault = _machine_fault(error) or _unreadable(folder)
            if fault is not None:
                number = getattr(fault, "errno", None) or errno.EIO
                raise OSError(
                    number,
                    f"{what} of the checkpoint cannot be read now ({error}); nothing was moved",
                    str(folder),
                ) from error
            if not again:
                text = f"{folder}: {what} of the checkpoint cannot be read ({error})"
                raise DamagedCheckpoint(text) from error
    raise AssertionError


def _machine_fault(error: BaseException) -> BaseException | None:
    """The error among those that led to this one that is a fault of the machine."""
    for cause in _causes(error, set()):
        number = getattr(cause, "errno", None)
        if isinstance(cause, MemoryError) or _WORDS.search(str(cause)):
            return cause
        if isinstance(cause, OSError) and number is not None and number not in _OF_THE_FILE:
            return cause
    return None


def _causes(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    for cause in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        yield from _causes(cause, seen)


def _unreadable(folder: Path) -> OSError | None:
    """The error of reading all files of a folder to their ends, if there is one."""

    def refuse(error: OSError) -> None:
        raise error

    try:
        for place, _, names in os.walk(folder, onerror=refuse):
            for name in names:
                with Path(place, name).open("rb", buffering=0) as file:
                    while file.read(2**20):
                        pass
    except OSError as error:
        return None if error.errno in _OF_THE_FILE else error
    return None
