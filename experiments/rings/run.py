"""The rings study: all training runs, one after another, and what they are judged by."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.rings import methods, report, task
from experiments.shared.kept_runs import as_name, in_turn, kept_training, require_known
from experiments.shared.report import write_csv
from softeq_jax import data
from softeq_jax import training as tr
from softeq_jax.training import objectives


@dataclasses.dataclass(frozen=True)
class RingsRun:
    """One training run."""

    method: str
    strength: Any
    sigma: float
    seed: int

    @property
    def folder(self) -> str:
        """Its place in the work directory."""
        return as_name(f"{self.method} {self.strength} {self.sigma:g} {self.seed}")


def runs_of(config: Any) -> Iterator[RingsRun]:
    """All runs, those of one compiled step next to each other.

    Raises:
      ValueError: an unknown method.
    """
    require_known(config.strengths, methods.NAMES)
    for method in methods.NAMES:
        for strength in config.strengths.get(method, ()):
            for sigma in config.sigmas:
                for seed in range(config.seeds):
                    yield RingsRun(method, strength, sigma, seed)


class RingsTrainer:
    """A method with its compiled step; strengths that are data share one."""

    def __init__(self, config: Any, method: str, strength: Any):
        self.steps = config.epochs * (2 * config.per_ring // config.batch_size)
        self.recipe = methods.recipe(method, strength, self.steps, config.learning_rate)
        recipe = self.recipe
        self.optimizer = recipe.wrap_optimizer(
            optax.adam(config.learning_rate), config.learning_rate
        )
        loss = objectives.binary_classification(
            lambda weights, state, points: (recipe.network(weights, points), state), field="point"
        )
        self.step = tr.make_train_step(recipe.wrap_loss(loss), self.optimizer, method=recipe.method)

    def train(self, config: Any, run: RingsRun, workdir: Path) -> tuple[Any, float]:
        """(weights, jump of a projection at the end) of a run."""
        recipe = self.recipe
        points, labels = task.rings(run.sigma, run.seed, config.per_ring)
        source = [{"point": p, "label": y} for p, y in zip(points, labels, strict=True)]
        params = recipe.begin(recipe.init(jax.random.key(run.seed)))
        state = tr.init_state(params, self.optimizer, recipe.model_state, seed=run.seed)
        extra = {"plan": recipe.plan, "strength": _as_data(run.strength)}
        outcome = tr.train(
            self.step,
            state,
            lambda start: data.train_batches(
                source,
                config.batch_size,
                seed=run.seed,
                check=data.anything(),
                start_step=start,
                num_threads=1,
            ),
            tr.RunSettings(self.steps, log_every=self.steps, tensorboard=False, progress=None),
            workdir,
            extra=extra,
            config=dataclasses.asdict(run),
        )
        if not outcome.finished:
            raise SystemExit(0)

        def loss(weights: Any) -> float:
            return task.scores(recipe.network, weights, points, labels).loss

        return recipe.finish(outcome.state.params, loss)


def _as_data(strength: Any) -> Any:
    return jax.tree.map(np.float32, tuple(strength) if isinstance(strength, tuple) else strength)


def evaluate(config: Any, trainer: RingsTrainer, run: RingsRun, weights: Any) -> dict[str, float]:
    """Test scores, and the held-out ones that strengths are chosen by."""
    network = trainer.recipe.network
    held = task.rings(run.sigma, 1000 + run.seed, config.held_per_ring)
    test = task.rings(run.sigma, 2000 + run.seed, config.test_per_ring)
    found = dataclasses.asdict(task.scores(network, weights, *test))
    chosen_by = task.scores(network, weights, *held)
    return found | {"held_accuracy": chosen_by.accuracy, "held_loss": chosen_by.loss}


def run_one(config: Any, trainer: RingsTrainer, run: RingsRun, workdir: Path) -> dict[str, Any]:
    """A run's row, from its file if it is finished.

    Raises:
      ValueError: the file holds this run made with other settings.
    """

    def make(folder: Path) -> dict[str, Any]:
        weights, jump = trainer.train(config, run, folder)
        return dataclasses.asdict(run) | evaluate(config, trainer, run, weights) | {"jump": jump}

    return kept_training(run, config, workdir, make)


def run(config: Any, workdir: Path) -> list[dict[str, Any]]:
    """All runs; writes the table, the figure and the CSV."""
    rows = in_turn(
        runs_of(config),
        "rings",
        lambda method: method.startswith(("penalty", "Lie", "orbit")),
        lambda method, strength: RingsTrainer(config, method, strength),
        lambda trainer, one: run_one(config, trainer, one, workdir),
    )
    write_csv(workdir / "rings.csv", rows)
    report.write(rows, config, workdir)
    return rows
