"""RandAugment (Cubuk et al., 2019): a few random operations of one common magnitude."""

from dataclasses import dataclass

import numpy as np

from softeq_jax._checks import coefficient, whole
from softeq_jax.data import _photometric
from softeq_jax.data._examples import Example
from softeq_jax.data._geometric import rotated
from softeq_jax.data._pixels import (
    Fill,
    check_fills,
    image_of,
    mask_of,
    replaced,
    shift,
    warp,
)

LARGEST = 10
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
ENHANCING = ("color", "contrast", "brightness", "sharpness")
OPERATIONS = (
    "identity",
    "autocontrast",
    "equalize",
    "rotate",
    "solarize",
    "color",
    "posterize",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)


@dataclass(frozen=True)
class RandAugment:
    """Applies `num_ops` operations, drawn uniformly with replacement, one after the other.

    Each draws its own magnitude `m` from N(magnitude, magnitude_std), clipped to [0, 10], and,
    where a sign is given below, this sign at random.

    | operation                              | increasing                | not increasing     |
    | -------------------------------------- | ------------------------- | ------------------ |
    | identity, autocontrast, equalize       | no parameter              | the same           |
    | rotate, degrees                        | +- 30 m / 10              | the same           |
    | shear_x, shear_y, pixels per pixel     | +- 0.3 m / 10             | the same           |
    | translate_x, translate_y, of the side  | +- 0.45 m / 10            | the same           |
    | color, contrast, brightness, sharpness | factor 1 +- 0.9 m / 10    | 0.1 + 1.8 m / 10   |
    | posterize, bits kept                   | 8 - round(4 m / 10)       | 4 + floor(4 m / 10)|
    | solarize, values inverted from         | 256 - 25.6 m              | 25.6 m             |

    "Increasing" makes all operations stronger with `m`, from the identity at 0. The other column is
    AutoAugment's published ranges, in which the enhancing operations are weakest at 5, posterize
    and solarize at 10. Shears and rotations are about the center, interpolated linearly;
    translations are by whole pixels. A mask is moved with the image.

    Attributes:
      num_ops: how many operations.
      magnitude: their strength, 0 ... 10.
      magnitude_std: its spread.
      increasing: which column.
      fill: what comes into the image when it is moved, one number or one per channel.
      mask_fill: what comes into the mask.
      operations: names to draw from.

    Raises:
      ValueError: a field is out of its range; when called, the image is not uint8 with 1 or 3
        channels.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> augment = sq.data.RandAugment(num_ops=1, magnitude=10, operations=("solarize",))
      >>> image = np.full((2, 2, 3), 200, np.uint8)
      >>> augment({"image": image}, np.random.default_rng(0))["image"][0, 0]  # 255 - 200
      array([55, 55, 55], dtype=uint8)
    """

    num_ops: int = 2
    magnitude: float = 9
    magnitude_std: float = 0.5
    increasing: bool = True
    fill: Fill = 128
    mask_fill: int = 255
    operations: tuple[str, ...] = OPERATIONS

    def __post_init__(self):
        whole(self.num_ops, "num_ops", 0)
        check_fills(self.fill, self.mask_fill)
        if not 0 <= self.magnitude <= LARGEST:
            raise ValueError(f"magnitude must be in [0, {LARGEST}], got {self.magnitude}")
        coefficient(self.magnitude_std, "magnitude_std")
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown or not self.operations:
            raise ValueError(
                f"operations must be some of {', '.join(OPERATIONS)}; got {self.operations}"
            )

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = image_of(example)
        mask = mask_of(example, image.shape[:2])
        if image.dtype != np.uint8 or image.shape[2] not in (1, 3):
            raise ValueError(
                f"image must be uint8 with 1 or 3 channels, got {image.dtype}, {image.shape}"
            )
        for which in rng.integers(len(self.operations), size=self.num_ops).tolist():
            name = self.operations[which]
            magnitude = min(max(rng.normal(self.magnitude, self.magnitude_std), 0), LARGEST)
            sign = 1 if rng.random() < 0.5 else -1
            strength = parameter(name, magnitude, sign, increasing=self.increasing)
            if strength is None or name not in GEOMETRIC:
                image = recolored(image, name, strength)
                continue
            image = moved(image, name, strength, self.fill)
            if mask is not None:
                mask = moved(mask, name, strength, self.mask_fill, nearest=True)
        return replaced(example, image, mask)


def parameter(name: str, magnitude: float, sign: int, *, increasing: bool) -> float | None:
    """An operation's own parameter, by the table of `RandAugment`; None if it has none."""
    share = magnitude / LARGEST
    if name == "rotate":
        return sign * 30 * share
    if name in ("shear_x", "shear_y"):
        return sign * 0.3 * share
    if name in ("translate_x", "translate_y"):
        return sign * 0.45 * share
    if name in ENHANCING:
        return 1 + sign * 0.9 * share if increasing else 0.1 + 1.8 * share
    if name == "posterize":
        return 8 - round(4 * share) if increasing else 4 + int(4 * share)
    if name == "solarize":
        return 256 * (1 - share) if increasing else 256 * share
    return None


def recolored(image: np.ndarray, name: str, strength: float | None) -> np.ndarray:
    """A photometric operation, or the identity, on a uint8 image."""
    if name == "identity":
        return image
    operation = getattr(_photometric, name)
    return operation(image) if strength is None else operation(image, strength)


def moved(
    array: np.ndarray, name: str, strength: float, fill: Fill, *, nearest: bool = False
) -> np.ndarray:
    """A geometric operation on an image or a mask, about the center.

    The content turns as `np.rot90` does, moves down and to the right, and shears to the right
    below the center (x) or down at the right of it (y), for a positive `strength`.
    """
    if name == "rotate":
        return rotated(array, strength, fill, nearest=nearest)
    if name == "shear_x":
        return warp(array, ((1, 0), (-strength, 1)), fill, nearest=nearest)
    if name == "shear_y":
        return warp(array, ((1, -strength), (0, 1)), fill, nearest=nearest)
    if name == "translate_x":
        return shift(array, 0, round(strength * array.shape[1]), fill)
    return shift(array, round(strength * array.shape[0]), 0, fill)
