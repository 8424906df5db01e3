"""Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019) of two examples at a time.

All are frozen dataclasses, called as `pairing(first, second, rng)`, that return two new examples.
Labels go in as class numbers or as float `[num_classes]`, and come out as float32
`[num_classes]` that sum to 1. With smoothing `s` class `k` stands for `(1 - s) onehot(k) + s / n`.
"""

from dataclasses import dataclass

import numpy as np

from softeq_jax._checks import coefficient, share, whole
from softeq_jax.data._examples import Example
from softeq_jax.data._pixels import image_of


@dataclass(frozen=True)
class Mixup:
    """Blends both images and labels: `x1' = lam x1 + (1 - lam) x2`, `x2' = lam x2 + (1 - lam) x1`.

    The images come out as float32, in the units they had (0 ... 255 for uint8).

    Attributes:
      alpha: `lam` ~ Beta(alpha, alpha), one for both; 0 mixes nothing.
      num_classes: length of the labels.
      smoothing: share of the label spread over all classes.

    Raises:
      ValueError: a field is out of its range; when called, the images or labels do not fit.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> mix = sq.data.Mixup(alpha=1.0, num_classes=2)
      >>> black = {"image": np.zeros((8, 8, 1), np.float32), "label": np.int32(0)}
      >>> white = {"image": np.ones((8, 8, 1), np.float32), "label": np.int32(1)}
      >>> one, other = mix(black, white, np.random.default_rng(0))
      >>> bool(np.isclose(one["image"][0, 0, 0], one["label"][1]))
      True
    """

    alpha: float
    num_classes: int
    smoothing: float = 0.0

    def __post_init__(self):
        coefficient(self.alpha, "alpha")
        _check_classes(self.num_classes, self.smoothing)

    def __call__(
        self, first: Example, second: Example, rng: np.random.Generator
    ) -> tuple[Example, Example]:
        one, two = _images(first, second)
        kept = _kept(self.alpha, rng)
        labels = _mixed_labels(first, second, kept, self.num_classes, self.smoothing)
        return _pair(first, second, _mixed(one, two, kept), labels)


@dataclass(frozen=True)
class Cutmix:
    """Swaps a rectangle between two images, and mixes the labels by its share of the area.

    With `lam` ~ Beta(alpha, alpha) the rectangle has sides `sqrt(1 - lam)` times the image's, and
    its center is uniform; what lies outside of the image is cut off. The labels are mixed with
    the share of the pixels that were kept. The images keep their dtype.

    Attributes:
      alpha: as above; 0 mixes nothing.
      num_classes: length of the labels.
      smoothing: share of the label spread over all classes.

    Raises:
      ValueError: a field is out of its range; when called, the images or labels do not fit.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> mix = sq.data.Cutmix(alpha=1.0, num_classes=2)
      >>> black = {"image": np.zeros((8, 8, 1), np.float32), "label": np.int32(0)}
      >>> white = {"image": np.ones((8, 8, 1), np.float32), "label": np.int32(1)}
      >>> one, _ = mix(black, white, np.random.default_rng(0))
      >>> bool(np.isclose(one["image"].mean(), one["label"][1]))  # share of white pixels
      True
    """

    alpha: float
    num_classes: int
    smoothing: float = 0.0

    def __post_init__(self):
        coefficient(self.alpha, "alpha")
        _check_classes(self.num_classes, self.smoothing)

    def __call__(
        self, first: Example, second: Example, rng: np.random.Generator
    ) -> tuple[Example, Example]:
        one, two = _images(first, second)
        height, width, _ = one.shape
        side = (1 - _kept(self.alpha, rng)) ** 0.5
        rows = _interval(int(height * side), height, rng)
        cols = _interval(int(width * side), width, rng)
        images = one.copy(), two.copy()
        images[0][rows, cols], images[1][rows, cols] = two[rows, cols], one[rows, cols]
        pasted = (rows.stop - rows.start) * (cols.stop - cols.start)
        kept = 1 - pasted / (height * width)
        labels = _mixed_labels(first, second, kept, self.num_classes, self.smoothing)
        return _pair(first, second, images, labels)


@dataclass(frozen=True)
class MixupOrCutmix:
    """One of both, or none. The images come out as float32 in any case, the labels mixed or soft.

    Attributes:
      mixup_alpha: `alpha` of `Mixup`.
      cutmix_alpha: `alpha` of `Cutmix`.
      num_classes: length of the labels.
      switch: probability of `Cutmix`, if anything is mixed.
      probability: of mixing.
      smoothing: share of the label spread over all classes; also when nothing is mixed.

    Raises:
      ValueError: a field is out of its range; when called, the images or labels do not fit.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> mix = sq.data.MixupOrCutmix(0.2, 1.0, num_classes=2, probability=0.0, smoothing=0.5)
      >>> example = {"image": np.zeros((8, 8, 1), np.float32), "label": np.int32(0)}
      >>> mix(example, example, np.random.default_rng(0))[0]["label"]
      array([0.75, 0.25], dtype=float32)
    """

    mixup_alpha: float
    cutmix_alpha: float
    num_classes: int
    switch: float = 0.5
    probability: float = 1.0
    smoothing: float = 0.0

    def __post_init__(self):
        coefficient(self.mixup_alpha, "mixup_alpha")
        coefficient(self.cutmix_alpha, "cutmix_alpha")
        share(self.switch, "switch")
        share(self.probability, "probability")
        _check_classes(self.num_classes, self.smoothing)

    def __call__(
        self, first: Example, second: Example, rng: np.random.Generator
    ) -> tuple[Example, Example]:
        mix, cut = rng.random(2).tolist()
        if mix >= self.probability:
            pairing = Mixup(0, self.num_classes, self.smoothing)
        elif cut < self.switch:
            pairing = Cutmix(self.cutmix_alpha, self.num_classes, self.smoothing)
        else:
            pairing = Mixup(self.mixup_alpha, self.num_classes, self.smoothing)
        one, two = pairing(first, second, rng)
        for example in (one, two):
            example["image"] = example["image"].astype(np.float32, copy=False)
        return one, two


def soft_label(label: np.ndarray | int, num_classes: int, smoothing: float = 0.0) -> np.ndarray:
    """`(1 - smoothing) onehot(label) + smoothing / num_classes`, float32 `[num_classes]`.

    Args:
      label: a class number; or float `[num_classes]`, which takes the place of the one-hot vector.
      num_classes: how many.
      smoothing: share spread over all classes.

    Raises:
      ValueError: the label is neither, or out of range.

    Example:
      >>> import softeq_jax as sq
      >>> sq.data.soft_label(0, 4, smoothing=0.5)
      array([0.625, 0.125, 0.125, 0.125], dtype=float32)
    """
    label = np.asarray(label)
    if label.shape == (num_classes,) and np.issubdtype(label.dtype, np.floating):
        hot = label.astype(np.float32)
    elif label.ndim == 0 and np.issubdtype(label.dtype, np.integer) and 0 <= label < num_classes:
        hot = np.zeros(num_classes, np.float32)
        hot[label] = 1
    else:
        raise ValueError(
            f"label must be an integer 0 <= label < {num_classes} or float [{num_classes}], "
            f"got {label!r}"
        )
    return hot * np.float32(1 - smoothing) + np.float32(smoothing / num_classes)


def _check_classes(num_classes: int, smoothing: float) -> None:
    whole(num_classes, "num_classes")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be in [0, 1), got {smoothing}")


def _images(first: Example, second: Example) -> tuple[np.ndarray, np.ndarray]:
    """Both images, which must be of one shape and dtype, and have no masks."""
    if "mask" in first or "mask" in second:
        raise ValueError("examples with a mask cannot be mixed: labels are, masks are not")
    one, two = image_of(first), image_of(second)
    if one.shape != two.shape or one.dtype != two.dtype:
        raise ValueError(
            f"images to mix must be alike, got shapes {one.shape} and {two.shape}, dtypes "
            f"{one.dtype} and {two.dtype}"
        )
    return one, two


def _kept(alpha: float, rng: np.random.Generator) -> float:
    """`lam` ~ Beta(alpha, alpha); 1 for alpha = 0."""
    return rng.beta(alpha, alpha) if alpha > 0 else 1.0


def _interval(length: int, side: int, rng: np.random.Generator) -> slice:
    """`length` pixels about a random place in `side`, cut off at the ends."""
    start = int(rng.integers(side)) - length // 2
    return slice(max(start, 0), max(min(start + length, side), 0))


def _mixed(one: np.ndarray, two: np.ndarray, kept: float) -> tuple[np.ndarray, np.ndarray]:
    """`kept one + (1 - kept) two`, and the same with both exchanged; float32."""
    keep, give = np.float32(kept), np.float32(1 - kept)
    return one * keep + two * give, two * keep + one * give


def _mixed_labels(
    first: Example, second: Example, kept: float, num_classes: int, smoothing: float
) -> tuple[np.ndarray, np.ndarray]:
    for example in (first, second):
        if "label" not in example:
            raise ValueError(f"the example has no 'label'; it has {sorted(example)}")
    one, two = (soft_label(e["label"], num_classes, smoothing) for e in (first, second))
    return _mixed(one, two, kept)


def _pair(
    first: Example,
    second: Example,
    images: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
) -> tuple[Example, Example]:
    return (
        {**first, "image": images[0], "label": labels[0]},
        {**second, "image": images[1], "label": labels[1]},
    )
