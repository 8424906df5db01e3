"""Choosing and building the filters of a weight: host side, float64, once."""

import functools
import itertools
import math
import warnings
from typing import NamedTuple

import numpy as np

from softeq_jax.projections import _backends, _levels
from softeq_jax.projections._factored import factored_block
from softeq_jax.projections._facts import (
    Block,
    axis_sizes,
    generators,
    has_levels,
    is_planar,
    named,
    no_levels,
    orbit_moves,
    refuse_unmatched,
)
from softeq_jax.projections._filter import IdentityFilter
from softeq_jax.projections._space import Space, segments
from softeq_jax.reps import Gains, Rep

__all__ = ["BACKENDS", "Built", "blocks", "build", "build_cached", "generators"]

BACKENDS = {
    "spectral": _backends.spectral_block,
    "orbits": _backends.orbits_block,
    "isotypic": _backends.isotypic_or_gram_block,
    "gram": _backends.gram_block,
    "krylov": _backends.krylov_block,
    "mean": _backends.mean_block,
}
"""The back ends that ``projector`` can be told to use; by default it chooses."""

_DENSE = 128
_AXIS_LIMIT = 800


class Built(NamedTuple):
    """The filters of a space.

    Attributes:
      filters: one per combination of the terms of the axes, in the order of ``blocks``.
      levels: what is known of the levels.
    """

    filters: tuple
    levels: _levels.Levels


def blocks(space: Space) -> list[tuple[int, tuple[Rep, ...]]]:
    """``(multiplicity, atoms)`` for each combination of the terms of the axes."""
    each = [segments(entry.rep).terms for entry in space.entries]
    found = []
    for terms in itertools.product(*each):
        times = math.prod(term.multiplicity for term in terms)
        found.append((times, tuple(atom for term in terms for atom in term.atoms)))
    return found


def build(space: Space, *, complete: bool, backend: str | None, convention: str) -> Built:
    """Builds the filters.

    Args:
      space: the axes and representations.
      complete: whether all levels are needed; otherwise level 0 is enough where it is cheaper.
      backend: one of ``BACKENDS``, None to choose.
      convention: ``"central"`` or ``"stacked"``.

    Raises:
      ValueError: the back end cannot treat these representations, or their levels are unknown.
    """
    parts = blocks(space)
    own: dict[tuple[Rep, ...], Block] = {}
    for _, atoms in parts:
        if atoms not in own:
            own[atoms] = _block(atoms, complete, backend, convention)
    if not any(_is_strict(block) for block in own.values()):
        levels, indices = _levels.collect([(*own[atoms][1:], times) for times, atoms in parts])
    else:
        levels, indices = _strict_levels([(own[atoms], times) for times, atoms in parts])
    filters = tuple(
        own[atoms][0].reindexed(index) for (_, atoms), index in zip(parts, indices, strict=True)
    )
    return Built(filters, levels)


@functools.lru_cache(maxsize=128)
def build_cached(space: Space, complete: bool, backend: str | None, convention: str) -> Built:
    """``build``, remembered: the layers of a network share their filters."""
    return build(space, complete=complete, backend=backend, convention=convention)


def _is_strict(block: Block) -> bool:
    """Whether a block knows level 0 only: its second index stands for "not known" (NaN)."""
    return bool(np.isnan(block[1]).any())


def _strict_levels(each: list[tuple[Block, int]]) -> tuple[_levels.Levels, list[np.ndarray]]:
    """Level 0 against everything else, for blocks some of which know no more."""
    null = total = 0
    indices = []
    for (_, sigma, counts), times in each:
        null += int(counts[sigma == 0.0].sum()) * times
        total += int(counts.sum()) * times
        indices.append((sigma != 0.0).astype(int))
    complete = null == total
    return _levels.Levels((0.0,), (null,), total - null, complete), indices


def _block(atoms: tuple[Rep, ...], complete: bool, backend: str | None, convention: str) -> Block:
    """``(filter, levels of its indices, dimension of each)`` of one tensor product of atoms."""
    if not atoms:
        return IdentityFilter(np.array([0])), np.zeros(1), np.ones(1, int)
    if any(isinstance(atom, Gains) for atom in atoms):
        return _backends.gains_block(atoms, complete)
    if backend == "spectral" or (backend is None and convention == "central" and is_planar(atoms)):
        return _backends.spectral_block(atoms, complete)
    if backend is None and convention == "central":
        factored = factored_block(atoms, _transform)
        if factored is not None:
            return factored
    refuse_unmatched(atoms)
    if convention == "stacked":
        return _backends.stacked_block(atoms)
    if backend is not None:
        return BACKENDS[backend](atoms, complete)
    group = atoms[0].group
    n = math.prod(atom.dim for atom in atoms)
    if not complete and n > _DENSE and orbit_moves(atoms) is not None:
        return _backends.orbits_block(atoms, False)
    central = has_levels(group, atoms)
    if complete and not central:
        raise ValueError(no_levels(group, atoms))
    if central and n <= _DENSE:
        return _backends.gram_block(atoms, True)
    if not complete and orbit_moves(atoms) is not None:
        return _backends.orbits_block(atoms, False)
    if central and len(atoms) > 1 and axis_sizes(atoms) <= _AXIS_LIMIT:
        return _backends.isotypic_or_gram_block(atoms, complete)
    if n <= _backends.DENSE_LIMIT:
        return _backends.gram_block(atoms, complete)
    if complete:
        raise ValueError(
            f"levels above 0 of {named(atoms)} (dimension {n}) are beyond what is diagonalized "
            "here; the strict projector is available"
        )
    return _backends.krylov_block(atoms, False)


def _transform(atoms: tuple[Rep, ...]) -> Block | None:
    """A block that is one orthogonal transform and knows all levels, where there is one."""
    if is_planar(atoms):
        return _backends.spectral_block(atoms, True)
    small = math.prod(atom.dim for atom in atoms) <= _DENSE
    if small and has_levels(atoms[0].group, atoms):
        return _backends.gram_block(atoms, True)
    return None


def warn_if_strict_only(space: Space) -> None:
    """Warns that a group admits strict projection only."""
    if space.group.level_factors() is None:
        warnings.warn(no_levels(space.group, ()), stacklevel=3)
