"""What the records of a data set must be like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from softeq_jax.training.data._examples import (
    IDENTITY_FIELDS,
    BadExampleError,
    numbers,
    shortened,
)
from softeq_jax.training.data._types import Check, Example


def _field(index: int, example: Example, field: str) -> Any:
    if not isinstance(example, Mapping):
        raise BadExampleError(index, f"{type(example).__name__}, expected named fields")
    if field not in example:
        raise BadExampleError(index, f"no field {field!r}; it has {', '.join(map(str, example))}")
    return example[field]


def _image(index: int, example: Example) -> Any:
    """The image `[h, w, c]`, or the bytes that encode it."""
    image = _field(index, example, "image")
    if isinstance(image, bytes):
        return image
    image = numbers(index, "image", image)
    if image.ndim != 3:
        raise BadExampleError(index, f"image of shape {image.shape}, expected [h, w, c]")
    return image


@dataclass(frozen=True)
class _Classification:
    num_classes: int | None

    def __call__(self, index: int, record: Example) -> Example:
        image = _image(index, record)
        label = np.asarray(_field(index, record, "label"))
        if label.ndim or not np.issubdtype(label.dtype, np.integer):
            raise BadExampleError(index, f"label {shortened(label)}, expected one integer")
        if label < 0 or (self.num_classes is not None and label >= self.num_classes):
            most = "" if self.num_classes is None else f" < {self.num_classes}"
            raise BadExampleError(index, f"label {label}, expected 0 <= label{most}")
        return {"image": image, "label": label.astype(np.int32)}

    def finished(self, index: int, example: Example) -> Example:
        _image(index, example)
        return example


@dataclass(frozen=True)
class _Segmentation:
    num_classes: int
    ignore: tuple[int, ...]

    def __call__(self, index: int, record: Example) -> Example:
        image = _image(index, record)
        mask = record.get("mask")
        if isinstance(image, bytes) or mask is None or isinstance(mask, bytes):
            return {**record}
        return {**record, "image": image, "mask": self._mask(index, image, mask)}

    def finished(self, index: int, example: Example) -> Example:
        image, mask = _image(index, example), _field(index, example, "mask")
        if isinstance(image, bytes) or isinstance(mask, bytes):
            return {"image": image, "mask": mask}
        return {"image": image, "mask": self._mask(index, image, mask)}

    def _mask(self, index: int, image: np.ndarray, mask: Any) -> np.ndarray:
        mask = np.asarray(mask)
        if mask.ndim == 3 and mask.shape[2] == 1:
            mask = mask[..., 0]
        if mask.shape != image.shape[:2]:
            reason = f"mask of shape {mask.shape}, expected {image.shape[:2]} as the image"
            raise BadExampleError(index, reason)
        if not np.issubdtype(mask.dtype, np.integer):
            raise BadExampleError(index, f"mask of dtype {mask.dtype}, expected integers")
        wrong = (mask < 0) | (mask >= self.num_classes)
        strange = sorted(set(np.unique(mask[wrong]).tolist()) - set(self.ignore))
        if strange:
            also = f" or one of {self.ignore}" if self.ignore else ""
            reason = f"mask with values {strange[:5]}, expected 0 <= value < {self.num_classes}"
            raise BadExampleError(index, reason + also)
        return mask.astype(np.int32)


@dataclass(frozen=True)
class _Anything:
    def __call__(self, index: int, record: Example) -> Example:
        if not isinstance(record, Mapping):
            raise BadExampleError(index, f"{type(record).__name__}, expected named fields")
        return {
            field: numbers(index, field, value)
            for field, value in record.items()
            if field not in IDENTITY_FIELDS
        }


def classification(num_classes: int | None = None) -> Check:
    """The check of images with one label each.

    Args:
      num_classes: labels must be below this number, if given.

    Returns:
      A function of an example's index and its record that returns `{"image": [h, w, c] or encoded
      bytes, "label": int32 scalar}`, leaving out all else, or raises `BadExampleError`. What came
      encoded must be `[h, w, c]` after the transforms.

    Raises:
      ValueError: `num_classes` below 1.
    """
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    return _Classification(num_classes)


def segmentation(num_classes: int, ignore: int | Sequence[int] | None = None) -> Check:
    """The check of images with one class per pixel.

    Args:
      num_classes: values of the mask must be below this number,
      ignore: or equal to this one (or one of these), which mark pixels that do not count.

    Returns:
      A function of an example's index and its record that raises `BadExampleError` for a bad one.
      The record may hold encoded bytes, or a mask of another name that the transforms turn into
      "mask"; finished examples are `{"image": [h, w, c], "mask": int32 [h, w]}`, checked again.

    Raises:
      ValueError: `num_classes` below 1.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    return _Segmentation(
        num_classes, () if ignore is None else tuple(np.atleast_1d(ignore).tolist())
    )


def anything() -> Check:
    """The check of examples of any fields, such as trajectories.

    Returns:
      A function of an example's index and its record that returns all fields but "id" and
      "file_name" as arrays of finite numbers, or raises `BadExampleError`.
    """
    return _Anything()
