"""Choice of a back end for each block of a space, and the splitting that they build together.

Everything here runs once, on the host, in float64.
"""

import functools
import math
import warnings
from typing import NamedTuple

import numpy as np

from softeq_jax._sizes import told
from softeq_jax.projections._filter import Filters, IdentityFilter
from softeq_jax.projections._levels import Levels, collect
from softeq_jax.projections._space import Space
from softeq_jax.projections.backends import BACKENDS, Atoms, BuiltBlock, _atoms, _factored, _gram
from softeq_jax.projections.backends._orbits import gains_block
from softeq_jax.projections.backends._spectral import is_shift
from softeq_jax.reps import Gains, OnFactor

_SMALL = 128  # dimension up to which eigenvectors of the whole block are the fastest
_BASIS = 2048  # dimension up to which a permuted axis gets a basis of frequencies all the same
_AXIS_LIMIT = 800  # dimension up to which one of two axes is decomposed


class Splitting(NamedTuple):
    """A space, split into orthogonal levels by one filter for each of ``space.blocks()``.

    ``levels`` is what is known of them, ``convention`` how they are defined: ``"central"``, or
    ``"stacked"`` as in the published code.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> parts = sq.projector("i o", {"i": V, "o": V}).host_splitting()
      >>> parts.convention, parts.levels.dimensions
      ('central', (1, 3, 5))
    """

    space: Space
    filters: Filters
    levels: Levels
    convention: str


@functools.lru_cache(maxsize=128)
def splitting(space: Space, complete: bool, backend: str | None, convention: str) -> Splitting:
    """The splitting of a space, remembered: the layers of a network share their filters.

    Args:
      space: the axes and representations.
      complete: whether all levels are needed; otherwise level 0 is enough where it is cheaper.
      backend: one of ``BACKENDS``, None to choose.
      convention: ``"central"`` or ``"stacked"``.

    Raises:
      ValueError: the back end cannot treat these representations, or their levels are unknown.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> space = sq.projector("i o", {"i": V, "o": V}).space
      >>> sq.projections.splitting(space, True, None, "central").levels.dimensions
      (1, 3, 5)
    """
    parts = space.blocks()
    own: dict[Atoms, BuiltBlock] = {}
    for _, atoms in parts:
        if atoms not in own:
            what = f"building the projector of {_atoms.named(atoms)}"
            with told(what, "smaller representations, or another backend=, are faster"):
                own[atoms] = _block(atoms, complete, backend, convention)
    each = [(own[atoms].levels, own[atoms].dimensions, times) for times, atoms in parts]
    strict = any(np.isnan(block.levels).any() for block in own.values())
    levels, indices = (_level_zero if strict else collect)(each)
    filters = tuple(
        own[atoms].filter.reindexed(index) for (_, atoms), index in zip(parts, indices, strict=True)
    )
    return Splitting(space, filters, levels, convention)


def warn_if_strict_only(space: Space) -> None:
    """Warns that a group admits strict projection only."""
    if space.group.level_factors() is None:
        warnings.warn(_gram.no_levels(space.group, ()), stacklevel=3)


def warn_of_given_levels(space: Space, convention: str) -> None:
    """Warns that the levels of a user's group follow the generators that were given."""
    group = space.group
    if convention == "central" and group.levels_follow_generators:
        warnings.warn(
            f"the levels of {group!r} follow the conjugacy classes of the generators that were "
            "given, and other generators of the same group have others: from_generators(levels="
            "'given') keeps them, levels='canonical' (finite groups) depends on the group alone",
            stacklevel=3,
        )


def _level_zero(
    each: list[tuple[np.ndarray, np.ndarray, int]],
) -> tuple[Levels, list[np.ndarray]]:
    """As ``collect``, level 0 against everything else: some blocks know no more."""
    null = sum(int(counts[sigma == 0.0].sum()) * times for sigma, counts, times in each)
    total = sum(int(counts.sum()) * times for _, counts, times in each)
    levels = Levels((0.0,), (null,), total - null, complete=null == total)
    return levels, [(sigma != 0.0).astype(int) for sigma, _, _ in each]


def _block(atoms: Atoms, complete: bool, backend: str | None, convention: str) -> BuiltBlock:
    """The block of one tensor product, by the back end that suits it."""
    if not atoms:
        return BuiltBlock(IdentityFilter(np.array([0])), np.zeros(1), np.ones(1, int))
    if any(isinstance(atom, Gains) for atom in atoms):
        if backend is not None or convention != "central":
            raise ValueError(
                "gains have a back end and levels of their own: leave backend and convention out, "
                f"got {backend!r} and {convention!r}"
            )
        return gains_block(atoms, complete)
    free = backend is None and convention == "central"
    if free and not complete and _need_no_basis(atoms):
        return BACKENDS["orbits"](atoms, False)
    if backend == "spectral" or (free and _in_the_plane(atoms)):
        return BACKENDS["spectral"](atoms, complete)
    if free and all(isinstance(atom, OnFactor) for atom in atoms):
        factored = _factored.block(atoms, _transform)
        if factored is not None:
            return factored
    if convention == "stacked":
        return _gram.stacked_block(atoms)
    if backend is None:
        return _chosen(atoms, complete)
    if backend not in ("gram", "isotypic"):
        _atoms.refuse_unmatched(atoms)
    return BACKENDS[backend](atoms, complete)


def _chosen(atoms: Atoms, complete: bool) -> BuiltBlock:
    """Without frequencies of the plane: orbits, eigenvectors, Schur's lemma, or matrix-free."""
    group, n = atoms[0].group, math.prod(atom.dim for atom in atoms)
    if not complete and n > _SMALL and _atoms.permutes(atoms):
        return BACKENDS["orbits"](atoms, False)
    central = _gram.has_levels(group, atoms)
    if complete and not central:
        raise ValueError(_gram.no_levels(group, atoms))
    if central and n <= _SMALL:
        return BACKENDS["gram"](atoms, True)
    if not complete and _atoms.permutes(atoms):
        return BACKENDS["orbits"](atoms, False)
    if central and len(atoms) > 1 and _atoms.larger_half(atoms) <= _AXIS_LIMIT:
        return BACKENDS["isotypic"](atoms, complete)
    if n <= _gram.DENSE_LIMIT:
        return BACKENDS["gram"](atoms, complete)
    if complete:
        raise ValueError(
            f"levels above 0 of {_atoms.named(atoms)} (dimension {n}) are beyond what is "
            "diagonalized here; the strict projector is available"
        )
    _atoms.refuse_unmatched(atoms)
    return BACKENDS["krylov"](atoms, False)


def _need_no_basis(atoms: Atoms) -> bool:
    """Whether an axis is permuted that is too long for a basis of frequencies to be quick."""
    longest = max(0 if is_shift(atom) else atom.dim for atom in atoms)
    return longest > _BASIS and all(atom.is_permutation for atom in atoms)


def _in_the_plane(atoms: Atoms) -> bool:
    """Whether all atoms are resolved into frequencies of rotations and flips."""
    return all(is_shift(atom) or atom.frequencies() is not None for atom in atoms)


def _transform(atoms: Atoms) -> BuiltBlock | None:
    """A block that is one orthogonal transform and knows all levels, where there is one."""
    if _in_the_plane(atoms):
        return BACKENDS["spectral"](atoms, True)
    small = math.prod(atom.dim for atom in atoms) <= _SMALL
    usable = small and _gram.has_levels(atoms[0].group, atoms)
    return BACKENDS["gram"](atoms, True) if usable else None
