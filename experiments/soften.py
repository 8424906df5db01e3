r"""Softens a pretrained network at several settings, fine-tunes, evaluates, certifies.

    python -m experiments.soften --config experiments/configs/cifar10_resnet20.py \
        --data_dir $SOFTEQ_DATA_DIR --workdir outputs/cifar10_resnet20

``--dry_run`` prints the plan of every row (which parameter, which action, which level, what rank,
what bound) and trains nothing. Rows that are finished are kept: run the same command again after
an interruption. The work directory ends with ``table.md``, ``table.csv``, ``layers.csv``,
``figure.png`` and the softened weights of every row (safetensors, the names of the input file).
"""

import dataclasses
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict, config_flags

import softeq_jax as sq
from experiments import figures, report, softening
from softeq_jax import models, training

_CONFIG = config_flags.DEFINE_config_file("config", None, "The study.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where rows, tables and figures go.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    os.environ.get("SOFTEQ_DATA_DIR"),
    "Folder with tfds/ and pretrained/ (default: the variable SOFTEQ_DATA_DIR).",
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the plans only.")

ROTATED = math.radians(30)
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Data:
    """What rows are trained on, chosen by, and evaluated on.

    Attributes:
      source: the training images that are not held out.
      holdout: training images and labels that settings are chosen by.
      test: test images and labels, in a fixed random order: the subset comes first.
      subset: how many test images every row is evaluated on.
    """

    source: training.ArraySource
    holdout: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    subset: int


@dataclasses.dataclass(frozen=True)
class Study:
    """What all rows share."""

    config: ConfigDict
    network: softening.Network
    weights_digest: str
    data: Data
    tools: softening.Tools
    workdir: Path

    def fingerprint(self, row: ConfigDict) -> str:
        """Digest of everything that decides a row."""
        shared = {k: v for k, v in self.config.to_dict().items() if k != "rows"}
        text = json.dumps([shared, row.to_dict(), self.weights_digest], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_network(config: ConfigDict, data_dir: Path) -> softening.Network:
    """The pretrained network of a config, with the geometry of its convolutions."""
    model, variables = models.load_cifar_resnet(data_dir / config.weights)
    model = dataclasses.replace(model, axis_name=training.AXIS)
    mean, std = np.float32(config.data.mean), np.float32(config.data.std)

    def preprocess(images: Any) -> Any:
        return (images / np.float32(255) - mean) / std

    geometry = models.conv_geometry(
        model.clone(axis_name=None), variables, (1, *config.data.image_shape), train=False
    )
    return softening.Network(model, variables, geometry, preprocess)


def load_data(config: ConfigDict, data_dir: Path) -> Data:
    """Reads the data set; the held-out training images are never trained on."""
    data = config.data
    folder = data_dir / data.folder
    source = training.open_source(data.name, "train", folder)
    order = np.random.default_rng(data.holdout_seed).permutation(len(source))
    holdout, kept = order[: data.holdout], np.sort(order[data.holdout :])
    train = training.ArraySource(*training.load_arrays(source, kept, num_classes=data.num_classes))
    held = training.load_arrays(source, holdout, num_classes=data.num_classes)
    images, labels = training.load_arrays(
        training.open_source(data.name, "test", folder), num_classes=data.num_classes
    )
    order = np.random.default_rng(data.subset_seed).permutation(len(images))
    return Data(train, held, (images[order], labels[order]), min(data.subset, len(images)))


def build_plan(params: Any, row: ConfigDict) -> sq.Plan:
    """The plan of one row.

    Raises:
      ValueError: as ``softeq_jax.plan``; the message names the row.
    """
    try:
        group = sq.groups.from_name(row.group)
        rules = {
            match: None if dials is None else sq.convolution_rule(group, **dials)
            for match, dials in row.rules
        }
        return sq.plan(params, rules)
    except ValueError as error:
        raise ValueError(f"row {row.name!r}: {error}") from error


def rotation_plan(params: Any, row: ConfigDict) -> sq.Plan:
    """SO(2) on the kernels that a row filters, to certify every row at the same angles."""
    so2 = sq.groups.so(2)
    rules = {
        match: None if dials is None else sq.convolution_rule(so2) for match, dials in row.rules
    }
    return sq.plan(params, rules)


def describe(row: ConfigDict, plan: sq.Plan, network: softening.Network) -> str:
    """The dry run of one row: what is filtered, and what can be said before any training."""
    params = plan.project(network.variables["params"])
    moved = softening.movement(plan, rotation_plan(params, row), params)
    layers = softening.layer_certificates(plan, params, network.geometry)
    lines = [
        f"== {row.name} ({row.group})",
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


def run_row(study: Study, row: ConfigDict) -> dict[str, Any]:
    """Fine-tunes and evaluates one row, or reads it if it is finished.

    Raises:
      ValueError: the work directory holds this row made with other settings or weights.
    """
    config, network, data = study.config, study.network, study.data
    folder = study.workdir / "rows" / _slug(row.name)
    made_with = study.fingerprint(row)
    finished = folder / "row.json"
    if finished.exists():
        record = json.loads(finished.read_text())
        if record["made_with"] != made_with:
            raise ValueError(
                f"{finished} was made with other settings or weights: choose another --workdir, "
                "or remove the row"
            )
        _log.info("row %s is finished", row.name)
        return record["row"]
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    plan = build_plan(network.variables["params"], row)
    variables, loss = _tuned(study, row, plan, folder / "state")
    angles = tuple(math.radians(a) for a in config.angles)
    images, labels = (part[: data.subset] for part in data.test)
    outcome = softening.evaluate(network, study.tools, variables, images, labels, angles)
    held = softening.evaluate(network, study.tools, variables, *data.holdout, (-ROTATED, ROTATED))
    rotations = rotation_plan(network.variables["params"], row)
    moved = softening.movement(plan, rotations, variables["params"])
    layers = _layers(config, network, plan, variables, images)
    result = (
        softening.summary(outcome)
        | dataclasses.asdict(moved)
        | {
            "holdout_accuracy": held.accuracy()[0],
            "holdout_kl_30": held.kl_at(ROTATED)[0],
            "name": row.name,
            "group": row.group,
            "kept": softening.kept_share(plan),
            "train_loss": loss,
            "layers": f"{sum(layer['certified'] for layer in layers)} of {len(layers)}",
            "seconds": time.monotonic() - started,
        }
    )
    models.save_cifar_resnet(folder / "softened.safetensors", variables)
    report.write_csv(folder / "layers.csv", layers)
    record = {"made_with": made_with, "row": result}
    report.write_atomically(finished, json.dumps(record, indent=1))
    return result


def nearest_to_target(
    rows: Sequence[Mapping[str, Any]], reference: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The row closest to the target, by the held-out images: the smallest sum of misses.

    The target is an accuracy within 0.5 point of the unfiltered row at 30 % less KL at 30
    degrees; a miss counts in units of 0.5 point and of 30 %.
    """

    def miss(row: Mapping[str, Any]) -> float:
        lost = reference["holdout_accuracy"] - row["holdout_accuracy"]
        saved = 1.0 - row["holdout_kl_30"] / reference["holdout_kl_30"]
        return max(0.0, lost / 0.005 - 1.0) + max(0.0, 1.0 - saved / 0.3)

    return min(rows, key=miss)


def full_row(study: Study, row: ConfigDict, result: dict[str, Any]) -> dict[str, Any]:
    """The same row evaluated on all test images; ``kl_30_common`` stays over the subset."""
    folder = study.workdir / "rows" / _slug(row.name)
    finished = folder / "full.json"
    made_with = study.fingerprint(row)
    if finished.exists():
        record = json.loads(finished.read_text())
        if record["made_with"] == made_with:
            return record["row"]
    variables, _ = training.restore(folder / "state", dict(study.network.variables))
    angles = tuple(math.radians(a) for a in study.config.angles)
    outcome = softening.evaluate(study.network, study.tools, variables, *study.data.test, angles)
    result = result | softening.summary(outcome) | {"kl_30_common": result["kl_30_common"]}
    report.write_atomically(finished, json.dumps({"made_with": made_with, "row": result}, indent=1))
    return result


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _tuned(
    study: Study, row: ConfigDict, plan: sq.Plan, path: Path
) -> tuple[dict[str, Any], float]:
    """The folded variables of a row, from its checkpoint if training had finished."""
    made_with = study.fingerprint(row)
    if path.exists():
        variables, meta = training.restore(path, dict(study.network.variables))
        if meta["made_with"] == made_with:
            return variables, meta["loss"]
    variables, loss = softening.fine_tune(
        study.network,
        study.tools,
        plan,
        study.data.source,
        fine_tuning(study.config),
        augment=training.random_crop_flip,
        progress=row.name,
    )
    training.save(path, variables, {"made_with": made_with, "loss": loss})
    return variables, loss


def _layers(
    config: ConfigDict,
    network: softening.Network,
    plan: sq.Plan,
    variables: Mapping[str, Any],
    images: np.ndarray,
) -> list[dict[str, Any]]:
    """Certificate of every filtered layer, beside its measured defect on real images."""
    certificates = softening.layer_certificates(plan, variables["params"], network.geometry)
    sample = network.preprocess(images[: config.defect_images])
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
            "operator_norm_bound": certificate.weight_norm,
            "reason": certificate.reason,
            **{f"defect_{d}": measured[d][path][0] for d in measured},
            **{f"defect_{d}_se": measured[d][path][1] for d in measured},
        }
        for path, certificate in certificates.items()
    ]


def fine_tuning(config: ConfigDict) -> softening.FineTuning:
    """The fine-tuning settings of a config."""
    return softening.FineTuning(**config.finetune.to_dict())


def run(config: ConfigDict, data_dir: Path, workdir: Path) -> list[dict[str, Any]]:
    """Runs every row of a study and writes its tables and figure."""
    names = [row.name for row in config.rows]
    if len(set(names)) != len(names) or config.reference not in names:
        raise ValueError(f"rows need distinct names, {config.reference!r} among them; got {names}")
    network = load_network(config, data_dir)
    plans = {row.name: build_plan(network.variables["params"], row) for row in config.rows}
    _log.info("%d rows, all plans valid", len(plans))
    data = load_data(config, data_dir)
    tools = softening.compile_tools(network, fine_tuning(config))
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(config.to_json_best_effort(indent=1))
    digest = hashlib.sha256((data_dir / config.weights).read_bytes()).hexdigest()
    study = Study(config, network, digest, data, tools, workdir)
    rows = {row.name: run_row(study, row) for row in config.rows}
    reference = rows[config.reference]
    groups = {row["group"] for name, row in rows.items() if name != config.reference}
    best = [
        nearest_to_target(
            [r for name, r in rows.items() if r["group"] == group and name != config.reference],
            reference,
        )["name"]
        for group in sorted(groups)
    ]
    for row in config.rows:
        if row.name in (config.reference, *best):
            rows[row.name] = full_row(study, row, rows[row.name]) | {"full": True}
    rows = report.with_changes(list(rows.values()), rows[config.reference])
    report.write_csv(workdir / "table.csv", rows)
    header = f"# {config.title}\n\n{report.markdown_table(rows)}\n\n{report.LEGEND}\n"
    report.write_atomically(workdir / "table.md", header)
    figures.trade_off(rows, reference, workdir / "figure.png", config.title)
    return rows


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    logging.basicConfig(level=logging.INFO)
    if not _DATA_DIR.value:
        raise app.UsageError("--data_dir is needed (or the variable SOFTEQ_DATA_DIR)")
    config, data_dir = _CONFIG.value, Path(_DATA_DIR.value)
    if _DRY_RUN.value:
        network = load_network(config, data_dir)
        for row in config.rows:
            plan = build_plan(network.variables["params"], row)
            print(describe(row, plan, network), end="\n\n")
        return
    if not _WORKDIR.value:
        raise app.UsageError("--workdir is needed (or --dry_run)")
    rows = run(config, data_dir, Path(_WORKDIR.value))
    print(report.terminal_table(rows), report.LEGEND, sep="\n\n")
    print(f"tables, figure and weights are in {_WORKDIR.value}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    app.run(main)
