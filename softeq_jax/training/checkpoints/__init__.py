"""Verified checkpoints with Orbax: one folder at a time, or the series of a run."""

from softeq_jax.training.checkpoints._format import DamagedCheckpoint
from softeq_jax.training.checkpoints._manager import CheckpointFailed, Checkpoints, Restored
from softeq_jax.training.checkpoints._single import restore, save

__all__ = [
    "CheckpointFailed",
    "Checkpoints",
    "DamagedCheckpoint",
    "Restored",
    "restore",
    "save",
]
