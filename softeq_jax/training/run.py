"""Runs in a work directory: resumed exactly, stopped on request, logged, checkpointed."""

import contextlib
import dataclasses
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import jax
import numpy as np

from softeq_jax._atomic import replacing
from softeq_jax._checks import whole
from softeq_jax._text import brief, clipped
from softeq_jax.training import hosts, watch
from softeq_jax.training.checkpoints import Checkpoints, DamagedCheckpoint
from softeq_jax.training.layouts import layout_of
from softeq_jax.training.loop import Hook, Values, every, fit, stop_on_signals
from softeq_jax.training.resumption import check_resumed, library_versions
from softeq_jax.training.step import StepFn, TrainState, require_single
from softeq_jax.training.workdir import locked

if TYPE_CHECKING:
    from softeq_jax.data import Position

Tree = Any

_log = logging.getLogger(__name__)


class RunBatches(Protocol):
    """Batches of a run on this host, as `softeq_jax.data.train_batches` returns them.

    They may also have `fingerprint() -> dict`, JSON that tells other data from these; without it
    nothing but the size of the batches is compared when a run is resumed.

    Attributes:
      skipped: bad examples passed over so far, by their index.
    """

    @property
    def skipped(self) -> Mapping[int, str]: ...

    def __iter__(self) -> Iterator[Tree]: ...

    def position(self, step: int) -> "Position":
        """Where batch number `step` starts."""
        ...

    def examples(self, step: int) -> np.ndarray:
        """Indices of the examples of batch number `step`, of all hosts."""
        ...

    def close(self) -> None:
        """Ends threads and processes."""
        ...


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Settings of a run: its length, and how often it logs, evaluates and saves.

    Attributes:
      steps: of the whole run, resumed parts included.
      log_every: steps that a row of `train.csv` is the mean of.
      evaluate_every: steps between evaluations; 0 evaluates at the end only.
      save_every: steps between checkpoints; 0 saves at the end (and when stopped) only.
      keep_newest: see `Checkpoints`.
      keep_best: see `Checkpoints`; `save_every` must then be a multiple of `evaluate_every`.
      best_metric: name of an evaluated metric.
      best_mode: "max" or "min".
      in_flight: see `LoopOptions`.
      max_skipped: see `LoopOptions`.
      profile: first and last step to trace, or None.
      tensorboard: also write TensorBoard's event files.
      progress: text of the progress bar, or None or "" for no bar.

    Example:
      >>> import softeq_jax as sq
      >>> sq.training.RunSettings(steps=1000, keep_best=1, evaluate_every=100, save_every=150)
      Traceback (most recent call last):
      ValueError: keep_best needs a save_every that is a multiple of evaluate_every...
    """

    steps: int
    log_every: int = 50
    evaluate_every: int = 0
    save_every: int = 0
    keep_newest: int = 2
    keep_best: int = 0
    best_metric: str | None = None
    best_mode: str = "max"
    in_flight: int | None = None
    max_skipped: int | None = None
    profile: tuple[int, int] | None = None
    tensorboard: bool = True
    progress: str | None = "training"

    __repr__ = brief

    def __post_init__(self) -> None:
        for name in ("steps", "log_every"):
            whole(getattr(self, name), name)
        for name in ("evaluate_every", "save_every"):
            whole(getattr(self, name), name, 0)
        if self.keep_best and self.evaluate_every and self.save_every % self.evaluate_every:
            raise ValueError(
                f"keep_best needs a save_every that is a multiple of evaluate_every, got "
                f"{self.save_every} and {self.evaluate_every}"
            )


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a run.

    Attributes:
      state: on the host, NumPy leaves.
      step: number of steps taken.
      finished: whether these are all.
      stopped_by: the signal that ended it early, or None (another host's signal included).
      metrics: of the last evaluation.

    Example:
      >>> import softeq_jax as sq
      >>> done = sq.training.Outcome(None, step=10, finished=True, stopped_by=None, metrics={})
      >>> done.finished
      True
    """

    state: TrainState
    step: int
    finished: bool
    stopped_by: signal.Signals | None
    metrics: Values

    def __repr__(self) -> str:
        end = "finished" if self.finished else f"stopped by {self.stopped_by or 'another host'}"
        metrics = "".join(f", {name} {value:.4g}" for name, value in self.metrics.items())
        return clipped(f"Outcome(step {self.step}, {end}{metrics})")


def train(
    step_fn: StepFn,
    state: TrainState,
    batches: Callable[[int], RunBatches],
    settings: RunSettings,
    workdir: str | os.PathLike[str],
    *,
    extra: Tree = None,
    evaluate: Callable[[int, TrainState], Mapping[str, float]] | None = None,
    learning_rate: Callable[[int], Any] | None = None,
    config: Mapping[str, Any] | None = None,
    may_change: Sequence[str] = (),
    signals: Sequence[signal.Signals] = (signal.SIGTERM,),
    restart_if_damaged: bool = False,
) -> Outcome:
    """Trains to the end, from wherever the work directory stands.

    The work directory (on a file system that all hosts share) gets `config.json`,
    `checkpoints/`, `train.csv`, `eval.csv`, `tensorboard/` and, with `profile`, `profile/`. A run
    that was killed at any moment goes on at its newest whole checkpoint, and on the same
    devices, threads and versions ends with the parameters, to the bit, of a run that was not
    killed. On a signal it saves and returns; the caller should exit with 0. While it runs, the
    file `lock` keeps other runs out (see `softeq_jax.training.workdir`).

    Args:
      step_fn: from `make_train_step`.
      state: the state to start from, and the template of the checkpoints.
      batches: `batches(start_step)` are this host's batches from there on, see `RunBatches`.
      settings: of the run.
      workdir: of this run alone.
      extra: see `fit`.
      evaluate: `evaluate(step, state) -> {name: number}` of the state on the devices, which it must
        not keep; called on every host.
      learning_rate: of a step, for the logs.
      config: what the run was made with; JSON. It must be the same on all hosts and when
        resumed.
      may_change: patterns over dotted keys of `config` (`run.*`) that a resumed run may change,
        and over those of the fingerprint of its batches (`batches.transforms`).
      signals: that stop the run.
      restart_if_damaged: begins at step 0 where there were checkpoints of which none is whole;
        they stay in `damaged/`.

    Raises:
      WorkdirInUse: another run is at work there.
      ValueError: hosts differ; the work directory holds a run of another config, other data, seed
        or batch size, or a checkpoint that does not fit the state; the differences are named.
      DamagedCheckpoint: there were checkpoints, and none is whole.
      OSError: a checkpoint cannot be read for a reason that says nothing about it.
      NonFiniteLoss: see `fit`.
      CheckpointFailed: a checkpoint could not be written; the ones before are intact.
      BadExampleError: from the batches.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp, numpy as np, optax, softeq_jax as sq, tempfile
      >>> def loss(w, model_state, batch, key, extra):
      ...     return jnp.mean((w - batch["image"]) ** 2), (model_state, {})
      >>> optimizer = optax.sgd(0.25)
      >>> step = sq.training.make_train_step(loss, optimizer)
      >>> state = sq.training.init_state(jnp.zeros(()), optimizer)
      >>> source = sq.data.ArraySource(np.ones((8, 2, 2, 1), np.float32), np.zeros(8, int))
      >>> batches = lambda start: sq.data.train_batches(source, 8, seed=0, start_step=start)
      >>> settings = sq.training.RunSettings(steps=3, tensorboard=False, progress=None)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     done = sq.training.train(step, state, batches, settings, folder)
      >>> done.finished, float(done.state.params)
      (True, 0.875)
    """
    workdir = Path(workdir).absolute()
    require_single(state)
    plain: dict[str, Any] = json.loads(json.dumps(dict(config or {})))
    versions = library_versions()
    hosts.require_same({"config": plain, "versions": versions}, "the configuration")
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(locked(workdir))
        request = stack.enter_context(stop_on_signals(signals))
        checkpoints = stack.enter_context(
            Checkpoints(
                workdir / "checkpoints",
                keep_newest=settings.keep_newest,
                keep_best=settings.keep_best,
                best_metric=settings.best_metric,
                best_mode=settings.best_mode,
            )
        )
        found = checkpoints.restore(state)
        damaged = checkpoints.damaged()
        if found is None and damaged and not restart_if_damaged:
            raise DamagedCheckpoint(
                f"{workdir}: there were checkpoints, and none is whole: {', '.join(damaged)} are "
                "in damaged/. With restart_if_damaged the run begins again at step 0"
            )
        first, state = (0, state) if found is None else (found.step, found.tree)
        stream = batches(first)
        stack.callback(stream.close)
        made_of = {
            "config": plain,
            "versions": versions,
            "batches": _fingerprint(stream, first),
            "devices": jax.device_count(),
            "hosts": jax.process_count(),
        }
        if found is not None:
            position = stream.position(found.step)._asdict()
            check_resumed(found, made_of, may_change, position, workdir)
        _write_config(workdir, plain)
        log = stack.enter_context(_Log(workdir, settings, stream, learning_rate, first))
        metrics: Values = {} if found is None else dict(found.meta["metrics"])
        last = dict.fromkeys(("evaluated", "saved"), -1 if found is None else first)

        def run_evaluation(step: int, state: TrainState) -> None:
            assert evaluate is not None
            metrics.clear()
            metrics.update({name: float(value) for name, value in evaluate(step, state).items()})
            last["evaluated"] = step
            log.evaluated(step, metrics)

        def save(step: int, state: TrainState) -> None:
            if lock is not None:
                lock.check()
            position = stream.position(step)._asdict()
            meta = {**made_of, "position": position, "metrics": metrics}
            current = dict(metrics) if step == last["evaluated"] else None
            checkpoints.save(step, state, meta, current)
            last["saved"] = step

        def run_save(step: int, state: TrainState) -> None:
            save(step, layout_of(step_fn).collect(state))

        def watched(run: Callable[[int, TrainState], None]) -> Callable[[int, TrainState], None]:
            def timed(step: int, state: TrainState) -> None:
                run(step, state)
                log.resume_clock(step)

            return timed

        hooks = []
        if evaluate is not None:
            due = every(settings.evaluate_every, total=settings.steps)
            hooks.append(Hook(due, watched(run_evaluation)))
        due = every(settings.save_every, total=settings.steps)
        hooks.append(Hook(due, watched(run_save)))

        def on_step(step: int, values: Values) -> None:
            if log.step(step, values):
                checkpoints.check()

        state, _ = fit(
            step_fn,
            state,
            stream,
            max(0, settings.steps - first),
            extra=extra,
            in_flight=settings.in_flight,
            progress=(settings.progress or None) if hosts.is_main() else None,
            hooks=hooks,
            on_step=on_step,
            before_step=log.before_step,
            stop=request,
            max_skipped=settings.max_skipped,
            history=False,
        )
        step = int(state.step)
        if step != last["saved"]:
            save(step, state)
        checkpoints.wait()
    finished = step >= settings.steps
    if not finished:
        _log.warning("stopped after step %d of %d; run it again to go on", step, settings.steps)
    return Outcome(state, step, finished, request.signal, metrics)


def _fingerprint(stream: RunBatches, first: int) -> dict[str, Any]:
    """What the batches are made of, the same on all hosts."""
    own: Callable[[], dict[str, Any]] = getattr(stream, "fingerprint", dict)
    found = {"batch_size": len(stream.examples(first)), **json.loads(json.dumps(own()))}
    hosts.require_same(found, "the data")
    return found


def _write_config(workdir: Path, config: dict[str, Any]) -> None:
    if hosts.is_main() and config:
        with replacing(workdir / "config.json") as partial:
            partial.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


class _Log(contextlib.AbstractContextManager):
    """Means of the training metrics, rates and memory; evaluations; the profiler."""

    def __init__(
        self,
        workdir: Path,
        settings: RunSettings,
        stream: RunBatches,
        learning_rate: Callable[[int], Any] | None,
        first: int,
    ):
        self._settings, self._stream, self._learning_rate = settings, stream, learning_rate
        self._sums: Values = {}
        self._count = 0
        self._rates = watch.Rates(len(stream.examples(first)))
        self._profiler = None
        if settings.profile is not None and hosts.is_main():
            self._profiler = watch.Profiler(workdir / "profile", *settings.profile)
        self._train: watch.Writer = watch.NullWriter()
        self._eval: watch.Writer = watch.NullWriter()
        if hosts.is_main():
            train, evaluation = [], []
            if settings.tensorboard:
                board = watch.TensorBoardWriter(workdir / "tensorboard", resume_step=first)
                train, evaluation = [board], [board]
            self._train = watch.Writers(watch.CsvWriter(workdir / "train.csv", first), *train)
            self._eval = watch.Writers(watch.CsvWriter(workdir / "eval.csv", first), *evaluation)

    def before_step(self, step: int) -> None:
        if self._profiler is not None:
            self._profiler.at(step)

    def step(self, step: int, values: Values) -> bool:
        """Takes a finished step's metrics; says whether a row was written."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if self._rates.step is None:
            self.resume_clock(step)
        if step % self._settings.log_every and step != self._settings.steps:
            return False
        row = {f"train/{name}": total / self._count for name, total in self._sums.items()}
        if self._learning_rate is not None:
            row["train/learning_rate"] = float(self._learning_rate(step - 1))
        row["data/skipped"] = float(len(self._stream.skipped))
        rates, self._rates = self._rates.read(step)
        self._train.write(step, row | rates | watch.device_memory())
        self._sums, self._count = {}, 0
        return True

    def resume_clock(self, step: int) -> None:
        """Leaves a pause out of the rates."""
        _, self._rates = self._rates.read(step)

    def evaluated(self, step: int, metrics: Values) -> None:
        self._eval.write(step, {f"eval/{name}": value for name, value in metrics.items()})

    def __exit__(self, *_: Any) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._train.close)
            stack.callback(self._eval.close)
            if self._profiler is not None:
                stack.callback(self._profiler.close)
