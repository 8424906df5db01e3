"""One run of the tensor study: a row's recipe on one network, one draw of the data, one budget."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import softeq_jax as sq
from experiments.shared import recipes
from experiments.tensors import task
from softeq_jax import data
from softeq_jax.models import soft_rules

Tree = Any


@dataclasses.dataclass(frozen=True)
class TensorSize:
    """What all rows of a preset have in common.

    Attributes:
      problem: a key of ``task.PROBLEMS``.
      items: of the training, the held-out and the test part each.
      widths: of the hidden layers of the equivariant network.
      mlp_widths: of those of the perceptron.
      epochs: passes over the training part.
      batch_size: items of a step.
      learning_rate: at the start; it falls to a twentieth by a cosine.
      weight_decay: added to the gradient.
      clip: norm of the gradient that is not exceeded.
      strengths: of the rows "penalty" and "prox", and the rates and augmentation of "ACE".
    """

    problem: str
    items: int
    widths: tuple[int, ...]
    mlp_widths: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    clip: float
    strengths: Mapping[str, Any]

    @property
    def budget(self) -> recipes.Budget:
        """Of every run."""
        steps = self.epochs * self.items // self.batch_size
        rate = optax.cosine_decay_schedule(self.learning_rate, steps, alpha=0.05)
        return recipes.Budget(steps, self.batch_size, rate, self.weight_decay, self.clip)


# From a row's name to how it is trained: the dials of its projection, or a recipe.
PROJECTED: dict[str, sq.projections.Dials] = {
    "strict": {"cutoff": 0.0},
    "heat .05": {"softness": 0.05, "mask": "heat"},
    "heat .3": {"softness": 0.3, "mask": "heat"},
    "heat .7": {"softness": 0.7, "mask": "heat"},
}
LEVELS = {"level 1": 1, "level 2": 2}
OTHERS = ("free", "penalty", "prox", "RPP .5", "ACE, augmented", "MLP")


def recipe(row: str, size: TensorSize, network: Any, params: Tree) -> recipes.Recipe:
    """How a row is trained.

    Raises:
      ValueError: there is no such row.
    """
    if row in ("free", "MLP"):
        return recipes.free()
    group = network.group
    if row in PROJECTED:
        return recipes.projected(sq.plan(params, soft_rules(network, group, **PROJECTED[row])))
    strict = sq.plan(params, soft_rules(network, group, cutoff=0.0))
    if row in LEVELS:
        values = sorted({v for p in strict.projectors for v in p.spectrum.values})
        return recipes.projected(strict.at(cutoff=values[LEVELS[row]]))
    strengths = size.strengths
    match row:
        case "penalty":
            return recipes.penalized(strict, strengths["penalty"])
        case "prox":
            return recipes.proximal(strict, strengths["prox"], size.budget.learning_rate)
        case "RPP .5":
            return recipes.mixed(strict, 0.5)
        case "ACE, augmented":
            return recipes.dual_ascent(strict, size.budget.steps, **strengths["ACE"])
    known = (*PROJECTED, *LEVELS, *OTHERS)
    raise ValueError(f"row must be one of {known}, got {row!r}")


def one_run(row: str, seed: int, noise: float, size: TensorSize, folder: Path) -> dict[str, float]:
    """Trains a row on the data of a seed in a work directory, and judges it.

    Returns:
      The fields of ``task.TensorScores``.
    """
    drawn = task.tensor_data(size.problem, noise, seed, size.items)
    network = (
        task.Perceptron(size.mlp_widths)
        if row == "MLP"
        else task.PROBLEMS[size.problem].network(size.widths)
    )
    first, second = (_init(network, drawn.train[0].shape[1], key) for key in (seed, 1000 + seed))
    chosen = recipe(row, size, network, first)
    source = [{"x": x, "y": y} for x, y in zip(*drawn.train, strict=True)]
    weights = recipes.trained(
        chosen,
        (first, second),
        task.loss(network),
        source,
        size.budget,
        seed,
        folder,
        check=data.anything(),
    )
    return dataclasses.asdict(
        task.scores(network, weights, drawn, size.problem, noise, 2000 + seed)
    )


def _init(network: nn.Module, width: int, seed: int) -> Tree:
    variables = network.init(jax.random.key(seed), jnp.zeros((1, width)))
    return jax.tree.map(np.asarray, variables["params"])
