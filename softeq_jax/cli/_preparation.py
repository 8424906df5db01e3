"""Preparation of images for a network: resized, cropped, normalized."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from softeq_jax.models.weights import Preprocess


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
