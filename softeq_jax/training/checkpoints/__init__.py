"""Verified checkpoints with Orbax: one folder at a time, or the series of a run."""

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
