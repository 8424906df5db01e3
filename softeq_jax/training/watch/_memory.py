"""How much memory the devices and this process hold."""

import os
import resource
import sys
from pathlib import Path

import jax

_STATM = Path("/proc/self/statm")
_KINDS = {"bytes_in_use": "bytes", "peak_bytes_in_use": "peak_bytes", "bytes_limit": "limit_bytes"}


def device_memory() -> dict[str, float]:
    """Bytes in use on each local device, and by this process on the host.

    Returns:
      For local device i "memory/device{i}_bytes", "memory/device{i}_peak_bytes" and
      "memory/device{i}_limit_bytes", as far as it reports them (CPU devices do not); and
      "memory/host_rss_bytes", the resident set of this process: the present one where /proc tells
      it, elsewhere its peak.
    """
    values = {}
    for index, device in enumerate(jax.local_devices()):
        stats = device.memory_stats() or {}
        for kind, name in _KINDS.items():
            if kind in stats:
                values[f"memory/device{index}_{name}"] = float(stats[kind])
    return {**values, "memory/host_rss_bytes": float(_resident())}


def _resident() -> int:
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
