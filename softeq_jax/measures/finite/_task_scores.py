r"""Scores of a task on images as they are and on transformed ones: accuracy and mean IoU.

Source of the metrics: sections 4 and 9 of the specification of "Tunable Soft Equivariance with
Guarantees". The published combined accuracy is the mean over batches of ``sqrt(a_b a'_b)``; here it
is of the whole set, so that no batch size enters.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import whole
from softeq_jax._text import clipped, plural
from softeq_jax.measures._statistics import mean_and_error
from softeq_jax.measures.base._functions import Array, Function
from softeq_jax.measures.base._layouts import Frame, Image, Shape
from softeq_jax.measures.base._options import Options, resolved
from softeq_jax.measures.finite._evaluator import (
    Transforms,
    check_transforms,
    evaluate,
    frame_of,
    names_of,
)
from softeq_jax.measures.finite._metrics import Comparison, Metric, Slot, per_image
from softeq_jax.measures.finite._robustness import check_classes
from softeq_jax.measures.finite._transform import Transform
from softeq_jax.measures.finite._warps import Rotation, Scaling

MEANS = ("geometric", "arithmetic")


def combined(plain: float, moved: float, mean: str = "geometric") -> float:
    r"""One number for a score on the data as they are and on transformed ones.

    ``sqrt(plain moved)`` (accuracy, IoU) or ``(plain + moved) / 2`` (displacement errors), as
    published; in the unit of the score.

    Raises:
      ValueError: another mean, or a negative score under the geometric one.

    Example:
      >>> from softeq_jax.measures import combined
      >>> round(combined(0.9, 0.4), 3), combined(0.9, 0.4, "arithmetic")
      (0.6, 0.65)
    """
    if mean not in MEANS:
        raise ValueError(f"mean must be one of {list(MEANS)}, got {mean!r}")
    if mean == "arithmetic":
        return (plain + moved) / 2
    if plain < 0 or moved < 0:
        raise ValueError(f"a geometric mean is of scores of at least 0, got {plain} and {moved}")
    return math.sqrt(plain * moved)


@dataclasses.dataclass(frozen=True, repr=False)
class Scores:
    """A score on the data as they are and under every transform.

    Attributes:
      name: of the score, with its unit.
      plain: on the data as they are.
      moved: under every transform.
      transforms: their names.
      mean: how `combined` joins the two.
      plain_error: standard error of `plain` over examples; NaN where the score is no mean.
      moved_error: of the mean of `moved`.

    Example:
      >>> import softeq_jax as sq
      >>> scores = sq.measures.Scores("accuracy, %", 90.0, (40.0,), ("rotation",))
      >>> scores.rotated, scores.combined  # the geometric mean
      (40.0, 60.0)
    """

    name: str
    plain: float
    moved: tuple[float, ...]
    transforms: tuple[str, ...]
    mean: str = "geometric"
    plain_error: float = math.nan
    moved_error: float = math.nan

    @property
    def rotated(self) -> float:
        """The mean over the transforms."""
        return float(np.mean(self.moved))

    @property
    def combined(self) -> float:
        """One number for both, see ``combined``."""
        return combined(self.plain, self.rotated, self.mean)

    def __repr__(self) -> str:
        name, transforms = clipped(self.name, 32), plural(len(self.moved), "transform")
        moved = f"under {transforms} {self.rotated:.5g}, combined {self.combined:.5g}"
        return f"{name}: {self.plain:.5g}, {moved}"


def scores_of(
    name: str, plain: Array, moved: Array, transforms: Sequence[str], mean: str = "geometric"
) -> Scores:
    """Scores that are means over examples.

    Args:
      name: of the score.
      plain: ``[n]``.
      moved: ``[transforms, n]``.
      transforms: their names.
      mean: how the two are joined.
    """
    moved = np.asarray(moved, np.float64)
    value, error = mean_and_error(plain)
    each = tuple(float(m) for m in moved.mean(axis=1))
    return Scores(
        name, value, each, tuple(transforms), mean, error, mean_and_error(moved.mean(axis=0))[1]
    )


def accuracy_under(
    f: Function, images: Array, labels: Array, transforms: Transforms, **options: Unpack[Options]
) -> Scores:
    r"""Top-1 accuracy (a share) on images and on transformed images; combined ``sqrt(a a')``.

    Args:
      f: images to class scores ``[n, classes]``.
      images: see ``relative_error``.
      labels: int ``[n]``, the same for a moved image.
      transforms: see ``relative_error``.
      **options: all but output and stencil, see ``Options``.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for labels of another shape, or outputs
        that are no class scores.

    Example:
      >>> import numpy as np
      >>> from softeq_jax import measures
      >>> images = np.zeros((2, 4, 4, 2), np.float32)
      >>> images[0, 0, :, 0] = images[1, 0, :, 1] = 1.0
      >>> top_row = lambda x: x[:, 0].mean(1)
      >>> measures.accuracy_under(top_row, images, [0, 1], [measures.flip("up-down")])
      accuracy: 1, under 1 transform 0.5, combined 0.70711
    """
    resolved(options, "accuracy_under", without=("output", "stencil"))
    transforms, labels = check_transforms(transforms), np.asarray(labels)
    if labels.shape != (len(images),):
        raise ValueError(f"{len(images)} images need as many labels, got shape {labels.shape}")
    given: Options = {**options, "output": "invariant"}
    (tops,) = evaluate(f, images, transforms, [per_image(_tops)], **given)
    right = {name: values == labels for name, values in tops.items()}
    return scores_of("accuracy", right["upright"][0], right["moved"], names_of(transforms))


def iou_under(
    f: Function,
    images: Array,
    labels: Array,
    transforms: Transforms,
    *,
    classes: int,
    ignore: int | None = 255,
    **options: Unpack[Options],
) -> Scores:
    r"""Mean intersection over union of label maps on images and on transformed images.

    ``IoU_c = |p = c and t = c| / |p = c or t = c|`` over all pixels of the set, the mean over the
    classes that are predicted or present; a share. Labels move with the image by the nearest
    pixel; what comes from outside is ignored. Combined ``sqrt(m m')``.

    Args:
      f: images to class scores ``[n, h, w, classes]``, on the grid of the labels.
      images: see ``relative_error``.
      labels: int ``[n, h, w]``.
      transforms: turns, flips, shifts by whole pixels, rotations or scalings.
      classes: how many there are.
      ignore: label of pixels that do not count; None: all count.
      **options: all but stencil, see ``Options``; output is "image" unless said otherwise.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for labels out of range or of another
        shape, an output that is no map of class scores, or a transform that labels cannot follow.

    Example:
      >>> import numpy as np
      >>> from softeq_jax import measures
      >>> labels = np.array([[[0, 1], [1, 1]]])
      >>> images = np.eye(2, dtype=np.float32)[labels]
      >>> measures.iou_under(lambda x: x, images, labels, [measures.quarter_turn()], classes=2)
      mean IoU: 1, under 1 transform 1, combined 1
    """
    setting = resolved(options, "iou_under", without=("stencil",), output="image")
    layout, transforms = setting.output, check_transforms(transforms)
    if not isinstance(layout, Image) or layout.fiber is not None:
        raise ValueError(f"the output must be a map of class scores, an Image, got {layout}")
    labels = _checked_labels(labels, len(images), whole(classes, "classes"), ignore)
    frame = frame_of(np.shape(images), setting.input)
    metric = _confusion(labels, transforms, layout, frame, classes)
    given: Options = {"output": "image", **options}
    plain, moved = evaluate(f, images, transforms, [metric], **given)[0]
    names = names_of(transforms)
    for name, counts in zip(("the images as they are", *names), (plain, *moved), strict=True):
        if not np.any(counts):
            raise ValueError(f"no pixel of {name} counts: all labels are ignored or outside")
    each = tuple(mean_iou(counts) for counts in moved)
    return Scores("mean IoU", mean_iou(plain), each, names)


def confusion_counts(predicted: Array, labels: Array, classes: int) -> np.ndarray:
    """How often each class ``[labels, predicted]`` was taken for each; labels below 0 are left out.

    Args:
      predicted: int array of classes.
      labels: int array of the same shape.
      classes: how many there are.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> predicted, labels = np.array([0, 1, 1, 0]), np.array([0, 1, 0, -1])
      >>> sq.measures.finite.confusion_counts(predicted, labels, 2)
      array([[1, 1],
             [0, 1]])
    """
    predicted, labels = np.asarray(predicted).ravel(), np.asarray(labels).ravel()
    counted = labels >= 0
    pairs = classes * labels[counted].astype(np.int64) + predicted[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def mean_iou(counts: Array) -> float:
    """Mean intersection over union of the classes that occur, from counts ``[labels, predicted]``.

    NaN if no pixel counts.

    Example:
      >>> import softeq_jax as sq
      >>> sq.measures.mean_iou([[3, 1], [0, 4]])
      0.775
    """
    counts = np.asarray(counts, np.float64)
    both = np.diag(counts)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    there = either > 0
    return float(np.mean(both[there] / either[there])) if there.any() else math.nan


def moved_labels(
    labels: Array, transform: Transform, layout: Image, frame: Frame, fill: int = -1
) -> np.ndarray:
    """Label maps moved as an image is, by the nearest pixel; `fill` outside.

    Args:
      labels: int ``[n, h, w]``.
      transform: exact on the grid, a rotation or a scaling.
      layout: where the grid lies.
      frame: rows and columns of the input.
      fill: label of what comes from outside.

    Raises:
      ValueError: a transform that mixes pixels in another way.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> labels, turn = np.array([[[0, 1], [2, 3]]]), sq.measures.quarter_turn()
      >>> sq.measures.finite.moved_labels(labels, turn, sq.measures.Image(), (2, 2))
      array([[[1, 3],
              [0, 2]]])
    """
    labels = np.asarray(labels)
    layout = dataclasses.replace(layout, axes=(1, 2), channel=-1)
    shape: Shape = (1, *labels.shape[1:], 1)
    if isinstance(transform, Rotation):
        transform = dataclasses.replace(transform, interpolation="bilinear")
    elif not isinstance(transform, Scaling) and not transform.is_exact(shape, layout, frame):
        raise ValueError(
            f"{transform.name} interpolates, and labels have no values between: choose turns, "
            "flips, shifts by whole pixels, rotations or scalings"
        )
    # Bilinear samples of a linear function are its values, so rows and columns tell the pre-image.
    h, w = labels.shape[1:]
    rows, cols = np.meshgrid(
        np.arange(h, dtype=np.float32), np.arange(w, dtype=np.float32), indexing="ij"
    )
    source = [
        np.rint(np.asarray(transform(ramp[None, ..., None], layout, frame))[0, ..., 0]).astype(int)
        for ramp in (rows, cols)
    ]
    mask = np.broadcast_to(np.asarray(transform.mask(shape, layout, frame)), shape)[0, ..., 0] > 0.5
    found = labels[:, np.clip(source[0], 0, h - 1), np.clip(source[1], 0, w - 1)]
    return np.where(mask, found, fill)


def _tops(o: Comparison) -> dict[str, jax.Array]:
    upright = check_classes(o.upright, "accuracy")
    return {"upright": jnp.argmax(upright, axis=-1), "moved": jnp.argmax(o.moved, axis=-1)}


def _checked_labels(labels: Array, n: int, classes: int, ignore: int | None) -> np.ndarray:
    """Labels with -1 for those that do not count."""
    found = np.asarray(labels)
    if found.ndim != 3 or len(found) != n or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(
            f"labels must be whole numbers [{n}, h, w], got {found.dtype} of shape {found.shape}"
        )
    found = found.astype(np.int64)
    counted = np.ones(found.shape, bool) if ignore is None else found != ignore
    wrong = found[counted & ((found < 0) | (found >= classes))]
    if wrong.size:
        raise ValueError(
            f"labels must be below classes = {classes} (or ignore = {ignore}), got {wrong[0]}"
        )
    return np.where(counted, found, -1)


@functools.partial(jax.jit, static_argnames="axis")
def _classes_of(y: jax.Array, axis: int) -> jax.Array:
    return jnp.argmax(y, axis=axis)


def _confusion(
    labels: np.ndarray,
    transforms: Sequence[Transform],
    layout: Image,
    frame: Frame,
    classes: int,
) -> Metric:
    """Counts as they are and under every transform; labels are moved batch by batch."""

    def init(count: int, images: int) -> Any:
        shape = (classes, classes)
        return np.zeros(shape, np.int64), np.zeros((count, *shape), np.int64)

    def checked(y: jax.Array) -> np.ndarray:
        predicted = np.asarray(_classes_of(y, layout.channel))
        if (
            y.ndim != 4
            or y.shape[layout.channel] != classes
            or (predicted.shape[1:] != labels.shape[1:])
        ):
            raise ValueError(
                f"the output has shape {y.shape}: iou_under needs scores of {classes} classes on "
                f"the grid of the labels, {labels.shape[1]} x {labels.shape[2]}; resize them in f"
            )
        return predicted

    def update(state: Any, o: Comparison, slot: Slot) -> Any:
        plain, moved = state
        part = labels[slot.start : slot.start + slot.real]
        if slot.transform == 0:
            plain = plain + confusion_counts(checked(o.upright)[: slot.real], part, classes)
        transform = transforms[slot.transform]
        target = moved_labels(part, transform, layout, frame)
        moved = moved.copy()
        moved[slot.transform] += confusion_counts(checked(o.moved)[: slot.real], target, classes)
        return plain, moved

    return Metric(init, update, lambda state: state)
