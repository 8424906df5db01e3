"""A run of the softening study: planned, fine-tuned, evaluated and certified."""

import csv
import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

import softeq_jax as sq
from experiments.shared import trained
from experiments.shared.runs import data_digest, file_digest
from experiments.shared.studies import Record, Run, Settings, StepCost
from experiments.soften import softening
from experiments.soften.task import Data, load_data, load_network
from softeq_jax import data, models, training
from softeq_jax.data import RandomCrop, RandomFlip

OF_ROW = ("group", "rules", "images")
"""Settings that rows differ in; the others belong to the network, the data and the training."""


@dataclasses.dataclass(frozen=True)
class Workshop:
    """What all rows share: the network, the data, the compiled functions."""

    network: softening.Network
    data: Data
    tools: softening.Tools
    tuning: softening.FineTuning


def workshop(run: Run) -> Workshop:
    """What a run shares with all others of its preset."""
    shared = {key: value for key, value in run.settings.items() if key not in OF_ROW}
    return _workshop(json.dumps(shared), run.data_dir)


@functools.lru_cache(maxsize=1)
def _workshop(text: str, data_dir: Path | None) -> Workshop:
    settings = json.loads(text)
    network = load_network(settings, data_dir)
    tuning = softening.FineTuning(
        **{key: settings[key] for key in ("steps", "batch_size", "learning_rate", "weight_decay")}
    )
    tools = softening.compile_tools(network, tuning)
    return Workshop(network, load_data(settings, data_dir), tools, tuning)


def inputs(settings: Settings, data_dir: Path | None) -> dict[str, str]:
    """Digests of weights and data."""
    if not settings["weights"] or data_dir is None:
        return {}
    return {
        "weights": file_digest(data_dir / settings["weights"]),
        "data": data_digest(data_dir / "tfds" / settings["data"]),
    }


def build_plan(params: Any, row: str, settings: Settings, group: str | None = None) -> sq.Plan:
    """The plan of one row, or the same rules under another group.

    Raises:
      ValueError: as ``softeq_jax.plan``; the message names the row.
    """
    try:
        acting = sq.groups.from_name(group or settings["group"])
        rules = {
            match: None if dials is None else sq.convolution_rule(acting, **dials)
            for match, dials in settings["rules"]
        }
        return sq.plan(params, rules)
    except ValueError as error:
        raise ValueError(f"row {row!r}: {error}") from error


def describe(run: Run) -> str:
    """What is filtered in a row, and what can be said before any training."""
    network = load_network(run.settings, run.data_dir)
    plan = build_plan(network.variables["params"], run.row, run.settings)
    params = plan.project(network.variables["params"])
    moved = softening.movement(plan, build_plan(params, run.row, run.settings, "so2"), params)
    layers = softening.layer_certificates(plan, params, network.geometry)
    lines = [
        f"== {run.row} ({run.settings['group']})",
        plan.describe(),
        "bounds for the pretrained weights after filtering, before fine-tuning: together they move "
        f"by {moved.certified:.4g} of their norm at most under rotations to 30 degrees (measured "
        f"{moved.measured:.4g}), by {moved.certified_group:.4g} under the whole group (measured "
        f"{moved.measured_group:.4g})",
    ]
    for path, projector, w in plan.planned(params):
        kernel = projector.certificate(w).relative
        layer = layers[path]
        said = f"<= {layer.bound:.4g}" if layer.certified else layer.reason
        lines.append(f"  {path}: kernel moves <= {kernel:.4g} of its norm; operator defect: {said}")
    return "\n".join(lines)


def tuned(run: Run, shop: Workshop, plan: sq.Plan) -> tuple[dict[str, Any], float]:
    """(folded variables, training loss over the last tenth of the steps) of a run."""
    network, tuning = shop.network, shop.tuning
    state = training.init_state(
        network.variables["params"], shop.tools.optimizer, network.model_state, seed=run.seed
    )
    state = trained.train(
        run,
        shop.tools.step,
        state,
        shop.data.source,
        tuning.steps,
        extra=plan,
        log_every=max(1, tuning.steps // 10),
        save_every=max(1, tuning.steps // 4),
        transforms=(RandomCrop(4), RandomFlip()),
        check=data.classification(run.settings["num_classes"]),
    )
    with (run.workdir / "train.csv").open() as file:
        loss = float(list(csv.DictReader(file))[-1]["train/loss"])
    params = jax.tree.map(np.asarray, plan.project(state.params))
    return {"params": params, **state.model_state}, loss


def do(run: Run) -> Record:
    """The metrics of a row, and the certificates of its layers; keeps the softened weights."""
    shop, settings = workshop(run), run.settings
    network, tools, test = shop.network, shop.tools, shop.data.test
    plan = build_plan(network.variables["params"], run.row, settings)
    rotations = build_plan(network.variables["params"], run.row, settings, "so2")
    variables, loss = tuned(run, shop, plan)
    angles = tuple(math.radians(a) for a in settings["angles"])
    images, labels = (part[: settings["images"]] for part in test)
    outcome = softening.evaluate(network, tools, variables, images, labels, angles)
    common = softening.summary(first(outcome, settings["subset"]))
    tilts = (-softening.TILT, softening.TILT)
    held = softening.evaluate(network, tools, variables, *shop.data.holdout, tilts)
    moved = softening.movement(plan, rotations, variables["params"])
    run.artifacts.mkdir(parents=True, exist_ok=True)
    models.save_cifar_resnet(run.artifacts / "softened.safetensors", variables)
    layers = layer_lines(shop, settings, plan, variables)
    certified = sum(layer["certified"] for layer in layers)
    metrics = {
        **softening.summary(outcome),
        "accuracy_common": common["accuracy"],
        "kl_30_common": common["kl_30"],
        **dataclasses.asdict(moved),
        "holdout_accuracy": held.accuracy()[0],
        "holdout_kl_30": held.kl_at(softening.TILT)[0],
        "kept": softening.kept_share(plan),
        "train_loss": loss,
        "layers": f"{certified} of {len(layers)}",
    }
    return Record(metrics, {"layers": layers})


def first(outcome: sq.measures.RotationReport, count: int) -> sq.measures.RotationReport:
    """The outcomes of the first images, which all rows share."""
    return sq.measures.RotationReport(
        outcome.angles,
        outcome.correct[:count],
        *(part[:, :count] for part in (outcome.correct_rotated, outcome.kl, outcome.kl_floor)),
    )


def layer_lines(
    shop: Workshop, settings: Settings, plan: sq.Plan, variables: Any
) -> list[dict[str, Any]]:
    """Certificate of every filtered layer, beside what real images measure.

    The operator bound covers every image under the row's group, so it is to be compared with
    ``gain_90``, the largest ``||R L(h) - L(R h)|| / ||h||`` met; ``defect_*`` is the mean relative
    to ``||L(h)||``.
    """
    network = shop.network
    certificates = softening.layer_certificates(plan, variables["params"], network.geometry)
    sample = network.preprocess(shop.data.test[0][: settings["defect_images"]])
    model = network.model.clone(axis_name=None)
    measured = {
        degrees: models.conv_defects(
            model, variables, network.geometry, sample, math.radians(degrees), train=False
        )
        for degrees in (30, 90)
    }
    return [
        {
            "layer": path,
            "certified": certificate.certified,
            "operator_bound": certificate.bound,
            "gain_90": measured[90][path].gain,
            "reason": certificate.reason,
            **{f"defect_{d}": measured[d][path].mean for d in measured},
            **{f"defect_{d}_se": measured[d][path].error for d in measured},
        }
        for path, certificate in certificates.items()
    ]


def majority(run: Run) -> dict[str, Any]:
    """The floor: the most frequent class of the images that settings are chosen by."""
    parts = load_data(run.settings, run.data_dir)
    labels = parts.test[1][: run.settings["subset"]]
    guess = np.bincount(parts.holdout[1]).argmax()
    accuracy = float(np.mean(labels == guess))
    return {"accuracy": accuracy, "accuracy_common": accuracy, "kl_30": 0.0, "kl_30_common": 0.0}


def step_cost(run: Run) -> StepCost:
    """Time and memory of a training step."""
    shop = workshop(run)
    plan = build_plan(shop.network.variables["params"], run.row, run.settings)
    state = training.init_state(
        shop.network.variables["params"], shop.tools.optimizer, shop.network.model_state
    )
    examples = [shop.data.source[i] for i in range(shop.tuning.batch_size)]
    batch = {key: np.stack([example[key] for example in examples]) for key in examples[0]}
    return trained.step_cost(shop.tools.step, state, batch, plan, steps=shop.tuning.steps)
