"""Segmentation data sets as pairs of image and mask."""

from dataclasses import dataclass

import numpy as np

from softeq_jax.training.data._decode import Decode, decoded
from softeq_jax.training.data._resample import image_of
from softeq_jax.training.data._types import Example, Transform


def segmentation_pairs(
    mask_key: str = "segmentation_mask", void: int | None = 11, ignore: int = 255
) -> Transform:
    """A transform from a record of a segmentation data set to "image" and "mask".

    Records may be decoded, or hold encoded bytes (TFDS's `SkipDecoding`) of either. The defaults
    are CamVid's. Other entries are passed on.

    Args:
      mask_key: name of the mask in the record, `[h, w]` or `[h, w, 1]`, integers; a record
        without it may call it "mask".
      void: class of the pixels that belong to none; None if there is no such class.
      ignore: number that takes its place, for the loss to leave out.

    Returns:
      A picklable transform. The image is uint8 `[h, w, 3]`, the mask int32 `[h, w]`, without
      `mask_key`. It raises ValueError for a record without a mask, and for a mask of another size
      than the image or not of integers.

    Raises:
      ValueError: `mask_key` is empty or "image".
    """
    return _SegmentationPairs(mask_key, void, ignore)


@dataclass(frozen=True)
class _SegmentationPairs:
    mask_key: str
    void: int | None
    ignore: int

    def __post_init__(self):
        if not self.mask_key or self.mask_key == "image":
            raise ValueError(f"mask_key must be the mask's name, got {self.mask_key!r}")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        key = self.mask_key if self.mask_key in example else "mask"
        if key not in example:
            raise ValueError(f"the record has no {self.mask_key!r}; it has {sorted(example)}")
        image = image_of(Decode()(example, rng))
        mask = example[key]
        if isinstance(mask, bytes):
            mask = decoded(mask, key)
        mask = np.asarray(mask)
        if mask.ndim == 3 and mask.shape[2] == 1:
            mask = mask[..., 0]
        if mask.shape != image.shape[:2] or not np.issubdtype(mask.dtype, np.integer):
            raise ValueError(
                f"{key} must be integers of the image's size {image.shape[:2]}; got shape "
                f"{mask.shape}, {mask.dtype}"
            )
        mask = mask.astype(np.int32)
        if self.void is not None:
            mask[mask == self.void] = self.ignore
        rest = {name: value for name, value in example.items() if name != key}
        return {**rest, "image": image, "mask": mask}
