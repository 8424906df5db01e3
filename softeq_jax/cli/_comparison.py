"""Two checkpoints of one network, measured side by side on the same images."""

import argparse
import csv
import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from softeq_jax._atomic import replacing
from softeq_jax._text import show, table
from softeq_jax.cli import _images, _rotations
from softeq_jax.cli._image_sources import ImageSource
from softeq_jax.cli._subject import lie_errors, subject

if TYPE_CHECKING:
    from softeq_jax.models.weights import Pretrained

_HEAD = ("measure", "degrees", "A", "B", "B - A", "+-")


@dataclasses.dataclass(frozen=True)
class Measured:
    """What is measured of one network.

    Attributes:
      curves: by name and angle, ``[a, n]``, of every image.
      ratios: the same where there is one number for all images, ``[a]``.
      upright: 1 where the top class of the upright image is its label ``[n]``, None without labels.
      lie: local equivariance error by generator, ``[n]``.
      unit: what ``lie`` is of.
    """

    curves: Mapping[str, np.ndarray]
    ratios: Mapping[str, np.ndarray]
    upright: np.ndarray | None
    lie: Mapping[str, np.ndarray]
    unit: str


def run(
    arguments: argparse.Namespace, source: ImageSource, a: "Pretrained", b: "Pretrained"
) -> None:
    """Prints one table of both, and writes it with a figure if there is a folder for them.

    Raises:
      ValueError, ImportError: see ``_images.read_for``; ValueError for networks that are not one.
    """
    names = str(arguments.weights), str(arguments.other)
    check_same(a, b, names)
    (images, heading), (others, _) = (
        _images.read_for(network, source, arguments) for network in (a, b)
    )
    if not np.array_equal(images.pixels, others.pixels):
        warnings.warn(
            f"{names[1]} normalizes images otherwise than {names[0]} ({b.preprocess.source}, "
            f"{a.preprocess.source}), each gets its own; --mean and --std set both",
            stacklevel=2,
        )
    first = measured(a, images, arguments, local=True)
    second = measured(b, others, arguments, local=True)
    rows = paired(first, second, arguments.angles)
    print(f"{heading}A: {names[0]}\nB: {names[1]}\n")
    show(table(_HEAD, cells(rows), right="-rrrrr"))
    print(f"(LEE: mean square of the local equivariance error of the {first.unit})")
    if arguments.out is not None:
        written = _save(arguments.out, rows, (first, second), names)
        print("\nwritten: " + ", ".join(map(str, written)))


def check_same(a: "Pretrained", b: "Pretrained", names: tuple[str, str]) -> None:
    """Checks that two checkpoints are of one network, of one size.

    Raises:
      ValueError: they are not; the message says in what they differ.
    """
    from softeq_jax._paths import by_path

    def refuse(what: str, first: Any, second: Any) -> None:
        if first != second:
            raise ValueError(
                f"{names[0]} and {names[1]} are not one network: {what} is {first} in the first, "
                f"{second} in the second; measure them one by one"
            )

    refuse("the family", a.report.family, b.report.family)
    refuse("the class of the model", a.report.model, b.report.model)
    for field in dataclasses.fields(a.model):
        if field.init and field.name not in ("parent", "name"):
            refuse(field.name, *(getattr(network.model, field.name) for network in (a, b)))
    shapes = [{p: v.shape for p, v in by_path(n.variables).items()} for n in (a, b)]
    for path in {**shapes[0], **shapes[1]}:
        refuse(f"the shape of {path}", *(found.get(path, "none") for found in shapes))
    refuse("the size of images", a.preprocess.image_size, b.preprocess.image_size)


def measured(
    network: "Pretrained", images: _images.Images, arguments: argparse.Namespace, local: bool
) -> Measured:
    """Measures a network.

    Args:
      network: which.
      images: as it takes them.
      arguments: of the command.
      local: whether the local equivariance error is measured as well.
    """
    chosen = subject(network.model, network.variables, images.pixels)
    lie = lie_errors(chosen, images.pixels, arguments.batch_size) if local else {}
    turned = _rotations.measured(chosen, images.pixels, arguments.angles, arguments.batch_size)
    known = turned.upright is not None and images.labels is not None
    return Measured(
        turned.curves(images.labels),
        {} if chosen.classes else {"relative error": turned.error.per_transform},
        np.asarray(turned.upright == images.labels, np.float64) if known else None,
        {name: errors.mean_sq for name, errors in lie.items()},
        chosen.unit,
    )


Row = tuple[str, float | None, float, float, float, float | None]


def paired(a: Measured, b: Measured, angles: tuple[float, ...]) -> list[Row]:
    """Measure, degrees, both values, their difference and its standard error over images."""

    def row(name: str, angle: float | None, first: np.ndarray, second: np.ndarray) -> Row:
        from softeq_jax.measures import mean_and_error

        difference, error = mean_and_error(second - first)
        return name, angle, float(first.mean()), float(second.mean()), difference, error

    rows = []
    if a.upright is not None and b.upright is not None:
        rows.append(row("accuracy upright", None, a.upright, b.upright))
    for name, ratios in a.ratios.items():
        for angle, first, second in zip(angles, ratios, b.ratios[name], strict=True):
            values = float(first), float(second)
            rows.append((name, angle, *values, values[1] - values[0], None))
    for name, curve in a.curves.items():
        pairs = zip(angles, curve, b.curves[name], strict=True)
        rows += [row(name, angle, first, second) for angle, first, second in pairs]
    return [*rows, *(row(f"LEE {name}", None, v, b.lie[name]) for name, v in a.lie.items())]


def cells(rows: list[Row]) -> list[list[str]]:
    """The rows as text."""
    return [[name, *("" if v is None else f"{v:.4g}" for v in values)] for name, *values in rows]


def _save(
    folder: Path, rows: list[Row], found: tuple[Measured, Measured], names: tuple[str, str]
) -> list[Path]:
    written = [folder / "comparison.csv", folder / "comparison.png"]
    with replacing(written[0]) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_HEAD)
        writer.writerows(rows)
    with replacing(written[1]) as partial:
        _figure(rows, found, names).savefig(partial, format="png", dpi=150)
    return written


def _figure(rows: list[Row], found: tuple[Measured, Measured], files: tuple[str, str]) -> Any:
    """A panel for every measure against the angle, and one of the local errors."""
    from matplotlib.figure import Figure

    from softeq_jax.measures.figures import COLORS

    names = list(dict.fromkeys(row[0] for row in rows if row[1] is not None))
    figure = Figure(figsize=(3.6 * (len(names) + 1), 3.4), layout="constrained")
    *panels, last = figure.subplots(1, len(names) + 1, squeeze=False)[0]
    for axis, name in zip(panels, names, strict=True):
        chosen = np.array(sorted(row[1:4] for row in rows if row[0] == name))
        for i, label in enumerate("AB"):
            axis.plot(chosen[:, 0], chosen[:, 1 + i], "o-", color=COLORS[i], label=label)
        axis.set_xlabel("degrees")
        axis.set_title(name, fontsize=9)
    at = np.arange(len(found[0].lie))
    for i, (one, label) in enumerate(zip(found, "AB", strict=True)):
        values = [errors.mean() for errors in one.lie.values()]
        last.bar(at + (i - 0.5) * 0.4, values, 0.4, color=COLORS[i], label=label)
    if all(errors.mean() > 0 for one in found for errors in one.lie.values()):
        last.set_yscale("log")
    last.set_xticks(at, [name.replace("_", " ") for name in found[0].lie], rotation=30)
    last.set_title(f"local error of the {found[0].unit}", fontsize=9)
    figure.suptitle(f"A: {files[0]}   B: {files[1]}", fontsize=9)
    for axis in (*panels, last):
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    return figure
