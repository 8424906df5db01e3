"""A run of the zoo: training of a network, its measures, or the published protocol."""

import functools
import math
from pathlib import Path
from typing import Any

import jax

from experiments.measure import subject as of
from experiments.measure.subject import Subject
from experiments.shared.batch_statistics import batch_moments, merged_moments
from experiments.shared.runs import data_digest, file_digest
from experiments.shared.studies import Record, Run, Settings, StepCost
from experiments.zoo import layers, networks
from softeq_jax import measures, models
from softeq_jax.data import IMAGENET_MEAN, IMAGENET_STD


def do(run: Run) -> Record:
    """The run's part: "trained", "measured" or "protocol"."""
    return {"trained": train, "measured": measure, "protocol": protocol}[run.settings["part"]](run)


def train(run: Run) -> Record:
    """A network trained on CIFAR-10: accuracy at the end, digests of its checkpoints."""
    facts = networks.network_of(run).facts
    digests = [{"checkpoint": name} | found for name, found in facts["checkpoints"].items()]
    metrics = {
        "accuracy": facts["checkpoints"]["end"]["accuracy"],
        "parameters": facts["parameters"],
    }
    return Record(metrics, {"weights": digests})


def subject_of(run: Run) -> Subject:
    """The network of a run at its checkpoint, with test images."""
    settings = run.settings
    if "weights" in settings:
        return _published(
            run.data_dir, settings["weights"], settings["set"], settings["side"], settings["count"]
        )
    images, labels = networks.test_images(settings, run.data_dir)
    model, variables = networks.network_of(run).load(settings["checkpoint"])
    return Subject(model, variables, images, labels, IMAGENET_MEAN, IMAGENET_STD)


@functools.lru_cache(maxsize=1)
def _published(data_dir: Path | None, weights: str, name: str, side: int, count: int) -> Subject:
    if weights:
        assert data_dir is not None, "the study's needs were checked"
        return of.published(data_dir / weights, data_dir / "tfds", name, count, side)
    model = models.CifarResNet(depth=8, width=4)
    settings = networks.TINY
    images, labels = networks.test_images(settings, None)
    variables = networks.drawn(model, settings["side"], 0)
    return Subject(model, variables, images, labels, IMAGENET_MEAN, IMAGENET_STD)


def measure(run: Run) -> Record:
    """All measures of one network at one checkpoint."""
    settings = run.settings
    subject = subject_of(run)
    batch = settings["batch_images"]
    lie = of.lie_rows(subject, settings["lie"] | {"batch_size": batch})
    found = {
        "parameters": subject.parameters(),
        "accuracy": accuracy_of(run, subject),
        "consistency": subject.consistency(
            settings["consistency_images"], settings["reach"], settings["forward_images"]
        ),
        **of.headline(lie, subject.classifies),
    }
    tables = {"lie": lie}
    how = settings["lie"] | {"batch_size": batch, "draws": settings["draws"]}
    tables["controls"] = of.control_rows(subject, how, begun(run, subject))
    found |= of.control_headline(tables["controls"])
    tables["similarity"] = similarity_rows(subject, settings)
    if settings["layers"]:
        tables["layers"] = layers.layer_rows(subject, settings["layers"])
        for key, stencil in (("nonlinear", "central"), ("nonlinear_mirror", "spectral_mirror")):
            found[key] = layers.share_of(
                tables["layers"], layers.NONLINEARITY, stencil=stencil, low_pass=1.0
            )
    return Record({k: v for k, v in found.items() if math.isfinite(v)}, tables)


def accuracy_of(run: Run, subject: Subject) -> float:
    """Per cent of the test images; of networks trained here it is known."""
    if "weights" in run.settings:
        return subject.accuracy(run.settings["forward_images"])
    facts = networks.network_of(run).facts
    return facts["checkpoints"][run.settings["checkpoint"]]["accuracy"]


def begun(run: Run, subject: Subject) -> Any:
    """The variables before training: the network's own, or another draw of a published one's.

    A draw gets the batch statistics of the images that are measured. With mean 0 and variance 1 the
    outputs of a deep network grow until its probabilities saturate, and LEE underflows.
    """
    if "weights" not in run.settings:
        return networks.network_of(run).load("init")[1]
    variables = networks.drawn(subject.model, subject.images.shape[1], 0)
    if "batch_stats" not in variables:
        return variables
    moments = jax.jit(functools.partial(batch_moments, subject.model))
    images = subject.inputs(0, run.settings["forward_images"])
    return {**variables, "batch_stats": merged_moments([moments(variables, images)])}


def similarity_rows(subject: Subject, settings: Settings) -> list[dict[str, Any]]:
    """CKA, SVCCA and RSA of pooled features with those of moved images, and of other images."""
    pooled: Any = subject.model
    if getattr(pooled, "num_classes", 0):
        pooled = pooled.clone(num_classes=0)
    features: Any = measures.linen(pooled, subject.variables, train=False)
    x = subject.inputs(0, settings["lie"]["images"])
    moves = {
        "shift": measures.shift(settings["reach"], settings["reach"]),
        "rotation": measures.rotation(math.radians(15)),
    }
    found = measures.feature_similarity(
        features, x, list(moves.values()), batch_size=settings["forward_images"], blocks=0
    )
    keys = ("measure", "value", "control")
    by_name = {move.name: name for name, move in moves.items()}
    return [
        {"transform": by_name[row["transform"]], **{key: row[key] for key in keys}}
        for row in found.rows()
    ]


def protocol(run: Run) -> Record:
    """LEE by the published end-to-end protocol beside ours, on one network.

    Theirs: softmax, one image at a time, forward differences, mean of absolute values, coordinates
    from -1 to 1 between the corners' centers. Ours: as in the other rows of this study.
    """
    settings, subject = run.settings, subject_of(run)
    x = subject.inputs(0, max(settings["lie"]["images"], settings["protocol_images"]))
    half = (x.shape[1] - 1) / 2
    f, rows = subject.function, []
    theirs = measures.lie_errors(
        f,
        x[: settings["protocol_images"]],
        list(of.EIGHT),
        head="probabilities",
        stencil="forward",
        batch_size=1,
    )
    cases = {"probabilities": "probabilities", "logits": "logits"}
    ours = {
        name: measures.lie_errors(
            f,
            x[: settings["lie"]["images"]],
            list(of.EIGHT),
            head=head,
            batch_size=settings["batch_images"],
        )
        for name, head in cases.items()
    }
    for name, errors in theirs.items():
        unit = half if name in of.TRANSLATIONS else 1.0
        mean, error = measures.mean_and_error(unit * errors.mean_abs)
        row = {"generator": name, "published": mean, "published_se": error}
        for case, found in ours.items():
            row[case], row[f"{case}_se"] = measures.mean_and_error(found[name].mean_sq)
        rows.append(row)
    return Record({}, {"protocol": rows})


def inputs(settings: Settings, data_dir: Path | None) -> dict[str, str]:
    """Digests of published weights and of the data."""
    if data_dir is None:
        return {}
    files = {
        one["weights"]: _digest(data_dir / one["weights"])
        for one in settings["published"].values()
        if one["weights"]
    }
    sets = {one["set"] for one in settings["published"].values()} | {settings["data"]}
    return files | {name: data_digest(data_dir / "tfds" / name) for name in sorted(sets) if name}


def _digest(path: Path) -> str:
    return data_digest(path) if path.is_dir() else file_digest(path)


def step_cost(run: Run) -> StepCost | None:
    """A training step; of a measured network the forward pass, with LEE in units of it.

    Only of one checkpoint, as all cost the same.
    """
    settings = run.settings
    if settings["part"] == "trained":
        return networks.step_cost(run)
    if settings["part"] != "measured" or not settings["final"]:
        return None
    count = settings["lie"]["images"]
    if "weights" in settings:
        subject = subject_of(run)
    else:  # what it takes does not depend on the weights, so nothing is trained
        images, labels = networks.test_images(settings, run.data_dir)
        model = networks.build(settings["model"])
        variables = networks.drawn(model, settings["side"], run.seed)
        subject = Subject(model, variables, images, labels, IMAGENET_MEAN, IMAGENET_STD)
    found = of.lee_in_forwards(subject, count, settings["batch_images"])
    key = "LEE of 8 generators, in forwards of the same images"
    return StepCost(found["forward_ms"], found["bytes"] / 2**20, 1, {key: found["ratio"]})
