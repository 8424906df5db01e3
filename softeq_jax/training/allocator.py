"""The allocator of the C library: whether memory that a step frees goes back to the system.

A training step on a CPU frees what it computed with and asks for as much again. The GNU C library
hands large blocks back at once, so every step gets new pages, which the system clears one by one:
half a million page faults in a step of a ResNet-50, a tenth of its time.
"""

import ctypes
import importlib.metadata
import importlib.util
import logging
import os
import sys

_log = logging.getLogger(__name__)

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_SETTINGS = (
    (_ARENA_MAX, 1),
    (_MMAP_MAX, 0),
    (_TRIM_THRESHOLD, 2**31 - 1),
    (_TOP_PAD, 64 * 2**20),
)
"""Parameters of ``mallopt``, as of ``malloc.h``, and their values."""


def keep_freed_memory() -> bool:
    """Lets this process keep the memory that it frees; for training on CPUs.

    Sets four parameters of the GNU C library (``mallopt``): one arena for all threads, since
    those of threads cannot hold large blocks; no blocks of their own from the system; nothing given
    back below 2 GiB of free memory at the end; 64 MiB at a time. To be called before JAX
    allocates, at the start of a program: memory that threads have taken by then stays as it is.
    Processes that this one spawns (workers of the data) have their own settings.

    The price is that the process stays as large as it ever was.

    Returns:
      Whether it was done. It is not with another C library, and not where an accelerator holds the
      arrays: ``jax_platforms`` names one, or a plugin of one is installed while it names none.
    """
    if not _is_cpu():
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version") or not hasattr(library, "mallopt"):
        return False
    refused = [key for key, value in _SETTINGS if not library.mallopt(key, value)]
    if refused:
        _log.warning("mallopt refused the parameters %s; memory is given back as before", refused)
    return not refused


def _is_cpu() -> bool:
    """Whether JAX will compute on the CPU, as far as is known before it looks for devices."""
    jax = sys.modules.get("jax")  # which need not be imported for this
    platforms = os.environ.get("JAX_PLATFORMS") if jax is None else jax.config.jax_platforms
    if platforms:
        return platforms.split(",")[0] == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None
