"""Sizes of what is built: bytes are estimated and refused above one limit, seconds are told."""

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Iterator

_log = logging.getLogger("softeq_jax")

PATIENCE = 10.0
"""Seconds after which what is still being built says so."""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


class TooLargeError(MemoryError, ValueError):
    """What was asked for would need more memory than ``memory_limit()``; nothing was built.

    The message names it, the bytes that it needs, and what to do instead.
    """


def _from_environment() -> int:
    given = os.environ.get("SOFTEQ_MEMORY_LIMIT", "")
    try:
        return _checked(float(given)) if given else 2**32
    except ValueError:
        raise ValueError(f"SOFTEQ_MEMORY_LIMIT must be a number of bytes, got {given!r}") from None


def _checked(nbytes: float) -> int:
    if isinstance(nbytes, bool) or not 0 < nbytes < math.inf:
        raise ValueError(f"the memory limit must be a number of bytes > 0, got {nbytes!r}")
    return int(nbytes)


_limit = _from_environment()


def memory_limit(nbytes: float | None = None) -> int:
    """The largest number of bytes that one step of building groups, representations, projectors
    and orbits may take; 4 GiB, or what the environment variable ``SOFTEQ_MEMORY_LIMIT`` says.

    Args:
      nbytes: a new limit for this process; None leaves it.

    Returns:
      The limit that held before the call.

    Raises:
      ValueError: it is no positive number.

    Example:
      >>> import softeq_jax as sq
      >>> before = sq.memory_limit(2**20)  # one MiB
      >>> try:
      ...     sq.reps.image(sq.groups.so(2), (64, 64)).unmatched
      ... except sq.TooLargeError as error:
      ...     print(str(error).split(":")[0])
      the basis of frequencies of Image[64x64] needs about 640 MiB, above the limit of 1 MiB
      >>> _ = sq.memory_limit(before)
    """
    global _limit
    before = _limit
    if nbytes is not None:
        _limit = _checked(nbytes)
    return before


def require_room(nbytes: float, what: str, instead: str) -> None:
    """Raises TooLargeError if an estimate of the bytes that something needs exceeds the limit.

    Args:
      nbytes: the estimate, from sizes alone.
      what: needs them.
      instead: what to do.
    """
    if nbytes > _limit:
        raise TooLargeError(
            f"{what} needs about {in_words(nbytes)}, above the limit of {in_words(_limit)}: "
            f"{instead}, or raise the limit with softeq_jax.memory_limit(bytes)"
        )


@contextlib.contextmanager
def told(what: str, instead: str) -> Iterator[None]:
    """Tells of work on the host that may take long: no build is silent for more than ten seconds.

    The logger ``softeq_jax`` gets a line of level INFO at the start and, while the work is still
    going on after ten seconds, one WARNING, which Python prints unless logging is set up.

    Args:
      what: is being done.
      instead: what to do where that is too slow.
    """
    _log.info("%s", what)
    key, due = object(), time.monotonic() + PATIENCE
    with _changed:
        _going_on[key] = due, f"{what}: still working after {PATIENCE:g} seconds; {instead}"
        _watch_until(due)
    try:
        yield
    finally:
        _going_on.pop(key, None)


_going_on: dict[object, tuple[float, str]] = {}
"""When each work that is going on is to be told of, and how."""
_changed = threading.Condition()
_watcher: tuple[threading.Thread, float] | None = None
"""The thread that tells of all, and when it looks next: to start one for each costs as much as many
a build."""


def _watch_until(due: float) -> None:
    """Sees to it that the thread looks again by then; ``_changed`` is held."""
    global _watcher
    if _watcher is None or not _watcher[0].is_alive():
        _watcher = threading.Thread(target=_watch, name="softeq-told", daemon=True), due
        _watcher[0].start()
    elif due < _watcher[1]:
        _changed.notify()


def _watch() -> None:
    """Tells of what is due until nothing is going on."""
    global _watcher
    while True:
        now, lines = time.monotonic(), []
        for key, (due, line) in _going_on.copy().items():
            if due <= now and _going_on.pop(key, None):
                lines.append(line)
        for line in lines:
            _log.warning("%s", line)
        with _changed:
            waiting = [due for due, _ in _going_on.copy().values()]
            if not waiting:
                _watcher = None
                return
            _watcher = threading.current_thread(), min(waiting)
            _changed.wait(max(min(waiting) - time.monotonic(), 0.0))


def in_words(nbytes: float) -> str:
    """``3 GiB``, with three digits."""
    nbytes = min(nbytes, 10**30)
    power = min(int(math.log(max(nbytes, 1), 1024)), len(_UNITS) - 1)
    return f"{nbytes / 1024**power:.3g} {_UNITS[power]}"
