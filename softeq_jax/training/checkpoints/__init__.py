"""Verified checkpoints with Orbax: one folder at a time, or the series of a run.

Orbax takes a third of a second to import, and is when there is something to read or to write.
"""

import importlib.util

if importlib.util.find_spec("orbax") is None:
    raise ModuleNotFoundError("No module named 'orbax'", name="orbax")

from softeq_jax.training.checkpoints._faults import DamagedCheckpoint
from softeq_jax.training.checkpoints._folder import restore, save
from softeq_jax.training.checkpoints._manager import CheckpointFailed, Checkpoints, Restored

__all__ = [
    "CheckpointFailed",
    "Checkpoints",
    "DamagedCheckpoint",
    "Restored",
    "restore",
    "save",
]


def __dir__() -> list[str]:
    return sorted(__all__)
