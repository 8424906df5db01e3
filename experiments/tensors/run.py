"""A run of the tensor study: a row's recipe on one network, one draw of the data, one budget."""

import dataclasses
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import softeq_jax as sq
from experiments.shared import recipes, trained
from experiments.shared.studies import Run, Settings, StepCost
from experiments.tensors import task
from softeq_jax.models import soft_rules

Tree = Any
_DATA_ALONE = ("noise",)


def recipe(
    settings: Settings, network: Any, params: Tree, budget: recipes.Budget
) -> recipes.Recipe:
    """How a row is trained.

    Args:
      settings: ``method``, ``"free"``, ``"dial"`` (with ``dials``), ``"level"``, ``"penalty"``,
        ``"prox"``, ``"mixed"`` or ``"ace"``, and its ``strength``.
      network: the equivariant one, or the perceptron for ``"free"``.
      params: of any seed.
      budget: of all rows.

    Raises:
      ValueError: there is no such method.
    """
    method: str = settings["method"]
    strength: Any = settings.get("strength")
    if method == "free":  # of the perceptron too, which has no plan
        return recipes.free()
    if method == "dial":
        rules = soft_rules(network, network.group, **settings["dials"])
        return recipes.projected(sq.plan(params, rules))
    strict = sq.plan(params, soft_rules(network, network.group, cutoff=0.0))
    if method == "level":
        values = sorted({v for p in strict.projectors for v in p.spectrum.values})
        return recipes.projected(strict.at(cutoff=values[strength]))
    return recipes.named(method, strength, strict, budget)


@dataclasses.dataclass(frozen=True)
class TensorTrainer:
    """A row's network with its compiled step."""

    network: nn.Module
    row: recipes.RowTrainer

    def begin(self, run: Run, drawn: task.TensorData) -> tuple[Any, list[dict[str, np.ndarray]]]:
        """State and training examples of a run."""
        starts = (_init(self.network, drawn, run.seed), _init(self.network, drawn, 1000 + run.seed))
        source = trained.examples(dict(zip("xy", drawn.train, strict=True)))
        return self.row.begin(starts, run.seed), source


def trainer(run: Run) -> TensorTrainer:
    """The trainer of a run; runs of a row, whatever their seed and noise, share it."""
    return _trainer(recipes.settings_of_step(run, _DATA_ALONE))


@functools.lru_cache(maxsize=1)
def _trainer(shared: str) -> TensorTrainer:
    settings = json.loads(shared)
    steps = settings["epochs"] * settings["items"] // settings["batch_size"]
    rate = optax.cosine_decay_schedule(settings["learning_rate"], steps, alpha=0.05)
    budget = recipes.Budget(steps, rate, settings["weight_decay"], settings["clip"])
    network = _network(settings)
    params = _init(network, _drawn(settings | {"noise": 0.0}, 0), 0)
    chosen = recipe(settings, network, params, budget)
    return TensorTrainer(network, recipes.RowTrainer(chosen, budget, task.loss(network)))


def do(run: Run) -> dict[str, float]:
    """Trains a row on the data of a seed and judges it: the fields of ``task.TensorScores``."""
    own, drawn = trainer(run), _drawn(run.settings, run.seed)
    state, source = own.begin(run, drawn)
    weights = own.row.train(run, state, source)
    noise = run.settings["noise"]
    found = task.scores(
        own.network, weights, drawn, run.settings["problem"], noise, 2000 + run.seed
    )
    return dataclasses.asdict(found)


def mean_predictor(run: Run) -> dict[str, float]:
    """The floor: the mean of the training targets, whatever the input."""
    drawn = _drawn(run.settings, run.seed)
    constant = task.Constant()
    found = task.scores(
        constant, {}, drawn, run.settings["problem"], run.settings["noise"], 2000 + run.seed
    )
    return dataclasses.asdict(found)


def step_cost(run: Run) -> StepCost:
    """Time and memory of a training step."""
    own, drawn = trainer(run), _drawn(run.settings, run.seed)
    state, _ = own.begin(run, drawn)
    size = run.settings["batch_size"]
    batch = {name: array[:size] for name, array in zip("xy", drawn.train, strict=True)}
    return own.row.step_cost(state, batch)


def _network(settings: Settings) -> nn.Module:
    if settings.get("network") == "perceptron":
        return task.Perceptron(tuple(settings["mlp_widths"]))
    return task.PROBLEMS[settings["problem"]].network(tuple(settings["widths"]))


def _drawn(settings: Settings, seed: int) -> task.TensorData:
    return task.tensor_data(settings["problem"], settings["noise"], seed, settings["items"])


def _init(network: nn.Module, drawn: task.TensorData, seed: int) -> Tree:
    variables = network.init(jax.random.key(seed), jnp.zeros((1, drawn.train[0].shape[1])))
    return jax.tree.map(np.asarray, variables["params"])
