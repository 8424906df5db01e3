"""A run of the ImageNet study: a filtered network, its statistics new or old, scored on a split."""

import dataclasses
import functools
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import softeq_jax as sq
from experiments.imagenet_sample.task import Classifier, drawn, load_classifier, split_of
from experiments.shared.calibration import fitted_temperature
from experiments.shared.runs import data_digest, file_digest
from experiments.shared.studies import Run, Settings, StepCost
from experiments.soften import softening
from softeq_jax import models
from softeq_jax.measures import kl_divergence, mean_and_error

AS_PUBLISHED = {"group": "c4", "dials": {"softness": 1.0}}
"""Settings of the row that the others are compared with: nothing is filtered."""

OF_WEIGHTS = ("network", "group", "dials")
"""Settings of a row that decide the filtered weights."""
Tree = Any


@dataclasses.dataclass(frozen=True, eq=False)
class Softened:
    """A filtered network: its variables and what is certified of them.

    Attributes:
      variables: filtered, with the statistics of the file.
      bounds: metrics of the certificates.
    """

    variables: Tree
    bounds: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """What a network says of every scored image.

    Attributes:
      accuracy: whether the upright image is recognized, ``[n]``.
      rotated_accuracy: whether the rotated one is.
      kl: ``KL(f(x) || f(R x))`` in nats, after the temperature.
      temperature: fitted on the held images.
    """

    accuracy: np.ndarray
    rotated_accuracy: np.ndarray
    kl: np.ndarray
    temperature: float


def inputs(settings: Settings, data_dir: Path | None) -> dict[str, str]:
    """Digests of the data and of all weights."""
    if not settings["data"] or data_dir is None:
        return {}
    files = {
        name: file_digest(data_dir / path / "model.safetensors")
        for name, path in settings["networks"].items()
    }
    return {"data": data_digest(data_dir / "tfds" / settings["data"])} | files


def plan_of(network: Classifier, settings: Settings, group: str | None = None) -> sq.Plan:
    """The plan of a row, or the same dials under another group."""
    acting = sq.groups.from_name(group or settings["group"])
    rules = models.soft_rules(network.model, acting, **settings["dials"])
    return sq.plan(network.variables["params"], rules)


def softened(run: Run, network: Classifier, **changes: Any) -> Softened:
    """The filtered network of a row, or with settings changed, and its certificates."""
    settings = {**run.settings, **changes}
    return _softened(json.dumps({key: settings[key] for key in OF_WEIGHTS}), network)


@functools.lru_cache(maxsize=2)  # a row and what it is compared with
def _softened(text: str, network: Classifier) -> Softened:
    settings = json.loads(text)
    plan, rotations = plan_of(network, settings), plan_of(network, settings, "so2")
    params = jax.tree.map(np.asarray, plan.project(network.variables["params"]))
    moved = softening.movement(plan, rotations, params)
    variables = {**network.variables, "params": params}
    geometry = models.conv_geometry(network.model, variables, (1, *network.upright.shape[1:]))
    layers = softening.layer_certificates(plan, params, geometry)
    sure = {path: layer for path, layer in layers.items() if layer.certified}
    bounds = {
        **dataclasses.asdict(moved),
        "kept": softening.kept_share(plan),
        "layers": f"{len(sure)} of {len(layers)}",
        "worst_layer": max((layer.bound for layer in sure.values()), default=math.nan),
    }
    return Softened(variables, bounds)


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """Logits ``[n, classes]`` of all images; without values where nothing is asked."""

    upright: np.ndarray
    rotated: np.ndarray


@functools.lru_cache(maxsize=2)  # a row and what it is compared with
def _with_old_statistics(network: Classifier, soft: Softened) -> Outputs:
    """Of a filtered network, whatever the split."""
    return Outputs(*(network.logits(soft.variables, x) for x in network.views))


def _with_new_statistics(
    network: Classifier, soft: Softened, held: np.ndarray, rest: np.ndarray, batch: int
) -> Outputs:
    """Of a filtered network whose batch norms know the held images."""
    variables = network.with_statistics_of(soft.variables, network.upright[held], batch)
    upright = network.logits(variables, network.upright)
    rotated = np.full_like(upright, np.nan)
    rotated[rest] = network.logits(variables, network.rotated[rest])
    return Outputs(upright, rotated)


def scores(outputs: Outputs, labels: np.ndarray, held: np.ndarray, rest: np.ndarray) -> Scores:
    """What the scored images say, the confidence fitted on the held ones."""
    upright, rotated = outputs.upright[rest], outputs.rotated[rest]
    temperature = fitted_temperature(outputs.upright[held], labels[held])
    kl = kl_divergence(upright / temperature, rotated / temperature)
    return Scores(
        np.argmax(upright, axis=1) == labels[rest],
        np.argmax(rotated, axis=1) == labels[rest],
        np.asarray(kl, np.float64),
        temperature,
    )


def do(run: Run) -> dict[str, Any]:
    """The metrics of a row at one split, and its differences from the network as published.

    Differences are taken image by image; errors (``_se``) are over images.
    """
    settings = run.settings
    network = load_classifier(settings, run.data_dir)
    held, rest = split_of(len(network.labels), settings["held"], run.seed)
    soft = softened(run, network)
    if settings["new_statistics"]:
        outputs = _with_new_statistics(network, soft, held, rest, settings["statistics_batch"])
    else:
        outputs = _with_old_statistics(network, soft)
    found = scores(outputs, network.labels, held, rest)
    published = softened(run, network, **AS_PUBLISHED)
    before = scores(_with_old_statistics(network, published), network.labels, held, rest)
    values: dict[str, Any] = {"images": len(rest), "temperature": found.temperature}
    for key in ("accuracy", "rotated_accuracy", "kl"):
        mine, theirs = (np.asarray(getattr(each, key), np.float64) for each in (found, before))
        values[key], values[f"{key}_se"] = mean_and_error(mine)
        change = mean_and_error(mine - theirs)
        values[f"{key}_change"], values[f"{key}_change_se"] = change
    return values | soft.bounds


def constant(run: Run) -> dict[str, Any]:
    """The floor: the best answer that does not look at the image; it moves with nothing."""
    network = load_classifier(run.settings, run.data_dir)
    _, rest = split_of(len(network.labels), run.settings["held"], run.seed)
    accuracy = float(np.bincount(network.labels[rest]).max() / len(rest))
    return {"images": len(rest), "accuracy": accuracy, "rotated_accuracy": accuracy, "kl": 0.0}


def untrained(run: Run) -> dict[str, Any]:
    """The floor: the network with weights that were drawn and not trained."""
    network = load_classifier(run.settings, run.data_dir)
    held, rest = split_of(len(network.labels), run.settings["held"], run.seed)
    image = network.upright[:1].astype(np.float32)
    variables = drawn(network.model, jax.random.key(run.seed), image)
    outputs = Outputs(*(network.logits(variables, x) for x in network.views))
    found = scores(outputs, network.labels, held, rest)
    return {"images": len(rest), "temperature": found.temperature} | {
        key: float(np.mean(getattr(found, key))) for key in ("accuracy", "rotated_accuracy", "kl")
    }


def floor(run: Run) -> dict[str, Any]:
    """One of the floors."""
    return {"constant": constant, "untrained": untrained}[run.settings["floor"]](run)


def step_cost(run: Run) -> StepCost:
    """Time and memory of a batch, and batches of a run (of stored statistics, its first split)."""
    network, settings = load_classifier(run.settings, run.data_dir), run.settings
    batch = network.upright[: network.batch]
    network.logits(network.variables, batch)
    started = time.perf_counter()
    for _ in range(5):
        network.logits(network.variables, batch)
    took = 200 * (time.perf_counter() - started)
    batches = math.ceil(2 * len(network.labels) / settings["batch_size"])
    return StepCost(took, network.memory(batch) / 2**20, batches)
