"""What a shift of the object by one pixel does to a classifier, no content being lost."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures._functions import Function, as_key, batches, check_inputs
from softeq_jax.measures._layouts import Image
from softeq_jax.measures.finite._consistency import top_classes
from softeq_jax.measures.finite._crops import embed_each, image_axes
from softeq_jax.measures.finite._program import program_of
from softeq_jax.measures.finite._statistics import Estimate, mean_of
from softeq_jax.measures.finite._transform import Array, Frame

_FILLS = ("zero", "mean", "edge")


@dataclasses.dataclass(frozen=True, repr=False)
class AzulayWeiss:
    """What one pixel changes.

    Attributes:
      changes: whether the top class changes, 0 or 1.
      mac: mean absolute change of the probability of the top class before the shift.
    """

    changes: Estimate
    mac: Estimate

    def table(self) -> str:
        """Two rows."""
        return f"{self.changes.table()}\n{self.mac.table()}"

    def __repr__(self) -> str:
        return self.table()


def azulay_weiss(
    f: Function,
    images: Array,
    *,
    key: jax.Array | int | None = None,
    n: int = 4,
    canvas: Frame | None = None,
    size: Frame | None = None,
    fill: str | float = "zero",
    head: str | Function = "probabilities",
    input: str | Image = "image",
    batch_size: int | None = None,
    jit: bool = True,
) -> AzulayWeiss:
    """One-pixel shifts of an object on a larger canvas (Azulay and Weiss 2019; measures.md C).

    Each image lies at random places of the canvas, and then one pixel further up, down, left or
    right. A function of one input size gets canvases of that size, on which the images are made
    smaller (antialiased); one of any size can be given a canvas that is larger than the images.
    Costs 2 n calls of f per image.

    Args:
      f: canvases to class scores ``[n, classes]``.
      images: floating point.
      key: a JAX key, or a seed; None: seed 0.
      n: places per image.
      canvas: rows and columns; None: those of the images.
      size: rows and columns the images are resized to; None: as they are on a larger canvas,
        three quarters of the canvas otherwise.
      fill: of the canvas around: "zero", "mean" (of each image and channel), "edge" (its last
        pixels) or a number.
      head: turns scores into probabilities.
      input: layout of the images: "image" or an ``Image``.
      batch_size: images per call of f; None: all at once.
      jit: False for functions that JAX cannot trace.

    Returns:
      Estimates ``[places, images]``.

    Raises:
      TypeError: integer images.
      ValueError: an unknown fill, objects that leave no room to move, non-finite scores, or
        outputs that are no class scores.
    """
    images = check_inputs(images)
    axes = image_axes(images, input)
    if isinstance(fill, str) and fill not in _FILLS:
        raise ValueError(f"no fill is called {fill!r}, choose from {list(_FILLS)} or a number")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    sides = tuple(images.shape[axis] for axis in axes)
    canvas = sides if canvas is None else tuple(canvas)
    if size is None:
        larger = all(c > s for c, s in zip(canvas, sides, strict=True))
        size = sides if larger else tuple(3 * c // 4 for c in canvas)
    room = np.array(canvas) - np.array(size)
    if np.any(room < 1) or min(size) < 1:
        raise ValueError(
            f"images of {tuple(size)} pixels have no room to move on a canvas of {canvas}: "
            f"choose a larger canvas= or a smaller size="
        )
    places = _places(as_key(key), n, len(images), room)
    program = program_of(f, head, jit)
    changes, mac = np.empty((2, n, len(images)))
    start = 0
    for x, real in batches(images, batch_size):
        at = np.minimum(start + np.arange(len(x)), len(images) - 1)
        content = _resized(x, tuple(size), axes)
        ground = _background(content, fill, axes)
        for index, both in enumerate(places):
            one, two = (
                np.asarray(
                    top_classes(
                        program,
                        embed_each(content, place[at], ground, canvas, axes, fill == "edge"),
                        "f(canvas)",
                    ),
                    np.float64,
                )
                for place in both
            )
            top = one.argmax(-1)
            rows = np.arange(len(one))
            kept = slice(start, start + real)
            changes[index, kept] = (two.argmax(-1) != top)[:real]
            mac[index, kept] = np.abs(one[rows, top] - two[rows, top])[:real]
        start += real
    names = tuple(f"place {index}" for index in range(n))
    return AzulayWeiss(
        mean_of("P(top-1 changes)", changes, names), mean_of("mean abs. change", mac, names)
    )


def _places(key: jax.Array, n: int, images: int, room: np.ndarray) -> np.ndarray:
    """int ``[n, 2, images, 2]``: where an image lies before and after."""
    axis_key, place_key, order_key = jax.random.split(key, 3)
    axis = np.asarray(jax.random.randint(axis_key, (n, images), 0, 2))
    step = np.eye(2, dtype=int)[axis]
    low = np.asarray(jax.random.randint(place_key, (n, images, 2), 0, room + 1 - step))
    swap = np.asarray(jax.random.bernoulli(order_key, 0.5, (n, images)))[..., None]
    return np.stack([np.where(swap, low + step, low), np.where(swap, low, low + step)], axis=1)


def _resized(x: Array, size: Frame, axes: tuple[int, int]) -> jax.Array:
    shape = list(x.shape)
    for axis, length in zip(axes, size, strict=True):
        shape[axis] = length
    x = jnp.asarray(x)
    return x if x.shape == tuple(shape) else jax.image.resize(x, shape, "linear", antialias=True)


def _background(x: jax.Array, fill: str | float, axes: tuple[int, int]) -> jax.Array:
    if fill == "mean":
        return jnp.mean(x, axis=axes, keepdims=True)
    value = 0.0 if isinstance(fill, str) else fill
    return jnp.full((len(x), *(1,) * (x.ndim - 1)), value, x.dtype)
