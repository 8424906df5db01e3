"""A run of the study: a row's recipe on one segmenter."""

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
from experiments.camvid import task
from experiments.shared import recipes, shapes
from experiments.shared.runs import data_digest
from experiments.shared.studies import Record, Run, Settings, StepCost
from softeq_jax import data, measures
from softeq_jax import training as tr
from softeq_jax.models import soft_rules
from softeq_jax.training import objectives, optimizers

Tree = Any
GROUP = sq.groups.so(2)
_DATA_ALONE = ("family", "rotated")


@dataclasses.dataclass(frozen=True)
class SceneTrainer:
    """A row's segmenter with its compiled step."""

    model: nn.Module
    published: Tree | None
    row: recipes.RowTrainer

    def begin(self, run: Run) -> tr.TrainState:
        """The state of a run before the first step."""
        variables = task.start(self.model, self.published, run.settings["side"], run.seed)
        params = variables.pop("params")
        return self.row.begin((params, params), run.seed, variables)


def trainer(run: Run) -> SceneTrainer:
    """The trainer of a run; runs of a row share it, whatever their seed."""
    return _trainer(recipes.settings_of_step(run, _DATA_ALONE), run.data_dir)


@functools.lru_cache(maxsize=1)
def _trainer(shared: str, data_dir: Path | None) -> SceneTrainer:
    settings = json.loads(shared)
    model, published = task.network(settings, data_dir)
    params = task.start(model, published, settings["side"], 0)["params"]
    meaned: Any = model
    if hasattr(meaned.head, "axis_name"):
        meaned = meaned.clone(head=meaned.head.clone(axis_name=tr.AXIS))

    def apply_train(weights: Tree, state: Tree, images: jax.Array) -> tuple[Any, Tree]:
        return meaned.apply(
            {"params": weights, **state}, task.preprocess(images), train=True, mutable=list(state)
        )

    steps = _steps(settings, len(_scenes(settings, data_dir).train))
    rate = optax.cosine_onecycle_schedule(steps, settings["learning_rate"], pct_start=0.1)
    budget = recipes.Budget(steps, rate, settings["weight_decay"], clip=1.0)
    shares = optimizers.factors(params, {"backbone/**": settings["backbone_share"]}, 1.0)

    def slower(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
        return optax.chain(optimizer, optimizers.scale_by_factors(shares))

    chosen = dataclasses.replace(_recipe(settings, model, params), wrap_optimizer=slower)
    loss = objectives.segmentation(apply_train, ignore=task.VOID)
    return SceneTrainer(model, published, recipes.RowTrainer(chosen, budget, loss))


def _recipe(settings: Settings, model: nn.Module, params: Tree) -> recipes.Recipe:
    if settings["dials"] is None:
        return recipes.free()
    return recipes.projected(sq.plan(params, soft_rules(model, GROUP, **settings["dials"])))


def _steps(settings: Settings, count: int) -> int:
    return settings["epochs"] * count // settings["batch_size"]


def do(run: Run) -> Record:
    """Trains a row and judges it: ``task.SceneScores``, and counts of pixels for every block."""
    own, found = trainer(run), _scenes(run.settings, run.data_dir)
    classes = run.settings["classes"]
    weights, state = own.row.train_all(
        run,
        own.begin(run),
        found.train,
        transforms=task.augmentation(run.settings),
        check=data.segmentation(classes, ignore=task.VOID),
    )
    variables = {"params": weights, **state}
    scores, counts = task.scene_scores(own.model, variables, found, classes)
    return Record(dataclasses.asdict(scores), {"blocks": block_lines(counts, found.blocks)})


def block_lines(counts: np.ndarray, blocks: tuple[str, ...]) -> list[dict[str, Any]]:
    """For every stretch of test images and every class there: pixels that are it and called it."""
    lines = []
    for name in dict.fromkeys(blocks):
        total = counts[[b == name for b in blocks]].sum(axis=0)
        both, labeled, taken = np.diag(total), total.sum(axis=1), total.sum(axis=0)
        lines += [
            {"block": name, "class": c, "both": b, "either": e}
            for c, (b, e) in enumerate(
                zip(both.tolist(), (labeled + taken - both).tolist(), strict=True)
            )
            if e
        ]
    return lines


def majority(run: Run) -> dict[str, float]:
    """The floor: everything is of the class that held-out pixels have most of."""
    found, classes = _scenes(run.settings, run.data_dir), run.settings["classes"]
    held, masks = found.held[1], found.test[1]
    guess = np.bincount(held[held != task.VOID]).argmax()
    counts = task.image_counts(np.full_like(masks, guess), masks, classes).sum(axis=0)
    iou = 100 * measures.mean_iou(counts)
    return {"iou": iou, "rotated_iou": iou, "combined": iou, "consistency": 0.0}


def inputs(settings: Settings, data_dir: Path | None) -> dict[str, str]:
    """Digests of the data."""
    if data_dir is None or settings["data"] == "drawn":
        return {}
    return {"data": data_digest(data_dir / "tfds" / settings["data"])}


def describe(run: Run) -> str:
    """What a row trains and filters, from the shapes of its network: no weights are read."""
    settings, rules = run.settings, None
    model = task.unloaded(settings)
    if settings["dials"] is not None:
        rules = soft_rules(model, GROUP, **settings["dials"])
    text = shapes.network_text(model, settings["side"], settings["batch_size"], rules)
    return f"== {run.row}\n{text}; {settings['epochs']} epochs"


def step_cost(run: Run) -> StepCost:
    """Time and memory of a training step."""
    own, found = trainer(run), _scenes(run.settings, run.data_dir)
    with data.train_batches(
        found.train,
        run.settings["batch_size"],
        seed=0,
        steps=1,
        transforms=task.augmentation(run.settings),
        check=data.segmentation(run.settings["classes"], ignore=task.VOID),
    ) as batches:
        return own.row.step_cost(own.begin(run), next(batches))


def _scenes(settings: Settings, data_dir: Path | None) -> task.Scenes:
    drawn = settings["data"] == "drawn"
    folder = None if drawn else Path(data_dir or ".") / "tfds"
    return task.scenes(
        folder, settings["data"], settings["side"], settings["void"], settings["held_every"]
    )
