"""Sizes of what is built: bytes are estimated and refused above one limit, seconds are told."""

import contextlib
import logging
import math
import os
import threading
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
    line = f"{what}: still working after {PATIENCE:g} seconds; {instead}"
    timer = threading.Timer(PATIENCE, _log.warning, ("%s", line))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def in_words(nbytes: float) -> str:
    """``3 GiB``, with three digits."""
    nbytes = min(nbytes, 10**30)
    power = min(int(math.log(max(nbytes, 1), 1024)), len(_UNITS) - 1)
    return f"{nbytes / 1024**power:.3g} {_UNITS[power]}"
