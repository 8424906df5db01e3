"""``softeq measure``: how far a network is from equivariance, on a user's images."""

import argparse
import csv
import dataclasses
import importlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from softeq_jax._atomic import replacing
from softeq_jax._text import plural, table
from softeq_jax.cli import _arguments, _images, _rotations
from softeq_jax.cli._image_sources import HELP, ImageSource, open_images
from softeq_jax.cli._progress import shown

if TYPE_CHECKING:
    from softeq_jax.measures import LieErrors
    from softeq_jax.models.weights import Preprocess

GENERATORS = ("translation_x", "translation_y", "rotation", "scale")


def register(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "measure",
        help="measure how equivariant a checkpoint is on images",
        description="Measures the local equivariance error of a checkpoint, and how consistent it "
        "is under finite rotations (bilinear, the corners filled with the mean color).",
    )
    _arguments.add_weights(parser)
    parser.add_argument("--data", required=True, help=HELP)
    parser.add_argument("--data-dir", help="where TFDS data sets are (default: where TFDS looks)")
    parser.add_argument(
        "--limit", type=_arguments.positive, default=64, help="images at most (default: 64)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of their choice (default: 0)")
    parser.add_argument(
        "--batch-size", type=_arguments.positive, default=16, help="images at a time (default: 16)"
    )
    parser.add_argument(
        "--angles",
        type=_arguments.degrees,
        default=(0.0, 15.0, 30.0, 45.0, 90.0),
        help="degrees, counter-clockwise (default: 0,15,30,45,90)",
    )
    parser.add_argument("--mean", type=_arguments.numbers, help="of the channels, in [0, 1]")
    parser.add_argument("--std", type=_arguments.numbers, help="of the channels, in [0, 1]")
    parser.add_argument(
        "--size", type=_arguments.positive, metavar="PIXELS", help="side of the images"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="also write tables (CSV) and figures (PNG) there"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Prints the measures.

    Raises:
      ValueError, FileNotFoundError, ImportError: see ``_arguments.load``, ``open_images`` and
        ``_images.read``; ValueError for images that the network does not take, labels beyond its
        classes, or outputs that are not finite.
    """
    import jax

    if arguments.out is not None:
        importlib.import_module("matplotlib")  # needed at the very end
    if arguments.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {arguments.seed}")
    source = open_images(arguments.data, arguments.data_dir)
    network = _arguments.load(arguments)
    preprocess = _overridden(network.preprocess, arguments)
    images = _images.read(source, arguments.limit, arguments.seed, preprocess)
    model = network.model

    def apply(variables: Any, pixels: Any) -> Any:
        return model.apply(variables, pixels, train=False)

    f = jax.tree_util.Partial(apply, network.variables)
    shape = jax.eval_shape(f, images.pixels).shape
    classes = len(shape) == 2 and bool(getattr(model, "num_classes", 0))
    if classes and images.labels is not None and images.labels.max() >= shape[1]:
        raise ValueError(
            f"{source.name}: has a label {images.labels.max()}, the network has {shape[1]} classes"
        )
    print(_heading(source, images, preprocess))
    output = "image" if len(shape) == 4 else "invariant"
    lie = lie_errors(f, images.pixels, output, classes, arguments.batch_size)
    print(_lie_table(lie, output, "probabilities" if classes else "outputs"))
    turned = _rotations.measured(
        f, images.pixels, arguments.angles, output, classes, arguments.batch_size
    )
    print(f"\n{turned.table(images.labels)}")
    if arguments.out is not None:
        written = _save(arguments.out, lie, turned, images)
        print("\nwritten: " + ", ".join(map(str, written)))


def lie_errors(
    f: Any, pixels: np.ndarray, output: str, classes: bool, batch_size: int
) -> "dict[str, LieErrors]":
    """``measures.lie_errors`` in batches, so that there is something to show in between."""
    from softeq_jax import measures

    head = "probabilities" if classes else "logits"
    found: list[dict[str, Any]] = []
    for piece, real in shown(list(measures.batches(pixels, batch_size)), "batch"):
        errors = measures.lie_errors(f, piece, GENERATORS, output=output, head=head)
        found.append({name: (error, real) for name, error in errors.items()})
    return {name: _joined([piece[name] for piece in found]) for name in GENERATORS}


def _joined(pieces: "list[tuple[LieErrors, int]]") -> "LieErrors":
    first = pieces[0][0]
    arrays = {
        field.name: np.concatenate([getattr(errors, field.name)[:real] for errors, real in pieces])
        for field in dataclasses.fields(first)
        if field.name != "entries"
    }
    return dataclasses.replace(first, **arrays)


def _overridden(preprocess: "Preprocess", arguments: argparse.Namespace) -> "Preprocess":
    changes: dict[str, Any] = {}
    channels = len(preprocess.mean)
    for name in ("mean", "std"):
        given = getattr(arguments, name)
        if given is None:
            continue
        if len(given) not in (1, channels):
            raise ValueError(f"--{name} needs {channels} numbers, got {len(given)}")
        changes[name] = given * channels if len(given) == 1 else given
    if min(changes.get("std", (1.0,))) <= 0:
        raise ValueError(f"--std must be positive, got {arguments.std}")
    if arguments.size is not None:
        changes["image_size"] = arguments.size
        changes["resize"] = round(arguments.size * preprocess.resize / preprocess.image_size)
    if changes:
        changes["source"] = f"{preprocess.source}, changed by arguments"
    return dataclasses.replace(preprocess, **changes)


def _heading(source: ImageSource, images: _images.Images, preprocess: "Preprocess") -> str:
    n, side = images.pixels.shape[:2]
    mean, std = (
        ",".join(f"{v:.4g}" for v in values) for values in (preprocess.mean, preprocess.std)
    )
    note = f"\n{source.note}" if source.note else ""
    return (
        f"{n:,} of {plural(source.length, 'image')} of {source.name}{note}\n"
        f"{side} x {side} pixels from {preprocess.resize}, {preprocess.interpolation}, "
        f"mean {mean}, std {std} ({preprocess.source})\n"
    )


def _lie_table(lie: "dict[str, LieErrors]", output: str, of_what: str) -> str:
    """Of invariant outputs the relative error is 1 by definition, so there is another one."""
    from softeq_jax import measures

    free = "lipschitz" if output == "invariant" else "relative"
    rows = []
    for name, errors in lie.items():
        value, error = measures.mean_and_error(errors.mean_sq)
        scale_free = float(np.mean(getattr(errors, free)))
        rows.append((name, f"{value:.4g}", f"{error:.2g}", f"{scale_free:.4g}"))
    shown_table = table(("generator", "mean square", "+-", free), rows, right="-rrr")
    unit = "per pixel, per radian, per unit of log scale"
    return f"local equivariance error of the {of_what} ({unit})\n{shown_table}"


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
