r"""Finite transforms: their interface, and their action on planes and on fibers.

A transform carries the numbers of one group element or warp. It acts on any array whose layout
says how the array lies on the plane of the input, so the same object moves an image, each feature
map behind it and its outputs. Numeric parameters are leaves of a pytree: another angle or another
shift of the same kind reuses what was compiled.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import PlanarGroup
from softeq_jax.measures.base._functions import Array
from softeq_jax.measures.base._layouts import (
    Fiber,
    Frame,
    Image,
    Invariant,
    Layout,
    Placement,
    Shape,
    Tokens,
)
from softeq_jax.reps import Rep


class Transform(abc.ABC):
    """A transform ``T_g``; immutable, a pytree of its numbers.

    ``T(x, layout, frame)`` is the action on an array of that layout, for an input of ``frame``
    rows and columns; physical coordinates are pixels of the input from its center, y downwards.

    Example:
      >>> import softeq_jax as sq
      >>> turn = sq.measures.quarter_turn()
      >>> isinstance(turn, sq.measures.Transform), turn.inverse == sq.measures.quarter_turn(-1)
      (True, True)
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """How it reads in tables, such as ``shift (1, -2)``; needs concrete parameters."""

    @property
    @abc.abstractmethod
    def inverse(self) -> "Transform":
        """The transform that undoes it (up to interpolation and what left the frame)."""

    @abc.abstractmethod
    def check(self, shape: Shape, layout: Layout, frame: Frame) -> None:
        """Raises ValueError where it cannot act on such an array; host side.

        ``__call__`` calls it when the parameters are concrete. Whoever traces the parameters
        (passes the transform to a jitted function) calls it first.
        """

    @abc.abstractmethod
    def __call__(self, x: Array, layout: Layout, frame: Frame) -> jax.Array:
        """The transform applied to an array.

        Args:
          x: ``[n, ...]``, read by the layout. Floating point where entries are interpolated.
          layout: how the array lies on the plane, or what acts on it.
          frame: rows and columns of the input image.

        Returns:
          An array with the shape and dtype of ``x``.

        Raises:
          ValueError: see ``check``.
          TypeError: integers that would be interpolated.
        """

    def match(self, y: Array, layout: Layout, frame: Frame) -> jax.Array:
        """The filter of a transform that filters, without its movement; else the identity.

        ``match(f(T x))`` is compared with ``T f(match(x))``, so that f sees the same spectrum in
        both and both sides have the same spectrum.
        """
        return jnp.asarray(y)

    @property
    def filter(self) -> str | None:
        """What filter ``match`` is, the same for transforms that share it; None: no filter."""
        return None

    @abc.abstractmethod
    def mask(self, shape: Shape, layout: Layout, frame: Frame) -> jax.Array:
        """Which entries have their pre-image inside the map.

        Returns:
          float32 weights in [0, 1] of the rank of ``shape``, 1 along every axis but those of the
          grid; ones where nothing is cut off.
        """

    @abc.abstractmethod
    def is_exact(self, shape: Shape, layout: Layout, frame: Frame) -> bool:
        """Whether entries go to entries (or are mixed by a representation) without
        interpolation; host side."""


class Plane(NamedTuple):
    """The part of an array that lies on a grid.

    Attributes:
      values: the array, with the rows and columns on two axes of their own.
      axes: these axes, non-negative.
      restore: puts transformed values back where they came from.
    """

    values: jax.Array
    axes: tuple[int, int]
    restore: Callable[[jax.Array], jax.Array]

    @property
    def grid(self) -> Frame:
        """Rows and columns."""
        return self.values.shape[self.axes[0]], self.values.shape[self.axes[1]]


def plane_of(x: Array, layout: Image | Tokens) -> Plane:
    """The grid in an array of a planar layout; prefix tokens are set aside by ``restore``."""
    x = jnp.asarray(x)
    if isinstance(layout, Image):
        rows, cols = (axis % x.ndim for axis in layout.axes)
        return Plane(x, (rows, cols), lambda values: values)
    axis, sides = layout.axis % x.ndim, layout.sides(x.shape)
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    prefix, tokens = jnp.split(x, [layout.prefix], axis=axis)

    def restore(values: jax.Array) -> jax.Array:
        return jnp.concatenate([prefix, values.reshape(tokens.shape)], axis=axis)

    return Plane(tokens.reshape(*before, *sides, *after), (axis, axis + 1), restore)


def grid_of(shape: Shape, layout: Image | Tokens) -> Frame:
    """Rows and columns of the grid in an array of this shape."""
    return layout.grid(shape) if isinstance(layout, Image) else layout.sides(shape)


def placed(shape: Shape, layout: Image | Tokens, frame: Frame) -> tuple[Frame, Placement]:
    """The grid in an array of this shape, and where it lies."""
    return grid_of(shape, layout), layout.placement(shape, frame)


def grid_mask(shape: Shape, layout: Image | Tokens, weights: jax.Array) -> jax.Array:
    """Weights ``[h, w]`` of the grid as a mask for an array of this shape.

    Tokens in front of the grid have weight 1.
    """
    rank, weights = len(shape), jnp.asarray(weights, jnp.float32)
    form = [1] * rank
    if isinstance(layout, Image):
        rows, cols = (axis % rank for axis in layout.axes)
        form[rows], form[cols] = shape[rows], shape[cols]
        return (weights if rows < cols else weights.T).reshape(form)
    flat = jnp.concatenate([jnp.ones(layout.prefix, jnp.float32), weights.ravel()])
    form[layout.axis % rank] = flat.size
    return flat.reshape(form)


def ones_mask(shape: Shape) -> jax.Array:
    """The mask that keeps everything."""
    return jnp.ones((1,) * len(shape), jnp.float32)


def is_planar(layout: Layout) -> TypeGuard[Image | Tokens]:
    """Whether the layout has a grid on the plane of the input; a fiber and an invariant do not."""
    if isinstance(layout, Image | Tokens):
        return True
    if isinstance(layout, Fiber | Invariant):
        return False
    raise TypeError(f"expected a measures layout, got {layout!r}")


def check_floating(x: Array, what: str) -> None:
    """TypeError unless the array can be interpolated."""
    if not jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating):
        raise TypeError(
            f"{what} interpolates: the array must be floating point, got {x.dtype}; convert it"
        )


def fiber_of(layout: Layout) -> tuple[Rep, tuple[int, ...]] | None:
    """The representation in a layout and the axes it acts on; None where there is none."""
    if isinstance(layout, Fiber):
        return layout.rep, layout.axes
    if isinstance(layout, Image) and layout.fiber is not None:
        return layout.fiber, (layout.channel,)
    return None


def planar_element(layout: Layout, angle: float, flip: bool, what: str) -> np.ndarray | None:
    """``R(angle) F^flip`` in the group of the layout's representation; None where there is none.

    Raises:
      ValueError: the group is not one of the plane, or has no such element.
    """
    found = fiber_of(layout)
    if found is None:
        return None
    group = _planar_group(found[0], what)
    try:
        return group.element(angle, flip)
    except ValueError as error:
        raise ValueError(
            f"{what} does not act through {found[0]}: {error}. Declare a representation of a "
            f"larger group, such as O(2), or choose a transform of {group}"
        ) from None


def act_on_fiber(layout: Layout, g: Any, x: jax.Array) -> jax.Array:
    """A concrete group element on the fiber of an array, on every copy in a single axis."""
    found = fiber_of(layout)
    if found is None or g is None:
        return x
    rep, axes = found
    if len(axes) != 1:
        return rep.apply(g, x, axes=axes)
    split = _split(x, rep, axes[0])
    return _join(rep.apply(g, split, axes=range(split.ndim - len(rep.shape), split.ndim)), x, axes)


def check_turn(layout: Layout, what: str) -> None:
    """ValueError unless every rotation acts through the layout's representation, if it has one."""
    found = fiber_of(layout)
    if found is None:
        return
    rep = found[0]
    group = _planar_group(rep, what)
    if group.rotations is not None:
        raise ValueError(
            f"{what} by any angle needs a representation of SO(2) or O(2), but {rep} belongs to "
            f"{group}: use measures.finite.quarter_turn or element"
        )
    if rep.frequencies() is None:
        raise ValueError(f"{what} needs a real orthogonal representation, which {rep} is not")


def turn_fiber(layout: Layout, angle: Array | float, x: jax.Array) -> jax.Array:
    r"""A rotation by an angle that may be traced, on the fiber of an array.

    ``x + B ((rot(angle) - 1) (B^T x))`` in the basis B of ``rep.frequencies()``, in which the
    pair of frequency m turns by m times the angle.
    """
    found = fiber_of(layout)
    if found is None:
        return x
    rep, axes = found
    f = rep.frequencies()
    if len(axes) != 1:
        last = tuple(range(x.ndim - len(axes), x.ndim))
        moved = jnp.moveaxis(x, axes, last)
        flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], rep.dim)
        turned = _turned(f, angle, flat).reshape(moved.shape)
        return jnp.moveaxis(turned, last, axes)
    split = _split(x, rep, axes[0])
    flat = split.reshape(*split.shape[: split.ndim - len(rep.shape)], rep.dim)
    return _join(_turned(f, angle, flat), x, axes)


def _turned(f: Any, angle: Array | float, x: jax.Array) -> jax.Array:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    basis = jnp.asarray(f.basis, wide.dtype)
    inside = jnp.matmul(wide, basis, precision="highest")
    angles = np.where(f.unmatched, 0, f.frequency) * jnp.asarray(angle, wide.dtype)
    cos_minus_1 = -2 * jnp.sin(angles / 2) ** 2
    sin = jnp.where(f.partner < 0, 0.0, np.where(f.odd, 1.0, -1.0) * jnp.sin(angles))
    partner = np.where(f.partner < 0, 0, f.partner).astype(np.int32)
    moved = inside * cos_minus_1 + inside[..., partner] * sin
    return (wide + jnp.matmul(moved, basis.T, precision="highest")).astype(x.dtype)


def _planar_group(rep: Rep, what: str) -> PlanarGroup:
    if not isinstance(rep.group, PlanarGroup):
        raise ValueError(
            f"{what} acts on representations of groups of the plane, not on {rep}: use "
            f"measures.finite.element for the elements of {rep.group}"
        )
    return rep.group


def _split(x: jax.Array, rep: Rep, axis: int) -> jax.Array:
    """The copies in one axis as ``[..., copies, *rep.shape]``."""
    moved = jnp.moveaxis(x, axis, -1)
    return moved.reshape(*moved.shape[:-1], moved.shape[-1] // rep.dim, *rep.shape)


def _join(split: jax.Array, like: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    moved = jnp.moveaxis(like, axes[0], -1)
    return jnp.moveaxis(split.reshape(moved.shape), -1, axes[0])
