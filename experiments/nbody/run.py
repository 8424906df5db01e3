"""A run of the N-body study: trained, projected where its method does so, judged."""

import csv
import functools
import json
from typing import Any

import jax
import numpy as np
import optax

from experiments.nbody import methods, simulator, task
from experiments.shared import trained
from experiments.shared.studies import Record, Run, Settings, StepCost
from softeq_jax import training as tr


def part(settings: Settings, name: str) -> dict[str, np.ndarray]:
    """One part of the data of a study."""
    return task.data(name, settings[f"{name}_systems"], settings["data_seed"])


class ParticleTrainer:
    """A method with its compiled step; strengths that are data share one."""

    def __init__(self, settings: Settings, method: str, strength: Any):
        self.epoch = settings["train_systems"] // settings["batch_size"]
        self.steps = settings["epochs"] * self.epoch
        self.model = task.network(settings["width"], settings["layers"])
        self.plan = task.plan(self.model, task.init(self.model, 0))
        setting = methods.ParticleSetting(
            self.model, self.plan, self.steps, settings["hold"], settings["free_std"]
        )
        self.recipe = methods.recipe(method, strength, setting)
        rate = settings["learning_rate"]
        if settings["schedule"] == "cosine":
            rate = optax.cosine_decay_schedule(rate, self.steps)
        elif settings["schedule"] != "constant":
            raise ValueError(
                f'schedule must be "cosine" or "constant", got {settings["schedule"]!r}'
            )
        inner = methods.optimizer(rate, settings["weight_decay"])
        self.optimizer = self.recipe.wrap_optimizer(inner)
        loss = task.make_loss(self.model, settings["augment"], self.recipe.layer_penalty)
        self.step = tr.make_train_step(loss, self.optimizer, method=self.recipe.method)

    def begin(self, run: Run) -> tuple[Any, Any, Any]:
        """(state, source, what every step is given) of a run."""
        params = self.recipe.begin(
            task.init(self.model, run.seed), jax.random.fold_in(jax.random.key(run.seed), 1)
        )
        state = tr.init_state(params, self.optimizer, seed=run.seed)
        source = trained.examples(part(run.settings, simulator.TRAIN))
        return state, source, {"plan": self.plan, "strength": np.float32(run.settings["strength"])}

    def train(self, run: Run) -> tuple[Any, list[float]]:
        """(weights that the network has at the end, training error of every epoch) of a run."""
        state, source, extra = self.begin(run)
        state = trained.train(
            run,
            self.step,
            state,
            source,
            self.steps,
            extra=extra,
            log_every=self.epoch,
            save_every=run.settings["save_every_epochs"] * self.epoch,
        )
        with (run.workdir / "train.csv").open() as file:
            curve = [float(row["train/mse"]) for row in csv.DictReader(file)]
        return self.recipe.seen(state.params), curve


def trainer(run: Run) -> ParticleTrainer:
    """The trainer of a run; runs next to each other share it."""
    settings = dict(run.settings)
    method, strength = settings.pop("method"), settings.pop("strength")
    if methods.strength_is_data(method):
        strength = None
    return _trainer(method, json.dumps(strength), json.dumps(settings))


@functools.lru_cache(maxsize=1)
def _trainer(method: str, strength: str, settings: str) -> ParticleTrainer:
    return ParticleTrainer(json.loads(settings), method, json.loads(strength))


def evaluate(run: Run, made: ParticleTrainer, weights: Any) -> dict[str, float]:
    """Scores of the weights at the end and of their projection; ``mse`` is of the method's own."""
    found = {}
    for name, judged in (("trained", weights), ("projected", made.plan.project(weights))):
        for split in (simulator.VALIDATION, simulator.TEST):
            systems, rotations = part(run.settings, split), run.settings["rotations"]
            scores = task.scores(made.model, judged, systems, rotations)
            found |= {f"{split}_{key}_{name}": value for key, value in scores._asdict().items()}
    own = "projected" if made.recipe.projects else "trained"
    return {
        "mse": found[f"test_mse_{own}"],
        "equivariance_error": found[f"test_equivariance_error_{own}"],
        "validation_mse": found[f"validation_mse_{own}"],
        "mse_before": found["test_mse_trained"],
        "error_before": found["test_equivariance_error_trained"],
        "mse_projected": found["test_mse_projected"],
    }


def do(run: Run) -> Record:
    """The metrics of a run and its training curve."""
    made = trainer(run)
    weights, curve = made.train(run)
    epochs = [{"epoch": epoch, "mse": mse} for epoch, mse in enumerate(curve)]
    return Record(evaluate(run, made, weights), {"curves": epochs})


def straight_flight(run: Run) -> dict[str, float]:
    """The floor: straight on, at the speed that fits the training systems best."""
    systems = (part(run.settings, name) for name in (simulator.TRAIN, simulator.TEST))
    return {"mse": task.straight_flight(*systems), "equivariance_error": 0.0}


def step_cost(run: Run) -> StepCost:
    """Time and memory of a training step."""
    made = trainer(run)
    state, source, extra = made.begin(run)
    first = source[: run.settings["batch_size"]]
    batch = {name: np.stack([example[name] for example in first]) for name in first[0]}
    return trained.step_cost(made.step, state, batch, extra, steps=made.steps)
