"""The rings study: all training runs, one after another, and what they are judged by."""

import dataclasses
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from tqdm import tqdm

from experiments.rings import methods, report, task
from experiments.shared.kept_runs import as_name, kept
from experiments.shared.report import write_csv
from softeq_jax import training as tr
from softeq_jax.training import data, objectives

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run."""

    method: str
    strength: Any
    sigma: float
    seed: int

    @property
    def folder(self) -> str:
        """Its place in the work directory."""
        return as_name(f"{self.method} {self.strength} {self.sigma:g} {self.seed}")


def runs_of(config: Any) -> Iterator[Run]:
    """All runs, those of one compiled step next to each other.

    Raises:
      ValueError: an unknown method.
    """
    unknown = sorted(set(config.strengths) - set(methods.NAMES))
    if unknown:
        raise ValueError(f"unknown methods {unknown}; there are {list(methods.NAMES)}")
    for method in methods.NAMES:
        for strength in config.strengths.get(method, ()):
            for sigma in config.sigmas:
                for seed in range(config.seeds):
                    yield Run(method, strength, sigma, seed)


class Trained:
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

    def train(self, config: Any, run: Run, workdir: Path) -> tuple[Any, float]:
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
            lambda start: tr.train_batches(
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


def evaluate(config: Any, trained: Trained, run: Run, weights: Any) -> dict[str, float]:
    """Test scores, and the held-out ones that strengths are chosen by."""
    network = trained.recipe.network
    held = task.rings(run.sigma, 1000 + run.seed, config.held_per_ring)
    test = task.rings(run.sigma, 2000 + run.seed, config.test_per_ring)
    found = dataclasses.asdict(task.scores(network, weights, *test))
    chosen_by = task.scores(network, weights, *held)
    return found | {"held_accuracy": chosen_by.accuracy, "held_loss": chosen_by.loss}


def run_one(config: Any, trained: Trained, run: Run, workdir: Path) -> dict[str, Any]:
    """A run's row, from its file if it is finished.

    Raises:
      ValueError: the file holds this run made with other settings.
    """
    shared = {k: v for k, v in config.to_dict().items() if k not in ("strengths", "title")}
    folder = workdir / "runs" / run.folder

    def make() -> dict[str, Any]:
        weights, jump = trained.train(config, run, folder)
        return dataclasses.asdict(run) | evaluate(config, trained, run, weights) | {"jump": jump}

    settings = {"config": shared, "run": dataclasses.asdict(run)}
    row = kept(folder.with_name(f"{run.folder}.json"), settings, make)
    shutil.rmtree(folder, ignore_errors=True)
    return row


def run(config: Any, workdir: Path) -> list[dict[str, Any]]:
    """All runs; writes the table, the figure and the CSV."""
    runs = list(runs_of(config))
    (workdir / "runs").mkdir(parents=True, exist_ok=True)
    rows, compiled = [], {}
    for one in tqdm(runs, desc="rings", unit="run"):
        constant = one.method.startswith(("penalty", "Lie", "orbit"))
        key = (one.method, None if constant else one.strength)
        if key not in compiled:
            compiled = {key: Trained(config, one.method, one.strength)}
        rows.append(run_one(config, compiled[key], one, workdir))
    write_csv(workdir / "rings.csv", rows)
    report.write(rows, config, workdir)
    return rows
