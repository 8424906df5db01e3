"""Finite groups of matrices, listed from their generators."""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np

from softeq_jax._checks import frozen
from softeq_jax.groups._group import INDEX_TOLERANCE, LISTABLE, TOLERANCE, Group
from softeq_jax.groups._levels import ConjugacyClass, Stage, Words, generator_classes, weight

_SAME = 1e-8  # entries of elements that are products of double-precision generators
_UNITARY = 1e-7  # entries of g^H g - 1 that still count as rounding
_LARGEST = 1e8  # of the entries of a finite group, beyond which they are taken to be unbounded


@dataclasses.dataclass(frozen=True, eq=False)
class Matrices:
    """An array that can be compared and hashed, up to rounding at 1e-9.

    Attributes:
      array: read-only, any shape.
    """

    array: np.ndarray

    @functools.cached_property
    def _key(self) -> tuple[tuple[int, ...], str, bytes]:
        rounded = np.round(self.array, 9) + 0.0
        return rounded.shape, str(rounded.dtype), rounded.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Matrices) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


class MatrixTable:
    """Matrices by their entries: finds the position of one that agrees within a tolerance.

    Two fixed random projections of the entries select a bucket; the entries decide. A projection
    that lies near the edge of its bucket is looked up on both sides of it.

    Args:
      matrices: to start with, each ``[d, d]``.
      tolerance: largest difference of an entry between equal matrices.
    """

    def __init__(self, matrices: Iterable[np.ndarray], tolerance: float):
        self.matrices: list[np.ndarray] = []
        self._tolerance = tolerance
        self._buckets: dict[tuple[int, int], list[int]] = {}
        self._directions: np.ndarray | None = None
        for g in matrices:
            self.add(g)

    def _projections(self, batch: np.ndarray) -> np.ndarray:
        flat = batch.reshape(len(batch), batch.shape[-1] ** 2)
        flat = np.concatenate([np.real(flat), np.imag(flat)], axis=1)
        if self._directions is None:
            directions = np.random.default_rng(0).normal(size=(flat.shape[1], 2))
            self._directions = directions / np.abs(directions).sum(axis=0)
        return flat @ self._directions

    def find(self, batch: np.ndarray) -> np.ndarray:
        """Positions of ``[n, d, d]`` matrices, -1 for those that are not in the table."""
        p, tolerance = self._projections(batch), self._tolerance
        low = np.floor((p - tolerance) / (8 * tolerance)).astype(int).tolist()
        high = np.floor((p + tolerance) / (8 * tolerance)).astype(int).tolist()
        found = np.full(len(batch), -1)
        for k, ((a, b), (c, d)) in enumerate(zip(low, high, strict=True)):
            for key in {(a, b), (a, d), (c, b), (c, d)}:
                for i in self._buckets.get(key, ()):
                    if np.abs(self.matrices[i] - batch[k]).max() <= tolerance:
                        found[k] = i
        return found

    def add(self, g: np.ndarray) -> int:
        """Appends a matrix that is not in the table; its position."""
        p = np.floor(self._projections(g[None])[0] / (8 * self._tolerance)).astype(int).tolist()
        self._buckets.setdefault(tuple(p), []).append(len(self.matrices))
        self.matrices.append(g)
        return len(self.matrices) - 1

    def position(self, g: np.ndarray) -> int:
        """Of one matrix, which is added if it is new."""
        i = int(self.find(g[None])[0])
        return i if i >= 0 else self.add(g)


@functools.lru_cache(maxsize=32)
def closure(generators: Matrices) -> tuple[np.ndarray, Words] | None:
    """All products of generators, by breadth-first search.

    Args:
      generators: invertible, ``[m, d, d]``.

    Returns:
      The elements, the identity first, with the tree of their words; None when there are more
      than 50 000, or when entries grow without bound.
    """
    gens = generators.array
    radius = np.abs(np.linalg.eigvals(gens)) if len(gens) else np.ones(1)
    if np.any(np.abs(radius - 1) > 1e-4):  # no power of such a generator is the identity
        return None
    if any(_has_large_order(g) for g in gens):
        return None
    table = MatrixTable([np.eye(gens.shape[-1], dtype=gens.dtype)], _SAME)
    parent, generator, done = [-1], [-1], 0
    while done < len(table.matrices):
        frontier = range(done, len(table.matrices))
        done = len(table.matrices)
        batch = (np.stack([table.matrices[i] for i in frontier])[:, None] @ gens).reshape(
            -1, *gens.shape[1:]
        )
        if batch.size and np.abs(batch).max() > _LARGEST:
            return None
        for k in np.flatnonzero(table.find(batch) < 0):
            if table.position(batch[k]) == len(parent):
                parent.append(frontier[k // len(gens)])
                generator.append(int(k) % len(gens))
        if len(parent) > LISTABLE:
            return None
    elements = np.stack(table.matrices) + 0.0
    return frozen(elements), Words(frozen(np.array(parent)), frozen(np.array(generator)))


def _has_large_order(g: np.ndarray) -> bool:
    """Whether no power of a unitary ``g`` up to 50 000 can be the identity; False if unsure.

    The entries of ``g^n - 1`` are at least ``max_j |lambda_j^n - 1| / d`` in size, and eigenvalues
    of unitary matrices are as accurate as the entries: n angles are off by less than 1e-10 d.
    """
    if not are_unitary(g):
        return False
    angles, step = np.angle(np.linalg.eigvals(g)), 1000
    for start in range(1, LISTABLE + 1, step):
        powers = np.exp(1j * np.arange(start, start + step)[:, None] * angles)
        if np.abs(powers - 1).max(axis=1).min() <= 10 * _SAME * len(g):
            return False
    return True


@dataclasses.dataclass(frozen=True, repr=False)
class FiniteGroup(Group):
    """A finite group of matrices, as ``from_generators`` finds it.

    Attributes:
      name: how the group prints.
      generators: discrete generators.
    """

    generators: Matrices

    @property
    def d(self) -> int:
        return self.generators.array.shape[-1]

    @property
    def is_complex(self) -> bool:
        return np.iscomplexobj(self.generators.array)

    @property
    def is_orthogonal(self) -> bool:
        return are_unitary(self.generators.array)

    @property
    def is_connected(self) -> bool:
        return self.order == 1

    @property
    def lie_generators(self) -> np.ndarray:
        return frozen(np.zeros((0, self.d, self.d), self.dtype))

    @property
    def discrete_generators(self) -> np.ndarray:
        return self.generators.array

    @property
    def order(self) -> int:
        return len(self._elements())

    @functools.cached_property
    def _closure(self) -> tuple[np.ndarray, Words]:
        found = closure(self.generators)
        if found is None:
            raise ValueError(f"{self} is not known to be finite")
        return found

    def _elements(self) -> np.ndarray:
        return self._closure[0]

    @functools.cached_property
    def _words(self) -> Words:
        return self._closure[1]

    @functools.cached_property
    def _table(self) -> MatrixTable:
        return MatrixTable(self._elements(), INDEX_TOLERANCE)

    def _indices(self, gs: np.ndarray) -> np.ndarray:
        return self._table.find(gs)

    def _verify(self, g: np.ndarray) -> None:
        near = int(self._table.find(g[None])[0])
        candidates = self._elements() if near < 0 else self._elements()[near : near + 1]
        away = np.abs(candidates - g).max(axis=(1, 2)).min()
        if not away <= TOLERANCE * max(1.0, np.abs(g).max()):
            raise ValueError(
                f"the matrix is not in {self}: its nearest element differs by {away:.3g}"
            )

    @functools.cached_property
    def _levels(self) -> tuple[tuple[Stage, ...], ...] | None:
        generators = [g for g in self.discrete_generators if not is_identity(g)]
        if not generators:
            return ()
        table = MatrixTable([], INDEX_TOLERANCE)
        limit = min(LISTABLE, 2**25 // self.d**2)
        classes = generator_classes(
            generators, np.linalg.inv, lambda h, x: h @ x @ np.linalg.inv(h), table.position, limit
        )
        if classes is None:
            return None
        found = tuple(
            ConjugacyClass(weight(self._order_of(members[0])), frozen(np.stack(members)))
            for members in classes
        )
        return ((Stage((), found),),)

    def _order_of(self, h: np.ndarray) -> int:
        power, order = h, 1
        while not is_identity(power):
            power, order = power @ h, order + 1
        return order

    def level_factors(self) -> tuple[tuple[Stage, ...], ...] | None:
        return self._levels


def finite(name: str, generators: np.ndarray) -> FiniteGroup:
    """The group of some matrices ``[m, d, d]`` that are known to generate a finite one."""
    return FiniteGroup(name, Matrices(frozen(generators)))


def are_unitary(matrices: np.ndarray) -> bool:
    """Whether all of ``[m, d, d]`` are orthogonal, or unitary, up to rounding."""
    gram = np.swapaxes(matrices.conj(), -1, -2) @ matrices
    return bool(np.all(np.abs(gram - np.eye(matrices.shape[-1])) <= _UNITARY))


def is_identity(g: np.ndarray) -> bool:
    """Whether ``g`` is the identity matrix, up to rounding."""
    return bool(np.abs(g - np.eye(len(g))).max() <= _SAME)
