"""The softening study: every row planned, fine-tuned, evaluated and certified, then the tables."""

import dataclasses
import hashlib
import logging
import math
import time
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

import softeq_jax as sq
from experiments.shared.kept_runs import as_name, digest, kept
from experiments.shared.report import write_atomically, write_csv
from experiments.soften import figures, report, softening
from experiments.soften.task import Data, load_data, load_network
from softeq_jax import models, training
from softeq_jax.data import RandomCrop, RandomFlip

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Study:
    """What all rows share."""

    config: ConfigDict
    network: softening.Network
    weights_digest: str
    data: Data
    tools: softening.Tools
    workdir: Path

    def decides(self, row: ConfigDict) -> dict[str, Any]:
        """Everything that decides a row."""
        shared = {k: v for k, v in self.config.to_dict().items() if k != "rows"}
        return {"shared": shared, "row": row.to_dict(), "weights": self.weights_digest}

    def folder(self, row: ConfigDict) -> Path:
        """Where the row is kept."""
        return self.workdir / "rows" / as_name(row.name)


def build_plan(params: Any, row: ConfigDict, group: str | None = None) -> sq.Plan:
    """The plan of one row, or the same rules under another group.

    Raises:
      ValueError: as ``softeq_jax.plan``; the message names the row.
    """
    try:
        acting = sq.groups.from_name(group or row.group)
        rules = {
            match: None if dials is None else sq.convolution_rule(acting, **dials)
            for match, dials in row.rules
        }
        return sq.plan(params, rules)
    except ValueError as error:
        raise ValueError(f"row {row.name!r}: {error}") from error


def describe(row: ConfigDict, plan: sq.Plan, network: softening.Network) -> str:
    """The dry run of one row: what is filtered, and what can be said before any training."""
    params = plan.project(network.variables["params"])
    moved = softening.movement(plan, build_plan(params, row, "so2"), params)
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
    config, network, data, folder = study.config, study.network, study.data, study.folder(row)

    def make() -> dict[str, Any]:
        started = time.monotonic()
        plan = build_plan(network.variables["params"], row)
        variables, loss = _tuned(study, row, plan)
        angles = tuple(math.radians(a) for a in config.angles)
        images, labels = (part[: data.subset] for part in data.test)
        outcome = softening.evaluate(network, study.tools, variables, images, labels, angles)
        tilts = (-softening.TILT, softening.TILT)
        held = softening.evaluate(network, study.tools, variables, *data.holdout, tilts)
        rotations = build_plan(network.variables["params"], row, "so2")
        moved = softening.movement(plan, rotations, variables["params"])
        models.save_cifar_resnet(folder / "softened.safetensors", variables)
        return {
            **softening.summary(outcome),
            **dataclasses.asdict(moved),
            "holdout_accuracy": held.accuracy()[0],
            "holdout_kl_30": held.kl_at(softening.TILT)[0],
            "name": row.name,
            "group": row.group,
            "kept": softening.kept_share(plan),
            "train_loss": loss,
            "seconds": time.monotonic() - started,
        }

    return kept(folder / "row.json", study.decides(row), make)


def full_row(study: Study, row: ConfigDict, result: dict[str, Any]) -> dict[str, Any]:
    """The same row evaluated on all test images; ``kl_30_common`` stays over the subset."""

    def make() -> dict[str, Any]:
        variables, _ = training.restore(study.folder(row) / "state", dict(study.network.variables))
        angles = tuple(math.radians(a) for a in study.config.angles)
        outcome = softening.evaluate(
            study.network, study.tools, variables, *study.data.test, angles
        )
        common = {f"{key}_common": result[key] for key in report.COMMON}
        return result | softening.summary(outcome) | common

    return kept(study.folder(row) / "full.json", study.decides(row), make)


def _tuned(study: Study, row: ConfigDict, plan: sq.Plan) -> tuple[dict[str, Any], float]:
    """The folded variables of a row, from its checkpoint if training had finished."""
    path, made_with = study.folder(row) / "state", digest(study.decides(row))
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
        transforms=(RandomCrop(4), RandomFlip()),
        progress=row.name,
    )
    training.save(path, variables, {"made_with": made_with, "loss": loss})
    return variables, loss


def layer_rows(study: Study, row: ConfigDict) -> list[dict[str, Any]]:
    """Certificate of every filtered layer of a finished row, beside what real images measure.

    The operator bound covers every image under the row's group, so it is to be compared with
    ``gain_90``, the largest ``||R L(h) - L(R h)|| / ||h||`` met; ``defect_*`` is the mean relative
    to ``||L(h)||``.
    """
    network, config = study.network, study.config
    variables, _ = training.restore(study.folder(row) / "state", dict(network.variables))
    plan = build_plan(network.variables["params"], row)
    certificates = softening.layer_certificates(plan, variables["params"], network.geometry)
    sample = network.preprocess(study.data.test[0][: config.defect_images])
    model = network.model.clone(axis_name=None)
    measured = {
        degrees: models.conv_defects(
            model, variables, network.geometry, sample, math.radians(degrees), train=False
        )
        for degrees in (30, 90)
    }
    return [
        {
            "row": row.name,
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


def fine_tuning(config: ConfigDict) -> softening.FineTuning:
    """The fine-tuning settings of a config."""
    return softening.FineTuning(**config.finetune.to_dict())


def run(config: ConfigDict, data_dir: Path, workdir: Path) -> list[dict[str, Any]]:
    """Runs every row of a study and writes its tables and figure."""
    names = [row.name for row in config.rows]
    if len(set(map(as_name, names))) != len(names) or config.reference not in names:
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
        report.nearest_to_target(
            [r for name, r in rows.items() if r["group"] == group and name != config.reference],
            reference,
        )["name"]
        for group in sorted(groups)
    ]
    layers = []
    for row in tqdm(config.rows, desc="layers and full test", unit="row"):
        if row.name in (config.reference, *best):
            rows[row.name] = full_row(study, row, rows[row.name])
        of_row = layer_rows(study, row)
        certified = sum(layer["certified"] for layer in of_row)
        rows[row.name]["layers"] = f"{certified} of {len(of_row)}"
        layers += of_row
    finished = report.with_changes(list(rows.values()), rows[config.reference])
    write_csv(workdir / "table.csv", finished)
    write_csv(workdir / "layers.csv", layers)
    write_atomically(workdir / "table.md", report.markdown_page(config.title, finished))
    figures.trade_off(finished, rows[config.reference], workdir / "figure.png", config.title)
    return finished
