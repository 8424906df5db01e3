"""Transforms that move pixels; an example's mask moves with its image.

All are frozen dataclasses, called as `transform(example, rng)`, that return a new example. The
image is `[h, w, c]`, uint8 or float32. A mask, `[h, w]` integers, is moved by the same map with the
nearest pixel, and filled with `mask_fill`. Other entries of the example are passed on.
"""

from dataclasses import dataclass

import numpy as np

from softeq_jax._checks import coefficient, share, whole
from softeq_jax.data._examples import Example
from softeq_jax.data._pixels import (
    Fill,
    blank,
    check_fills,
    check_range,
    check_resample,
    check_size,
    image_of,
    mask_of,
    replaced,
    resized,
    shift,
    warp,
)


@dataclass(frozen=True)
class RandomCrop:
    """Shifts by up to `pad` whole pixels along both axes, uniformly; the size stays.

    The same as padding on all sides and cropping to the old size.

    Attributes:
      pad: largest shift, in pixels.
      fill: what comes in, one number or one per channel, in the image's units.
      mask_fill: what comes into the mask.

    Raises:
      ValueError: `pad` is not an integer >= 0, or a fill not a number; when called, a fill that the
        image or mask cannot hold.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> image = np.ones((4, 4, 1), np.float32)
      >>> moved = sq.data.RandomCrop(pad=1)({"image": image}, np.random.default_rng(0))["image"]
      >>> moved.shape, bool(moved.sum() >= 9)
      ((4, 4, 1), True)
    """

    pad: int = 4
    fill: Fill = 0
    mask_fill: int = 255

    def __post_init__(self):
        whole(self.pad, "pad", 0)
        check_fills(self.fill, self.mask_fill)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = image_of(example)
        mask = mask_of(example, image.shape[:2])
        down, right = rng.integers(-self.pad, self.pad + 1, size=2).tolist()
        if mask is not None:
            mask = shift(mask, down, right, self.mask_fill)
        return replaced(example, shift(image, down, right, self.fill), mask)


@dataclass(frozen=True)
class RandomFlip:
    """Mirrors left and right.

    Attributes:
      probability: of mirroring.

    Raises:
      ValueError: `probability` is not in [0, 1].

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> image = np.array([[[1], [2], [3]]], np.uint8)
      >>> flip = sq.data.RandomFlip(probability=1.0)
      >>> flip({"image": image}, np.random.default_rng(0))["image"].ravel()
      array([3, 2, 1], dtype=uint8)
    """

    probability: float = 0.5

    def __post_init__(self):
        share(self.probability, "probability")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = image_of(example)
        mask = mask_of(example, image.shape[:2])
        if rng.random() >= self.probability:
            return dict(example)
        return replaced(example, image[:, ::-1], None if mask is None else mask[:, ::-1])


@dataclass(frozen=True)
class RandomRotation:
    """Rotates about the center of the pixel grid, by an angle uniform in [-degrees, degrees].

    A positive angle turns as `np.rot90` does (counterclockwise with row 0 at the top). The image is
    interpolated linearly; the size stays.

    Attributes:
      degrees: largest angle.
      fill: what comes in from outside, one number or one per channel, in the image's units.
      mask_fill: what comes into the mask.

    Raises:
      ValueError: `degrees` is negative or not finite, or a fill as in `RandomCrop`.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> image = np.zeros((5, 5, 1), np.float32)
      >>> image[2, 2] = 1  # the center stays
      >>> turned = sq.data.RandomRotation(180)({"image": image}, np.random.default_rng(0))["image"]
      >>> turned.shape, round(float(turned[2, 2, 0]), 6)
      ((5, 5, 1), 1.0)
    """

    degrees: float
    fill: Fill = 0
    mask_fill: int = 255

    def __post_init__(self):
        coefficient(self.degrees, "degrees")
        check_fills(self.fill, self.mask_fill)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = image_of(example)
        mask = mask_of(example, image.shape[:2])
        angle = rng.uniform(-self.degrees, self.degrees)
        if mask is not None:
            mask = rotated(mask, angle, self.mask_fill, nearest=True)
        return replaced(example, rotated(image, angle, self.fill), mask)


def rotated(array: np.ndarray, degrees: float, fill: Fill, *, nearest: bool = False) -> np.ndarray:
    """The array turned about the center of its grid as `np.rot90` turns; see `warp`."""
    radians = np.deg2rad(degrees)
    cos, sin = float(np.cos(radians)), float(np.sin(radians))
    return warp(array, ((cos, sin), (-sin, cos)), fill, nearest=nearest)


@dataclass(frozen=True)
class Resize:
    """Resamples to another size, with a filter that grows with the scale (no aliasing).

    Attributes:
      size: (height, width), or the length of the short side; the long side then follows, rounded.
      resample: "bilinear", "bicubic" or "nearest".

    Raises:
      ValueError: `size` is not positive or `resample` is none of these.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> example = {"image": np.zeros((20, 30, 3), np.uint8)}
      >>> sq.data.Resize(10)(example, None)["image"].shape
      (10, 15, 3)
    """

    size: int | tuple[int, int]
    resample: str = "bilinear"

    def __post_init__(self):
        check_size("size", self.size)
        check_resample(self.resample)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = image_of(example)
        mask = mask_of(example, image.shape[:2])
        size = self.size
        if not isinstance(size, tuple):
            short = min(image.shape[:2])
            height, width = image.shape[:2]
            size = round(height * size / short), round(width * size / short)
        if mask is not None:
            mask = resized(mask, size, "nearest")
        return replaced(example, resized(image, size, self.resample), mask)


@dataclass(frozen=True)
class CenterCrop:
    """Cuts out the middle; of an odd margin the larger part is cut from the bottom and the right.

    Attributes:
      size: (height, width), or both at once.

    Raises:
      ValueError: `size` is not positive; when called, the image is smaller.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
      >>> sq.data.CenterCrop(2)({"image": image}, None)["image"][..., 0]
      array([[ 5,  6],
             [ 9, 10]], dtype=uint8)
    """

    size: int | tuple[int, int]

    def __post_init__(self):
        check_size("size", self.size)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = image_of(example)
        mask = mask_of(example, image.shape[:2])
        height, width = _pair(self.size)
        if image.shape[0] < height or image.shape[1] < width:
            raise ValueError(
                f"image of size {image.shape[:2]} is smaller than the crop's size {height, width}"
            )
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        cut = np.s_[top : top + height, left : left + width]
        return replaced(example, image[cut], None if mask is None else mask[cut])


@dataclass(frozen=True)
class RandomScaleCrop:
    """Scales by a random factor and cuts out a random part, as usual for segmentation.

    The factor is uniform in `scale` and keeps the aspect. Where the scaled image is smaller than
    the crop it lies at a random place in it, surrounded by `fill` and `mask_fill`.

    Attributes:
      size: (height, width) of the result, or both at once.
      scale: smallest and largest factor.
      fill: what surrounds the image, one number or one per channel.
      mask_fill: what surrounds the mask.
      resample: "bilinear", "bicubic" or "nearest", for the image.

    Raises:
      ValueError: a field is out of its range.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> example = {"image": np.zeros((20, 30, 3), np.uint8), "mask": np.zeros((20, 30), np.int32)}
      >>> cut = sq.data.RandomScaleCrop((8, 16))(example, np.random.default_rng(0))
      >>> cut["image"].shape, cut["mask"].shape
      ((8, 16, 3), (8, 16))
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.5, 2.0)
    fill: Fill = 0
    mask_fill: int = 255
    resample: str = "bilinear"

    def __post_init__(self):
        check_size("size", self.size)
        check_range("scale", self.scale, 0)
        check_fills(self.fill, self.mask_fill)
        check_resample(self.resample)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = image_of(example)
        mask = mask_of(example, image.shape[:2])
        factor = rng.uniform(*self.scale)
        height, width = image.shape[:2]
        scaled = max(1, round(height * factor)), max(1, round(width * factor))
        starts = []
        for have, want in zip(scaled, _pair(self.size), strict=True):
            starts.append(int(rng.integers(min(have - want, 0), max(have - want, 0) + 1)))
        image = self._cut(resized(image, scaled, self.resample), starts, self.fill)
        if mask is not None:
            mask = self._cut(resized(mask, scaled, "nearest"), starts, self.mask_fill)
        return replaced(example, image, mask)

    def _cut(self, array: np.ndarray, starts: list[int], fill: Fill) -> np.ndarray:
        """The window of the crop's size whose corner is at `starts`, which may be negative."""
        out = blank((*_pair(self.size), *array.shape[2:]), array.dtype, fill)
        source, target = [], []
        for start, have, want in zip(starts, array.shape[:2], out.shape[:2], strict=True):
            length = min(have, want)
            source.append(slice(max(start, 0), max(start, 0) + length))
            target.append(slice(max(-start, 0), max(-start, 0) + length))
        out[tuple(target)] = array[tuple(source)]
        return out


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)
