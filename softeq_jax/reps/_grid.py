"""Rotations and flips of square pixel grids: as images, and as rows of tokens."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from softeq_jax._checks import whole
from softeq_jax.groups import PlanarGroup
from softeq_jax.reps import _grid_basis
from softeq_jax.reps._frequencies import Frequencies, read_only
from softeq_jax.reps._planar import PlanarRep, check_planar
from softeq_jax.reps._rep import Term


@dataclasses.dataclass(frozen=True, repr=False)
class Grid(PlanarRep):
    """The action on the pixels of a k x k grid, after ``prefix`` entries that nothing moves.

    The base of ``Image`` and ``Tokens``, which differ in how the entries lie in an array.

    Attributes:
      side: k.
      prefix: number of fixed entries before the pixels.
    """

    side: int = 1
    prefix: int = 0

    @property
    def is_permutation(self) -> bool:
        return self.group.rotations in (1, 2, 4) or self.side == 1

    def terms(self) -> list[tuple[Term, np.ndarray]]:
        if not self.prefix or self.is_trivial:
            return super().terms()
        fixed, moved = np.arange(self.prefix)[:, None], np.arange(self.prefix, self.dim)[None]
        grid = dataclasses.replace(self, prefix=0)
        return [(Term(self.prefix, ()), fixed), (Term(1, (grid,)), moved)]

    def frequencies(self) -> Frequencies:
        return _grid_frequencies(self.side, self.is_permutation, self.prefix)

    def _permutation(self, angle: float, flip: bool) -> np.ndarray | None:
        if not self.is_permutation and angle:
            return None
        quarters = round(angle / (math.pi / 2)) if self.side > 1 else 0
        index = _grid_basis.turned_index(self.side, quarters, flip)
        fixed = np.arange(self.prefix, dtype=np.int32)
        return np.concatenate([fixed, index + np.int32(self.prefix)])


@dataclasses.dataclass(frozen=True, repr=False)
class Image(Grid):
    """Pixels as two array axes, ``(k, k)``. Made by ``image``."""

    @property
    def formula(self) -> str:
        return f"Image[{self.side}x{self.side}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.side, self.side)


@dataclasses.dataclass(frozen=True, repr=False)
class Tokens(Grid):
    """Pixels as one array axis, ``(prefix + k * k,)``. Made by ``tokens``."""

    @property
    def formula(self) -> str:
        prefix = f"{self.prefix}+" if self.prefix else ""
        return f"Tokens[{prefix}{self.side}x{self.side}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.prefix + self.side**2,)


@functools.lru_cache(maxsize=16)
def _grid_frequencies(side: int, permutation: bool, prefix: int) -> Frequencies:
    columns = _grid_basis.permutation_columns if permutation else _grid_basis.snapped_columns
    return read_only(*_grid_basis.with_prefix(columns(side), prefix))


def _side(shape: Any, what: str) -> int:
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ValueError(f"{what} needs a shape (height, width), got {shape!r}")
    height, width = (whole(n, f"each side of {what}") for n in shape)
    if height != width:
        raise ValueError(
            f"{what} needs a square grid, as rotations do not map a {height} x {width} grid "
            "to itself"
        )
    return height


def image(group: PlanarGroup, shape: tuple[int, int]) -> Image:
    """The group acting on images of k x k pixels by rotating and flipping them.

    The rotation by +90 degrees is ``np.rot90(x, 1)``, counter-clockwise as it is seen, and the
    flip reverses each row. For C1, C2, C4, D1, D2 and D4 that is all there is, and the action
    is a permutation. For every other group the rotation by t is ``exp(t A)``, with the sinc
    derivative of a rotation as A, and A's frequencies moved to the integers that quarter turns
    allow. So the action is orthogonal, an exact homomorphism, and agrees with the permutations,
    except on the ``k / 2`` *unmatched* patterns that exist for even k: there is no orthogonal
    action of O(2) that extends the permutations to them, and all rotations leave them fixed.

    Args:
      group: a group of rotations of the plane.
      shape: ``(k, k)``.

    Returns:
      A representation of shape ``(k, k)`` that prints as ``Image[7x7](SO(2))``.

    Raises:
      ValueError: the shape is not that of a square grid.
      TypeError: ``group`` is no group.
    """
    return Image(check_planar(group, "image"), _side(shape, "image"))


def tokens(group: PlanarGroup, shape: tuple[int, int], prefix: int = 0) -> Tokens:
    """The same action on a sequence of tokens, as in a vision transformer.

    Args:
      group: a group of rotations of the plane.
      shape: ``(k, k)``, the grid of the tokens, which follow each other row by row.
      prefix: number of tokens in front (class tokens, registers) that are left in place.

    Returns:
      A representation of shape ``(prefix + k * k,)`` that prints as ``Tokens[1+14x14](C4)``.

    Raises:
      ValueError: the shape is not that of a square grid, or ``prefix`` is negative or no int.
      TypeError: ``group`` is no group.
    """
    side = _side(shape, "tokens")
    return Tokens(check_planar(group, "tokens"), side, whole(prefix, "prefix", least=0))
