"""Images scaled to the mean and spread that a network was trained with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softeq_jax.training.data._resample import image_of
from softeq_jax.training.data._types import Example

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Normalize:
    """`(image / scale - mean) / std`, channel by channel, as float32.

    Attributes:
      mean: one number per channel, or one for all, in units of `scale`.
      std: as `mean`; positive.
      scale: value of the image that counts as 1; 255 for uint8 images.

    Raises:
      ValueError: `std` or `scale` is not positive, or the lengths differ; when called, the channels
        do not match.
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]
    scale: float = 255

    def __post_init__(self):
        for field in ("mean", "std"):
            values = np.atleast_1d(np.asarray(getattr(self, field), np.float64))
            if values.ndim != 1 or not np.all(np.isfinite(values)):
                raise ValueError(f"{field} must be finite numbers, got {getattr(self, field)}")
            object.__setattr__(self, field, tuple(values.tolist()))
        if len(self.mean) != len(self.std) and 1 not in (len(self.mean), len(self.std)):
            raise ValueError(f"mean has {len(self.mean)} channels, std has {len(self.std)}")
        if min(self.std) <= 0 or not 0 < self.scale < np.inf:
            raise ValueError(
                f"std and scale must be positive and finite, got {self.std} and {self.scale}"
            )

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = image_of(example)
        for field in ("mean", "std"):
            channels = len(getattr(self, field))
            if channels not in (1, image.shape[2]):
                raise ValueError(f"{field} has {channels} channels, the image {image.shape[2]}")
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        # Whole rows at once: NumPy is slow where the last axis has only a few channels.
        height, width, channels = image.shape
        factor = np.broadcast_to(1 / (np.float32(self.scale) * std), (width, channels)).ravel()
        offset = np.broadcast_to(mean / std, (width, channels)).ravel()
        scaled = image.reshape(height, width * channels) * factor
        scaled -= offset
        return {**example, "image": scaled.reshape(image.shape)}
