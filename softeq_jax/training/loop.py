"""The training loop: steps dispatched in order, hooks between them, stops, losses not finite."""

import array
import contextlib
import logging
import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

import jax
import numpy as np
from tqdm import tqdm

from softeq_jax._checks import known_options, whole
from softeq_jax.training.layouts import layout_of
from softeq_jax.training.pmap import InFlight, default_in_flight
from softeq_jax.training.step import StepFn, TrainState, require_single

Tree = Any
Values = dict[str, float]

_log = logging.getLogger(__name__)


class Hook(NamedTuple):
    """Function that runs between steps, and when.

    Attributes:
      due: called with the number of steps taken; says whether `run` is called after that step.
      run: called as `run(step, state)` when every step so far is finished and found finite.
        `state` lies on the devices and its memory is used again by the next step: copy what is
        kept (`unreplicate` does, or `layout("full").collect` where the step is sharded).

    Example:
      >>> import softeq_jax as sq
      >>> hook = sq.training.Hook(due=sq.training.every(10), run=lambda step, state: print(step))
      >>> hook.due(20), hook.due(25)
      (True, False)
    """

    due: Callable[[int], bool]
    run: Callable[[int, TrainState], None]


def every(steps: int, *, total: int | None = None) -> Callable[[int], bool]:
    """A `Hook.due` for every so many steps, and for step `total` if given; 0 is never.

    Raises:
      ValueError: a negative number of steps.

    Example:
      >>> import softeq_jax as sq
      >>> due = sq.training.every(100, total=250)
      >>> [step for step in range(1, 300) if due(step)]
      [100, 200, 250]
    """
    whole(steps, "steps", 0)
    return lambda step: step == total or (steps > 0 and step % steps == 0)


class NonFiniteLoss(FloatingPointError):
    """A loss or gradient that is not finite.

    Attributes:
      step: number of the step, from 1.
      examples: indices of the examples in its batch, or None where the batches do not tell.
    """

    def __init__(self, step: int, values: Values, examples: np.ndarray | None, note: str = ""):
        self.step, self.examples = step, examples
        named = "" if examples is None else f"; its batch holds examples {_listed(examples)}"
        super().__init__(
            f"step {step}: the loss is {values['loss']}, the norm of the gradient "
            f"{values.get('grad_norm', math.nan)}{named}{note}"
        )


class LoopOptions(TypedDict, total=False):
    """Options of `fit`: what happens around its steps.

    Attributes:
      in_flight: steps that may be unfinished while the next is dispatched; 0 waits for
        each. None, the default, is 1 on CPU, where a queue of collective operations deadlocks, and
        4 elsewhere.
      progress: text of a progress bar with the loss, or None (the default) for no bar.
      hooks: run between steps, in this order; all hosts need the same.
      on_step: called as `on_step(step, values)` when a step is done, in order: its number from 1
        and its metrics as floats.
      before_step: called with the number of the step about to be dispatched.
      stop: asked before every step whether this host is to stop. Hosts vote in the step
        itself, so that all stop after the same one.
      max_skipped: how many steps in a row may be not finite, for a step made with
        `skip_nonfinite`; each is logged with its examples. None, the default: the first one raises.
      history: False keeps no record of the metrics (they go to `on_step`).
    """

    in_flight: int | None
    progress: str | None
    hooks: Sequence[Hook]
    on_step: Callable[[int, Values], None] | None
    before_step: Callable[[int], None] | None
    stop: Callable[[], bool] | None
    max_skipped: int | None
    history: bool


def fit(
    step_fn: StepFn,
    state: TrainState,
    batches: Iterable[Tree],
    steps: int,
    *,
    extra: Tree = None,
    **options: Unpack[LoopOptions],
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """Trains for a number of steps.

    Args:
      step_fn: from `make_train_step`.
      state: on one device or the host (as from `init_state`), not replicated.
      batches: this host's batches, each a pytree of arrays `[b, ...]`. For a resumed run they
        start at `state.step`: `train_batches(..., start_step=int(state.step))`. If they have a
        method `examples(step)`, it names the examples of a batch that went wrong.
      steps: how many steps to take now.
      extra: handed to the method and the loss on every step.
      **options: see `LoopOptions`.

    Returns:
      The state on the host (NumPy leaves), and every metric's history, float32, one entry a step.
      `state.step` says how many steps were taken: fewer than asked for after a stop.

    Raises:
      NonFiniteLoss: the loss or the gradient is not finite; names the step and its examples.
      TypeError: an option of another name.
      ValueError: `batches` ended early, a batch does not divide among the devices, or the state
        is replicated.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp, numpy as np, optax, softeq_jax as sq
      >>> def loss(w, model_state, batch, key, extra):
      ...     return jnp.mean((w - batch) ** 2), (model_state, {})
      >>> optimizer = optax.sgd(0.25)
      >>> step = sq.training.make_train_step(loss, optimizer)
      >>> state = sq.training.init_state(jnp.zeros(()), optimizer)
      >>> state, history = sq.training.fit(step, state, [np.ones(8, np.float32)] * 3, 3)
      >>> state.params, history["loss"]
      (array(0.875, dtype=float32), array([1.    , 0.25  , 0.0625], dtype=float32))
    """
    known_options(options, LoopOptions, "fit")
    whole(steps, "steps", 0)
    require_single(state)
    in_flight, progress = options.get("in_flight"), options.get("progress")
    hooks, stop = options.get("hooks", ()), options.get("stop")
    before_step = options.get("before_step")
    queue = InFlight(default_in_flight() if in_flight is None else in_flight)
    first = int(state.step)
    _log.info("training steps %d to %d on %d devices", first, first + steps, jax.device_count())
    monitor = _Monitor(batches, options)
    layout = layout_of(step_fn)
    votes = [layout.spread(np.full(jax.local_device_count(), v, np.float32)) for v in (0.0, 1.0)]
    state, extra = layout.place(state), layout.copy(extra)
    source = iter(batches)
    with tqdm(
        total=first + steps,
        initial=first,
        desc=progress and f"{progress}, compiling",
        disable=progress is None,
        mininterval=1.0,
        unit="step",
    ) as bar:

        def finish(done: list[tuple[int, Values]]) -> None:
            if done:
                bar.set_description(progress, refresh=False)
            for number, metrics in done:
                values = {name: float(value) for name, value in jax.device_get(metrics).items()}
                monitor.check(number, values)
                bar.set_postfix(loss=f"{values['loss']:.4g}", refresh=False)
                bar.update()

        for number in range(first + 1, first + steps + 1):
            stopping = stop is not None and stop()
            if stopping and jax.process_count() == 1:
                break
            if before_step is not None:
                before_step(number)
            try:
                batch = layout.spread(next(source))
            except StopIteration:
                done = number - 1 - first
                raise ValueError(f"batches ended after {done} of {steps} steps") from None
            state, metrics = step_fn(state, batch, extra, votes[stopping])
            finish(queue.push(number, metrics))
            due = [hook for hook in hooks if hook.due(number)]
            if due:
                finish(queue.drain())
                bar.set_description(progress and f"{progress}, evaluating or saving")
                for hook in due:
                    hook.run(number, state)
                bar.set_description(progress)
            if monitor.stopped:
                break
        finish(queue.drain())
    return layout.collect(state), monitor.history()


class _Monitor:
    """Monitor of finished steps: finite or not, votes to stop, history of the metrics."""

    def __init__(self, batches: Any, options: LoopOptions):
        self._examples = getattr(batches, "examples", None)
        self._on_step = options.get("on_step")
        self._max_skipped = options.get("max_skipped")
        self._skipped = 0
        self._record: dict[str, array.array] | None = {} if options.get("history", True) else None
        self.stopped = False

    def check(self, number: int, values: Values) -> None:
        self.stopped |= values.pop("stop", 0.0) > 0
        finite = values.pop("finite", 1.0) > 0 and math.isfinite(values["loss"])
        self._skipped = 0 if finite else self._skipped + 1
        rolled_back = values.pop("rolled_back", 0.0) > 0
        if not finite:
            self._report(number, values, rolled_back)
        for name, value in values.items():
            if self._record is not None:
                self._record.setdefault(name, array.array("f")).append(value)
        if self._on_step is not None:
            self._on_step(number, values)

    def _report(self, number: int, values: Values, rolled_back: bool) -> None:
        examples = None if self._examples is None else self._examples(number - 1)
        if self._max_skipped is None:
            raise NonFiniteLoss(number, values, examples)
        if not rolled_back:
            note = (
                "; it was not rolled back: max_skipped needs make_train_step(skip_nonfinite=True)"
            )
            raise NonFiniteLoss(number, values, examples, note)
        if self._skipped > self._max_skipped:
            note = f"; {self._skipped} steps in a row, more than max_skipped={self._max_skipped}"
            raise NonFiniteLoss(number, values, examples, note)
        error = NonFiniteLoss(number, values, examples, "; the step was rolled back and skipped")
        _log.warning("%s", error)

    def history(self) -> dict[str, np.ndarray]:
        record = self._record or {}
        return {name: np.asarray(values, np.float32) for name, values in record.items()}


def _listed(examples: np.ndarray, most: int = 16) -> str:
    shown = ", ".join(map(str, examples[:most].tolist()))
    return shown if len(examples) <= most else f"{shown}, ... ({len(examples)} in all)"


class StopRequest:
    """Request to stop by a signal; called without arguments it says whether there is one."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def stop_on_signals(
    signals: Sequence[signal.Signals] = (signal.SIGTERM,),
) -> Iterator[StopRequest]:
    """Notes signals instead of dying of them, for as long as the block runs.

    The first of these signals is noted, a second one has its former effect. The former handlers
    are put back afterwards. Outside the main thread nothing is caught, as Python only lets that
    thread handle signals.

    Args:
      signals: SIGTERM by default; on SLURM add what `--signal` sends, such as SIGUSR1.

    Yields:
      The request, to be asked between steps (`fit(..., stop=request)`).

    Example:
      >>> import softeq_jax as sq
      >>> with sq.training.stop_on_signals() as request:
      ...     request()  # no signal so far
      False
    """
    request = StopRequest()
    former: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        del frame
        request.signal = signal.Signals(number)
        signal.signal(number, former[number])
        _log.warning("%s: stopping after this step", request.signal.name)

    if threading.current_thread() is threading.main_thread():
        for number in signals:
            former[number] = signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
