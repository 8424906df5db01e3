"""Building the filters of two axes by Schur's lemma."""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from softeq_jax.groups import ConjugacyClass, Group
from softeq_jax.projections import _isotypic, _spectrum
from softeq_jax.projections._facts import Block, generators, has_levels, named, no_levels, strict
from softeq_jax.projections._pairs import Batch, PairFilter, halves
from softeq_jax.reps import Rep

_PAIR_LIMIT = 256
_PAIR_MAXIMUM = 2500
_PAIR_COUNT = 100


class _Side(NamedTuple):
    """One axis, or several merged ones.

    Attributes:
      atoms: what acts.
      types: its isotypes, those of one multiplicity and dimension after one another.
      shapes: the distinct ``(multiplicity, dimension)``.
    """

    atoms: tuple[Rep, ...]
    types: list[_isotypic.Isotype]
    shapes: list[tuple[int, int]]

    @property
    def columns(self) -> np.ndarray:
        return np.concatenate([t.columns.reshape(len(t.columns), -1) for t in self.types], axis=1)

    def of_shape(self, shape: tuple[int, int]) -> list[_isotypic.Isotype]:
        return [t for t in self.types if t.columns.shape[1:] == shape]

    def start(self, shape: tuple[int, int]) -> int:
        earlier = self.shapes[: self.shapes.index(shape)]
        return sum(len(self.of_shape(s)) * math.prod(s) for s in earlier)


def isotypic_block(atoms: tuple[Rep, ...], complete: bool) -> Block:
    """The filter of a tensor product of at least two atoms, with all levels or with level 0."""
    group = atoms[0].group
    if not has_levels(group, atoms):
        raise ValueError(no_levels(group, atoms))
    dims = tuple(atom.dim for atom in atoms)
    order = halves(dims)
    left = _side(tuple(atoms[i] for i in order[0]))
    right_atoms = tuple(atoms[i] for i in order[1])
    right = left if right_atoms == left.atoms else _side(right_atoms)
    largest = max(d for _, d in left.shapes) * max(d for _, d in right.shapes)
    if complete and largest > _PAIR_MAXIMUM:
        raise ValueError(
            f"levels above 0 of {named(atoms)} need the spectrum of dimension {largest}, beyond "
            "what is diagonalized here; the strict projector is available"
        )
    few = len(left.types) * len(right.types) <= _PAIR_COUNT
    everything = complete or (few and largest <= _PAIR_LIMIT)
    spectrum = _Spectrum(group, (left, right))
    kept, sigmas, batches, counts = [], [], [], []
    for a, b in itertools.product(left.shapes, right.shapes):
        found = []
        for (i, s), (j, t) in itertools.product(
            enumerate(left.of_shape(a)), enumerate(right.of_shape(b))
        ):
            columns, sigma = spectrum(s, t) if everything else _invariants(s, t)
            if columns.shape[1]:
                found.append((i, j, columns, sigma))
        if found:
            basis, sigma = _stacked([c for _, _, c, _ in found], [x for *_, x in found])
            kept.append(basis)
            sigmas.append(sigma)
            counts.append(np.where(np.isnan(sigma), 0, a[0] * b[0]))
            batches.append(
                Batch(
                    (left.start(a), len(left.of_shape(a)), *a),
                    (right.start(b), len(right.of_shape(b)), *b),
                    tuple((i, j) for i, j, _, _ in found),
                )
            )
    flat = np.concatenate([x.reshape(-1) for x in (*sigmas, np.zeros(0))])
    weight = np.concatenate([x.reshape(-1) for x in (*counts, np.zeros(0, int))])
    values, inverse = np.unique(np.where(np.isnan(flat), 0.0, flat), return_inverse=True)
    inverse = inverse.reshape(-1)
    ends = np.cumsum([x.size for x in sigmas])[:-1]
    index = [
        part.reshape(x.shape) for part, x in zip(np.split(inverse, ends), sigmas, strict=False)
    ]
    found = PairFilter(
        left.columns,
        right.columns,
        tuple(kept),
        tuple(index),
        np.array([0 if everything else 1]),
        tuple(batches),
        (*order[0], *order[1]),
        dims,
    )
    if not everything:
        return strict(found, int(weight.sum()), math.prod(dims))
    return found, values, np.bincount(inverse, weights=weight).astype(int)


def _side(atoms: tuple[Rep, ...]) -> _Side:
    types = _isotypic.decompose(_isotypic.kronecker([generators(atom) for atom in atoms]))
    types = sorted(types, key=lambda t: t.columns.shape[1:])
    return _Side(atoms, types, sorted({t.columns.shape[1:] for t in types}))


def _stacked(columns: list[np.ndarray], sigmas: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Bases of several pairs as one array ``[pairs, d e, c]``, padded by zeros (level NaN)."""
    width = max(c.shape[1] for c in columns)
    basis = np.zeros((len(columns), len(columns[0]), width), np.result_type(*columns))
    sigma = np.full((len(columns), width), np.nan)
    for i, (c, s) in enumerate(zip(columns, sigmas, strict=True)):
        basis[i, :, : c.shape[1]], sigma[i, : len(s)] = c, s
    return basis, sigma


def _invariants(s: _isotypic.Isotype, t: _isotypic.Isotype) -> tuple[np.ndarray, np.ndarray]:
    found = _isotypic.invariants(s.generators, t.generators)
    columns = found.reshape(len(found), s.generators.dim * t.generators.dim).T
    return columns, np.zeros(len(found))


class _Spectrum:
    """Levels of the tensor product of two types; matrices of classes are computed once."""

    def __init__(self, group: Group, sides: tuple[_Side, _Side]) -> None:
        self.factors, self.d, self.sides = group.level_factors(), group.d, sides
        self._whole: dict[tuple[int, int], np.ndarray] = {}
        self._inside: dict[tuple[int, int, int], np.ndarray] = {}

    def __call__(self, s: _isotypic.Isotype, t: _isotypic.Isotype) -> tuple[np.ndarray, np.ndarray]:
        lie = [s.generators.lie, t.generators.lie]

        def stacks(one: ConjugacyClass) -> list[np.ndarray]:
            return [self._matrices(i, kind, one) for i, kind in enumerate((s, t))]

        n = s.generators.dim * t.generators.dim
        return _spectrum.eigenbasis(
            self.factors, self.d, n, lambda stage: _spectrum.level_operator(stage, lie, stacks)
        )

    def _matrices(self, i: int, kind: _isotypic.Isotype, one: ConjugacyClass) -> np.ndarray:
        """``[s, d, d]``, the elements of a class in one copy of a type."""
        atoms, key = self.sides[i].atoms, (i, id(one.elements))
        if key not in self._whole:
            self._whole[key] = np.stack(
                [functools.reduce(np.kron, [a.matrix(g) for a in atoms]) for g in one.elements]
            )
        inner = (*key, id(kind.columns))
        if inner not in self._inside:
            first = kind.columns[:, 0]
            self._inside[inner] = first.conj().T @ self._whole[key] @ first
        return self._inside[inner]
