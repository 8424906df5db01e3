"""A run of the study: a row's recipe on one pretrained network and the images of one seed."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn

import softeq_jax as sq
from experiments.cifar10 import task
from experiments.shared import recipes, shapes
from experiments.shared.runs import data_digest, file_digest
from experiments.shared.studies import Run, Settings, StepCost
from softeq_jax import data, models
from softeq_jax import training as tr
from softeq_jax.models import soft_rules
from softeq_jax.training import objectives

Tree = Any
GROUP = sq.groups.so(2)
_DATA_ALONE = ("family", "rotated")


def recipe(settings: Settings, model: nn.Module, params: Tree) -> recipes.Recipe:
    """How a row is trained.

    Args:
      settings: ``method``, ``"free"``, ``"dial"`` (with ``dials`` of ``soft_rules``) or
        ``"penalty"`` (with ``strength``).
      model: of the row.
      params: of the same shapes as its own.

    Raises:
      ValueError: there is no such method.
    """
    match settings["method"]:
        case "free":
            return recipes.free()
        case "dial":
            rules = soft_rules(model, GROUP, **settings["dials"])
            return recipes.projected(sq.plan(params, rules))
        case "penalty":
            return recipes.penalized(
                sq.plan(params, soft_rules(model, GROUP)), settings["strength"]
            )
    raise ValueError(f"unknown method {settings['method']!r}")


@dataclasses.dataclass(frozen=True)
class PhotoTrainer:
    """A row's pretrained network with its compiled step."""

    model: nn.Module
    variables: dict[str, Tree]
    row: recipes.RowTrainer

    @property
    def model_state(self) -> dict[str, Tree]:
        """The variables that are not parameters: statistics of batch norm."""
        return {name: tree for name, tree in self.variables.items() if name != "params"}

    def begin(self, run: Run) -> tr.TrainState:
        """The state of a run before the first step: the pretrained weights."""
        params = self.variables["params"]
        return self.row.begin((params, params), run.seed, self.model_state)


def trainer(run: Run) -> PhotoTrainer:
    """The trainer of a run; runs of a row share it, whatever their seed."""
    return _trainer(recipes.settings_of_step(run, _DATA_ALONE), run.data_dir)


@functools.lru_cache(maxsize=1)
def _trainer(shared: str, data_dir: Path | None) -> PhotoTrainer:
    settings = json.loads(shared)
    model, variables = _pretrained(settings, data_dir)
    meaned: Any = model.clone(axis_name=tr.AXIS) if hasattr(model, "axis_name") else model

    def apply_train(weights: Tree, state: Tree, images: jax.Array) -> tuple[Any, Tree]:
        return meaned.apply(
            {"params": weights, **state}, task.preprocess(images), train=True, mutable=list(state)
        )

    steps = _steps(settings)
    rate = optax.cosine_onecycle_schedule(steps, settings["learning_rate"], pct_start=0.15)
    budget = recipes.Budget(steps, rate, settings["weight_decay"])
    chosen = recipe(settings, model, variables["params"])
    loss = objectives.classification(apply_train)
    return PhotoTrainer(model, variables, recipes.RowTrainer(chosen, budget, loss))


def _steps(settings: Settings) -> int:
    return settings["epochs"] * settings["train"] // settings["batch_size"]


def do(run: Run) -> dict[str, float]:
    """Fine-tunes a row on the images of a seed and judges it: ``task.PhotoScores``."""
    own = trainer(run)
    images = _images(run)
    weights, state = own.row.train_all(
        run,
        own.begin(run),
        images.train,
        transforms=task.augmentation(run.settings),
        check=data.classification(run.settings["classes"]),
    )
    scores = task.photo_scores(own.model, {"params": weights, **state}, images)
    return dataclasses.asdict(scores)


def floor(run: Run) -> dict[str, float]:
    """The pretrained network as it was published, or the most frequent class."""
    images = _images(run)
    if run.settings["method"] == "published":
        model, variables = _pretrained(run.settings, run.data_dir)
        return dataclasses.asdict(task.photo_scores(model, variables, images))
    guess = np.bincount(images.held[1]).argmax()
    right = float(100 * np.mean(images.test[1] == guess))
    even = {"kl": 0.0, "defect": 0.0, "feature_defect": 0.0}
    return {"accuracy": right, "rotated_accuracy": right, "combined": right, **even}


def inputs(settings: Settings, data_dir: Path | None) -> dict[str, str]:
    """Digests of weights and data."""
    files = settings["networks"].values()
    if data_dir is None or not all(files):
        return {}
    found = {
        path: (data_digest if (data_dir / path).is_dir() else file_digest)(data_dir / path)
        for path in files
    }
    return found | {"data": data_digest(data_dir / "tfds" / settings["data"])}


def describe(run: Run) -> str:
    """What a row trains and filters, from the shapes of its network: no weights are read."""
    settings = run.settings
    if settings["weights"]:
        name = task.ARCHITECTURES[settings["network"]]
        model, side = models.create(name, num_classes=settings["classes"]), settings["side"] or 32
    else:
        model, side = task.network(None, settings["classes"], False)[0], 8
    rules = None
    if settings["method"] != "free":
        rules = soft_rules(model, GROUP, **settings.get("dials", {}))
    text = shapes.network_text(model, side, settings["batch_size"], rules)
    return f"== {run.row}\n{text}; {_steps(settings):,} steps"


def step_cost(run: Run) -> StepCost:
    """Time and memory of a training step."""
    own, images = trainer(run), _images(run)
    with data.train_batches(
        images.train,
        run.settings["batch_size"],
        seed=0,
        steps=1,
        transforms=task.augmentation(run.settings),
        check=data.classification(run.settings["classes"]),
    ) as batches:
        return own.row.step_cost(own.begin(run), next(batches))


def _pretrained(settings: Settings, data_dir: Path | None) -> tuple[nn.Module, dict[str, Any]]:
    path = settings["weights"]
    weights = Path(data_dir or ".") / path if path else None
    return task.network(weights, settings["classes"], settings["new_head"])


def _images(run: Run) -> task.Photos:
    settings = run.settings
    folder = Path(run.data_dir or ".") / "tfds" if settings["weights"] else None
    counts = (settings["train"], settings["held"], settings["test"])
    return task.photos(folder, settings["data"], run.seed, counts, settings["side"])
