"""Training of one run of a study by the trainer of the library, resumed where it was killed."""

import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.shared.studies import Run, StepCost
from softeq_jax import data
from softeq_jax import training as tr
from softeq_jax.training.step import StepFn


def examples(arrays: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Arrays with a common first axis as a list of examples."""
    count = len(next(iter(arrays.values())))
    return [{name: array[i] for name, array in arrays.items()} for i in range(count)]


def train(
    run: Run,
    step: StepFn,
    state: tr.TrainState,
    source: Any,
    steps: int,
    *,
    extra: Any = None,
    log_every: int = 0,
    save_every: int = 0,
    **batches: Any,
) -> tr.TrainState:
    """The state at the end of a training run in the work directory of a study's run.

    A signal that stops it ends the process after a checkpoint, with exit code 0.

    Args:
      run: of the study; its settings have `batch_size`.
      step: from `make_train_step`.
      state: to start from.
      source: examples.
      steps: of the whole run.
      extra: given to every step.
      log_every: steps that a row of `train.csv` is the mean of; 0: all.
      save_every: steps between checkpoints; 0: only at the end.
      batches: further options of `softeq_jax.data.train_batches`, `transforms` say.
    """
    options = {"check": data.anything(), "num_threads": 1, **batches}

    def stream(start: int) -> Any:
        return data.train_batches(
            source, run.settings["batch_size"], seed=run.seed, start_step=start, **options
        )

    outcome = tr.train(
        step,
        state,
        stream,
        tr.RunSettings(
            steps,
            log_every=log_every or steps,
            save_every=save_every,
            keep_newest=1,
            tensorboard=False,
            progress=None,
        ),
        run.workdir,
        extra=extra,
        config={"row": run.row, "seed": run.seed, "settings": json.dumps(dict(run.settings))},
    )
    if not outcome.finished:
        raise SystemExit(0)
    return outcome.state


def step_cost(
    step: StepFn, state: tr.TrainState, batch: Any, extra: Any = None, *, steps: int
) -> StepCost:
    """Time of a compiled training step, the median over two seconds or ten steps; its memory.

    Args:
      step: from `make_train_step`.
      state: to start from.
      batch: of the study's batch size.
      extra: given to every step.
      steps: of a whole run.
    """

    def median(count: int) -> float:
        seen: list[float] = []
        tr.fit(
            step,
            state,
            [batch] * (count + 2),
            count + 2,
            extra=extra,
            on_step=lambda number, values: seen.append(time.perf_counter()),
        )
        return 1e3 * float(np.median(np.diff(seen)[1:]))

    first = median(10)
    fitting = int(2000 / first)
    taken = first if fitting <= 10 else median(fitting)
    return StepCost(taken, tr.step_memory(step, state, batch, extra) / 2**20, steps)
