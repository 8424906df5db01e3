r"""Bands of functions on a group: how fast they vary along it, by the levels of the library.

A function h on the group has the part ``h_b = h * w_b`` of level b, with a class function w_b
(Schur). ``bands`` gives all elements of a finite group, or those of a finite subgroup that stands
for an infinite one: 16 turns for the circle, the icosahedron for rotations of space, which tell
the lowest levels apart; the last band then holds all that is faster.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from softeq_jax.groups import (
    Group,
    OrthogonalGroup,
    PlanarGroup,
    cyclic,
    dihedral,
    icosahedral,
)

_TURNS = 16
"""Turns that stand for a circle."""
_LISTED = 120
"""Largest order of a finite group whose levels are told apart."""
_FLIPPED = 2 / math.pi
"""The level of what rotations fix and a reflection negates."""
_SAME = 1e-6


class Bands(NamedTuple):
    """Elements, and the parts of functions on them.

    Attributes:
      elements: ``[m, d, d]``, a group.
      levels: ``[b]``, ascending, the first 0: the mean.
      weights: ``[b, m]``: the part of level b of h at g is ``sum_k w[b, k] h(g_k g)``; they add up
        to the identity.

    Example:
      >>> import softeq_jax as sq
      >>> found = sq.measures.symmetry.bands(sq.groups.cyclic(4))
      >>> found.up_to(0).round(6).tolist()  # the mean over the group
      [0.25, 0.25, 0.25, 0.25]
    """

    elements: np.ndarray
    levels: np.ndarray
    weights: np.ndarray

    def up_to(self, band: int) -> np.ndarray:
        """Weights ``[m]`` of all levels up to that of a band."""
        return self.weights[: band + 1].sum(0)


@functools.lru_cache(maxsize=16)
def bands(group: Group) -> Bands | None:
    """The bands of a group; None where no finite group stands for it.

    Example:
      >>> import softeq_jax as sq
      >>> sq.measures.symmetry.bands(sq.groups.so(2)).levels.tolist()
      [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    """
    if isinstance(group, PlanarGroup) and (group.order is None or group.order > _LISTED):
        found = _listed((dihedral if group.has_flip else cyclic)(_TURNS))
        levels = [b if abs(b - _FLIPPED) < _SAME else _frequency(b) for b in found.levels]
        return _sorted(found.elements, np.array(levels, float), found.weights)
    if isinstance(group, OrthogonalGroup) and group.n == 3:
        return _of_space(group.special)
    if group.order is None or group.order > _LISTED or group.level_factors() is None:
        return None
    return _listed(group)


def _frequency(level: float) -> int:
    return round(_TURNS / math.pi * math.asin(min(math.pi * level / _TURNS, 1.0)))


def _sorted(elements: np.ndarray, levels: np.ndarray, weights: np.ndarray) -> Bands:
    order = np.argsort(levels, kind="stable")
    return Bands(elements, levels[order], weights[order])


def _listed(group: Group) -> Bands:
    """Of a finite group, from the squared levels in its regular representation."""
    elements = group.elements()
    n = len(elements)
    squared = sum((_stages(group, stages) for stages in group.level_factors() or ()), np.zeros(()))
    squared = np.broadcast_to(squared, (n, n)) if squared.ndim == 0 else squared
    values, vectors = np.linalg.eigh((squared + squared.T) / 2)
    sigma = np.sqrt(np.maximum(values, 0))
    sigma[sigma < math.sqrt(_SAME)] = 0
    identity = group.index(np.eye(group.d))
    cuts = [0, *(np.flatnonzero(np.diff(sigma) > _SAME) + 1), n]
    pairs = list(itertools.pairwise(cuts))
    weights = [vectors[:, a:b] @ vectors[identity, a:b] for a, b in pairs]
    return Bands(elements, np.array([sigma[a] for a, _ in pairs]), np.array(weights))


def _stages(group: Group, stages: tuple) -> np.ndarray:
    """The squared level of one factor: the value of the first stage that acts."""
    n = group.order or 1
    total, rest = np.zeros((n, n)), np.eye(n)
    for stage in stages:
        value = np.zeros((n, n))
        for found in stage.classes:
            moved = np.zeros((n, n))
            for h in found.elements:
                moved[np.arange(n), group.translates(h)] += 1 / len(found.elements)
            value += found.weight * (2 * np.eye(n) - moved - moved.T)
        total = total + rest @ value @ rest
        values, vectors = np.linalg.eigh(rest @ value @ rest)
        acts = vectors[:, values > _SAME]
        rest = rest - acts @ acts.T
    return total


def _of_space(special: bool) -> Bands:
    """Of SO(3) and O(3), by the rotations of an icosahedron: degrees 0, 1, 2 and the rest."""
    turns = icosahedral().elements()
    angles = np.arccos(np.clip((np.trace(turns, axis1=1, axis2=2) - 1) / 2, -1, 1))
    first, second = 2 * np.cos(angles), 2 * np.cos(2 * angles)
    characters = [np.ones(len(turns)), 1 + first, 1 + first + second]
    weights = [(2 * l + 1) / len(turns) * chi for l, chi in enumerate(characters)]
    here = np.abs(turns - np.eye(3)).max(axis=(1, 2)) < _SAME
    weights.append(here - sum(weights))
    levels = [math.sqrt(l * (l + 1)) for l in range(4)]
    if special:
        return Bands(turns, np.array(levels), np.array(weights))
    both = [np.concatenate([w, 0 * w]) for w in weights[1:]]
    even, odd = (np.concatenate([weights[0], s * weights[0]]) / 2 for s in (1, -1))
    elements = np.concatenate([turns, -turns])
    return _sorted(elements, np.array([0, _FLIPPED, *levels[1:]]), np.array([even, odd, *both]))
