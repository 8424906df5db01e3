"""Translations of the plane, by whole entries or interpolated."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from softeq_jax._checks import is_traced
from softeq_jax.measures.base._functions import Array
from softeq_jax.measures.base._layouts import Frame, Image, Layout, Shape, Tokens
from softeq_jax.measures.finite._resample import (
    BOUNDARIES,
    INTERPOLATIONS,
    WHOLE,
    axis_mask,
    shift_axis,
)
from softeq_jax.measures.finite._transform import (
    Transform,
    check_floating,
    grid_mask,
    is_planar,
    ones_mask,
    placed,
    plane_of,
)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["dy", "dx"],
    meta_fields=["boundary", "interpolation"],
)
@dataclasses.dataclass(frozen=True)
class Shift(Transform):
    """A translation by (dy, dx) pixels of the input; made by ``shift``.

    Attributes:
      dy: pixels downwards.
      dx: pixels to the right.
      boundary: what comes in at the edge.
      interpolation: how fractions of an entry are resolved.

    Example:
      >>> import softeq_jax as sq
      >>> step = sq.measures.shift(1, 2, boundary="zero")
      >>> step.inverse.dy, step.inverse.dx, step.boundary
      (-1, -2, 'zero')
    """

    dy: Array | float
    dx: Array | float
    boundary: str = "circular"
    interpolation: str = "exact"

    @property
    def name(self) -> str:
        """See ``Transform.name``."""
        return f"shift ({float(self.dy):.4g}, {float(self.dx):.4g})"

    @property
    def inverse(self) -> "Shift":
        """The shift back."""
        return dataclasses.replace(self, dy=-self.dy, dx=-self.dx)

    def _entries(self, shape: Shape, layout: Image | Tokens, frame: Frame) -> tuple:
        _, placement = placed(shape, layout, frame)
        return self.dy / placement.pitch[0], self.dx / placement.pitch[1]

    def check(self, shape: Shape, layout: Layout, frame: Frame) -> None:
        """ValueError if interpolation is "exact" and the shift is no whole number of entries."""
        layout.check(shape, "the array")
        if self.interpolation != "exact" or not is_planar(layout):
            return
        if not self.is_exact(shape, layout, frame):
            entries = tuple(float(s) for s in self._entries(shape, layout, frame))
            raise ValueError(
                f"{self.name} is {entries} entries of an array of shape {shape} on a "
                f"{frame[0]} x {frame[1]} input, no whole number: shift by multiples of "
                f"its pitch, or choose interpolation='lanczos' or 'bilinear'"
            )

    def __call__(self, x: Array, layout: Layout, frame: Frame) -> jax.Array:
        """See ``Transform.__call__``; nothing moves on a fiber or an invariant."""
        if not (is_traced(self.dy) or is_traced(self.dx)):
            self.check(x.shape, layout, frame)
        if not is_planar(layout):
            return jnp.asarray(x)
        if self.interpolation != "exact":
            check_floating(x, "a shift by fractions")
        plane = plane_of(x, layout)
        values = plane.values
        for axis, entries in zip(plane.axes, self._entries(x.shape, layout, frame), strict=True):
            values = shift_axis(values, axis, entries, self.interpolation, self.boundary)
        return plane.restore(values)

    def mask(self, shape: Shape, layout: Layout, frame: Frame) -> jax.Array:
        """See ``Transform.mask``; behind an interpolation every tap must be inside."""
        if not is_planar(layout):
            return ones_mask(shape)
        grid, _ = placed(shape, layout, frame)
        rows, cols = (
            axis_mask(n, entries, self.interpolation, self.boundary)
            for n, entries in zip(grid, self._entries(shape, layout, frame), strict=True)
        )
        return grid_mask(shape, layout, rows[:, None] * cols)

    def is_exact(self, shape: Shape, layout: Layout, frame: Frame) -> bool:
        """Whether the shift is a whole number of entries."""
        if not is_planar(layout):
            return True
        entries = (float(s) for s in self._entries(shape, layout, frame))
        return all(abs(s - round(s)) < WHOLE for s in entries)


def shift(
    dy: float,
    dx: float,
    boundary: str = "circular",
    interpolation: str = "exact",
) -> Shift:
    """A translation: the content moves dy pixels down and dx to the right.

    On a feature map the shift is divided by the map's pitch. On a fiber (a vector that sits
    nowhere) and on an invariant nothing moves.

    Args:
      dy: pixels of the input.
      dx: pixels of the input.
      boundary: what comes in at the edge: "circular", "zero", "edge" or "reflect". Except for
        "circular" the mask is 0 there.
      interpolation: "exact" (whole entries only), "lanczos" (three lobes, six taps) or
        "bilinear".

    Raises:
      ValueError: an unknown boundary or interpolation.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> down = sq.measures.shift(1, 0)
      >>> x = np.arange(4.0, dtype="float32").reshape(1, 2, 2, 1)
      >>> down(x, sq.measures.Image(), (2, 2))[0, ..., 0]
      Array([[2., 3.],
             [0., 1.]], dtype=float32)
    """
    if boundary not in BOUNDARIES:
        raise ValueError(f"no boundary is called {boundary!r}, choose from {list(BOUNDARIES)}")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"no interpolation is called {interpolation!r}, choose from {list(INTERPOLATIONS)}"
        )
    return Shift(dy, dx, boundary, interpolation)
