"""How an element of a group, or a rotation by a traced angle, acts on the fiber of an array."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import PlanarGroup
from softeq_jax.measures._layouts import Fiber, Image, Layout
from softeq_jax.reps import Rep

Array = jax.Array | np.ndarray


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


def act(layout: Layout, g: Any, x: jax.Array) -> jax.Array:
    """A concrete group element on the fiber of an array, on every copy in a single axis."""
    found = fiber_of(layout)
    if found is None or g is None:
        return x
    rep, axes = found
    if len(axes) > 1:
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


def turn(layout: Layout, angle: Array | float, x: jax.Array) -> jax.Array:
    r"""A rotation by an angle that may be traced, on the fiber of an array.

    ``x + B ((rot(angle) - 1) (B^T x))`` in the basis B of ``rep.frequencies()``, in which the
    pair of frequency m turns by m times the angle.
    """
    found = fiber_of(layout)
    if found is None:
        return x
    rep, axes = found
    f = rep.frequencies()
    if len(axes) > 1:
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
