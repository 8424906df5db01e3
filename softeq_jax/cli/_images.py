"""The images that a command was given, as a network takes them."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from softeq_jax._text import plural
from softeq_jax.cli import _arguments
from softeq_jax.cli._image_sources import HELP, ImageSource, open_images
from softeq_jax.cli._preparation import overridden, prepared
from softeq_jax.cli._progress import shown
from softeq_jax.cli._provenance import Provenance

if TYPE_CHECKING:
    from softeq_jax.models.weights import Preprocess, Pretrained


@dataclasses.dataclass(frozen=True)
class Images:
    """Prepared images.

    Attributes:
      pixels: float32 ``[n, side, side, c]``, normalized.
      labels: int64 ``[n]``, or None if there are none.
    """

    pixels: np.ndarray
    labels: np.ndarray | None


def add_options(parser: Any, required: bool) -> None:
    """Adds the arguments that say which images are measured on, and how they are prepared."""
    positive = _arguments.positive
    add_source(parser, required)
    parser.add_argument("--limit", type=positive, default=64, help="images at most (default: 64)")
    parser.add_argument(
        "--batch-size", type=positive, default=16, help="images at a time (default: 16)"
    )
    parser.add_argument(
        "--angles",
        type=_arguments.degrees,
        default=(0.0, 15.0, 30.0, 45.0, 90.0),
        help="degrees, counter-clockwise (default: 0,15,30,45,90)",
    )


def add_source(parser: Any, required: bool) -> None:
    """Adds the arguments that say which images there are, and how they are prepared."""
    numbers = _arguments.numbers
    parser.add_argument("--data", required=required, help=HELP)
    parser.add_argument("--data-dir", help="where TFDS data sets are (default: where TFDS looks)")
    parser.add_argument("--seed", type=int, default=0, help="of their choice (default: 0)")
    parser.add_argument("--mean", type=numbers, help="of the channels, in [0, 1]")
    parser.add_argument("--std", type=numbers, help="of the channels, in [0, 1]")
    parser.add_argument(
        "--size", type=_arguments.positive, metavar="PIXELS", help="side of the images"
    )


def opened(arguments: argparse.Namespace) -> ImageSource:
    """The source of ``--data``.

    Raises:
      ValueError, FileNotFoundError, ImportError: see ``open_images``; ValueError for a seed < 0.
    """
    if arguments.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {arguments.seed}")
    return open_images(arguments.data, arguments.data_dir)


def read_for(
    network: "Pretrained", source: ImageSource, arguments: argparse.Namespace
) -> tuple[Images, str]:
    """Images as a network takes them, and what they are, in words.

    Labels of folders count where the network's classes are known to have their names, or where
    there are as many.

    Raises:
      ValueError, ImportError: see ``read``; ValueError for labels beyond the network's classes, or
        arguments that do not fit.
    """
    preprocess = overridden(network.preprocess, arguments)
    images = read(source, arguments.limit, arguments.seed, preprocess)
    count, note = getattr(network.model, "num_classes", 0), ""
    if source.classes and count:
        meant = meaning(source, Provenance.of(network), count)
        labels = None if meant is None or images.labels is None else meant[images.labels]
        note = "" if meant is not None else "the folders are not the classes of the network\n"
        images = dataclasses.replace(images, labels=labels)
    if count and images.labels is not None and images.labels.max() >= count:
        raise ValueError(
            f"{source.name}: has a label {images.labels.max()}, the network has {count} classes"
        )
    return images, f"{_heading(source, images, preprocess)}{note}"


def meaning(source: ImageSource, made: Provenance | None, count: int) -> np.ndarray | None:
    """From the number of a folder to the class of a network; None if it has others.

    Args:
      source: with folders by class.
      made: the provenance of the network, whose classes may have names.
      count: of the network's classes.
    """
    names = made.classes if made is not None else []
    if not names:
        return np.arange(count) if len(source.classes) == count else None
    if len(names) != count or not set(source.classes) <= set(names):
        return None
    return np.array([names.index(name) for name in source.classes])


def read(source: ImageSource, limit: int, seed: int, preprocess: "Preprocess") -> Images:
    """Some images of a source, in a random order.

    Args:
      source: of the images.
      limit: how many at most.
      seed: of the choice and the order.
      preprocess: how to prepare them.

    Raises:
      ValueError: there are none, or one cannot be prepared; the message names it.
      ImportError: Pillow is needed and not installed.
    """
    if not source.length:
        raise ValueError(f"{source.name}: holds no images")
    chosen = np.random.default_rng(seed).permutation(source.length)[:limit]
    pixels, labels = [], []
    for index in shown([int(i) for i in chosen], "image"):
        record = source.get(index)
        try:
            pixels.append(prepared(record.image, preprocess))
        except ValueError as error:
            raise ValueError(f"{record.what}: {error}") from error
        labels.append(record.label)
    return Images(np.stack(pixels), None if None in labels else np.array(labels))


def _heading(source: ImageSource, images: Images, preprocess: "Preprocess") -> str:
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
