"""One run of the digits study: a row's recipe on one network and one draw of the digits."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import softeq_jax as sq
from experiments.mnist import task
from experiments.shared import recipes
from softeq_jax.models import soft_rules
from softeq_jax.projections import Dials, convolution_rule

Tree = Any
GROUP = sq.groups.cyclic(4)


@dataclasses.dataclass(frozen=True)
class DigitSize:
    """What all rows of a preset have in common.

    Attributes:
      train: images.
      held: images.
      test: images.
      epochs: passes over the training images.
      batch_size: images of a step.
      learning_rate: of Adam at the start; it falls to a twentieth by a cosine.
    """

    train: int
    held: int
    test: int
    epochs: int
    batch_size: int
    learning_rate: float

    @property
    def budget(self) -> recipes.Budget:
        """Of every run."""
        steps = self.epochs * self.train // self.batch_size
        rate = optax.cosine_decay_schedule(self.learning_rate, steps, alpha=0.05)
        return recipes.Budget(steps, self.batch_size, rate)


PROJECTED: dict[str, Dials] = {
    "strict": {"cutoff": 0.0},
    "level 1": {"cutoff": 0.95},  # C4 has the levels 0, .900 and 1.273
    **{f"heat {s:g}": {"softness": s, "mask": "heat"} for s in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9)},
}
MIXED = {f"mixing {r:g}": r for r in (0.1, 0.3, 0.5, 0.9)}
ROWS = ("free", "free, augmented", *PROJECTED, *MIXED)


def rules(network: nn.Module, **dials: Any) -> dict[str, Any]:
    """Filters of all windows of the convolutional network; of patches and positions otherwise."""
    if isinstance(network, task.DigitNet):
        return {"conv*/kernel": convolution_rule(GROUP, **dials), "**": None}
    return soft_rules(network, GROUP, **dials)


def recipe(row: str, network: nn.Module, params: Tree) -> recipes.Recipe:
    """How a row is trained.

    Raises:
      ValueError: there is no such row.
    """
    if row.startswith("free"):
        return recipes.free()
    if row in PROJECTED:
        return recipes.projected(sq.plan(params, rules(network, **PROJECTED[row])))
    if row in MIXED:
        return recipes.mixed(sq.plan(params, rules(network, cutoff=0.0)), MIXED[row])
    raise ValueError(f"row must be one of {ROWS}, got {row!r}")


def one_run(
    row: str, seed: int, name: str, upright: float, size: DigitSize, data_dir: Path, folder: Path
) -> dict[str, float]:
    """Trains a row on the digits of a seed in a work directory, and judges it.

    Args:
      row: one of ``ROWS``.
      seed: of data, parameters and order.
      name: a key of ``task.NETWORKS``.
      upright: see ``task.turned_digits``.
      size: of the preset.
      data_dir: holds ``tfds/mnist``.
      folder: the work directory.

    Returns:
      The fields of ``task.DigitScores``.
    """
    digits = task.turned_digits(
        data_dir / "tfds", upright, seed, size.train, size.held, size.test
    )
    network = task.NETWORKS[name]()
    starts = (_init(network, seed), _init(network, 1000 + seed))
    images, labels = digits.train
    source = [{"image": x, "label": y} for x, y in zip(images, labels, strict=True)]
    weights = recipes.trained(
        recipe(row, network, starts[0]),
        starts,
        task.loss(network, augmented=row == "free, augmented"),
        source,
        size.budget,
        seed,
        folder,
    )
    return dataclasses.asdict(task.digit_scores(network, weights, digits))


def _init(network: nn.Module, seed: int) -> Tree:
    variables = network.init(jax.random.key(seed), jnp.zeros((1, 28, 28, 1)))
    return jax.tree.map(np.asarray, variables["params"])
