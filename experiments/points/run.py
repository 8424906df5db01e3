"""A run of the study of clouds: a row's recipe on a network of vector neurons."""

import dataclasses
import functools
import json
from typing import Any

import jax
import numpy as np
import optax

import softeq_jax as sq
from experiments.points import shapes, task
from experiments.shared import recipes, trained
from experiments.shared.layer_penalties import lie_and_norm, scrambled_lie_and_norm
from experiments.shared.studies import Run, Settings, StepCost
from softeq_jax import models, relaxation

TRAIN, HELD, TEST = range(3)
HOLD = 0.1  # share of a run, at its end, that the relaxation is off


@dataclasses.dataclass(frozen=True)
class CloudTrainer:
    """A row's network with its compiled step."""

    network: Any
    row: recipes.RowTrainer

    def begin(self, run: Run) -> Any:
        """The state before the first step."""
        points = run.settings["points"]
        first, second = (
            task.start(self.network, points, seed) for seed in (run.seed, 1000 + run.seed)
        )
        state = {"batch_stats": first["batch_stats"]}
        return self.row.begin((first["params"], second["params"]), run.seed, state)


def trainer(run: Run) -> CloudTrainer:
    """The trainer of a run; runs of a row share it."""
    return _trainer(recipes.settings_of_step(run))


@functools.lru_cache(maxsize=1)
def _trainer(shared: str) -> CloudTrainer:
    settings = json.loads(shared)
    steps = settings["epochs"] * (settings["train"] // settings["batch_size"])
    rate = optax.exponential_decay(
        settings["learning_rate"], max(steps // 10, 1), 0.7, staircase=True
    )
    budget = recipes.Budget(steps, rate, settings["weight_decay"])
    network = task.network(settings)
    params = task.start(network, settings["points"], 0)["params"]
    plan = sq.plan(params, models.soft_rules(network, task.GROUP))
    penalty = _layer_penalty(settings, network)
    rotations = task.TRAINED_UNDER[settings["trained_under"]]
    names = ("strength", "times_theta", "clouds")
    own = {name: settings[name] for name in names if penalty is not None}
    loss = task.make_loss(network, rotations, penalty, **own)
    recipe = _recipe(settings, plan, budget, penalty is not None)
    return CloudTrainer(network, recipes.RowTrainer(recipe, budget, loss))


def _recipe(
    settings: Settings, plan: sq.Plan, budget: recipes.Budget, opened: bool
) -> recipes.Recipe:
    method, strength = settings["method"], settings.get("strength")
    if method == "relaxed":
        schedule = relaxation.Schedule(
            settings["schedule"], budget.steps, settings["hold"], settings["theta"]
        )
        return recipes.relaxed(plan, schedule, opened=opened)
    return recipes.named(method, strength, plan, budget)


def _layer_penalty(settings: Settings, network: Any) -> Any:
    term = settings.get("term")
    if term is None:
        return None
    representations = network.relaxed_representations(task.GROUP)
    if term == "Lie":
        return lie_and_norm(representations)
    if term == "as published":
        return scrambled_lie_and_norm(representations, _published_weight)
    raise ValueError(f'term: got {term!r}, expected None, "Lie" or "as published"')


def _published_weight(path: str) -> float:
    """The released PointNet counts the term of the features twice, that of directions never."""
    return 0.0 if path.endswith("direction") else 2.0 if path.endswith("dense") else 1.0


def do(run: Run) -> dict[str, float]:
    """Trains a row and judges it on clouds that nobody has seen."""
    own, settings = trainer(run), run.settings
    points, labels = _clouds(settings, TRAIN)
    source = trained.examples({"points": points, "label": labels})
    params, state = own.row.train_all(run, own.begin(run), source)
    variables = {"params": jax.tree.map(np.asarray, params), **state}
    rotations = task.TRAINED_UNDER[settings["trained_under"]]
    size = settings["batch_size"]
    variables = task.renewed(own.network, variables, points, rotations, size)
    held = task.scores(
        own.network, variables, *_clouds(settings, HELD), 1, settings["judged_at_once"]
    )
    found = task.scores(
        own.network, variables, *_clouds(settings, TEST), 2, settings["judged_at_once"]
    )
    return found | {"held_accuracy": held["accuracy"]}


def floor(run: Run) -> dict[str, float]:
    """The most frequent class, or the network before training."""
    settings = run.settings
    points, labels = _clouds(settings, TEST)
    if settings["floor"] == "majority":
        share = task.majority(labels)
        return {"accuracy": share, "upright": share, "kl": 0.0}
    network = task.network(settings)
    variables = task.start(network, settings["points"], run.seed)
    train = _clouds(settings, TRAIN)[0]
    rotations = task.TRAINED_UNDER[settings["trained_under"]]
    variables = task.renewed(network, variables, train, rotations, settings["batch_size"])
    return task.scores(network, variables, points, labels, 2, settings["judged_at_once"])


def step_cost(run: Run) -> StepCost:
    """Time and memory of a training step."""
    own = trainer(run)
    points, labels = (part[: run.settings["batch_size"]] for part in _clouds(run.settings, TRAIN))
    return own.row.step_cost(own.begin(run), {"points": points, "label": labels})


def _clouds(settings: Settings, part: int) -> tuple[np.ndarray, np.ndarray]:
    count = (settings["train"], settings["held"], settings["test"])[part]
    own = (settings["points"], settings["noise"], settings["hidden_share"], settings["data_seed"])
    return shapes.clouds(part, count, *own)
