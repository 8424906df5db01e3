"""``softeq measure``: how far a network is from equivariance, on a user's images."""

import argparse
import csv
import importlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from softeq_jax._atomic import replacing
from softeq_jax._text import show, table
from softeq_jax.cli import _arguments, _comparison, _images, _rotations
from softeq_jax.cli._subject import Subject, lie_errors, subject

if TYPE_CHECKING:
    from softeq_jax.measures import LieErrors


def register(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "measure",
        help="measure how equivariant a checkpoint is on images, or two side by side",
        description="Measures the local equivariance error of a checkpoint, and how consistent it "
        "is under finite rotations (bilinear, the corners filled with the mean color). Two "
        "checkpoints of one network are measured side by side, on the same images.",
    )
    _arguments.add_weights(parser)
    parser.add_argument(
        "other", metavar="OTHER", nargs="?", help="weights of the same network, to compare with"
    )
    _images.add_options(parser, required=True)
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="also write tables (CSV) and figures (PNG) there"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Prints the measures.

    Raises:
      ValueError, FileNotFoundError, ImportError: see ``_arguments.load`` and ``_images.read_for``;
        ValueError for images that the network does not take, two different networks, or outputs
        that are not finite.
    """
    if arguments.out is not None:
        importlib.import_module("matplotlib")  # needed at the very end
    source = _images.opened(arguments)
    network = _arguments.load(arguments)
    if arguments.other is not None:
        other = _arguments.load(arguments, arguments.other)
        _comparison.run(arguments, source, network, other)
        return
    images, heading = _images.read_for(network, source, arguments)
    chosen = subject(network.model, network.variables, images.pixels)
    print(heading)
    lie = lie_errors(chosen, images.pixels, arguments.batch_size)
    show(*_lie_table(lie, chosen))
    turned = _rotations.measured(chosen, images.pixels, arguments.angles, arguments.batch_size)
    show("", turned.title(images.labels), turned.table(images.labels))
    if arguments.out is not None:
        written = _save(arguments.out, lie, turned, images)
        print("\nwritten: " + ", ".join(map(str, written)))


def _lie_table(lie: "dict[str, LieErrors]", subject: Subject) -> tuple[str, str]:
    """Of invariant outputs the relative error is 1 by definition, so there is another one."""
    from softeq_jax import measures

    free = "lipschitz" if subject.output == "invariant" else "relative"
    rows = []
    for name, errors in lie.items():
        value, error = measures.mean_and_error(errors.mean_sq)
        scale_free = float(np.mean(getattr(errors, free)))
        rows.append((name, f"{value:.4g}", f"{error:.2g}", f"{scale_free:.4g}"))
    shown_table = table(("generator", "mean square", "+-", free), rows, right="-rrr")
    unit = "per pixel, per radian, per unit of log scale"
    return f"local equivariance error of the {subject.unit} ({unit})", shown_table


def _save(
    folder: Path, lie: "dict[str, LieErrors]", turned: _rotations.Rotations, images: _images.Images
) -> list[Path]:
    from softeq_jax import measures

    angles = tuple(math.radians(angle) for angle in turned.angles)
    report = measures.Report(
        images=len(images.pixels),
        setting="stencil central",
        lie=lie,
        attribution=None,
        features=None,
        finite=(),
        angles=angles,
        polar=turned.error,
        polar_floor=turned.floor,
    )
    written = report.save(folder)
    path = folder / "angles.csv"
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(turned.head(images.labels))
        writer.writerows(turned.rows(images.labels))
    return [*written, path]
