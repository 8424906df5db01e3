"""Schur's lemma: per-axis isotypic bases and one small matrix for each pair of types.

Channel multiplicities never enter the cost: the filter of 16 copies is the filter of one.
"""

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from softeq_jax.groups import ConjugacyClass, Stage
from softeq_jax.projections._filter import (
    Array,
    Filter,
    as_dtype,
    chosen,
    filter_class,
    library,
    product,
    static,
)
from softeq_jax.projections.backends import _gram
from softeq_jax.projections.backends._atoms import (
    Atoms,
    BuiltBlock,
    generators,
    halves,
    kronecker,
    matched_columns,
    matched_generators,
    named,
    strict,
)
from softeq_jax.projections.backends._decompose import Isotype, decompose, invariants
from softeq_jax.reps import SphericalIrrep, Voxels

_PAIR_LIMIT = 256
_PAIR_MAXIMUM = 2500
_PAIR_COUNT = 100


class PairBatch(NamedTuple):
    """Pairs of types of one shape, filtered together.

    Attributes:
      left: ``(first column, number of types, multiplicity p, dimension d)``.
      right: ``(first column, number of types, multiplicity q, dimension e)``.
      pairs: ``(type on the left, type on the right)`` of each pair.
    """

    left: tuple[int, int, int, int]
    right: tuple[int, int, int, int]
    pairs: tuple[tuple[int, int], ...]


@filter_class
class PairFilter(Filter):
    r"""A tensor product of two representations, each written in isotypic columns.

    The block of the types (s, t) is ``[p, d, q, e]`` with multiplicities p and q: the filter acts
    on ``[d, e]`` alone, by columns ``kept`` ``[d e, c]`` and their levels. With all columns
    (``d e = c``) every level is known; with the invariants alone, level 0.

    Attributes:
      left: ``[n1, n1]`` columns, type by type, each ``(copy, component)``.
      right: ``[n2, n2]``.
      kept: for each batch, orthonormal bases ``[pairs, d e, c]``, padded by zeros.
      columns_index: for each batch, levels int ``[pairs, c]``.
      index: int ``[1]``, the level of everything that no column spans.
      batches: the pairs that have columns.
      axes: permutation that brings the atoms into the order (left group, right group).
      dims: dimensions of the atoms as given.
    """

    left: Array
    right: Array
    kept: tuple[Array, ...]
    columns_index: tuple[Array, ...]
    index: Array
    batches: tuple[PairBatch, ...] = static()
    axes: tuple[int, ...] = static()
    dims: tuple[int, ...] = static()

    def removed(self, w: Array, dropped: Array) -> Array:
        """``dropped_rest w`` corrected on what the columns span."""
        xp = library(w)
        m = w.shape[1]
        order = (*self.axes, len(self.dims))
        n1, n2 = self.left.shape[0], self.right.shape[0]
        tensor = w.reshape(*self.dims, m).transpose(order)
        shape = tensor.shape
        left, right = as_dtype(self.left, w), as_dtype(self.right, w)
        inside = product(left.conj().T, tensor.reshape(n1, n2 * m)).reshape(n1, n2, m)
        inside = xp.moveaxis(inside, 1, 0).reshape(n2, n1 * m)
        inside = xp.moveaxis(product(right.conj().T, inside).reshape(n2, n1, m), 0, 1)
        rest = chosen(dropped, self.index, w)
        out = inside * rest
        for kept, index, batch in zip(self.kept, self.columns_index, self.batches, strict=True):
            (i, s, p, d), (j, t, q, e) = batch.left, batch.right
            rows, columns = slice(i, i + s * p * d), slice(j, j + t * q * e)
            block = inside[rows, columns].reshape(s, p, d, t, q, e, m)
            block = block.transpose(0, 3, 2, 5, 1, 4, 6).reshape(s, t, d * e, p * q * m)
            a, b = (np.array(each) for each in zip(*batch.pairs, strict=True))
            everywhere = len(batch.pairs) == s * t
            flat = block.reshape(s * t, d * e, -1) if everywhere else block[a, b]
            basis = as_dtype(kept, w)
            share = chosen(dropped, index, w)[:, :, None]
            inner = product(xp.swapaxes(basis.conj(), 1, 2), flat)
            if kept.shape[1] == kept.shape[2]:
                new = product(basis, share * inner)
            else:
                new = rest * flat + product(basis, (share - rest) * inner)
            block = new if everywhere else _set(block * rest, (a, b), new)
            block = block.reshape(s, t, d, e, p, q, m).transpose(0, 4, 2, 1, 5, 3, 6)
            out = _set(out, (rows, columns), block.reshape(s * p * d, t * q * e, m))
        out = xp.moveaxis(product(left, out.reshape(n1, n2 * m)).reshape(n1, n2, m), 1, 0)
        out = product(right, out.reshape(n2, n1 * m)).reshape(n2, n1, m)
        out = xp.moveaxis(out, 0, 1).reshape(shape)
        return out.transpose(np.argsort(order)).reshape(w.shape)

    def reindexed(self, to_global: np.ndarray) -> "PairFilter":
        """The same filter with indices into the levels of the whole projector."""
        each = tuple(to_global[np.asarray(one)] for one in self.columns_index)
        index = to_global[np.asarray(self.index)]
        return dataclasses.replace(self, columns_index=each, index=index)


def _set(x: Array, where: tuple, value: Array) -> Array:
    if isinstance(x, np.ndarray):
        x[where] = value
        return x
    return x.at[where].set(value)


class _Side(NamedTuple):
    """One axis, or several merged ones.

    Attributes:
      atoms: what acts.
      types: its isotypes, those of one multiplicity and dimension after one another.
      shapes: the distinct ``(multiplicity, dimension)``.
      unmatched: columns ``[n, u]`` of level infinity, which no type holds.
    """

    atoms: Atoms
    types: list[Isotype]
    shapes: list[tuple[int, int]]
    unmatched: np.ndarray

    @property
    def columns(self) -> np.ndarray:
        each = [t.columns.reshape(len(t.columns), -1) for t in self.types]
        return np.concatenate([*each, self.unmatched], axis=1)

    def of_shape(self, shape: tuple[int, int]) -> list[Isotype]:
        return [t for t in self.types if t.columns.shape[1:] == shape]

    def start(self, shape: tuple[int, int]) -> int:
        earlier = self.shapes[: self.shapes.index(shape)]
        return sum(len(self.of_shape(s)) * math.prod(s) for s in earlier)


def block(atoms: Atoms, complete: bool) -> BuiltBlock:
    """All levels, or level 0, of a tensor product; one atom alone is left to dense eigenvectors."""
    if len(atoms) == 1:
        return _gram.block(atoms, True)
    group = atoms[0].group
    factors = group.level_factors()
    if factors is None or not _gram.has_levels(group, atoms):
        raise ValueError(_gram.no_levels(group, atoms))
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
    spectrum = _PairSpectrum(factors, group.d, (left, right))
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
                PairBatch(
                    (left.start(a), len(left.of_shape(a)), *a),
                    (right.start(b), len(right.of_shape(b)), *b),
                    tuple((i, j) for i, j, _, _ in found),
                )
            )
    flat = np.concatenate([x.reshape(-1) for x in (*sigmas, np.zeros(0))])
    weight = np.concatenate([x.reshape(-1) for x in (*counts, np.zeros(0, int))])
    values, inverse = np.unique(np.where(np.isnan(flat), 0.0, flat), return_inverse=True)
    inverse = inverse.reshape(-1)
    dimensions = np.bincount(inverse, weights=weight).astype(int)
    left_over = math.prod(dims) - int(dimensions.sum())
    rest = 1
    if everything:  # what no pair holds is unmatched
        rest = len(values) if left_over else 0
    if everything and left_over:
        values, dimensions = np.append(values, np.inf), np.append(dimensions, left_over)
    ends = np.cumsum([x.size for x in sigmas])[:-1]
    index = [
        part.reshape(x.shape) for part, x in zip(np.split(inverse, ends), sigmas, strict=False)
    ]
    found = PairFilter(
        left.columns,
        right.columns,
        tuple(kept),
        tuple(index),
        np.array([rest]),
        tuple(batches),
        (*order[0], *order[1]),
        dims,
    )
    if not everything:
        return strict(found, int(weight.sum()), math.prod(dims))
    return BuiltBlock(found, values, dimensions)


def _side(atoms: Atoms) -> _Side:
    spaces = [matched_columns(atom) for atom in atoms]
    types, n = _known_types(atoms), math.prod(atom.dim for atom in atoms)
    if types is None:
        each = [matched_generators(*each) for each in zip(atoms, spaces, strict=True)]
        types = decompose(kronecker(each))
        if any(space is not None for space in spaces):
            types = [_lifted(one, atoms, spaces) for one in types]
    types = sorted(types, key=lambda t: t.columns.shape[1:])
    unmatched = np.zeros((n, 0))
    if any(space is not None for space in spaces):
        matched = np.concatenate([t.columns.reshape(n, -1) for t in types], axis=1)
        unmatched = np.linalg.svd(matched)[0][:, matched.shape[1] :]
    return _Side(atoms, types, sorted({t.columns.shape[1:] for t in types}), unmatched)


def _known_types(atoms: Atoms) -> list[Isotype] | None:
    """The isotypes of one axis that is known to consist of spherical harmonics."""
    atom = atoms[0]
    if len(atoms) > 1:
        return None
    if isinstance(atom, SphericalIrrep):
        return [Isotype(np.eye(atom.dim)[:, None], generators(atom))]
    harmonics = atom.harmonics() if isinstance(atom, Voxels) else None
    if harmonics is None:
        return None
    return [Isotype(columns, generators(irrep)) for irrep, columns in harmonics]


def _lifted(one: Isotype, atoms: Atoms, spaces: list[np.ndarray | None]) -> Isotype:
    """An isotype of the product of the matched spaces, as one of the whole product."""
    each = zip(atoms, spaces, strict=True)
    whole = functools.reduce(
        np.kron, [np.eye(atom.dim) if space is None else space for atom, space in each]
    )
    return one._replace(columns=np.tensordot(whole, one.columns, 1))


def _stacked(columns: list[np.ndarray], sigmas: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Bases of several pairs as one array ``[pairs, d e, c]``, padded by zeros (level NaN)."""
    width = max(c.shape[1] for c in columns)
    basis = np.zeros((len(columns), len(columns[0]), width), np.result_type(*columns))
    sigma = np.full((len(columns), width), np.nan)
    for i, (c, s) in enumerate(zip(columns, sigmas, strict=True)):
        basis[i, :, : c.shape[1]], sigma[i, : len(s)] = c, s
    return basis, sigma


def _invariants(s: Isotype, t: Isotype) -> tuple[np.ndarray, np.ndarray]:
    found = invariants(s.generators, t.generators)
    columns = found.reshape(len(found), s.generators.dim * t.generators.dim).T
    return columns, np.zeros(len(found))


class _PairSpectrum:
    """Levels of the tensor product of two types; matrices of classes are computed once."""

    def __init__(
        self, factors: tuple[tuple[Stage, ...], ...], d: int, sides: tuple[_Side, _Side]
    ) -> None:
        self.factors, self.d, self.sides = factors, d, sides
        self._whole: dict[tuple[int, int], np.ndarray] = {}
        self._inside: dict[tuple[int, int, int], np.ndarray] = {}

    def __call__(self, s: Isotype, t: Isotype) -> tuple[np.ndarray, np.ndarray]:
        lie = [s.generators.lie, t.generators.lie]

        def stacks(one: ConjugacyClass) -> list[np.ndarray]:
            return [self._matrices(i, kind, one) for i, kind in enumerate((s, t))]

        n = s.generators.dim * t.generators.dim
        return _gram.eigenbasis(
            self.factors, self.d, n, lambda stage: _gram.level_operator(stage, lie, stacks)
        )

    def _matrices(self, i: int, kind: Isotype, one: ConjugacyClass) -> np.ndarray:
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
