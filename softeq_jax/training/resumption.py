"""Resuming a run: it must be the same one, and what else has changed is told."""

import contextlib
import importlib.metadata
import logging
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from softeq_jax._paths import matches
from softeq_jax.training.checkpoints import Restored
from softeq_jax.training.config import ABSENT, config_differences, differences

_log = logging.getLogger(__name__)

_VERSIONED = ("softeq-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide what a run computes."""
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def check_resumed(
    found: Restored,
    made_of: dict[str, Any],
    may_change: Sequence[str],
    position: dict[str, Any],
    workdir: Path,
) -> None:
    """Refuses to resume another run; logs a change of versions or devices.

    Args:
      found: the checkpoint.
      made_of: "config", "batches", "versions", "devices" and "hosts" of this run.
      may_change: see `train`.
      position: where this run's batches stand at the checkpoint's step.
      workdir: for messages.

    Raises:
      ValueError: it is another run; the differences are named.
    """
    lacking = sorted({"config", "position", "versions", "metrics"} - found.meta.keys())
    if lacking:
        raise ValueError(
            f"{workdir}: checkpoint {found.step} is not one of a run, its metadata lack {lacking}"
        )
    _refuse(config_differences(found.meta["config"], made_of["config"]), may_change, workdir)
    if "batches" in found.meta:
        pair = ({"batches": side["batches"]} for side in (found.meta, made_of))
        changes = {
            key: values
            for key, values in differences(*pair).items()
            if not (key.startswith("batches.records") and ABSENT in values)  # could not be read
        }
        _refuse(changes, may_change, workdir, "on other data")
    else:
        _log.warning("%s: checkpoint %d does not say of what data", workdir, found.step)
    before = found.meta["position"]
    if before != position:
        raise ValueError(f"{workdir}: the data stood at {before}, these batches at {position}")
    for name in ("versions", "devices", "hosts"):
        old, new = found.meta.get(name), made_of[name]
        if old is not None and old != new:
            changed = config_differences(old, new) if isinstance(new, dict) else f"{old}, now {new}"
            _log.warning(
                "resumed with other %s than before (%s): not to the bit as without", name, changed
            )
    _log.info("resuming at step %d: %s", found.step, position)


def _refuse(
    changes: dict[str, tuple[Any, Any]],
    may_change: Sequence[str],
    workdir: Path,
    what: str = "with another configuration",
    most: int = 8,
) -> None:
    """Refuses a change that is not allowed, and names it."""
    kept = {
        key: values
        for key, values in changes.items()
        if not any(matches(pattern, key) for pattern in may_change)
    }
    if kept:
        shown = list(kept.items())[:most]
        named = ", ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in shown)
        more = f", ... {len(kept)} in all" if len(kept) > most else ""
        raise ValueError(
            f"{workdir} holds a run {what} ({named}{more}): choose another directory, or undo the "
            "change"
        )
