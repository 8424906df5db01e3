"""Building the filters of two axes by Schur's lemma."""

import functools
import itertools
import math

import numpy as np

from softeq_jax.groups import Group
from softeq_jax.projections import _isotypic, _spectrum
from softeq_jax.projections._facts import Block, generators, has_levels, named, no_levels, strict
from softeq_jax.projections._pairs import PairFilter, halves
from softeq_jax.reps import Rep

_PAIR_LIMIT = 256
_PAIR_MAXIMUM = 2500


def isotypic_block(atoms: tuple[Rep, ...], complete: bool) -> Block:
    group = atoms[0].group
    if not has_levels(group, atoms):
        raise ValueError(no_levels(group, atoms))
    dims = tuple(atom.dim for atom in atoms)
    left_atoms, right_atoms = halves(dims)
    sides = [tuple(atoms[i] for i in side) for side in (left_atoms, right_atoms)]
    parts = [_isotypic.kronecker([generators(atom) for atom in side]) for side in sides]
    left = _isotypic.decompose(parts[0])
    right = left if sides[0] == sides[1] else _isotypic.decompose(parts[1])
    largest = max(t.generators.dim for t in left) * max(t.generators.dim for t in right)
    if complete and largest > _PAIR_MAXIMUM:
        raise ValueError(
            f"levels above 0 of {named(atoms)} need the spectrum of dimension {largest}, beyond "
            "what is diagonalized here; the strict projector is available"
        )
    everything = complete or largest <= _PAIR_LIMIT
    kept, sigmas, places = [], [], []
    for a, b in itertools.product(_placed(left), _placed(right)):
        (start, s), (begin, t) = a, b
        if everything:
            columns, sigma = _pair_spectrum(group, sides, s, t)
        else:
            invariant = _isotypic.invariants(s.generators, t.generators)
            columns = invariant.reshape(len(invariant), s.generators.dim * t.generators.dim).T
            sigma = np.zeros(len(invariant))
        if columns.shape[1]:
            kept.append(np.ascontiguousarray(columns))
            sigmas.append(sigma)
            shape_a, shape_b = s.columns.shape, t.columns.shape
            places.append(((start, *shape_a[1:]), (begin, *shape_b[1:])))
    counts_of = [p * q for (_, p, _), (_, q, _) in places]
    bases = [
        np.concatenate([t.columns.reshape(len(t.columns), -1) for t in x], axis=1)
        for x in (left, right)
    ]
    axes = (*left_atoms, *right_atoms)
    n = math.prod(dims)

    def made(index: list[np.ndarray], rest: int) -> PairFilter:
        return PairFilter(
            bases[0],
            bases[1],
            tuple(kept),
            tuple(index),
            np.array([rest]),
            tuple(places),
            axes,
            dims,
        )

    if not everything:
        rank = sum(len(s) * c for s, c in zip(sigmas, counts_of, strict=True))
        return strict(made([np.zeros(len(s), int) for s in sigmas], 1), rank, n)
    values, inverse = np.unique(np.concatenate(sigmas), return_inverse=True)
    weights = np.concatenate([np.full(len(s), c) for s, c in zip(sigmas, counts_of, strict=True)])
    counts = np.bincount(inverse.reshape(-1), weights=weights).astype(int)
    index = np.split(inverse.reshape(-1), np.cumsum([len(s) for s in sigmas])[:-1])
    return made(index, 0), values, counts


def _placed(types: list[_isotypic.Isotype]) -> list[tuple[int, _isotypic.Isotype]]:
    sizes = [t.columns.shape[1] * t.columns.shape[2] for t in types]
    starts = np.cumsum([0, *sizes])[:-1]
    return [(int(start), t) for start, t in zip(starts, types, strict=True)]


def _pair_spectrum(
    group: Group,
    sides: list[tuple[Rep, ...]],
    s: _isotypic.Isotype,
    t: _isotypic.Isotype,
) -> tuple[np.ndarray, np.ndarray]:
    lie = [s.generators.lie, t.generators.lie]

    def element(g: np.ndarray) -> list[np.ndarray]:
        each = []
        for side, kind in zip(sides, (s, t), strict=True):
            whole = functools.reduce(np.kron, [atom.matrix(g) for atom in side])
            first = kind.columns[:, 0]
            each.append(first.conj().T @ whole @ first)
        return each

    n = s.generators.dim * t.generators.dim
    return _spectrum.eigenbasis(
        group, n, lambda stage: _spectrum.level_operator(stage, lie, element)
    )
