r"""The figure of the README: turned exactly and resampled; accuracy against the angle, softened.

    python -m experiments.soften.first_figure                # a minute on two cores
    python -m experiments.soften.first_figure --redraw       # from the committed CSV

The network is the ResNet of the demo (``experiments.soften.digits_demo``), trained on upright
digits; every curve got the same fine-tuning. It writes ``turned_digits.csv`` and ``first.png``
into the results of the study.
"""

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

import softeq_jax as sq
from experiments.shared.figures import plt, save
from experiments.shared.report import write_csv
from experiments.soften import softening
from experiments.soften.digits_demo import enlarge, network_of, resnet_job
from softeq_jax import data

_REDRAW = flags.DEFINE_bool("redraw", False, "Draw the CSV that is there; train nothing.")

RESULTS = Path(__file__).parent / "results"
DEGREES = tuple(range(0, 91, 15))
SETTINGS = {
    "as trained": ("c4", {"cutoff": math.inf}),
    "softened, C4 .5": ("c4", {"softness": 0.5, "mask": "heat"}),
    "strict, C4": ("c4", {"cutoff": 0.0}),
}
COLORS = ("#444444", "#c1553b", "#1b6ca8")


def accuracies(steps: int = 500, tune_steps: int = 120) -> list[dict[str, Any]]:
    """Trains the network, then softens and fine-tunes it at each setting: accuracy by angle."""
    job = resnet_job(steps, tune_steps)
    images, labels, test_images, test_labels = data.digits()
    source = data.ArraySource(enlarge(images, job.size), labels)
    test_images = enlarge(test_images, job.size)
    network = network_of(job, source.images)
    tools = softening.compile_tools(network, job.train)
    trained, _ = softening.fine_tune(network, tools, None, source, job.train, progress="training")
    network = dataclasses.replace(network, variables=trained)
    tools = softening.compile_tools(network, job.tune)
    rows = []
    for name, (group, dials) in SETTINGS.items():
        plan = sq.plan(trained["params"], job.rules(sq.groups.from_name(group))).at(**dials)
        tuned, _ = softening.fine_tune(network, tools, plan, source, job.tune, progress=name)
        angles = tuple(map(math.radians, DEGREES))
        outcome = softening.evaluate(network, tools, tuned, test_images, test_labels, angles)
        share = outcome.correct_rotated.mean(axis=1)
        error = np.sqrt(share * (1 - share) / outcome.correct_rotated.shape[1])
        found = zip(DEGREES, share.tolist(), error.tolist(), strict=True)
        rows += [{"name": name, "degrees": d, "accuracy": s, "error": e} for d, s, e in found]
    return rows


def kernels() -> list[list[np.ndarray]]:
    """A kernel, turned by 30 degrees, and twelve times: exactly, then by resampling."""
    y, x = np.mgrid[-1:1:7j, -1:1:7j]
    kernel = np.exp(-2 * (x**2 + y**2)) * np.sin(4 * x)
    group = sq.groups.so(2)
    turn = sq.reps.image(group, (7, 7)).matrix(group.element(math.radians(30)))

    def resample(image: np.ndarray) -> np.ndarray:
        turned = sq.measures.rotate_bilinear(image[..., None].astype(np.float32), math.pi / 6)
        return np.asarray(turned)[..., 0]

    def exactly(image: np.ndarray) -> np.ndarray:
        return (turn @ image.ravel()).reshape(image.shape)

    found = []
    for step in (exactly, resample):
        images = [kernel]
        for _ in range(12):
            images.append(step(images[-1]))
        found.append([images[0], images[1], images[12]])
    return found


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Six kernels on the left, a curve for each setting on the right."""
    figure = plt.figure(figsize=(10, 3.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1))
    panels = left.subplots(2, 3)
    for line, images, label in zip(panels, kernels(), ("exact", "bilinear"), strict=True):
        length = np.linalg.norm(images[0])
        for panel, image, turned in zip(line, images, ("0°", "30°", "12 x 30°"), strict=True):
            panel.imshow(image, cmap="RdBu", vmin=-0.7, vmax=0.7)
            panel.set_xticks([])
            panel.set_yticks([])
            panel.set_title(turned, fontsize=9)
            panel.set_xlabel(f"length {np.linalg.norm(image) / length:.2f}", fontsize=8)
        line[0].set_ylabel(label)
    left.suptitle("Exact turns come back, resampling fades", fontsize=10)
    axes = right.subplots()
    for name, color in zip(SETTINGS, COLORS, strict=True):
        mine = [row for row in rows if row["name"] == name]
        degrees, share, error = (
            [float(row[key]) for row in mine] for key in ("degrees", "accuracy", "error")
        )
        percent, bars = 100 * np.array(share), 100 * np.array(error)
        axes.errorbar(degrees, percent, bars, color=color, marker="o", markersize=4, label=name)
    axes.set_xticks(DEGREES)
    axes.set_ylim(0, 100)
    axes.set_xlabel("test digits turned by (degrees)")
    axes.set_ylabel("accuracy (%)")
    axes.legend(frameon=False, fontsize=8)
    right.suptitle("Strict under C4: at 90° as good as upright, at a price", fontsize=10)
    save(figure, path)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    table = RESULTS / "turned_digits.csv"
    if not _REDRAW.value:
        write_csv(table, accuracies())
    with table.open(encoding="utf-8") as file:
        draw(list(csv.DictReader(file)), RESULTS / "first.png")
    print(RESULTS / "first.png")


if __name__ == "__main__":
    app.run(main)
