"""A run of the study of volumes: a row's recipe on a network of fields on voxels."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import optax

import softeq_jax as sq
from experiments.shared import recipes, trained
from experiments.shared.runs import file_digest
from experiments.shared.studies import Run, Settings, StepCost, StudyError
from experiments.volumes import medmnist, solids, task
from softeq_jax import relaxation

TRAIN, HELD, TEST = range(3)


@dataclasses.dataclass(frozen=True)
class VolumeTrainer:
    """A row's network with its compiled step."""

    network: task.FieldNet
    row: recipes.RowTrainer

    def begin(self, run: Run) -> Any:
        """The state before the first step."""
        side, seeds = run.settings["side"], (run.seed, 1000 + run.seed)
        first, second = (task.start(self.network, side, seed) for seed in seeds)
        return self.row.begin((first, second), run.seed)


def trainer(run: Run) -> VolumeTrainer:
    """The trainer of a run; runs of a row share it."""
    return _trainer(recipes.settings_of_step(run))


@functools.lru_cache(maxsize=1)
def _trainer(shared: str) -> VolumeTrainer:
    settings = json.loads(shared)
    whole = settings["epochs"] * (settings["train"] // settings["batch_size"])
    steps = recipes.steps_of_row(settings, whole)
    rate = optax.cosine_decay_schedule(settings["learning_rate"], steps)
    budget = recipes.Budget(steps, rate, settings["weight_decay"], clip=1.0)
    network = task.network(settings)
    plan = sq.plan(task.start(network, settings["side"], 0), network.rules())
    loss = task.make_loss(network, settings["side"], settings.get("sampled", 0.0))
    return VolumeTrainer(network, recipes.RowTrainer(_recipe(settings, plan, budget), budget, loss))


def _recipe(settings: Settings, plan: sq.Plan, budget: recipes.Budget) -> recipes.Recipe:
    if settings["method"] == "relaxed":
        return recipes.relaxed(plan, relaxation.triangular(budget.steps))
    return recipes.named(settings["method"], settings.get("strength"), plan, budget)


def do(run: Run) -> dict[str, float]:
    """Trains a row and judges it on solids that nobody has seen."""
    own, settings = trainer(run), run.settings
    views, labels = _volumes(run, TRAIN, settings["views"] if settings["turned"] else 0)
    source = trained.examples({"views": views, "label": labels})
    params = own.row.train(run, own.begin(run), source)
    held = task.accuracy(own.network, params, *_volumes(run, HELD, settings["test_views"]))
    return _scores(own.network, params, run) | {"held_accuracy": held}


def floor(run: Run) -> dict[str, float]:
    """The most frequent class, or the network before training."""
    settings = run.settings
    if settings["floor"] == "untrained":
        network = task.network(settings)
        return _scores(network, task.start(network, settings["side"], run.seed), run)
    labels = _volumes(run, TEST, 0)[1]
    share = float(np.bincount(labels).max() / len(labels))
    return {"accuracy": share, "upright": share, "worst": share, "kl": 0.0}


def step_cost(run: Run) -> StepCost:
    """Time and memory of a training step."""
    own, settings = trainer(run), run.settings
    views, labels = _volumes(run, TRAIN, settings["views"] if settings["turned"] else 0)
    size = settings["batch_size"]
    return own.row.step_cost(own.begin(run), {"views": views[:size], "label": labels[:size]})


def inputs(settings: Settings, data_dir: Path | None) -> dict[str, str]:
    """Digest of the file of volumes."""
    if not settings["data"] or data_dir is None:
        return {}
    return {"data": file_digest(_file(settings, data_dir))}


def _scores(network: task.FieldNet, params: Any, run: Run) -> dict[str, float]:
    upright, labels = _volumes(run, TEST, 0)
    views, _ = _volumes(run, TEST, run.settings["test_views"])
    compared = run.settings["compared"]
    return task.scores(network, params, upright[:, 0], views, labels, compared)


def _volumes(run: Run, part: int, turns: int) -> tuple[np.ndarray, np.ndarray]:
    settings = run.settings
    count, seed = settings[("train", "held", "test")[part]], settings["data_seed"]
    if not settings["data"]:
        return solids.solids(part, count, settings["side"], settings["noise"], seed, turns=turns)
    assert run.data_dir is not None, "presets with data need it"
    path = _file(settings, run.data_dir)
    found, labels = medmnist.volumes(path, part, count, seed, turns)
    if found.shape[2] != settings["side"]:
        raise StudyError(
            f"{path}: volumes of side {found.shape[2]}, settings say {settings['side']}"
        )
    return found, labels


def _file(settings: Settings, data_dir: Path) -> Path:
    return data_dir / "medmnist" / f"{settings['data']}.npz"
