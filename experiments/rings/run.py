"""A run of the rings study: trained, projected where its method does so, judged."""

import dataclasses
import functools
import json
from typing import Any

import jax
import numpy as np
import optax

from experiments.rings import methods, task
from experiments.shared import trained
from experiments.shared.studies import Run, Settings, StepCost
from softeq_jax import training as tr
from softeq_jax.training import objectives

SHARED = ("epochs", "per_ring", "batch_size", "learning_rate")
"""Settings that a compiled step depends on."""


def strength_is_data(method: str) -> bool:
    """Whether strengths of a method share one compiled step."""
    return method.startswith(("penalty", "Lie", "orbit"))


class RingsTrainer:
    """A method with its compiled step; strengths that are data share one."""

    def __init__(self, settings: Settings, method: str, strength: Any):
        rate = settings["learning_rate"]
        self.steps = settings["epochs"] * (2 * settings["per_ring"] // settings["batch_size"])
        self.recipe = methods.recipe(method, strength, self.steps, rate)
        recipe = self.recipe
        self.optimizer = recipe.wrap_optimizer(optax.adam(rate), rate)
        loss = objectives.binary_classification(
            lambda weights, state, points: (recipe.network(weights, points), state), field="point"
        )
        self.step = tr.make_train_step(recipe.wrap_loss(loss), self.optimizer, method=recipe.method)

    def begin(self, run: Run) -> tuple[Any, Any, Any]:
        """(state, source, what every step is given) of a run."""
        recipe, sigma, strength = self.recipe, run.settings["sigma"], run.settings["strength"]
        points, labels = task.rings(sigma, run.seed, run.settings["per_ring"])
        params = recipe.begin(recipe.init(jax.random.key(run.seed)))
        state = tr.init_state(params, self.optimizer, recipe.model_state, seed=run.seed)
        strength = tuple(strength) if isinstance(strength, list) else strength
        extra = {"plan": recipe.plan, "strength": jax.tree.map(np.float32, strength)}
        return state, trained.examples({"point": points, "label": labels}), extra

    def train(self, run: Run) -> tuple[Any, float]:
        """(weights, jump of a projection at the end) of a run."""
        state, source, extra = self.begin(run)
        state = trained.train(
            run,
            self.step,
            state,
            source,
            self.steps,
            extra=extra,
            save_every=run.settings["save_every_epochs"] * self.steps // run.settings["epochs"],
        )
        points, labels = task.rings(run.settings["sigma"], run.seed, run.settings["per_ring"])

        def loss(weights: Any) -> float:
            return task.scores(self.recipe.network, weights, points, labels).loss

        return self.recipe.finish(state.params, loss)


def trainer(run: Run) -> RingsTrainer:
    """The trainer of a run; runs next to each other share it."""
    method, strength = run.settings["method"], run.settings["strength"]
    if strength_is_data(method):
        strength = None
    shared = {key: run.settings[key] for key in SHARED}
    return _trainer(method, json.dumps(strength), json.dumps(shared))


@functools.lru_cache(maxsize=1)
def _trainer(method: str, strength: str, settings: str) -> RingsTrainer:
    return RingsTrainer(json.loads(settings), method, json.loads(strength))


def evaluate(network: Any, run: Run, weights: Any) -> dict[str, float]:
    """Test scores, and the held-out ones that strengths are chosen by."""
    sigma, settings = run.settings["sigma"], run.settings
    held = task.rings(sigma, 1000 + run.seed, settings["held_per_ring"])
    test = task.rings(sigma, 2000 + run.seed, settings["test_per_ring"])
    found = dataclasses.asdict(task.scores(network, weights, *test))
    chosen_by = task.scores(network, weights, *held)
    return found | {"held_accuracy": chosen_by.accuracy, "held_loss": chosen_by.loss}


def do(run: Run) -> dict[str, float]:
    """The metrics of a run."""
    made = trainer(run)
    weights, jump = made.train(run)
    return evaluate(made.recipe.network, run, weights) | {"jump": jump}


def majority(run: Run) -> dict[str, float]:
    """The floor: always one ring, whichever has more training points; the two have the same."""
    _, labels = task.rings(run.settings["sigma"], run.seed, run.settings["per_ring"])
    _, test = task.rings(run.settings["sigma"], 2000 + run.seed, run.settings["test_per_ring"])
    guess = int(np.mean(labels) > 0.5)
    return {"accuracy": float(np.mean(test == guess)), "worst_error": 0.0}


def step_cost(run: Run) -> StepCost:
    """Time and memory of a training step."""
    made = trainer(run)
    state, source, extra = made.begin(run)
    batch = {
        name: np.stack([example[name] for example in source[: run.settings["batch_size"]]])
        for name in source[0]
    }
    return trained.step_cost(made.step, state, batch, extra, steps=made.steps)
