"""Rotations and flips of pixel grids, as images and as rows of tokens; exact, orthogonal.

Pixels are flattened row-major, ``p = row * width + col``. The quarter turn R (counter-clockwise, as
``np.rot90``) and the left-right flip F permute those of a square grid and generate D4. What maps a
rectangle to itself are the half turn and the flips: C1, C2, D1 (left-right) and D2 act there, and
no other group.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from softeq_jax._checks import whole
from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.reps._frequencies import Frequencies, read_only, require_basis
from softeq_jax.reps._grid_columns import (
    mirror_columns,
    permutation_columns,
    snapped_columns,
    turned_index,
    with_prefix,
)
from softeq_jax.reps._planar import PlanarRep, check_planar
from softeq_jax.reps._terms import Term


@dataclasses.dataclass(frozen=True, repr=False)
class Grid(PlanarRep):
    """The action on the pixels of a grid, after ``prefix`` entries that nothing moves.

    The base of ``GridImage`` and ``GridTokens``, which differ in how the entries lie in an array.

    Attributes:
      height, width: the sides of the grid.
      prefix: number of fixed entries before the pixels.
    """

    height: int = 1
    width: int = 1
    prefix: int = 0

    @property
    def is_permutation(self) -> bool:
        return self.group.rotations in (1, 2, 4) or self.height == self.width == 1

    def terms(self) -> list[tuple[Term, np.ndarray]]:
        if not self.prefix or self.is_trivial:
            return super().terms()
        fixed, moved = np.arange(self.prefix)[:, None], np.arange(self.prefix, self.dim)[None]
        grid = dataclasses.replace(self, prefix=0)
        return [(Term(self.prefix, ()), fixed), (Term(1, (grid,)), moved)]

    @property
    def unmatched(self) -> np.ndarray:
        matched = self.is_permutation or self.height % 2
        return np.zeros((self.dim, 0)) if matched else super().unmatched

    def frequencies(self) -> Frequencies:
        instead = "take fewer pixels; strict projection under C1, C2, C4, D1, D2, D4 needs no basis"
        require_basis(self.dim, f"{self.formula}", instead)
        return _grid_frequencies(self.height, self.width, self.is_permutation, self.prefix)

    def _permutation(self, angle: float, flip: bool) -> np.ndarray | None:
        if not self.is_permutation and angle:
            return None
        quarters = round(angle / (math.pi / 2)) if self.height * self.width > 1 else 0
        index = turned_index(self.height, self.width, quarters, flip)
        fixed = np.arange(self.prefix, dtype=np.int32)
        return np.concatenate([fixed, index + np.int32(self.prefix)])


@dataclasses.dataclass(frozen=True, repr=False)
class GridImage(Grid):
    """Pixels as two array axes, ``(height, width)``. Made by ``image``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> I = sq.reps.image(sq.groups.cyclic(4), (2, 2))
      >>> I.apply(I.group.elements()[1], np.array([[0, 1], [2, 3]]))  # as np.rot90
      array([[1, 3],
             [0, 2]])
    """

    @property
    def formula(self) -> str:
        return f"Image[{self.height}x{self.width}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.height, self.width)


@dataclasses.dataclass(frozen=True, repr=False)
class GridTokens(Grid):
    """Pixels as one array axis, ``(prefix + height * width,)``. Made by ``tokens``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> T = sq.reps.tokens(sq.groups.cyclic(4), (2, 2), prefix=1)
      >>> T.apply(T.group.elements()[1], np.array([9, 0, 1, 2, 3]))
      array([9, 1, 3, 0, 2])
    """

    @property
    def formula(self) -> str:
        prefix = f"{self.prefix}+" if self.prefix else ""
        return f"Tokens[{prefix}{self.height}x{self.width}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.prefix + self.height * self.width,)


@functools.lru_cache(maxsize=16)
def _grid_frequencies(height: int, width: int, permutation: bool, prefix: int) -> Frequencies:
    if height != width:
        columns = mirror_columns(height, width)
    else:
        columns = permutation_columns(height) if permutation else snapped_columns(height)
    return read_only(*with_prefix(columns, prefix))


def grid_obstacle(group: Group, shape: tuple[int, int]) -> str | None:
    """Why a group does not act on the pixels of a grid, or None where it does: on every square,
    and on other rectangles if it has no rotations but the half turn.

    Raises:
      ValueError: it is no group of the plane.

    Example:
      >>> import softeq_jax as sq
      >>> sq.reps.grid_obstacle(sq.groups.cyclic(4), (3, 3)) is None
      True
      >>> sq.reps.grid_obstacle(sq.groups.cyclic(4), (3, 4))
      'rotations by 90 degrees, as in C4, do not map a 3 x 4 grid to itself ...'
    """
    height, width = shape
    turns = check_planar(group, "an action on a grid").rotations
    if height == width or turns in (1, 2):
        return None
    angle = "any angle" if turns is None else f"{360 / turns:.6g} degrees"
    return (
        f"rotations by {angle}, as in {group!r}, do not map a {height} x {width} grid to itself "
        "(what does: C2, D1, D2)"
    )


def _sides(group: Any, shape: Any, what: str) -> tuple[PlanarGroup, int, int]:
    """The checked group with the height and the width of a grid that it acts on."""
    planar = check_planar(group, what)
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ValueError(f"{what} needs a shape (height, width), got {shape!r}")
    height, width = (whole(n, f"each side of {what}") for n in shape)
    if obstacle := grid_obstacle(planar, (height, width)):
        raise ValueError(f"{what} needs a square grid: {obstacle}")
    return planar, height, width


def image(group: Group, shape: tuple[int, int]) -> GridImage:
    """The group acting on images by rotating and flipping them.

    The rotation by +90 degrees is ``np.rot90(x, 1)``, counter-clockwise as it is seen, and the
    flip reverses each row. For C1, C2, C4, D1, D2 and D4 that is all there is, and the action
    is a permutation. For every other group the rotation by t is ``exp(t A)``, with the sinc
    derivative of a rotation as A, and A's frequencies moved to the integers that quarter turns
    allow. So the action is orthogonal, an exact homomorphism, and agrees with the permutations,
    except on the ``k / 2`` *unmatched* patterns that exist for even k: there is no orthogonal
    action of O(2) that extends the permutations to them, and all rotations leave them fixed.

    Args:
      group: a group of rotations of the plane.
      shape: ``(height, width)``, which differ for C1, C2, D1 and D2 only: those map a rectangle to
        itself. The flip of D1 is left-right, ``np.fliplr``; up-down is in D2.

    Returns:
      A representation of this shape that prints as ``Image[7x7](SO(2))``.

    Raises:
      ValueError: the group does not map such a grid to itself.
      TypeError: ``group`` is no group.

    Example:
      >>> import numpy as np
      >>> from softeq_jax import groups, reps
      >>> G = groups.so(2)
      >>> I = reps.image(G, (7, 7))
      >>> x = np.random.default_rng(0).normal(size=(7, 7))
      >>> third = G.element(2 * np.pi / 3)
      >>> turned = I.apply(third, I.apply(third, I.apply(third, x)))
      >>> bool(abs(turned - x).max() < 1e-12)  # three turns by 120 degrees, and nothing is blurred
      True
    """
    return GridImage(*_sides(group, shape, "image"))


def tokens(group: Group, shape: tuple[int, int], prefix: int = 0) -> GridTokens:
    """The same action on a sequence of tokens, as in a vision transformer.

    Args:
      group: a group of rotations of the plane.
      shape: ``(height, width)``, the grid of the tokens, which follow each other row by row; as
        for ``image``.
      prefix: number of tokens in front (class tokens, registers) that are left in place.

    Returns:
      A representation of shape ``(prefix + k * k,)`` that prints as ``Tokens[1+14x14](C4)``.

    Raises:
      ValueError: the group does not map such a grid to itself; ``prefix`` is negative or no int.
      TypeError: ``group`` is no group.

    Example:
      >>> import softeq_jax as sq
      >>> T = sq.reps.tokens(sq.groups.cyclic(4), (14, 14), prefix=1)
      >>> T, T.shape, T.is_permutation
      (Tokens[1+14x14](C4), (197,), True)
    """
    return GridTokens(*_sides(group, shape, "tokens"), whole(prefix, "prefix", least=0))
