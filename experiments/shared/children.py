"""Processes that an experiment starts: none of them outlives it."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turns signals that end a process into `SystemExit`, so that `started` cleans up."""

    def leave(number: int, frame: object) -> None:
        del frame
        raise SystemExit(128 + number)

    with _handlers(leave):
        yield


@contextlib.contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A process, in a group of its own; it and all that it starts are gone after the block.

    Args:
      command: as of `subprocess.Popen`.
      **options: of `subprocess.Popen`.
    """
    process, came = None, []
    try:
        # A signal between the start and its result would leave a process that nobody knows.
        with _handlers(lambda number, frame: came.append(number)):
            process = subprocess.Popen(command, start_new_session=True, **options)
        for number in came:
            signal.raise_signal(number)
        yield process
    finally:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def _handlers(handler: Any) -> Iterator[None]:
    former = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)
