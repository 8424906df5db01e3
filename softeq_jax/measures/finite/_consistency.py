"""Whether a classifier says the same about two random shifts of an image."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures._functions import Function, as_key, batches, check_inputs
from softeq_jax.measures._layouts import Image
from softeq_jax.measures.finite._crops import crop_each, image_axes, pad_plane, roll_each
from softeq_jax.measures.finite._program import Program, program_of
from softeq_jax.measures.finite._statistics import Estimate, mean_of
from softeq_jax.measures.finite._transform import Array, Frame

_BOUNDARIES = ("both", "circular", "crop")
Place = Callable[[Array, np.ndarray], jax.Array]


@dataclasses.dataclass(frozen=True, repr=False)
class Consistency:
    """``P[argmax f(T1 x) = argmax f(T2 x)]``; what was not asked for is None.

    Attributes:
      circular: under circular shifts: aliasing alone.
      crop: between two windows of a larger canvas: what enters and leaves at the border, too.
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
    input: str | Image = "image",
    batch_size: int | None = None,
    jit: bool = True,
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
      input: layout of the images: "image" or an ``Image``.
      batch_size: images per call of f; None: all at once.
      jit: False for functions that JAX cannot trace.

    Returns:
      Estimates with agreements 0 and 1, ``[pairs, images]``.

    Raises:
      TypeError: integer images.
      ValueError: an unknown boundary or padding, windows that do not fit, non-finite scores, or
        outputs that are no class scores.
    """
    images = check_inputs(images)
    axes = image_axes(images, input)
    if max_shift is None:
        max_shift = max(1, min(images.shape[axis] for axis in axes) // 8)
    if boundary not in _BOUNDARIES:
        raise ValueError(f"no boundary is called {boundary!r}, choose from {list(_BOUNDARIES)}")
    if max_shift < 1 or n < 1:
        raise ValueError(f"max_shift and n must be at least 1, got max_shift={max_shift} and n={n}")
    sides = tuple(images.shape[axis] for axis in axes)
    if size is not None and any(
        side - length < 2 * max_shift for side, length in zip(sides, size, strict=True)
    ):
        raise ValueError(
            f"windows of {tuple(size)} pixels that move by {max_shift} to each side do not fit "
            f"into images of {sides}: drop size= to pad the images, or choose a smaller max_shift"
        )
    shifts = jax.random.randint(as_key(key), (n, 2, len(images), 2), -max_shift, max_shift + 1)
    program = program_of(f, "logits", jit)
    window = sides if size is None else tuple(size)
    middle = np.array([(side - length) // 2 for side, length in zip(sides, window, strict=True)])

    def circular(x: Array, shift: np.ndarray) -> jax.Array:
        return roll_each(
            crop_each(x, np.broadcast_to(middle, shift.shape), window, axes), shift, axes
        )

    def crop(x: Array, shift: np.ndarray) -> jax.Array:
        canvas = pad_plane(x, max_shift, padding, axes) if size is None else jnp.asarray(x)
        first = max_shift if size is None else middle
        return crop_each(canvas, first - shift, window, axes)

    places = {"circular": circular, "crop": crop}
    measured = {
        name: _agreement(program, images, np.asarray(shifts), place, name, batch_size)
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
