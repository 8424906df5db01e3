r"""The main job in four minutes, offline: soften two small networks trained on digits.

    make demo        (or: python -m experiments.soften.digits_demo --out outputs/demo)

Trains a small vision transformer and a small ResNet on scikit-learn's upright digits, softens
each with C4, D4 and SO(2) at several levels, fine-tunes briefly, and reports accuracy upright and
rotated, invariance error, and the certified bound beside the measured one.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging
from tqdm import tqdm

import softeq_jax as sq
from experiments.shared.report import write_csv
from experiments.soften import figures, report, softening
from softeq_jax import data, models, training

_OUT = flags.DEFINE_string("out", "outputs/demo", "Where the CSV and the figure go.")
_STEPS = flags.DEFINE_integer("steps", 500, "Training steps of each network.", lower_bound=1)
_TUNE = flags.DEFINE_integer("tune_steps", 120, "Fine-tuning steps of a row.", lower_bound=1)

ANGLES = tuple(math.radians(a) for a in (-30, -15, 15, 30, 90))
COLUMNS = ("name", "kept", "accuracy", "rotated", "kl_30", "change", "certified")
Rules = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Job:
    """One network of the demo: how it is made and how its weights are filtered.

    Attributes:
      name: for tables and figures.
      size: side of the images; the 8 x 8 digits are enlarged to it.
      model: Linen module.
      rules: of its plan, for a group.
      train: from fresh weights.
      tune: of every row.
      levels: how many levels of each group, from the strictest on.
    """

    name: str
    size: int
    model: Any
    rules: Callable[[sq.groups.Group], Rules]
    train: softening.FineTuning
    tune: softening.FineTuning
    levels: dict[str, int]


def vit_job(steps: int, tune_steps: int) -> Job:
    """A vision transformer: its patch kernel and its position table are filtered."""
    model = models.ViT(image_size=16, patch_size=4, width=32, depth=3, heads=4)

    def rules(group: sq.groups.Group) -> Rules:
        table = sq.reps.tokens(group, (4, 4), prefix=1)
        return {
            "patch_embed/kernel": sq.convolution_rule(group),
            "pos_embed": sq.projector("1 n c", {"n": table}),
        }

    return Job(
        "ViT",
        16,
        model,
        rules,
        softening.FineTuning(steps, 128, 3e-3, algorithm="adamw"),
        softening.FineTuning(tune_steps, 128, 1e-3, algorithm="adamw"),
        {"c4": 2, "d4": 3, "so2": 4},
    )


def resnet_job(steps: int, tune_steps: int) -> Job:
    """A residual network: every 3 x 3 kernel is filtered.

    Its maps of 17, 9 and 5 pixels keep the symmetry of the lattice under stride 2, so that under
    C4 and D4 every layer has a certificate; those of 16, 8 and 4 pixels would not.
    """
    return Job(
        "ResNet",
        17,
        models.CifarResNet(depth=8, width=8, axis_name=training.AXIS),
        lambda group: {"**/conv?/kernel": sq.convolution_rule(group)},
        softening.FineTuning(steps, 128, 0.1),
        softening.FineTuning(tune_steps, 128, 0.05),
        {"c4": 2, "d4": 2, "so2": 3},
    )


def enlarge(images: np.ndarray, size: int) -> np.ndarray:
    """Images [n, h, w, c] resampled to [n, size, size, c] by bilinear interpolation."""
    shape = (len(images), size, size, images.shape[-1])
    return np.asarray(jax.image.resize(images, shape, "linear"))


def network_of(job: Job, images: np.ndarray) -> softening.Network:
    """The network with fresh weights (seed 0)."""
    model = job.model
    local = model.clone(axis_name=None) if hasattr(model, "axis_name") else model
    variables = local.init(jax.random.key(0), images[:1], train=False)
    geometry = models.conv_geometry(local, variables, (1, *images.shape[1:]), train=False)
    return softening.Network(model, variables, geometry, preprocess=lambda x: x)


def rows_of(job: Job, parts: tuple[np.ndarray, ...]) -> list[dict[str, Any]]:
    """Trains a network, then makes its unfiltered row and one row for each group and level."""
    train_images, train_labels, test_images, test_labels = parts
    train_images, test_images = enlarge(train_images, job.size), enlarge(test_images, job.size)
    source = data.ArraySource(train_images, train_labels)
    network = network_of(job, train_images)
    tools = softening.compile_tools(network, job.train)
    variables, _ = softening.fine_tune(
        network, tools, None, source, job.train, progress=f"training the {job.name}"
    )
    network = dataclasses.replace(network, variables=variables)
    tools = softening.compile_tools(network, job.tune)
    rotations = sq.plan(variables["params"], job.rules(sq.groups.so(2)))
    settings = [("unfiltered", "so2", math.inf)]
    for name, count in job.levels.items():
        plan = sq.plan(variables["params"], job.rules(sq.groups.from_name(name)))
        finest = max((p.levels() for p in plan.projectors), key=len)
        settings += [
            (f"{plan.projectors[0].space.group!r} level {b:.3g}", name, b) for b in finest[:count]
        ]
    rows = []
    for label, group, cutoff in tqdm(settings, desc=f"softening the {job.name}", unit="row"):
        rules = job.rules(sq.groups.from_name(group))
        plan = sq.plan(variables["params"], rules).at(cutoff=cutoff)
        tuned, loss = softening.fine_tune(network, tools, plan, source, job.tune)
        outcome = softening.evaluate(network, tools, tuned, test_images, test_labels, ANGLES)
        moved = softening.movement(plan, rotations, tuned["params"])
        rows.append(
            softening.summary(outcome)
            | dataclasses.asdict(moved)
            | {"name": f"{job.name} {label}", "network": job.name, "group": group}
            | {"layers": certified_layers(plan, tuned["params"], network)}
            | {"cutoff": cutoff, "kept": softening.kept_share(plan), "train_loss": loss}
        )
    return report.with_changes(rows, rows[0])


def certified_layers(plan: sq.Plan, params: Any, network: softening.Network) -> str:
    """How many of the filtered convolutions have an operator bound over the whole group."""
    layers = softening.layer_certificates(plan, params, network.geometry).values()
    return f"{sum(layer.certified for layer in layers)} of {len(layers)}"


def run(jobs: list[Job], out: Path) -> list[dict[str, Any]]:
    """All rows of all networks; writes ``demo.csv`` and ``demo.png`` into ``out``."""
    parts = data.digits()
    by_network = {job.name: rows_of(job, parts) for job in jobs}
    out.mkdir(parents=True, exist_ok=True)
    rows = [row for part in by_network.values() for row in part]
    write_csv(out / "demo.csv", rows)
    figures.levels(
        {name: part[1:] for name, part in by_network.items()},
        {name: part[0] for name, part in by_network.items()},
        out / "demo.png",
        "Softened, two networks trained on upright digits change their minds less when these turn",
    )
    return rows


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    logging.set_verbosity(logging.WARNING)
    out = Path(_OUT.value)
    jobs = [vit_job(_STEPS.value, _TUNE.value), resnet_job(_STEPS.value, _TUNE.value)]
    rows = run(jobs, out)
    print(report.terminal_table(rows, COLUMNS), report.LEGEND, sep="\n\n")
    print(
        f"\nFigure: {out / 'demo.png'}   numbers: {out / 'demo.csv'}\n"
        "Next: the same on CIFAR-10 and a pretrained ResNet-20,\n"
        "  python -m experiments.run soften --rows --data_dir YOUR_DATA\n"
        "or the story with figures in notebooks/03_soften_a_resnet.ipynb"
    )


if __name__ == "__main__":
    app.run(main)
