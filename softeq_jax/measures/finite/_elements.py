"""The elements of a group, acting on fibers and, in the plane, on images and tokens."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.measures.base._functions import Array
from softeq_jax.measures.base._layouts import Frame, Invariant, Layout, Shape
from softeq_jax.measures.finite._transform import (
    Transform,
    act_on_fiber,
    fiber_of,
    is_planar,
    ones_mask,
)
from softeq_jax.measures.finite._turns import QuarterTurn, turned
from softeq_jax.measures.finite._warps import rotation


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=[], meta_fields=["group", "entries"]
)
@dataclasses.dataclass(frozen=True)
class Element(Transform):
    """One element of a group; made by ``element``. Its matrix is static.

    Attributes:
      group: the group.
      entries: the matrix, row by row, as a hashable tuple.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.cyclic(4)
      >>> turn = sq.measures.element(G, G.elements()[1])
      >>> turn.matrix.round(), bool(np.allclose(turn.matrix @ turn.inverse.matrix, np.eye(2)))
      (array([[ 0., -1.],
             [ 1.,  0.]]), True)
    """

    group: Group
    entries: tuple[complex | float, ...]

    @property
    def matrix(self) -> np.ndarray:
        """The element as a matrix ``[d, d]`` in double precision."""
        return np.array(self.entries).reshape(self.group.d, self.group.d)

    @property
    def name(self) -> str:
        """See ``Transform.name``."""
        if isinstance(self.group, PlanarGroup):
            angle, flipped = self.group.parameters(self.matrix)
            return f"{self.group} {math.degrees(angle):.4g} deg{' flip' if flipped else ''}"
        if self.group.is_finite:
            return f"{self.group} #{self.group.index(self.matrix)}"
        return f"{self.group} {np.round(self.matrix, 3).tolist()}"

    @property
    def inverse(self) -> "Element":
        """The inverse element."""
        orthogonal = self.group.is_orthogonal
        g = self.matrix.conj().T if orthogonal else np.linalg.inv(self.matrix)
        return element(self.group, g)

    def check(self, shape: Shape, layout: Layout, frame: Frame) -> None:
        """ValueError where the group does not act on the layout."""
        layout.check(shape, "the array")
        found = fiber_of(layout)
        if found is not None and not found[0].group.contains(self.matrix):
            raise ValueError(
                f"an element of {self.group} does not act through {found[0]}, a representation "
                f"of {found[0].group} that does not contain it: declare a representation of "
                f"{self.group}"
            )
        if not is_planar(layout):
            return
        turns, flipped, angle = self._parts()
        if turns is not None:
            QuarterTurn(turns, flipped).check_grid(shape, layout, frame)
            return
        if flipped:
            QuarterTurn(0, True).check_grid(shape, layout, frame)
        rotation(angle).check(shape, _without_fiber(layout), frame)

    def _parts(self) -> tuple[int | None, bool, float]:
        """Quarter turns (None for other angles), flip and angle of a planar element."""
        if not isinstance(self.group, PlanarGroup):
            raise ValueError(
                f"elements of {self.group} do not act on a grid of pixels or tokens: declare "
                f"measures.Fiber(rep) with a representation of {self.group}, or 'invariant'"
            )
        angle, flipped = self.group.parameters(self.matrix)
        quarters = angle / (math.pi / 2)
        whole = abs(quarters - round(quarters)) < 1e-9
        return (round(quarters) % 4 if whole else None), flipped, angle

    def __call__(self, x: Array, layout: Layout, frame: Frame) -> jax.Array:
        """See ``Transform.__call__``; quarter turns and flips are exact, other angles bilinear."""
        self.check(x.shape, layout, frame)
        x = jnp.asarray(x)
        if not is_planar(layout):
            return x if isinstance(layout, Invariant) else act_on_fiber(layout, self.matrix, x)
        turns, flipped, angle = self._parts()
        if turns is not None:
            moved = turned(x, turns, flipped, layout)
        else:
            moved = rotation(angle)(turned(x, 0, flipped, layout), _without_fiber(layout), frame)
        return act_on_fiber(layout, self.matrix, moved)

    def mask(self, shape: Shape, layout: Layout, frame: Frame) -> jax.Array:
        """See ``Transform.mask``."""
        if not is_planar(layout) or self._parts()[0] is not None:
            return ones_mask(shape)
        return rotation(self._parts()[2]).mask(shape, _without_fiber(layout), frame)

    def is_exact(self, shape: Shape, layout: Layout, frame: Frame) -> bool:
        """Whether pixels go to pixels; on fibers always."""
        if not is_planar(layout):
            return True
        turns, flipped, _ = self._parts()
        return turns is not None and QuarterTurn(turns, flipped).is_exact(
            shape, _without_fiber(layout), frame
        )


def element(group: Group, g: Array) -> Element:
    """A group element as a transform.

    On ``Fiber`` layouts it acts by ``rep.apply``. Elements of planar groups also act on images,
    with a fiber as ``(T f)(p) = rho(g) f(g^-1 p)``, and on tokens: by exact quarter turns and
    flips, other angles by bilinear resampling.

    Args:
      group: the group.
      g: ``[d, d]``, concrete.

    Raises:
      ValueError: g is not in the group.
      TypeError: g is traced, or ``group`` is no group.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.cyclic(4)
      >>> turn = sq.measures.element(G, G.elements()[1])
      >>> x = np.arange(4.0, dtype="float32").reshape(1, 2, 2, 1)
      >>> turn(x, sq.measures.Image(), (2, 2))[0, ..., 0]  # as np.rot90
      Array([[1., 3.],
             [0., 2.]], dtype=float32)
    """
    if not isinstance(group, Group):
        raise TypeError(f"element needs a group, such as groups.cyclic(4), got {group!r}")
    return Element(group, tuple(group.check(g).ravel().tolist()))


def _without_fiber(layout: Layout) -> Layout:
    return dataclasses.replace(layout, fiber=None) if fiber_of(layout) else layout
