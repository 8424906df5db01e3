"""Changes of gray levels and colors: normalization, random erasing, and operations on levels.

The operations take uint8 images `[h, w, c]`. `x` is a pixel's value in a channel, 0 ... 255. Their
results agree with PIL's ImageOps and ImageEnhance to one level.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softeq_jax._checks import share
from softeq_jax.data._examples import Example
from softeq_jax.data._pixels import Fill, blank, check_range, image_of, random_box

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Means of the channels of ImageNet, of values in [0, 1]."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Their standard deviations."""


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

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> image = np.array([[[0], [255]]], np.uint8)
      >>> sq.data.Normalize(0.5, 0.5)({"image": image}, None)["image"].ravel()
      array([-1.,  1.], dtype=float32)
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]
    scale: float = 255

    def __post_init__(self):
        mean, std = _of_channels("mean", self.mean), _of_channels("std", self.std)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)
        if len(mean) != len(std) and 1 not in (len(mean), len(std)):
            raise ValueError(f"mean has {len(mean)} channels, std has {len(std)}")
        if min(std) <= 0 or not 0 < self.scale < np.inf:
            raise ValueError(
                f"std and scale must be positive and finite, got {std} and {self.scale}"
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


def _of_channels(field: str, value: float | Sequence[float]) -> tuple[float, ...]:
    values = np.atleast_1d(np.asarray(value, np.float64))
    if values.ndim != 1 or not np.all(np.isfinite(values)):
        raise ValueError(f"{field} must be finite numbers, got {value}")
    return tuple(values.tolist())


def normalize(
    images: np.ndarray, mean: float | Sequence[float], std: float | Sequence[float]
) -> np.ndarray:
    """`(images / 255 - mean) / std`, channel by channel.

    Args:
      images: `[..., c]`, uint8.
      mean: `[c]` or one number, in units of the largest value.
      std: as `mean`; positive.

    Returns:
      Array of the images' shape, float32.

    Raises:
      ValueError: the images are not uint8, the channels do not match or a `std` is not positive.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> sq.data.normalize(np.array([[0, 255]], np.uint8), [0.5, 0.5], 0.5)
      array([[-1.,  1.]], dtype=float32)
    """
    images = np.asarray(images)
    center, spread = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, got {images.dtype}")
    for field, value in (("mean", center), ("std", spread)):
        if value.shape not in ((), (1,), images.shape[-1:]):
            raise ValueError(
                f"{field} has shape {value.shape}, expected {images.shape[-1:]} for images of "
                f"shape {images.shape}"
            )
    if not np.all(spread > 0):
        raise ValueError(f"std must be positive, got {spread}")
    return (images.astype(np.float32) / np.float32(255) - center) / spread


@dataclass(frozen=True)
class RandomErasing:
    """Overwrites a random rectangle of the image; a mask stays as it is.

    The share of the image's area is uniform in `area`, the ratio of height to width uniform in its
    logarithm in `aspect`, the place uniform. Of ten draws the first that fits is used; if none
    does, nothing is erased.

    Attributes:
      probability: of erasing.
      area: smallest and largest share.
      aspect: smallest and largest ratio of height to width.
      value: "noise", which is N(0, 1) per entry of a float32 image (use it after `Normalize`) and
        uniform in 0 ... 255 per entry of a uint8 image; or a number, or one per channel.

    Raises:
      ValueError: a field is out of its range.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> erase = sq.data.RandomErasing(probability=1.0, value=0)
      >>> white = {"image": np.ones((16, 16, 1), np.float32)}
      >>> image = erase(white, np.random.default_rng(0))["image"]
      >>> bool(0 < (image == 0).mean() < 0.5)
      True
    """

    probability: float = 0.25
    area: tuple[float, float] = (0.02, 1 / 3)
    aspect: tuple[float, float] = (0.3, 3.3)
    value: Fill | str = "noise"

    def __post_init__(self):
        share(self.probability, "probability")
        check_range("area", self.area, 0, 1)
        check_range("aspect", self.aspect, 0)
        if isinstance(self.value, str) and self.value != "noise":
            raise ValueError(f"value must be 'noise' or a number, got {self.value!r}")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = image_of(example)
        if rng.random() >= self.probability:
            return dict(example)
        box = random_box(image.shape[:2], self.area, self.aspect, rng)
        if box is None:
            return dict(example)
        top, left, height, width = box
        shape = (height, width, image.shape[2])
        if not isinstance(self.value, str):
            patch = blank(shape, image.dtype, self.value)
        elif image.dtype == np.uint8:
            patch = rng.integers(0, 256, shape, np.uint8)
        else:
            patch = rng.standard_normal(shape, np.float32)
        erased = image.copy()
        erased[top : top + height, left : left + width] = patch
        return {**example, "image": erased}


def autocontrast(image: np.ndarray) -> np.ndarray:
    """`255 (x - low) / (high - low)`, with the extremes of each channel; rounded down.

    Constant channels stay.
    """
    low = image.min(axis=0).min(axis=0).astype(np.int32)[:, None]
    high = image.max(axis=0).max(axis=0).astype(np.int32)[:, None]
    levels = np.arange(256)
    table = (levels - low) * 255 // np.maximum(high - low, 1)
    return _looked_up(np.where(high > low, table, levels), image)


def equalize(image: np.ndarray) -> np.ndarray:
    """Spreads the levels of each channel so that all are about equally frequent.

    A level becomes the number of pixels below it over `step`, rounded, where `step` is the number
    of pixels below the highest level in use, over 255, rounded down. Channels with a `step` of 0
    stay.
    """
    counts = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in _planes(image)])
    below = np.cumsum(counts, axis=1) - counts
    highest = image.max(axis=0).max(axis=0)
    step = np.take_along_axis(below, highest.astype(np.intp)[:, None], axis=1) // 255
    table = (below + step // 2) // np.maximum(step, 1)
    return _looked_up(np.where(step > 0, table, np.arange(256)), image)


def _planes(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(image, -1, 0))


def _looked_up(table: np.ndarray, image: np.ndarray) -> np.ndarray:
    """`table[k, x]`, clipped to 0 ... 255, for the values `x` of channel `k`."""
    table = np.clip(table, 0, 255).astype(np.uint8)
    out = np.empty(image.shape, np.uint8)
    for k, row in enumerate(table):
        out[..., k] = row.take(image[..., k])
    return out


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """Keeps the highest `bits` bits of each value, 0 <= bits <= 8."""
    return image & np.uint8((0xFF << (8 - bits)) & 0xFF)


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """`255 - x` where `x >= threshold`; 256 leaves all as it is."""
    return np.where(image < threshold, image, ~image)


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """`factor x`, clipped: 0 is black, 1 the image itself."""
    return _blend(np.float32(0), image, factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """`m + factor (x - m)`, clipped, with `m` the mean luma of the image, rounded."""
    middle = np.floor(luma(image).mean(dtype=np.float64) + 0.5)
    return _blend(np.float32(middle), image, factor)


def color(image: np.ndarray, factor: float) -> np.ndarray:
    """`luma + factor (x - luma)`, clipped: 0 is gray, 1 the image itself.

    Images of one channel stay.
    """
    if image.shape[2] == 1:
        return image
    return _blend(np.repeat(luma(image).astype(np.float32), 3, axis=-1), image, factor)


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """`s + factor (x - s)`, clipped, with `s` the smoothed image.

    Smoothing takes the mean over 3 x 3 pixels, the middle one weighted with 5; the outermost pixels
    stay. 0 is smoothed, 1 the image itself, more is sharpened.
    """
    if min(image.shape[:2]) < 3:
        return image
    wide = image.astype(np.uint16)
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * wide[1:-1, 1:-1]
    smooth = (total + np.uint16(6)) // np.uint16(13)
    out = image.copy()
    out[1:-1, 1:-1] = _blend(smooth.astype(np.float32), image[1:-1, 1:-1], factor)
    return out


def luma(image: np.ndarray) -> np.ndarray:
    """`0.299 red + 0.587 green + 0.114 blue`, rounded; `[h, w, 1]`, uint8.

    In fixed point with 16 bits, as usual for 8-bit images.

    Raises:
      ValueError: the image has neither 1 nor 3 channels.
    """
    if image.shape[2] == 1:
        return image
    if image.shape[2] != 3:
        raise ValueError(f"luma needs 1 or 3 channels, got shape {image.shape}")
    red, green, blue = np.moveaxis(image.astype(np.uint32), -1, 0)
    weighted = red * 19595 + green * 38470 + blue * 7471 + 0x8000
    return (weighted >> 16).astype(np.uint8)[..., None]


def _blend(degenerate: np.ndarray | np.float32, image: np.ndarray, factor: float) -> np.ndarray:
    """`degenerate + factor (image - degenerate)`, clipped to 0 ... 255 and rounded down."""
    mixed = image - degenerate
    mixed *= np.float32(factor)
    mixed += degenerate
    np.clip(mixed, 0, 255, out=mixed)
    return mixed.astype(np.uint8)
