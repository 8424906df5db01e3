"""A run of the digits study: a row's recipe on one network and one draw of the digits."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import softeq_jax as sq
from experiments.mnist import task
from experiments.mnist.canonicaliser import Canonicalized
from experiments.shared import recipes, trained
from experiments.shared.studies import Run, Settings, StepCost
from softeq_jax.models import soft_rules
from softeq_jax.projections import convolution_rule

Tree = Any
GROUP = sq.groups.cyclic(4)
_DATA_ALONE = ("upright",)


def rules(network: nn.Module, **dials: Any) -> dict[str, Any]:
    """Filters of all windows of the convolutional network; of patches and positions otherwise."""
    if isinstance(network, task.DigitNet):
        return {"conv*/kernel": convolution_rule(GROUP, **dials), "**": None}
    return soft_rules(network, GROUP, **dials)


def recipe(settings: Settings, network: nn.Module, params: Tree) -> recipes.Recipe:
    """How a row is trained.

    Args:
      settings: ``method``, ``"free"``, ``"dial"`` (with ``dials``) or ``"mixed"`` (with
        ``strength``).
      network: of the row.
      params: of any seed.

    Raises:
      ValueError: there is no such method.
    """
    match settings["method"]:
        case "free":
            return recipes.free()
        case "dial":
            return recipes.projected(sq.plan(params, rules(network, **settings["dials"])))
        case "mixed":
            strict = sq.plan(params, rules(network, cutoff=0.0))
            return recipes.mixed(strict, settings["strength"])
    raise ValueError(f"unknown method {settings['method']!r}")


@dataclasses.dataclass(frozen=True)
class DigitTrainer:
    """A row's network with its compiled step."""

    network: nn.Module
    row: recipes.RowTrainer

    def begin(self, run: Run) -> tuple[Any, list[dict[str, np.ndarray]]]:
        """State and training examples of a run."""
        starts = (_init(self.network, run.seed), _init(self.network, 1000 + run.seed))
        images, labels = _drawn(run).train
        return self.row.begin(starts, run.seed), trained.examples(
            {"image": images, "label": labels}
        )


def trainer(run: Run) -> DigitTrainer:
    """The trainer of a run; runs of a row, whatever their seed and data, share it."""
    return _trainer(recipes.settings_of_step(run, _DATA_ALONE))


@functools.lru_cache(maxsize=1)
def _trainer(shared: str) -> DigitTrainer:
    settings = json.loads(shared)
    epochs = settings["epochs"][settings["network"]]
    steps = epochs * settings["train"] // settings["batch_size"]
    rate = optax.cosine_decay_schedule(settings["learning_rate"], steps, alpha=0.05)
    network = task.NETWORKS[settings["network"]]()
    if settings.get("canonical"):
        network = Canonicalized(network)
    chosen = recipe(settings, network, _init(network, 0))
    loss = task.loss(network, settings)
    return DigitTrainer(network, recipes.RowTrainer(chosen, recipes.Budget(steps, rate), loss))


def do(run: Run) -> dict[str, float]:
    """Trains a row on the digits of a seed and judges it: the fields of ``task.DigitScores``."""
    own = trainer(run)
    state, source = own.begin(run)
    weights = own.row.train(run, state, source)
    return dataclasses.asdict(task.digit_scores(own.network, weights, _drawn(run)))


def majority(run: Run) -> dict[str, float]:
    """The floor: the class that the training labels have most of, whatever the image."""
    digits = _drawn(run)
    common = np.bincount(digits.train[1], minlength=10).argmax()
    right = float(100 * np.mean(digits.test[1] == common))
    held = float(100 * np.mean(digits.held[1] == common))
    return {
        "accuracy": right,
        "turned_accuracy": right,
        "kl": 0.0,
        "defect": 0.0,
        "held_accuracy": held,
    }


def step_cost(run: Run) -> StepCost:
    """Time and memory of a training step."""
    own = trainer(run)
    state, _ = own.begin(run)
    images, labels = (part[: run.settings["batch_size"]] for part in _drawn(run).train)
    batch = {"image": images, "label": labels}
    return own.row.step_cost(state, batch)


def _drawn(run: Run) -> task.TurnedDigits:
    settings = run.settings
    counts = (settings["train"], settings["held"], settings["test"])
    folder = Path(run.data_dir or ".") / "tfds" if settings["source"] == "mnist" else None
    return task.turned_digits(folder, settings["upright"], run.seed, *counts)


def _init(network: nn.Module, seed: int) -> Tree:
    variables = network.init(jax.random.key(seed), jnp.zeros((1, 28, 28, 1)))
    return jax.tree.map(np.asarray, variables["params"])
