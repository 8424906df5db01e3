"""Ending a run when the system asks for it, between two steps."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator, Sequence

_log = logging.getLogger(__name__)


class StopRequest:
    """Whether a signal has asked to stop. Called without arguments it says so."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def stop_on_signals(
    signals: Sequence[signal.Signals] = (signal.SIGTERM,),
) -> Iterator[StopRequest]:
    """Notes signals instead of dying of them, for as long as the block runs.

    The first of these signals is noted, a second one has its former effect. The former handlers
    are put back afterwards. Outside the main thread nothing is caught, as Python only lets that
    thread handle signals.

    Args:
      signals: SIGTERM by default; on SLURM add what `--signal` sends, such as SIGUSR1.

    Yields:
      The request, to be asked between steps (`fit(..., stop=request)`).
    """
    request = StopRequest()
    former: dict[int, object] = {}

    def note(number: int, frame: object) -> None:
        del frame
        request.signal = signal.Signals(number)
        signal.signal(number, former[number])
        _log.warning("%s: stopping after this step", request.signal.name)

    if threading.current_thread() is threading.main_thread():
        for number in signals:
            former[number] = signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
