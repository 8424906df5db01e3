"""The N-body study: all training runs, one after another, and what they are judged by."""

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.nbody import methods, report, simulator, task
from experiments.shared.kept_runs import as_name, in_turn, kept_training, require_known
from experiments.shared.report import write_csv
from softeq_jax import data
from softeq_jax import training as tr


@dataclasses.dataclass(frozen=True)
class ParticleRun:
    """One training run."""

    method: str
    strength: Any
    seed: int

    @property
    def folder(self) -> str:
        """Its place in the work directory."""
        return as_name(f"{self.method} {self.strength} {self.seed}")


def runs_of(config: Any) -> Iterator[ParticleRun]:
    """All runs, those of one compiled step next to each other.

    Raises:
      ValueError: an unknown method.
    """
    require_known(config.strengths, methods.NAMES)
    for method in methods.NAMES:
        for strength in config.strengths.get(method, ()):
            for seed in range(config.seeds):
                yield ParticleRun(method, strength, seed)


def part(config: Any, name: str) -> dict[str, np.ndarray]:
    """One part of the data of a study."""
    return task.data(name, config.systems[name], config.data_seed)


class ParticleTrainer:
    """A method with its compiled step; strengths that are data share one."""

    def __init__(self, config: Any, method: str, strength: Any):
        self.epoch = config.systems.train // config.batch_size
        self.steps = config.epochs * self.epoch
        self.model = task.network(config.width, config.layers)
        self.plan = task.plan(self.model, task.init(self.model, 0))
        setting = methods.ParticleSetting(
            self.model, self.plan, self.steps, config.hold, config.free_std
        )
        self.recipe = methods.recipe(method, strength, setting)
        rate = config.learning_rate
        if config.schedule == "cosine":
            rate = optax.cosine_decay_schedule(rate, self.steps)
        elif config.schedule != "constant":
            raise ValueError(f'schedule must be "cosine" or "constant", got {config.schedule!r}')
        inner = methods.optimizer(rate, config.weight_decay)
        self.optimizer = self.recipe.wrap_optimizer(inner)
        loss = task.make_loss(self.model, config.augment, self.recipe.layer_penalty)
        self.step = tr.make_train_step(loss, self.optimizer, method=self.recipe.method)

    def train(self, config: Any, run: ParticleRun, workdir: Path) -> tuple[Any, list[float]]:
        """(weights that the network has at the end, training error of every epoch) of a run."""
        params = self.recipe.begin(
            task.init(self.model, run.seed), jax.random.fold_in(jax.random.key(run.seed), 1)
        )
        arrays = part(config, simulator.TRAIN)
        source = [
            {name: array[i] for name, array in arrays.items()} for i in range(config.systems.train)
        ]
        outcome = tr.train(
            self.step,
            tr.init_state(params, self.optimizer, seed=run.seed),
            lambda start: data.train_batches(
                source,
                config.batch_size,
                seed=run.seed,
                check=data.anything(),
                start_step=start,
                num_threads=1,
            ),
            tr.RunSettings(
                self.steps,
                log_every=self.epoch,
                save_every=config.save_every_epochs * self.epoch,
                keep_newest=1,
                tensorboard=False,
                progress=None,
            ),
            workdir,
            extra={"plan": self.plan, "strength": np.float32(run.strength)},
            config=dataclasses.asdict(run),
        )
        if not outcome.finished:
            raise SystemExit(0)
        with (workdir / "train.csv").open() as file:
            curve = [float(row["train/mse"]) for row in csv.DictReader(file)]
        return self.recipe.seen(outcome.state.params), curve


def evaluate(config: Any, trainer: ParticleTrainer, weights: Any) -> dict[str, float]:
    """Scores of the weights at the end and of their projection; ``mse`` is of the method's own."""
    found = {}
    for name, judged in (("trained", weights), ("projected", trainer.plan.project(weights))):
        for split in (simulator.VALIDATION, simulator.TEST):
            scores = task.scores(trainer.model, judged, part(config, split), config.rotations)
            found |= {f"{split}_{key}_{name}": value for key, value in scores._asdict().items()}
    own = "projected" if trainer.recipe.projects else "trained"
    return {
        "mse": found[f"test_mse_{own}"],
        "equivariance_error": found[f"test_equivariance_error_{own}"],
        "validation_mse": found[f"validation_mse_{own}"],
        "mse_before": found["test_mse_trained"],
        "error_before": found["test_equivariance_error_trained"],
        "mse_projected": found["test_mse_projected"],
    }


def run_one(
    config: Any, trainer: ParticleTrainer, run: ParticleRun, workdir: Path
) -> dict[str, Any]:
    """A run's record, ``{"row": ..., "curve": ...}``, from its file if it is finished.

    Raises:
      ValueError: the file holds this run made with other settings.
    """

    def make(folder: Path) -> dict[str, Any]:
        weights, curve = trainer.train(config, run, folder)
        return {
            "row": dataclasses.asdict(run) | evaluate(config, trainer, weights),
            "curve": curve,
        }

    return kept_training(run, config, workdir, make, apart=("seeds", "command"))


def run(config: Any, workdir: Path) -> list[dict[str, Any]]:
    """All runs; writes the table, the figure and the CSV; returns the rows."""
    records = in_turn(
        runs_of(config),
        "nbody",
        methods.strength_is_data,
        lambda method, strength: ParticleTrainer(config, method, strength),
        lambda trainer, one: run_one(config, trainer, one, workdir),
    )
    rows = [record["row"] for record in records]
    write_csv(workdir / "nbody.csv", rows)
    baseline = task.straight_flight(part(config, simulator.TRAIN), part(config, simulator.TEST))
    report.write(rows, [record["curve"] for record in records], baseline, config, workdir)
    return rows
