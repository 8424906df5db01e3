"""Asynchronous checkpoints of a run, verified by digest before they are restored."""

import dataclasses
import errno
import functools
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from softeq_jax._checks import whole
from softeq_jax.training import hosts
from softeq_jax.training.checkpoints._faults import DamagedCheckpoint, reading
from softeq_jax.training.checkpoints._folder import from_items, to_items

Tree = Any

_log = logging.getLogger(__name__)


class Restored(NamedTuple):
    """A verified checkpoint: its step, the tree with NumPy leaves, and its metadata.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> found = sq.training.checkpoints.Restored(step=7, tree={"w": np.ones(2)}, meta={})
      >>> found.step
      7
    """

    step: int
    tree: Tree
    meta: dict[str, Any]


class CheckpointFailed(OSError):
    """A checkpoint could not be written; the ones before it are intact."""


@dataclasses.dataclass(frozen=True)
class _Retention:
    """The newest, and besides them the best of those that have the metric.

    Orbax's own `BestN` also keeps checkpoints without metrics as long as there are few.
    """

    newest: int
    best: int
    metric: str | None
    sign: float

    def score(self, metrics: Mapping[str, float] | None) -> float:
        """Larger is better; -inf for what does not compete."""
        value = (metrics or {}).get(self.metric or "", math.nan)
        return -math.inf if math.isnan(value) else self.sign * value

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """One answer for each checkpoint, the oldest first."""
        del context
        scores = [self.score(checkpoint.metrics) for checkpoint in checkpoints]
        competing = [i for i, score in enumerate(scores) if score > -math.inf]
        best = sorted(competing, key=lambda i: (scores[i], i), reverse=True)[: self.best]
        oldest_kept = len(checkpoints) - self.newest
        return [i >= oldest_kept or i in best for i in range(len(checkpoints))]


class Checkpoints:
    """Checkpoints of a run in a folder that all its hosts see (a shared file system).

    Saving is asynchronous: `save` digests and copies the arrays and returns; they are written
    in the background. What went wrong there is raised by the next `save`, by `check`, by `wait`
    or on leaving the context. A step is offered for restore only
    when it is whole: Orbax renames a folder to its step when everything in it is written, and
    every leaf must match the digest that was stored with it.

    Every host calls every method; host 0 writes. One run saves in a folder at a time; others may
    read there meanwhile.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder, sq.training.Checkpoints(folder) as kept:
      ...     for step in (1, 2, 3):
      ...         kept.save(step, {"w": np.ones(2)}, {})
      ...     kept.wait()
      ...     kept.steps()
      [2, 3]
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep_newest: int = 2,
        keep_best: int = 0,
        best_metric: str | None = None,
        best_mode: str = "max",
        asynchronous: bool = True,
    ):
        """Opens the folder and makes it if need be.

        Args:
          folder: of these checkpoints alone.
          keep_newest: how many of the newest are kept, at least 1; with 2, a damaged one
            costs no more than the steps since the one before.
          keep_best: how many are kept besides for the best metric; ties go to the newer one.
          best_metric: its name among the metrics given to `save`; checkpoints without it, or
            where it is NaN, are never best.
          best_mode: "max" or "min".
          asynchronous: False finishes each save before it returns.

        Raises:
          ValueError: a number or mode out of range, or `keep_best` without `best_metric`.
        """
        whole(keep_newest, "keep_newest")
        whole(keep_best, "keep_best", 0)
        if best_mode not in ("max", "min"):
            raise ValueError(f"best_mode must be 'max' or 'min', got {best_mode!r}")
        if keep_best and best_metric is None:
            raise ValueError(f"keep_best={keep_best} needs best_metric")
        self.folder = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        sign = 1.0 if best_mode == "max" else -1.0
        retention = _Retention(keep_newest, keep_best, best_metric, sign)
        self._swept = False
        self._set_aside_unreadable_metrics()
        self._retention, self._asynchronous = retention, asynchronous
        if self._numbered():
            _ = self._manager

    @functools.cached_property
    def _manager(self) -> Any:
        """Orbax's manager, made when there is something to read or to write."""
        import orbax.checkpoint as ocp
        from orbax.checkpoint import checkpoint_managers as policies

        retention = self._retention
        return ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=retention,
                best_fn=retention.score if retention.best else None,
                enable_async_checkpointing=self._asynchronous,
                save_decision_policy=policies.FixedIntervalPolicy(1),
            ),
            item_handlers={
                "arrays": ocp.StandardCheckpointHandler(),
                "record": ocp.JsonCheckpointHandler(),
            },
        )

    @property
    def _opened(self) -> bool:
        """Whether there is a manager; hosts agree, as all of them call every method."""
        return "_manager" in vars(self)

    def _numbered(self) -> list[int]:
        """Steps with a folder, whole or not, the same on every host."""
        names = [path.name for path in self.folder.glob("[0-9]*") if path.name.isdigit()]
        return hosts.broadcast(sorted(map(int, names)))

    def steps(self) -> list[int]:
        """Steps with a complete checkpoint, ascending; they are not verified."""
        self.wait()
        if not self._opened and not self._numbered():
            return []
        return sorted(self._manager.all_steps())

    def save(
        self,
        step: int,
        tree: Tree,
        meta: dict[str, Any],
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Begins to save; waits for the save before this one.

        The first save removes what killed ones have left.

        Args:
          step: number of steps taken; larger than those saved before.
          tree: pytree of non-empty arrays and numbers on the host, not replicated.
          meta: anything that JSON can hold.
          metrics: numbers to choose the best by.

        Raises:
          CheckpointFailed: the save before this one, or this one, could not be written.
          TypeError: a leaf is not an array of numbers, or `meta` is not JSON.
          ValueError: a checkpoint of this step or a later one exists.
        """
        self.wait()
        newest = max(self._manager.all_steps(), default=-1)
        if step <= newest:
            raise ValueError(f"{self.folder}: step {step} cannot follow checkpoint {newest}")
        items = to_items(tree, meta)
        self._sweep()
        metrics = {name: float(value) for name, value in (metrics or {}).items()}
        try:
            self._manager.save(step, args=items, metrics=metrics or None)
        except OSError as error:
            raise self._failed(error) from error

    def _sweep(self) -> None:
        """Removes half-written checkpoints, once: who only reads may be beside a run that saves."""
        if self._swept:
            return
        self._swept = True
        if hosts.is_main():
            for path in self.folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(path, ignore_errors=True)
        hosts.barrier("sweep")

    def wait(self) -> None:
        """Waits until nothing is being written.

        Raises:
          CheckpointFailed: a save in the background could not be written.
        """
        if not self._opened:
            return
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:  # whatever Orbax's threads met: a full disk, a lost mount
            raise self._failed(error) from error

    def check(self) -> None:
        """Raises what a save in the background has met so far; waits for nothing.

        Raises:
          CheckpointFailed: it could not be written.
        """
        if not self._opened:
            return
        try:
            self._manager.check_for_errors()
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> CheckpointFailed:
        left = sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdigit())
        last = f"the last complete one is of step {left[-1]}" if left else "there is none before it"
        return CheckpointFailed(
            f"{self.folder}: a checkpoint could not be written ({error}); {last}"
        )

    def restore(self, template: Tree, step: int | None = None) -> Restored | None:
        """The newest checkpoint that is whole, or that of a step.

        Damaged checkpoints are moved to the folder `damaged` beside this one, with a warning in
        the log, and the one before is tried. Where a checkpoint cannot be read for a reason that
        says nothing about it, such as a fault of the disk, nothing is moved.

        Args:
          template: pytree of the saved structure; leaves are arrays, numbers or
            `jax.ShapeDtypeStruct` with the saved shapes and dtypes.
          step: this one only, without falling back.

        Returns:
          The checkpoint, the same on every host, or None where there is none.

        Raises:
          FileNotFoundError: there is no checkpoint of the step asked for.
          OSError: a host cannot read it now: a fault of a disk or network, too many open files,
            missing permissions.
          ValueError: it does not fit the template (nothing is moved), or the one asked for is
            damaged; the message names the leaf.
        """
        self.wait()
        have = self.steps()
        if step is not None and step not in have:
            raise FileNotFoundError(f"{self.folder}: no checkpoint of step {step}; it has {have}")
        for candidate in [step] if step is not None else reversed(have):
            found, damage = _agreed(lambda step=candidate: self._read(step, template))
            if not damage:
                return found
            if step is not None:
                raise DamagedCheckpoint(damage)
            _log.warning("skipping checkpoint %d: %s", candidate, damage)
            self._set_aside(candidate)
            self._manager.reload()
        return None

    def damaged(self) -> list[str]:
        """Names of the checkpoints that were set aside as damaged, the same on every host."""
        names = [path.name for path in self._aside.glob("*") if path.is_dir()]
        return hosts.broadcast(sorted(names))

    @property
    def _aside(self) -> Path:
        return self.folder.with_name("damaged")

    def _read(self, step: int, template: Tree) -> Restored:
        import orbax.checkpoint as ocp

        def read(item: str, args: Any) -> Any:
            return self._manager.restore(step, args=ocp.args.Composite(**{item: args}))[item]

        tree, meta = from_items(read, template, str(self.folder / str(step)))
        return Restored(step, tree, meta)

    def _set_aside_unreadable_metrics(self) -> None:
        """Moves checkpoints away whose metrics Orbax could not read when it opens the folder."""
        for step in self._numbered():
            folder = self.folder / str(step)
            file = folder / "metrics" / "metrics"

            def read(file: Path = file) -> None:
                if file.exists():
                    json.loads(file.read_text())

            damage = _agreed(lambda f=folder, r=read: reading(r, f, "metrics"))[1]
            if damage:
                _log.warning("skipping checkpoint %d: %s", step, damage)
                self._set_aside(step)

    def _set_aside(self, step: int) -> None:
        """Moves a damaged checkpoint away, so that its step can be saved again."""
        hosts.barrier(f"aside {step}")
        if hosts.is_main():
            target = self._aside / str(step)
            while target.exists():
                target = target.with_name(f"{target.name}_again")
            target.parent.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(target)
        hosts.barrier(f"aside {step} done")

    def close(self) -> None:
        """Waits, then frees Orbax's threads.

        Raises:
          CheckpointFailed: a save in the background could not be written.
        """
        try:
            self.wait()
        finally:
            try:
                if self._opened:
                    self._manager.close()
            except Exception as error:  # wait has raised it already
                _log.debug("closing after a failed save: %s", error)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _agreed(read: Callable[[], Any]) -> tuple[Any, str]:
    """What every host read, or what is damaged on one of them; every host must call it.

    Raises:
      OSError: on all hosts, where one of them cannot read it now.
    """
    found, damage, fault = None, "", None
    try:
        found = read()
    except DamagedCheckpoint as error:
        damage = str(error)
    except OSError as error:
        fault = error
    told = hosts.gather([damage, "" if fault is None else str(fault)])
    if fault is not None:
        raise fault
    for _, other in told:
        if other:
            raise OSError(errno.EIO, f"another host: {other}")
    return found, next((text for text, _ in told if text), "")
