"""Images prepared for a network: resized, cropped, normalized."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from softeq_jax._text import plural
from softeq_jax.cli import _arguments
from softeq_jax.cli._image_sources import HELP, ImageSource, open_images
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


def prepared(image: Any, preprocess: "Preprocess") -> np.ndarray:
    """Resizes, crops the middle and normalizes; see ``Preprocess``.

    Args:
      image: see ``cropped``.
      preprocess: how.

    Returns:
      float32 ``[image_size, image_size, c]``.

    Raises:
      ValueError: see ``cropped``.
    """
    mean, std = np.array(preprocess.mean, np.float32), np.array(preprocess.std, np.float32)
    return (cropped(image, preprocess) - mean) / std


def cropped(image: Any, preprocess: "Preprocess") -> np.ndarray:
    """Resizes and crops the middle; see ``Preprocess``.

    Args:
      image: ``[h, w]`` or ``[h, w, c]``, uint8, or floating point in [0, 1]. Gray ones become as
        many channels as there are means.
      preprocess: how.

    Returns:
      float32 ``[image_size, image_size, c]`` in [0, 1], but for what bicubic resizing of floating
      point adds.

    Raises:
      ValueError: no image, another number of channels, or a crop larger than what it is cut from.
    """
    image = _checked(np.asarray(image), len(preprocess.mean))
    side, size = preprocess.image_size, (preprocess.resize, preprocess.resize)
    if preprocess.keep_aspect:
        height, width = (
            round(preprocess.resize * length / min(image.shape[:2])) for length in image.shape[:2]
        )
        size = (height, width)
    if min(size) < side:
        raise ValueError(f"is resized to {size}, smaller than the crop of {side} x {side}")
    scale = np.float32(255 if image.dtype == np.uint8 else 1)
    pixels = _resized(image, size, preprocess.interpolation).astype(np.float32) / scale
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return pixels[top : top + side, left : left + side]


def overridden(preprocess: "Preprocess", arguments: argparse.Namespace) -> "Preprocess":
    """How images are prepared, with what the arguments change.

    Raises:
      ValueError: they do not fit.
    """
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


def _checked(image: np.ndarray, channels: int) -> np.ndarray:
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or not min(image.shape):
        raise ValueError(f"expected an image [h, w, c], got shape {image.shape}")
    if np.issubdtype(image.dtype, np.floating):
        low, high = np.min(image), np.max(image)
        if not (low >= 0 and high <= 1):
            raise ValueError(f"expected values in [0, 1], got {low:.4g} to {high:.4g}")
    elif image.dtype != np.uint8:
        raise ValueError(f"expected uint8 or floating point, got {image.dtype}")
    if image.shape[2] == 1 < channels:
        image = np.repeat(image, channels, axis=2)
    if image.shape[2] != channels:
        raise ValueError(f"has {image.shape[2]} channels, the network takes {channels}")
    return image


def _resized(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    from PIL import Image

    kinds = {kind.name.lower(): kind for kind in Image.Resampling}
    if interpolation not in kinds:
        raise ValueError(f"no interpolation is called {interpolation!r}, choose from {list(kinds)}")
    wanted, kind = (size[1], size[0]), kinds[interpolation]
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return np.asarray(Image.fromarray(image).resize(wanted, kind))
    if image.dtype != np.uint8:
        image = image.astype(np.float32)
    planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(image, 2, 0)]
    return np.stack([np.asarray(Image.fromarray(p).resize(wanted, kind)) for p in planes], axis=-1)
