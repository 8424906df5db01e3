r"""Levels of a representation of a planar group, and the masks cut from them.

A level belongs to an isotypic component, so every subspace "all levels up to b" is stable under
the group and independent of the basis of the Lie algebra and of the choice of generators. For a
component of angular frequency m the level is

=============  ==========================================================================
SO(2), O(2)    ``sigma = |m|``
C_n            ``sigma = (n / pi) |sin(pi m / n)|`` (tends to ``|m|`` for n -> infinity)
D_n            that of C_n; on what C_n fixes, 0 for flip-even and ``2 / pi`` for flip-odd
=============  ==========================================================================

Both finite rules are ``sigma^2 = sum over classes h of c_h^2 * 2 (1 - Re chi(h) / d)`` with
``c_h = order(h) / (2 pi)``, applied to the rotation first and to the flip on its kernel. A vector
without a partner frequency (see ``Rep.unmatched``) has level infinity.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from softeq_jax.groups import Group
from softeq_jax.reps import Rep

MASKS = ("hard", "heat", "resolvent")
FLIP_LEVEL = 2.0 / math.pi
"""Level of a flip-odd vector that every rotation of the group fixes."""

_RELATIVE_CLUSTER = 1e-6


class Levels(NamedTuple):
    """The level of every basis vector, and the distinct finite ones.

    Attributes:
      of_column: float64 [dim], level of each column of ``rep.frequencies().basis``.
      values: float64 [l], the distinct finite levels, ascending; the first is 0 if a vector is
        fixed by the group.
      dimensions: int [l], dimension of each level.
    """

    of_column: np.ndarray
    values: np.ndarray
    dimensions: np.ndarray

    @property
    def null_dimension(self) -> int:
        """n0, the dimension of the strictly invariant vectors."""
        return int(self.dimensions[self.values == 0.0].sum())

    @property
    def matched_dimension(self) -> int:
        """n, the dimension of everything that has a finite level."""
        return int(self.dimensions.sum())


def rotation_level(rotations: int | None, frequency: np.ndarray) -> np.ndarray:
    """Level of angular frequencies under SO(2) (``rotations=None``) or C_n.

    Args:
      rotations: n for C_n, None for every angle.
      frequency: integer array, any shape.

    Returns:
      float64 array of the same shape. Frequencies that C_n cannot tell apart (m, -m, m + n) get
      the same float to the bit.
    """
    m = np.abs(np.asarray(frequency))
    if rotations is None:
        return m.astype(np.float64)
    m = m % rotations
    m = np.minimum(m, rotations - m)
    return rotations / math.pi * np.sin(math.pi * m / rotations)


@functools.lru_cache(maxsize=256)
def levels_of(rep: Rep) -> Levels:
    """The levels of a representation of a planar group (module docstring for the formulas)."""
    frequencies = rep.frequencies()
    sigma = _column_levels(rep.group, frequencies.frequency, frequencies.odd)
    sigma = np.where(frequencies.unmatched, np.inf, sigma)
    values, dimensions = np.unique(sigma[np.isfinite(sigma)], return_counts=True)
    for array in (sigma, values, dimensions):
        array.setflags(write=False)
    return Levels(sigma, values, dimensions)


def _column_levels(group: Group, frequency: np.ndarray, odd: np.ndarray) -> np.ndarray:
    sigma = rotation_level(group.rotations, frequency)
    if group.has_flip:
        sigma = np.where((sigma == 0.0) & odd, FLIP_LEVEL, sigma)
    return sigma


def hard_mask(levels: Levels, cutoff: float) -> np.ndarray:
    """1 on every level ``<= cutoff (1 + 1e-6)``, 0 beyond. float64 [dim]."""
    return (levels.of_column <= cutoff * (1.0 + _RELATIVE_CLUSTER)).astype(np.float64)


def smooth_mask(levels: Levels, cutoff: float, kind: str) -> np.ndarray:
    r"""Smooth mask of width b = ``cutoff``; 1 at level 0, 0 on unmatched vectors. float64 [dim].

    ``heat``: ``exp(-sigma^2 / (2 b^2))``; ``resolvent``: ``1 / (1 + (sigma / b)^2)``. Both tend to
    the strict projector for b -> 0.
    """
    if cutoff == 0.0:
        return hard_mask(levels, 0.0)
    finite = np.isfinite(levels.of_column)
    ratio = np.where(finite, levels.of_column, 0.0) / cutoff
    with np.errstate(over="ignore"):
        mask = np.exp(-0.5 * ratio**2) if kind == "heat" else 1.0 / (1.0 + ratio**2)
    return np.where(finite, mask, 0.0)


def mask_at(
    levels: Levels, kind: str, *, cutoff: float | None = None, softness: float | None = None
) -> tuple[np.ndarray, float]:
    """The mask of a dial setting and the cutoff it realizes.

    Args:
      levels: the levels to cut.
      kind: one of ``MASKS``.
      cutoff: b >= 0 in the unit of the levels (1 / radian); infinity is the identity.
      softness: s in [0, 1]. Hard masks keep whole levels: the one whose
        ``(d_j - n0) / (n - n0)`` is nearest to s (ties to the stricter), the full space excepted.
        Smooth masks get the width whose trace gives ``(rank - n0) / (n - n0) = s``. 0 is strict,
        1 is the identity, unmatched vectors included.

    Returns:
      (mask float64 [dim], realized cutoff). A realized cutoff of infinity means the identity.

    Raises:
      ValueError: not exactly one dial, a negative or NaN cutoff, a softness outside [0, 1], an
        unknown kind of mask.
    """
    if kind not in MASKS:
        raise ValueError(f"unknown mask {kind!r}: expected one of {', '.join(MASKS)}")
    if (cutoff is None) == (softness is None):
        raise ValueError(
            f"give exactly one of cutoff and softness, got cutoff={cutoff}, softness={softness}"
        )
    if cutoff is None:
        cutoff = _cutoff_of_softness(levels, kind, float(softness))
    cutoff = float(cutoff)
    if not cutoff >= 0.0:
        raise ValueError(f"cutoff must be >= 0, got {cutoff}")
    fixed_by_all = levels.null_dimension == levels.of_column.size
    if math.isinf(cutoff) or fixed_by_all:
        return np.ones(levels.of_column.size), math.inf
    if kind != "hard":
        mask = smooth_mask(levels, cutoff, kind)
        return mask, math.inf if np.all(mask == 1.0) else cutoff
    mask = hard_mask(levels, cutoff)
    if mask.all():
        return mask, math.inf
    kept = levels.of_column[mask > 0]
    return mask, float(kept.max(initial=0.0))


def realized_softness(levels: Levels, mask: np.ndarray) -> float:
    """``(rank - n0) / (n - n0)`` of a mask: 1 for the identity and for nothing else.

    A mask that keeps every matched vector but drops unmatched ones reports the largest float
    below 1, so that asking for the reported softness gives the same mask back.
    """
    if np.all(mask == 1.0):
        return 1.0
    below_one = math.nextafter(1.0, 0.0)
    free = levels.matched_dimension - levels.null_dimension
    if free == 0:
        return below_one
    outside = np.isfinite(levels.of_column) & (levels.of_column > 0)
    return min(float(mask[outside].sum()) / free, below_one)


def _cutoff_of_softness(levels: Levels, kind: str, softness: float) -> float:
    if not 0.0 <= softness <= 1.0:
        raise ValueError(f"softness must be in [0, 1], got {softness}")
    if softness == 1.0:
        return math.inf
    if softness == 0.0:
        return 0.0
    n0, n = levels.null_dimension, levels.matched_dimension
    if n == n0:
        return 0.0
    if kind == "hard":
        return _nearest_level(levels, softness)
    return _width_of_share(levels, kind, softness)


def _nearest_level(levels: Levels, softness: float) -> float:
    n0, n = levels.null_dimension, levels.matched_dimension
    cutoffs = np.unique(np.concatenate([[0.0], levels.values]))
    kept = np.array([levels.dimensions[levels.values <= b].sum() for b in cutoffs])
    proper = kept < levels.of_column.size
    distance = np.abs((kept[proper] - n0) / (n - n0) - softness)
    return float(cutoffs[proper][np.argmin(distance)])


def _width_of_share(levels: Levels, kind: str, share: float) -> float:
    """The width b at which a smooth mask keeps this share of what is outside level 0.

    The kept sum is monotone in b; bisection on log b over 24 decades around the levels.
    """
    outside = np.isfinite(levels.of_column) & (levels.of_column > 0)
    positive = levels.of_column[outside]
    low, high = math.log(positive.min() * 1e-12), math.log(positive.max() * 1e12)
    for _ in range(200):
        middle = 0.5 * (low + high)
        if smooth_mask(levels, math.exp(middle), kind)[outside].sum() < share * positive.size:
            low = middle
        else:
            high = middle
    return math.exp(high)
