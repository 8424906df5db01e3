"""Training: a `pmap` trainer that scales over devices and hosts, verified checkpoints, export.

Needs the extra `train`: `pip install softeq-jax[train]`. Everything is imported when it is first
used.
"""

import importlib
from typing import Any

_MODULES = (
    "allocator",
    "checkpoints",
    "config",
    "evaluation",
    "export",
    "hosts",
    "methods",
    "objectives",
    "optimizers",
    "watch",
    "workdir",
)
_NAMES = {
    "checkpoints": ("CheckpointFailed", "Checkpoints", "DamagedCheckpoint", "restore", "save"),
    "evaluation": ("make_evaluate", "make_predict"),
    "layouts": ("StateLayout", "layout"),
    "loop": ("Hook", "LoopOptions", "NonFiniteLoss", "every", "fit", "stop_on_signals"),
    "memory": ("step_memory",),
    "methods": ("Method",),
    "pmap": ("AXIS", "replicate", "shard", "unreplicate"),
    "run": ("Outcome", "RunBatches", "RunSettings", "train"),
    "step": ("TrainState", "averaged", "init_state", "make_train_step"),
    "workdir": ("WorkdirInUse",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted([*_MODULES, *_HOME])


def __getattr__(name: str) -> Any:
    home = name if name in _MODULES else _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'softeq_jax.training' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"softeq_jax.training.{home}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("softeq_jax"):
            raise
        raise ImportError(
            f"softeq_jax.training.{name} needs {error.name}: pip install softeq-jax[train]"
        ) from error
    return module if name in _MODULES else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
