"""A run of the smoke study: a row's recipe on one network, data of a seed, errors of rollouts."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.shared import recipes
from experiments.shared.studies import Run, Settings, StepCost
from experiments.smoke import records, task
from softeq_jax import relaxation
from softeq_jax.training import objectives

Tree = Any
_DATA_ALONE = ("asymmetry", "family")
_JUDGED = 64  # test windows that the defect is measured on


def network(settings: Settings) -> task.SmokeNet:
    """The network of all rows."""
    return task.SmokeNet(settings["past"], settings["width"], settings["layers"])


def steps(settings: Settings) -> int:
    """Of training: the epochs of all rows, or the share of them that a row has time for."""
    length = settings["past"] + settings["ahead"]
    windows = settings["runs"][records.TRAIN] * (settings["frames"] - length + 1)
    whole = settings["epochs"] * windows // settings["batch_size"]
    return recipes.steps_of_row(settings, whole)


def budget(settings: Settings) -> recipes.Budget:
    """What a row may spend."""
    count, rate = steps(settings), settings["learning_rate"]
    if settings["decay"] is None:
        return recipes.Budget(count, optax.cosine_decay_schedule(rate, count, alpha=0.02))
    epoch = max(1, count // settings["epochs"])
    return recipes.Budget(count, optax.exponential_decay(rate, epoch, settings["decay"], 0, True))


def recipe(
    settings: Settings, net: task.SmokeNet, params: Tree, may_spend: recipes.Budget
) -> recipes.Recipe:
    """How a row is trained.

    Args:
      settings: ``method`` and its ``strength``.
      net: the network.
      params: of any seed.
      may_spend: the budget of the run.

    Raises:
      ValueError: there is no such method.
    """
    plan = task.plan(net, params)
    method, strength = settings["method"], settings["strength"]
    match method:
        case "sampled":
            return recipes.free()
        case "relaxed" | "relaxed, published term":
            seen = task.plan(net, params, published_term=method != "relaxed")
            term = functools.partial(task.turn_term, seen, strength)
            return recipes.relaxed(plan, relaxation.triangular(may_spend.steps), penalty=term)
        case "group weights":
            return recipes.group_weighted(plan, strength)
        case "RPP":
            return recipes.two_priors(plan, *strength)
    return recipes.named(method, strength, plan, may_spend)


def loss(settings: Settings, net: task.SmokeNet) -> Any:
    """The loss of a row, with its sampled penalty where it has one."""
    found = task.make_loss(net, augment=settings.get("augment", False))
    if settings["method"] != "sampled":
        return found
    strength = settings["strength"]
    return objectives.with_penalty(
        found,
        lambda weights, batch, key, extra: (
            strength * task.equivariance_error(net, weights, batch, key)
        ),
    )


@dataclasses.dataclass(frozen=True)
class SmokeTrainer:
    """A row's network with its compiled step."""

    net: task.SmokeNet
    row: recipes.RowTrainer

    def begin(self, run: Run) -> Any:
        """The state before the first step of a run."""
        side = run.settings["side"]
        starts = task.init(self.net, side, run.seed), task.init(self.net, side, 1000 + run.seed)
        return self.row.begin(starts, run.seed)


def trainer(run: Run) -> SmokeTrainer:
    """The trainer of a run; runs of a row, whatever their seed and asymmetry, share it."""
    return _trainer(recipes.settings_of_step(run, _DATA_ALONE))


@functools.lru_cache(maxsize=1)
def _trainer(shared: str) -> SmokeTrainer:
    settings = json.loads(shared)
    net = network(settings)
    may_spend = budget(settings)
    own = recipe(settings, net, task.init(net, settings["side"], 0), may_spend)
    return SmokeTrainer(net, recipes.RowTrainer(own, may_spend, loss(settings, net)))


def file(run: Run, part: str) -> tuple[Path, records.SmokeFile]:
    """The simulated runs of a part, of the seed and asymmetry of a run; written if need be."""
    wanted = records.SmokeFile(
        part,
        run.seed,
        run.settings["runs"][part],
        run.settings["frames"],
        run.settings["side"],
        run.settings["asymmetry"],
    )
    return records.written((run.shared or run.workdir) / "smoke", wanted), wanted


def prepared(run: Run) -> tuple[records.SmokeWindows, task.InUnits]:
    """Training windows, and what brings them and all others to their units."""
    train = file(run, records.TRAIN)
    whole = records.SmokeWindows(*train, run.settings["frames"])
    units = task.InUnits(task.scales(records.all_of(whole)["frames"]))
    length = run.settings["past"] + run.settings["ahead"]
    return records.SmokeWindows(*train, length), units


def judged(run: Run, part: str, units: task.InUnits) -> Tree:
    """The windows that rollouts of a part are judged on, in units, run after run."""
    length = run.settings["past"] + run.settings["horizon"]
    windows = records.SmokeWindows(*file(run, part), length, run.settings["starts"])
    return units(records.all_of(windows))


def errors(run: Run, predict: task.Predict, units: task.InUnits) -> dict[str, float]:
    """Errors of rollouts, over the runs of a part; ``rollout_se`` is that over test runs."""
    past, found = run.settings["past"], {}
    for part in (records.TEST, records.VALIDATION):
        runs = run.settings["runs"][part]
        each = task.rollout_errors(predict, judged(run, part, units), past, runs)
        found[part] = float(np.sqrt(np.mean(each**2)))
        found[f"{part}_se"] = float(each.std(ddof=1) / np.sqrt(runs))
    return {
        "rollout": found[records.TEST],
        "rollout_se": found[f"{records.TEST}_se"],
        "validation_rollout": found[records.VALIDATION],
    }


def do(run: Run) -> dict[str, float]:
    """Trains a row on the runs of a seed and judges it on others."""
    own = trainer(run)
    source, units = prepared(run)
    weights = own.row.train(run, own.begin(run), source, transforms=(units,))
    found = errors(run, functools.partial(_rollout, own.net, weights), units)
    test = judged(run, records.TEST, units)
    spread = np.random.default_rng(0).permutation(len(test["frames"]))[:_JUDGED]
    batch = {name: array[spread] for name, array in test.items()}
    squared = _squared_defect(own.net, weights, batch)
    return {**found, "defect": float(np.sqrt(squared))}


@functools.partial(jax.jit, static_argnums=(0, 3))
def _rollout(net: task.SmokeNet, weights: Tree, batch: Tree, count: int) -> jax.Array:
    return task.rollout(net, weights, batch, count)


@functools.partial(jax.jit, static_argnums=0)
def _squared_defect(net: task.SmokeNet, weights: Tree, batch: Tree) -> jax.Array:
    return task.equivariance_error(net, weights, batch, None, relative=True)


def persistence(run: Run) -> dict[str, float]:
    """The floor: the last frame stays."""
    _, units = prepared(run)
    return {**errors(run, task.persistence(run.settings["past"]), units), "defect": 0.0}


def step_cost(run: Run) -> StepCost:
    """Time and memory of a training step."""
    own = trainer(run)
    source, units = prepared(run)
    examples = [units(source[i]) for i in range(run.settings["batch_size"])]
    batch = {name: np.stack([e[name] for e in examples]) for name in examples[0]}
    return own.row.step_cost(own.begin(run), batch)
