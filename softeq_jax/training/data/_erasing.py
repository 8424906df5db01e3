"""Random erasing (Zhong et al., 2017): a rectangle of noise over a part of the image."""

from dataclasses import dataclass

import numpy as np

from softeq_jax.training.data._resample import (
    Fill,
    blank,
    check_probability,
    check_range,
    image_of,
)
from softeq_jax.training.data._types import Example


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
    """

    probability: float = 0.25
    area: tuple[float, float] = (0.02, 1 / 3)
    aspect: tuple[float, float] = (0.3, 3.3)
    value: Fill | str = "noise"

    def __post_init__(self):
        check_probability("probability", self.probability)
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
        if self.value != "noise":
            patch = blank(shape, image.dtype, self.value)
        elif image.dtype == np.uint8:
            patch = rng.integers(0, 256, shape, np.uint8)
        else:
            patch = rng.standard_normal(shape, np.float32)
        erased = image.copy()
        erased[top : top + height, left : left + width] = patch
        return {**example, "image": erased}


def random_box(
    size: tuple[int, int],
    area: tuple[float, float],
    aspect: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[int, int, int, int] | None:
    """A rectangle within an image, of random area, aspect and place.

    Args:
      size: height and width of the image.
      area: limits of the share of the image's area; uniform.
      aspect: limits of height over width; uniform in the logarithm.
      rng: of all draws.

    Returns:
      (top, left, height, width), the first of ten draws that fits; None if none does.
    """
    for _ in range(10):
        pixels = rng.uniform(*area) * size[0] * size[1]
        ratio = np.exp(rng.uniform(np.log(aspect[0]), np.log(aspect[1])))
        height, width = round(np.sqrt(pixels * ratio)), round(np.sqrt(pixels / ratio))
        if 1 <= height <= size[0] and 1 <= width <= size[1]:
            top = int(rng.integers(size[0] - height + 1))
            left = int(rng.integers(size[1] - width + 1))
            return top, left, height, width
    return None
