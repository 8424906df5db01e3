"""Consistency of a classifier under small shifts of its image, and shifts by one pixel.

Each image of a batch is shifted by its own amount: on a circle, as a window of a larger canvas, or
as an object on a larger canvas, so that no content is lost.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import whole
from softeq_jax.measures._statistics import Estimate, mean_of
from softeq_jax.measures.base._functions import Array, Function, as_key, batches, check_inputs
from softeq_jax.measures.base._layouts import Frame, Image, Layout
from softeq_jax.measures.base._options import Options, resolved
from softeq_jax.measures.finite._evaluator import Program, program_of

PADDINGS = {"reflect": "reflect", "edge": "edge", "zero": "constant"}
Axes = tuple[int, int]


def image_axes(x: Array, layout: Layout) -> Axes:
    """The row and column axis of a batch of images.

    Raises:
      ValueError: the layout is not that of images, or does not fit.
    """
    if not isinstance(layout, Image):
        raise ValueError(f"images are shifted here, so input must be an Image, got {layout}")
    layout.check(x.shape, "the input")
    rows, cols = (axis % len(x.shape) for axis in layout.axes)
    return rows, cols


@functools.partial(jax.jit, static_argnames="axes")
def roll_each(x: Array, offsets: Array, axes: Axes) -> jax.Array:
    """Image i moved circularly by ``offsets[i]`` (rows, columns).

    Args:
      x: ``[n, ...]``.
      offsets: int ``[n, 2]``.
      axes: rows and columns of ``x``.
    """

    def roll(image: jax.Array, offset: jax.Array) -> jax.Array:
        return jnp.roll(image, offset, tuple(axis - 1 for axis in axes))

    return jax.vmap(roll)(jnp.asarray(x), jnp.asarray(offsets))


@functools.partial(jax.jit, static_argnames=("size", "axes"))
def crop_each(x: Array, starts: Array, size: Frame, axes: Axes) -> jax.Array:
    """The window of image i that starts at ``starts[i]``.

    Args:
      x: ``[n, ...]``.
      starts: int ``[n, 2]``; the windows must lie inside.
      size: rows and columns of a window.
      axes: rows and columns of ``x``.
    """

    def crop(image: jax.Array, start: jax.Array) -> jax.Array:
        for axis, first, length in zip(axes, start, size, strict=True):
            image = jax.lax.dynamic_slice_in_dim(image, first, length, axis - 1)
        return image

    return jax.vmap(crop)(jnp.asarray(x), jnp.asarray(starts))


@functools.partial(jax.jit, static_argnames=("canvas", "axes", "edge"))
def embed_each(
    x: Array, starts: Array, background: Array, canvas: Frame, axes: Axes, edge: bool
) -> jax.Array:
    """Image i on a canvas, its first entry at ``starts[i]``.

    Args:
      x: ``[n, ...]``.
      starts: int ``[n, 2]``; the images must lie inside.
      background: broadcasts against the result; what surrounds them.
      canvas: rows and columns.
      axes: rows and columns of ``x``.
      edge: surrounds them by their last entries instead.
    """

    def embed(image: jax.Array, start: jax.Array, ground: jax.Array) -> jax.Array:
        inside = jnp.ones((1,) * image.ndim, bool)
        for axis, first, length in zip(axes, start, canvas, strict=True):
            index, n = jnp.arange(length) - first, image.shape[axis - 1]
            form = [1] * image.ndim
            form[axis - 1] = length
            inside = inside & ((index >= 0) & (index < n)).reshape(form)
            image = jnp.take(image, jnp.clip(index, 0, n - 1), axis=axis - 1)
        return image if edge else jnp.where(inside, image, ground)

    x = jnp.asarray(x)
    background = jnp.broadcast_to(jnp.asarray(background, x.dtype), (len(x), *background.shape[1:]))
    return jax.vmap(embed)(x, jnp.asarray(starts), background)


def pad_plane(x: Array, amount: int, padding: str, axes: Axes) -> jax.Array:
    """The batch with ``amount`` more rows and columns on each side.

    Raises:
      ValueError: an unknown padding, or one that reflects more than there is.
    """
    if padding not in PADDINGS:
        raise ValueError(f"no padding is called {padding!r}, choose from {list(PADDINGS)}")
    if padding == "reflect" and amount >= min(x.shape[axis] for axis in axes):
        raise ValueError(f"cannot reflect {amount} pixels of images of shape {x.shape}")
    widths = [(amount, amount) if axis in axes else (0, 0) for axis in range(len(x.shape))]
    return jnp.pad(jnp.asarray(x), widths, mode=PADDINGS[padding])


_BOUNDARIES = ("both", "circular", "crop")
Place = Callable[[Array, np.ndarray], jax.Array]


@dataclasses.dataclass(frozen=True, repr=False)
class Consistency:
    """``P[argmax f(T1 x) = argmax f(T2 x)]``; what was not asked for is None.

    Attributes:
      circular: under circular shifts: aliasing alone.
      crop: between two windows of a larger canvas: what enters and leaves at the border, too.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
      >>> found = sq.measures.consistency(lambda x: x.mean((1, 2)), x, boundary="circular")
      >>> found.circular.value, found.crop
      (1.0, None)
    """

    circular: Estimate | None
    crop: Estimate | None

    def table(self) -> str:
        """A row for each."""
        return "\n".join(part.table() for part in (self.circular, self.crop) if part)

    def __repr__(self) -> str:
        return self.table()


def consistency(
    f: Function,
    images: Array,
    *,
    max_shift: int | None = None,
    key: jax.Array | int | None = None,
    n: int = 4,
    boundary: str = "both",
    size: Frame | None = None,
    padding: str = "reflect",
    **options: Unpack[Options],
) -> Consistency:
    """Classification consistency (Zhang 2019; measures.md C): two random shifts, one answer?

    Every image gets its own pairs, each shift uniform in ``[-max_shift, max_shift]`` along both
    axes; both boundaries use the same shifts. Costs 2 n calls of f per image and boundary.

    Args:
      f: images to class scores ``[n, classes]``.
      images: floating point.
      max_shift: pixels, at least 1; None: an eighth of the smaller side.
      key: a JAX key, or a seed; None: seed 0.
      n: pairs per image.
      boundary: "circular", "crop" or "both".
      size: rows and columns of the windows, for images that are larger (by 2 max_shift at
        least); "circular" then moves the central window. None: windows as large as the images,
        out of a canvas padded by max_shift.
      padding: of this canvas: "reflect", "edge" or "zero".
      **options: input ("image" or an ``Image``), batch_size and jit, see ``Options``.

    Returns:
      Estimates with agreements 0 and 1, ``[pairs, images]``.

    Raises:
      TypeError: integer images.
      ValueError: an unknown boundary or padding, windows that do not fit, non-finite scores, or
        outputs that are no class scores.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> images = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
      >>> sq.measures.consistency(lambda x: x.mean((1, 2)), images, boundary="circular")
      consistency (circular)   1 +- 0   (8 images, 4 transforms)
      >>> sq.measures.consistency(lambda x: x[:, 0, 0], images, boundary="circular")
      consistency (circular)   0.21875 +- 0.088   (8 images, 4 transforms)
    """
    setting = resolved(options, "consistency", without=("output", "head", "stencil"))
    images = check_inputs(images)
    axes = image_axes(images, setting.input)
    rows, cols = (images.shape[axis] for axis in axes)
    reach = max(1, min(rows, cols) // 8) if max_shift is None else whole(max_shift, "max_shift")
    if boundary not in _BOUNDARIES:
        raise ValueError(f"no boundary is called {boundary!r}, choose from {list(_BOUNDARIES)}")
    whole(n, "n")
    window = (rows, cols) if size is None else (size[0], size[1])
    if size is not None and min(rows - window[0], cols - window[1]) < 2 * reach:
        raise ValueError(
            f"windows of {window} pixels that move by {reach} to each side do not fit into images "
            f"of {(rows, cols)}: drop size= to pad the images, or choose a smaller max_shift"
        )
    shifts = jax.random.randint(as_key(key), (n, 2, len(images), 2), -reach, reach + 1)
    program = program_of(f, "logits", setting.jit)
    middle = np.array([(rows - window[0]) // 2, (cols - window[1]) // 2])

    def circular(x: Array, shift: np.ndarray) -> jax.Array:
        return roll_each(
            crop_each(x, np.broadcast_to(middle, shift.shape), window, axes), shift, axes
        )

    def crop(x: Array, shift: np.ndarray) -> jax.Array:
        canvas = pad_plane(x, reach, padding, axes) if size is None else jnp.asarray(x)
        first = reach if size is None else middle
        return crop_each(canvas, first - shift, window, axes)

    places = {"circular": circular, "crop": crop}
    measured = {
        name: _agreement(program, images, np.asarray(shifts), place, name, setting.batch_size)
        for name, place in places.items()
        if boundary in (name, "both")
    }
    return Consistency(measured.get("circular"), measured.get("crop"))


def top_classes(program: Program, x: Array, what: str) -> jax.Array:
    """The scores ``[n, classes]`` of checked outputs.

    Raises:
      ValueError: the outputs are no class scores.
    """
    y = program.checked(x, what)
    if y.ndim != 2:
        raise ValueError(f"{what} must be class scores [n, classes], got shape {y.shape}")
    return y


def _agreement(
    program: Program,
    images: Array,
    shifts: np.ndarray,
    place: Place,
    name: str,
    batch_size: int | None,
) -> Estimate:
    agree = np.empty((len(shifts), len(images)))
    start = 0
    for x, real in batches(images, batch_size):
        at = np.minimum(start + np.arange(len(x)), len(images) - 1)
        for pair, both in enumerate(shifts):
            one, two = (
                np.argmax(top_classes(program, place(x, shift[at]), "f(T x)"), axis=-1)
                for shift in both
            )
            agree[pair, start : start + real] = (one == two)[:real]
        start += real
    names = tuple(f"pair {pair}" for pair in range(len(shifts)))
    return mean_of(f"consistency ({name})", agree, names)


_FILLS = ("zero", "mean", "edge")


@dataclasses.dataclass(frozen=True, repr=False)
class AzulayWeiss:
    """How a classifier changes when its object moves by one pixel.

    Attributes:
      changes: whether the top class changes, 0 or 1.
      mac: mean absolute change of the probability of the top class before the shift.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
      >>> found = sq.measures.azulay_weiss(lambda x: x.mean((1, 2)), x, canvas=(16, 16), n=2)
      >>> round(found.mac.value, 4)
      0.0
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
    **options: Unpack[Options],
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
      **options: input ("image" or an ``Image``), head ("probabilities" unless said otherwise),
        batch_size and jit, see ``Options``.

    Returns:
      Estimates ``[places, images]``.

    Raises:
      TypeError: integer images.
      ValueError: an unknown fill, objects that leave no room to move, non-finite scores, or
        outputs that are no class scores.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
      >>> found = sq.measures.azulay_weiss(lambda x: x.mean((1, 2)), x, canvas=(16, 16), n=2)
      >>> found.changes.value  # a mean does not see where the object is
      0.0
    """
    without = ("output", "stencil")
    setting = resolved(options, "azulay_weiss", without=without, head="probabilities")
    images = check_inputs(images)
    axes = image_axes(images, setting.input)
    if isinstance(fill, str) and fill not in _FILLS:
        raise ValueError(f"no fill is called {fill!r}, choose from {list(_FILLS)} or a number")
    whole(n, "n")
    rows, cols = (images.shape[axis] for axis in axes)
    height, width = (rows, cols) if canvas is None else canvas
    if size is None:
        larger = height > rows and width > cols
        size = (rows, cols) if larger else (3 * height // 4, 3 * width // 4)
    object_size = (size[0], size[1])
    room = np.array((height, width)) - np.array(object_size)
    if np.any(room < 1) or min(object_size) < 1:
        raise ValueError(
            f"images of {object_size} pixels have no room to move on a canvas of "
            f"{(height, width)}: choose a larger canvas= or a smaller size="
        )
    places = _places(as_key(key), n, len(images), room)
    program = program_of(f, setting.head, setting.jit)
    changes, mac = np.empty((2, n, len(images)))
    start = 0
    for x, real in batches(images, setting.batch_size):
        at = np.minimum(start + np.arange(len(x)), len(images) - 1)
        content = _resized(x, object_size, axes)
        ground = _background(content, fill, axes)
        for index, both in enumerate(places):
            one, two = (
                np.asarray(
                    top_classes(
                        program,
                        embed_each(
                            content, place[at], ground, (height, width), axes, fill == "edge"
                        ),
                        "f(canvas)",
                    ),
                    np.float64,
                )
                for place in both
            )
            top = one.argmax(-1)
            each = np.arange(len(one))
            kept = slice(start, start + real)
            changes[index, kept] = (two.argmax(-1) != top)[:real]
            mac[index, kept] = np.abs(one[each, top] - two[each, top])[:real]
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
