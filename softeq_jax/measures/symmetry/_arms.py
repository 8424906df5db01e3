"""The arms of the test: under a group, on data that were turned first, about a wrong origin."""

import dataclasses
from typing import Any

import jax
import numpy as np

from softeq_jax.groups import PlanarGroup
from softeq_jax.measures.symmetry._action import Acting
from softeq_jax.measures.symmetry._bands import Bands
from softeq_jax.measures.symmetry._pairs import PairTest, Witness, fitted, swap_test
from softeq_jax.measures.symmetry._subgroups import moving

_ORBITS = 100
"""Held-out examples whose whole orbits are looked at."""
_CENTERS = 16
"""Examples among which the center of the wrong group is chosen."""


@dataclasses.dataclass
class Arms:
    """The same test on the same halves.

    Attributes:
      acting: the examples and how the group acts.
      first: bool ``[n]``, of the half on which classifiers are fitted.
      rng: of elements and swaps.
      swaps: see ``Survey``.
    """

    acting: Acting
    first: np.ndarray
    rng: np.random.Generator
    swaps: int

    def test(
        self, elements: np.ndarray, x: np.ndarray, center: np.ndarray | float = 0.0
    ) -> tuple[PairTest, Witness]:
        """The test under elements with their inverses, about a center, and what it tells by."""
        which = self.rng.integers(0, len(elements), len(x))
        moved = self.acting.each(elements, which, x + center) - center
        still, moved = (a.reshape(len(x), -1) for a in (x, moved))
        witness = fitted(still[self.first], moved[self.first])
        held = ~self.first
        margins = witness(moved[held]) - witness(still[held])
        return swap_test(margins, self.rng, self.swaps), witness

    def energies(self, witness: Witness, found: Bands) -> np.ndarray:
        """Squares of the parts of the witness along orbits of held-out examples, ``[m, b]``."""
        x = self.acting.x[~self.first][:_ORBITS]
        along = [witness(self.acting.move(g, x).reshape(len(x), -1)) for g in found.elements]
        return _band_energies(np.array(along), found, self.acting.group)


def _band_energies(along: np.ndarray, found: Bands, group: Any) -> np.ndarray:
    """``sum_g h(g) h_b(g)`` of functions ``[m, n]`` on the elements, ``[n, b]``."""
    energies = np.zeros((along.shape[1], len(found.levels)))
    flat = found.elements.reshape(len(found.elements), -1)
    for k, g in enumerate(found.elements):
        product = (g @ found.elements).reshape(len(flat), -1)
        index = np.argmin(((product[:, None] - flat[None]) ** 2).sum(-1), axis=1)
        energies += np.einsum("n,b->nb", (along * along[index]).sum(0), found.weights[:, k])
    return np.maximum(energies, 0)


def turned_first(
    act: Acting, top: np.ndarray, found: Bands | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Elements, and examples moved by an independent uniform element each: exactly symmetric.

    Uniform over a finite group where there is one to draw from, then with its elements.
    """
    group, n = act.group, len(act.x)
    whole_circle = isinstance(group, PlanarGroup) and group.rotations is None
    if whole_circle or (group.order is not None and len(top) == group.order - 1):
        turns = np.concatenate([np.eye(group.d)[None], top])
    elif found is not None:
        turns = found.elements
    else:
        draws = group.sample(jax.random.key(int(rng.integers(2**31))), n)
        turns = np.asarray(draws, group.dtype)
        return top, act.each(turns, np.arange(n), act.x)
    return moving(turns), act.each(turns, rng.integers(0, len(turns), n), act.x)


def wrong_origin(act: Acting, elements: np.ndarray) -> np.ndarray:
    """The example, about the mean, that the group moves most."""
    centers = act.x[:_CENTERS] - act.x.mean(0)
    moved = [act.move(g, centers) - centers for g in elements[:8]]
    return centers[np.argmax(sum((m.reshape(len(m), -1) ** 2).sum(1) for m in moved))]
