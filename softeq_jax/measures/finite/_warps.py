r"""Rotations by any angle and scalings, by resampling about the center of the input.

``(T x)(p) = x(A^-1 p)`` in pixels of the input, on every grid through its own placement.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from softeq_jax._checks import is_traced, radians
from softeq_jax.measures.base._functions import Array
from softeq_jax.measures.base._layouts import Frame, Layout, Placement, Shape
from softeq_jax.measures.finite._resample import (
    RADIUS,
    check_isotropic,
    lowpass,
    sample_bandlimited,
    sample_bilinear,
)
from softeq_jax.measures.finite._transform import (
    Transform,
    check_floating,
    check_turn,
    grid_mask,
    is_planar,
    ones_mask,
    placed,
    plane_of,
    turn_fiber,
)

_EDGE = 1e-3  # entries by which a pre-image may miss the map through rounding
ROTATIONS = ("bilinear", "bandlimited")


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["angle"], meta_fields=["interpolation"]
)
@dataclasses.dataclass(frozen=True)
class Rotation(Transform):
    """A counter-clockwise rotation about the center of the input; made by ``rotation``.

    Attributes:
      angle: radians.
      interpolation: "bilinear" or "bandlimited".

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> turn = sq.measures.rotation(0.1)
      >>> x = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype("float32")
      >>> turn(x, sq.measures.Image(), (8, 8)).shape
      (1, 8, 8, 1)
    """

    angle: Array | float
    interpolation: str = "bilinear"

    @property
    def name(self) -> str:
        """See ``Transform.name``."""
        return f"rotation {math.degrees(float(self.angle)):.4g} deg"

    @property
    def inverse(self) -> "Rotation":
        """The rotation back."""
        return dataclasses.replace(self, angle=-self.angle)

    def check(self, shape: Shape, layout: Layout, frame: Frame) -> None:
        """ValueError for a grid that is not square, or a fiber that cannot turn by any angle."""
        layout.check(shape, "the array")
        check_turn(layout, "a rotation")
        if not is_planar(layout):
            return
        grid, placement = placed(shape, layout, frame)
        if grid[0] != grid[1] and not getattr(layout, "rectangular", False):
            raise ValueError(
                f"a rotation of a {grid[0]} x {grid[1]} grid cuts off its ends: crop or pad it "
                f"to a square, or say that this is meant by measures.Image(rectangular=True)"
            )
        if self.interpolation == "bandlimited":
            check_isotropic(placement)

    def __call__(self, x: Array, layout: Layout, frame: Frame) -> jax.Array:
        """See ``Transform.__call__``; zero outside."""
        self.check(x.shape, layout, frame)
        if not is_planar(layout):
            return turn_fiber(layout, self.angle, jnp.asarray(x))
        check_floating(x, "a rotation")
        plane = plane_of(x, layout)
        source = self._source(*placed(x.shape, layout, frame))
        sample = sample_bandlimited if self.interpolation == "bandlimited" else sample_bilinear
        values = sample(plane.values, plane.axes, *source)
        return turn_fiber(layout, self.angle, plane.restore(values))

    @property
    def filter(self) -> str | None:
        """See ``Transform.filter``; the disc does not depend on the angle."""
        return "disc" if self.interpolation == "bandlimited" else None

    def match(self, y: Array, layout: Layout, frame: Frame) -> jax.Array:
        """See ``Transform.match``: the low-pass of the band-limited rotation."""
        if self.filter is None or not is_planar(layout):
            return jnp.asarray(y)
        plane = plane_of(y, layout)
        return plane.restore(lowpass(plane.values, plane.axes))

    def _source(self, grid: Frame, placement: Placement) -> tuple[jax.Array, jax.Array]:
        y, x = _coordinates(grid, placement)
        cos, sin = jnp.cos(self.angle), jnp.sin(self.angle)
        return _indices(cos * y + sin * x, cos * x - sin * y, placement)

    def mask(self, shape: Shape, layout: Layout, frame: Frame) -> jax.Array:
        """See ``Transform.mask``; band-limited, the kernel's support must be inside too."""
        if not is_planar(layout):
            return ones_mask(shape)
        grid, placement = placed(shape, layout, frame)
        margin = RADIUS if self.interpolation == "bandlimited" else 0
        return grid_mask(shape, layout, _inside(*self._source(grid, placement), grid, margin))

    def is_exact(self, shape: Shape, layout: Layout, frame: Frame) -> bool:
        """Whether nothing is resampled: on fibers and invariants."""
        return not is_planar(layout)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["factor"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Scaling(Transform):
    """A magnification about the center of the input; made by ``scaling``.

    Attributes:
      factor: above 1 the content grows.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> grow = sq.measures.scaling(2.0)
      >>> x = np.ones((1, 4, 4, 1), "float32")
      >>> grow(x, sq.measures.Image(), (4, 4))[0, :, :, 0]
      Array([[1., 1., 1., 1.],
             [1., 1., 1., 1.],
             [1., 1., 1., 1.],
             [1., 1., 1., 1.]], dtype=float32)
    """

    factor: Array | float

    @property
    def name(self) -> str:
        """See ``Transform.name``."""
        return f"scaling {float(self.factor):.4g}"

    @property
    def inverse(self) -> "Scaling":
        """The scaling by 1 / factor."""
        return Scaling(1 / self.factor)

    def check(self, shape: Shape, layout: Layout, frame: Frame) -> None:
        """ValueError for an array that is not as its layout says."""
        layout.check(shape, "the array")

    def __call__(self, x: Array, layout: Layout, frame: Frame) -> jax.Array:
        """See ``Transform.__call__``; bilinear, zero outside, nothing on fibers."""
        self.check(x.shape, layout, frame)
        if not is_planar(layout):
            return jnp.asarray(x)
        check_floating(x, "a scaling")
        plane = plane_of(x, layout)
        grid, placement = placed(x.shape, layout, frame)
        return plane.restore(
            sample_bilinear(plane.values, plane.axes, *self._source(grid, placement))
        )

    def _source(self, grid: Frame, placement: Placement) -> tuple[jax.Array, jax.Array]:
        y, x = _coordinates(grid, placement)
        return _indices(y / self.factor, x / self.factor, placement)

    def mask(self, shape: Shape, layout: Layout, frame: Frame) -> jax.Array:
        """See ``Transform.mask``."""
        if not is_planar(layout):
            return ones_mask(shape)
        grid, placement = placed(shape, layout, frame)
        return grid_mask(shape, layout, _inside(*self._source(grid, placement), grid, 0))

    def is_exact(self, shape: Shape, layout: Layout, frame: Frame) -> bool:
        """Whether nothing is resampled: on fibers and invariants, and by the factor 1."""
        return not is_planar(layout) or float(self.factor) == 1.0


def rotation(angle: float, interpolation: str = "bilinear") -> Rotation:
    """A rotation counter-clockwise about the center of the input, zero outside.

    On a centered square grid the bilinear one is ``measures.rotate_bilinear``. Fibers of SO(2)
    and O(2) turn along.

    Args:
      angle: radians, at most 2 pi in size; may be a JAX scalar.
      interpolation: "bilinear", or "bandlimited": the disc of frequencies that every
        rotation keeps (a jinc of radius 6, after EQ-R), see ``match``.

    Raises:
      ValueError: an unknown interpolation, or an angle that is not finite or beyond 2 pi.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> turn = sq.measures.rotation(np.pi / 6)
      >>> turn.name, turn.inverse.angle == -turn.angle
      ('rotation 30 deg', True)
    """
    if interpolation not in ROTATIONS:
        raise ValueError(
            f"no interpolation is called {interpolation!r}, choose from {list(ROTATIONS)}"
        )
    return Rotation(radians(angle, "the angle"), interpolation)


def scaling(factor: float) -> Scaling:
    """A magnification of the content about the center of the input, bilinear, zero outside.

    Fibers are left alone: what grows is where they sit.

    Args:
      factor: positive; may be a JAX scalar.

    Raises:
      ValueError: the factor is not positive and finite.

    Example:
      >>> import softeq_jax as sq
      >>> sq.measures.scaling(2.0).inverse.factor
      0.5
    """
    if not is_traced(factor) and not (factor > 0 and math.isfinite(factor)):
        raise ValueError(f"the factor must be positive and finite, got {factor}")
    return Scaling(factor)


def _coordinates(grid: Frame, placement: Placement) -> tuple[jax.Array, jax.Array]:
    y, x = placement.coordinates(grid)
    return jnp.asarray(y, float)[:, None], jnp.asarray(x, float)[None, :]


def _indices(y: jax.Array, x: jax.Array, placement: Placement) -> tuple[jax.Array, jax.Array]:
    """Fractional row and column indices ``[h, w]`` of physical positions."""
    y, x = jnp.broadcast_arrays(y, x)
    rows = (y - placement.origin[0]) / placement.pitch[0]
    return rows, (x - placement.origin[1]) / placement.pitch[1]


def _inside(rows: jax.Array, cols: jax.Array, grid: Frame, margin: int) -> jax.Array:
    edge = margin - _EDGE
    rows_inside = (rows >= edge) & (rows <= grid[0] - 1 - edge)
    return rows_inside & (cols >= edge) & (cols <= grid[1] - 1 - edge)
