r"""Robustness of a classifier: KL divergence of its predictions and accuracy when images move.

Evaluation rotates by bilinear resampling with zero fill, as the published numbers do. That is no
group action: it blurs and cuts corners. How much of a measured error is due to it is measured
apart, by the *interpolation floor*: the same distance between an image and its rotation forth
and back.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import radians
from softeq_jax._text import html_table, paragraph, plural
from softeq_jax.measures._statistics import Estimate, mean_and_error, mean_of
from softeq_jax.measures.base._functions import Array, Function
from softeq_jax.measures.base._layouts import Image, Invariant, Layout, Tokens
from softeq_jax.measures.base._options import Options, resolved
from softeq_jax.measures.finite._evaluator import Transforms, check_transforms, evaluate, names_of
from softeq_jax.measures.finite._metrics import BACK, Comparison, per_image


def rotate_bilinear(images: Array, angle: Array | float) -> jax.Array:
    """Images rotated counter-clockwise about their center, bilinear, zero outside.

    Args:
      images: [..., h, w, c], floating point.
      angle: scalar, in radians, at most 2 pi in size; may be traced. Quarter turns of square
        images agree with ``np.rot90(images, 1, axes=(-3, -2))`` to rounding.

    Returns:
      Array of the same shape and dtype.

    Raises:
      TypeError: integer images (convert and normalize them first).
      ValueError: fewer than three axes, or an angle beyond 2 pi.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.arange(4.0, dtype="float32").reshape(2, 2, 1)
      >>> turned = sq.measures.rotate_bilinear(x, np.pi / 2)
      >>> bool(np.allclose(turned, np.rot90(x), atol=1e-5))
      True
    """
    angle = radians(angle, "angle")
    images = jnp.asarray(images)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images must be floating point, got {images.dtype}")
    if images.ndim < 3:
        raise ValueError(f"images must have axes [..., h, w, c], got shape {images.shape}")
    h, w = images.shape[-3:-1]
    row, col = jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij")
    x, y = col - 0.5 * (w - 1), 0.5 * (h - 1) - row
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    source_col = cos * x + sin * y + 0.5 * (w - 1)
    source_row = 0.5 * (h - 1) - (cos * y - sin * x)
    top, left = jnp.floor(source_row), jnp.floor(source_col)
    result = jnp.zeros(images.shape, jnp.promote_types(images.dtype, jnp.float32))
    for down in (0, 1):
        for right in (0, 1):
            r, c = top + down, left + right
            weight = (1 - jnp.abs(source_row - r)) * (1 - jnp.abs(source_col - c))
            inside = (r >= 0) & (r < h) & (c >= 0) & (c < w)
            rows = jnp.clip(r, 0, h - 1).astype(int)
            cols = jnp.clip(c, 0, w - 1).astype(int)
            values = images[..., rows, cols, :]
            result = result + jnp.where(inside, weight, 0.0)[..., None] * values
    return result.astype(images.dtype)


_rotate = jax.jit(rotate_bilinear)


def kl_divergence(logits: Array, other: Array) -> jax.Array:
    """``KL(softmax(logits) || softmax(other))`` per example, natural logarithm.

    Args:
      logits: [..., c].
      other: [..., c].

    Returns:
      [...], non-negative up to rounding, in nats; of 16-bit floats in float32.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> even = np.array([[0.0, 0.0]], "float32")
      >>> kl = sq.measures.kl_divergence(even, np.log(np.float32([[0.25, 0.75]])))
      >>> round(float(kl[0]), 4)
      0.1438
    """
    pair = jnp.asarray(logits), jnp.asarray(other)
    p, q = (jax.nn.log_softmax(y.astype(jnp.promote_types(y.dtype, jnp.float32))) for y in pair)
    return jnp.sum(jnp.exp(p) * (p - q), axis=-1)


def kl_with_floor(upright: Array, moved: Array, back: Array) -> dict[str, jax.Array]:
    """KL divergences of predictions from those of the images as they are, with the floor.

    Args:
      upright: logits ``[..., c]`` of the images.
      moved: of the transformed images.
      back: of images that were transformed forth and back: what interpolation and cut-off content
        do without any net transform (about twice, as the image is resampled twice).

    Returns:
      "kl" and "floor" ``[...]``, in nats.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> logits = np.array([[0.0, 1.0]], "float32")
      >>> found = sq.measures.finite.kl_with_floor(logits, logits + 3, logits - logits)
      >>> bool(abs(found["kl"][0]) < 1e-6), bool(found["floor"][0] > 0)
      (True, True)
    """
    return {"kl": kl_divergence(upright, moved), "floor": kl_divergence(upright, back)}


def check_classes(y: jax.Array, what: str) -> jax.Array:
    """The outputs, if they are class scores.

    Raises:
      ValueError: they are not.
    """
    if y.ndim != 2:
        raise ValueError(f"{what} compares class scores [n, classes], got shape {y.shape}")
    return y


@dataclasses.dataclass(frozen=True, repr=False)
class KLConsistency:
    """How far a transform moves the predicted distribution, and resampling alone.

    Attributes:
      kl: ``KL(f(x) || f(T x))``, nats; of maps ``KL(T' f(x) || f(T x))``, the mean over the valid
        pixels.
      floor: ``KL(f(x) || f(T^-1 T x))``, nats: interpolation and cut-off content without any net
        transform (about twice, as the image is resampled twice).
      agreement: share of the images, or of the valid pixels, whose top class is the same.
      upright: int ``[n]``, the top class of each image; None for maps.
      top: int ``[transforms, n]``, that of the moved images; None for maps.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
      >>> mean, turn = lambda x: x.mean((1, 2)), sq.measures.quarter_turn()
      >>> found = sq.measures.kl_consistency(mean, x, turn)
      >>> found.floor.value < 1e-6, found.top.shape
      (True, (1, 4))
    """

    kl: Estimate
    floor: Estimate
    agreement: Estimate
    upright: np.ndarray | None
    top: np.ndarray | None

    def table(self) -> str:
        """Three rows."""
        return "\n".join(each.table() for each in (self.kl, self.floor, self.agreement))

    def __repr__(self) -> str:
        return self.table()


def _kl_pair(o: Comparison) -> dict[str, jax.Array]:
    assert o.back is not None
    same = jnp.argmax(o.upright, axis=-1) == jnp.argmax(o.moved, axis=-1)
    found = kl_with_floor(check_classes(o.upright, "kl_consistency"), o.moved, o.back)
    return found | {"agreement": same.astype(jnp.float32)}


def _top(o: Comparison) -> dict[str, jax.Array]:
    return {"upright": jnp.argmax(o.upright, axis=-1), "top": jnp.argmax(o.moved, axis=-1)}


def valid_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Means ``[n]`` of values ``[n, ...]`` over the entries whose weight is above 1/2."""
    valid = jnp.broadcast_to(mask > 0.5, values.shape).reshape(len(values), -1)
    sums = jnp.sum(jnp.where(valid, values.reshape(valid.shape), 0.0), axis=1)
    return sums / jnp.sum(valid, axis=1)


@functools.lru_cache(maxsize=8)
def _map_measure(axis: int) -> Callable[[Comparison], dict[str, jax.Array]]:
    """KL with its floor and agreement of maps with the classes on an axis."""

    def last(y: jax.Array) -> jax.Array:
        return jnp.moveaxis(y, axis, -1)

    def measure(o: Comparison) -> dict[str, jax.Array]:
        assert o.back is not None
        assert o.back_mask is not None
        expected, moved = last(o.expected), last(o.moved)
        same = jnp.argmax(expected, axis=-1) == jnp.argmax(moved, axis=-1)
        mask, back_mask = last(o.mask)[..., 0], last(o.back_mask)[..., 0]
        back = kl_divergence(last(o.upright), last(o.back))
        return {
            "kl": valid_mean(kl_divergence(expected, moved), mask),
            "floor": valid_mean(back, back_mask),
            "agreement": valid_mean(same.astype(jnp.float32), mask),
        }

    return measure


def class_axis(layout: Layout) -> int | None:
    """The axis of the classes in a map of class scores; None where there is one row an image.

    Raises:
      ValueError: a representation acts on the scores, which classes do not allow.
    """
    if isinstance(layout, Image) and layout.fiber is None:
        return layout.channel
    if isinstance(layout, Tokens):
        return -1
    if isinstance(layout, Invariant):
        return None
    raise ValueError(
        f"a representation acts on the output ({layout}), but classes are left alone: declare a "
        "map without a fiber, or 'invariant'"
    )


def kl_consistency(
    f: Function, images: Array, transforms: Transforms, **options: Unpack[Options]
) -> KLConsistency:
    r"""KL divergence of the predicted classes under transforms, and its floor, in nats.

    Of an image's class scores ``E KL(f(x) || f(T x))``, as ``rotation_report`` has it for
    rotations. Of pixel maps (output="image": segmentation) ``E KL(T' f(x) || f(T x))``: the
    logits move as the image does, and the mean over a map is over its valid pixels, those whose
    pre-image is between pixel centers (published: up to half a pixel outside). Softmax over the
    classes, natural logarithm. The equivariant consistency of "Tunable Soft Equivariance with
    Guarantees" (section 4 of its specification).

    Args:
      f: images to logits ``[n, classes]``, or with output="image" ``[n, h, w, classes]`` (with the
        head).
      images: see ``relative_error``.
      transforms: see ``relative_error``.
      **options: all but stencil, see ``Options``; the head must leave logits or log
        probabilities.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for outputs that are no class scores.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
      >>> mean, turn = lambda x: x.mean((1, 2)), sq.measures.quarter_turn()
      >>> found = sq.measures.kl_consistency(mean, x, turn)
      >>> abs(found.kl.value) < 1e-6, found.agreement.value
      (True, 1.0)
    """
    setting = resolved(options, "kl_consistency", without=("stencil",))
    axis = class_axis(setting.output)
    transforms = check_transforms(transforms)
    names = names_of(transforms)
    needs = frozenset({BACK})
    if axis is None:
        metrics = [per_image(_kl_pair, needs=needs), per_image(_top)]
        found, tops = evaluate(f, images, transforms, metrics, **options)
        upright, top = tops["upright"][0].astype(int), tops["top"].astype(int)
        name = "KL(f(x) || f(Tx)) [nats]"
    else:
        (found,) = evaluate(
            f, images, transforms, [per_image(_map_measure(axis), needs=needs)], **options
        )
        upright = top = None
        name = "KL(T f(x) || f(Tx)) [nats]"
    return KLConsistency(
        mean_of(name, found["kl"], names),
        mean_of("interpolation floor [nats]", found["floor"], names),
        mean_of("same top class", found["agreement"], names),
        upright,
        top,
    )


@dataclasses.dataclass(frozen=True)
class RotationReport:
    """Predictions of a classifier, image by image, under a fixed grid of rotations.

    Attributes:
      angles: float64 [a], radians.
      correct: bool [n], top-1 upright.
      correct_rotated: bool [a, n], top-1 at each angle.
      kl: float64 [a, n], ``KL(f(x) || f(R x))`` in nats.
      kl_floor: float64 [a, n], ``KL(f(x) || f(R^-1 R x))``: what interpolation and the cut
        corners do without any net rotation (about twice, since the image is resampled twice).

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
      >>> labels, mean = x.mean((1, 2)).argmax(1), lambda x: x.mean((1, 2))
      >>> found = sq.measures.rotation_report(mean, x, labels, [0.0, np.pi / 2])
      >>> found.accuracy()[0], found.correct_rotated.shape
      (1.0, (2, 4))
    """

    angles: np.ndarray
    correct: np.ndarray
    correct_rotated: np.ndarray
    kl: np.ndarray
    kl_floor: np.ndarray

    def __repr__(self) -> str:
        images, angles = plural(len(self.correct), "image"), plural(len(self.angles), "angle")
        right = f"top-1 {self.accuracy()[0]:.1%} upright, {self.accuracy_rotated()[0]:.1%} turned"
        return f"RotationReport({images}, {angles}: {right})"

    def _repr_html_(self) -> str:
        columns = (np.degrees(self.angles), self.correct_rotated, self.kl, self.kl_floor)
        means = zip(*(np.reshape(v, (len(self.angles), -1)).mean(1) for v in columns), strict=True)
        rows = [(f"{a:.4g}", f"{t:.1%}", f"{k:.4g}", f"{f:.4g}") for a, t, k, f in means]
        head = ("degrees", "top-1", "KL", "KL of interpolation")
        return paragraph(repr(self)) + html_table(head, rows)

    def accuracy(self) -> tuple[float, float]:
        """Top-1 upright: mean and standard error over images."""
        return mean_and_error(self.correct)

    def accuracy_rotated(self, limit: float = np.inf) -> tuple[float, float]:
        """Top-1 averaged over the angles up to ``limit`` (radians, at most 2 pi, or infinity for
        all of them): mean, standard error over images."""
        return mean_and_error(self.correct_rotated[self._up_to(limit)].mean(axis=0))

    def kl_at(self, angle: float) -> tuple[float, float]:
        """Mean KL over the grid angles +angle and -angle, and its standard error over images."""
        return mean_and_error(self.kl[self._at(angle)].mean(axis=0))

    def kl_floor_at(self, angle: float) -> tuple[float, float]:
        """The interpolation floor of ``kl_at``."""
        return mean_and_error(self.kl_floor[self._at(angle)].mean(axis=0))

    def _up_to(self, limit: float) -> np.ndarray:
        limit = limit if limit == np.inf else float(radians(limit, "limit"))
        chosen = np.abs(self.angles) <= limit + 1e-9
        if not chosen.any():
            raise ValueError(f"no angle up to {limit} in the grid {self.angles}")
        return chosen

    def _at(self, angle: float) -> np.ndarray:
        chosen = np.isclose(np.abs(self.angles), abs(angle), atol=1e-9)
        if not chosen.any():
            raise ValueError(f"angle {angle} is not in the grid {self.angles}")
        return chosen


def rotation_report(
    predict: Callable[[Array], Array],
    images: Array,
    labels: Array,
    angles: Sequence[float],
) -> RotationReport:
    """Predictions of a classifier upright and at every angle of a fixed grid.

    Args:
      predict: images [n, h, w, c] to logits [n, classes].
      images: floating point, normalized as the classifier wants them; the zero fill of the
        rotation is in this scale.
      labels: int [n].
      angles: radians, the same grid for every classifier that is to be compared.

    Returns:
      Outcomes by angle and image. Costs 1 + 2 a calls of ``predict``.

    Raises:
      ValueError: no angle, one beyond 2 pi, labels of another length, or non-finite logits.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
      >>> labels, corner = x[:, 0, 0].argmax(1), lambda x: x[:, 0, 0]
      >>> found = sq.measures.rotation_report(corner, x, labels, [np.pi / 2])
      >>> found.correct.tolist(), bool(found.correct_rotated.all())
      ([True, True, True, True], False)
    """
    grid = np.array([float(radians(angle, "each of angles")) for angle in angles])
    labels = np.asarray(labels)
    if grid.size == 0:
        raise ValueError("the grid of angles is empty")
    if labels.shape != (len(images),):
        raise ValueError(f"{len(images)} images need as many labels, got shape {labels.shape}")
    upright = _finite(predict(images), "upright")
    correct, kl, floor = [], [], []
    for angle in grid:
        turned = np.asarray(_rotate(images, angle))
        logits = _finite(predict(turned), f"at angle {angle:.4g}")
        back = _finite(predict(np.asarray(_rotate(turned, -angle))), f"back from {angle:.4g}")
        correct.append(logits.argmax(-1) == labels)
        found = kl_with_floor(upright, logits, back)
        kl.append(np.asarray(found["kl"], dtype=np.float64))
        floor.append(np.asarray(found["floor"], dtype=np.float64))
    return RotationReport(
        grid, upright.argmax(-1) == labels, np.array(correct), np.array(kl), np.array(floor)
    )


def _finite(logits: Array, where: str) -> np.ndarray:
    logits = np.asarray(logits)
    if not np.all(np.isfinite(logits)):
        raise ValueError(f"the classifier returned NaN or infinite logits {where}")
    return logits


Array = jax.Array | np.ndarray
