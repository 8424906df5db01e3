"""Matrices as values, and all products of some of them."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from softeq_jax._checks import frozen
from softeq_jax._sizes import require_room, told
from softeq_jax._text import brief
from softeq_jax.groups._group import LISTABLE
from softeq_jax.groups._levels import Words

_SAME = 1e-8  # entries of elements that are products of double-precision generators
_UNITARY = 1e-9  # entries of g^H g - 1 that still count as rounding
_LARGEST = 1e8  # of the entries of a finite group, beyond which they are taken to be unbounded


@dataclasses.dataclass(frozen=True, eq=False)
class Matrices:
    """An array that can be compared and hashed, up to rounding at 1e-9.

    Attributes:
      array: read-only, any shape.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> M = sq.groups.Matrices
      >>> M(np.eye(2)) == M(np.eye(2) + 1e-12), M(np.eye(2)) == M(2 * np.eye(2))
      (True, False)
    """

    array: np.ndarray

    __repr__ = brief

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


class Explored(NamedTuple):
    """The products of some matrices, in the order of their shortest words.

    Attributes:
      elements: ``[order, d, d]``, the identity first.
      parents: element ``i`` is ``parents[0][i]`` times generator ``parents[1][i]``; -1, -1 for the
        identity.
      step: int ``[order, m]``, which element ``i`` times generator ``k`` is.
    """

    elements: np.ndarray
    parents: tuple[np.ndarray, np.ndarray]
    step: np.ndarray


def explore(generators: np.ndarray, same: float = _SAME, limit: int = LISTABLE) -> Explored | None:
    """All products of generators ``[m, d, d]``, by breadth-first search.

    Args:
      generators: invertible.
      same: largest difference of an entry of products that count as one.
      limit: the most that are listed.

    Returns:
      None when there are more, or when entries grow without bound.

    Raises:
      TooLargeError: what was found so far, and its products, need more than ``memory_limit()``.
    """
    d = generators.shape[-1]
    instead = "smaller matrices, or permutations where they are, are faster"
    with told(f"listing the products of {len(generators)} matrices of {d} x {d}", instead):
        return _explore(generators, same, limit)


def _explore(generators: np.ndarray, same: float, limit: int) -> Explored | None:
    d = generators.shape[-1]
    table = MatrixTable([np.eye(d, dtype=generators.dtype)], same)
    parent, generator, done = [-1], [-1], 0
    steps: list[np.ndarray] = []
    while done < len(table.matrices):
        frontier = range(done, len(table.matrices))
        done = len(table.matrices)
        size = (2 * done + len(frontier) * len(generators)) * generators.itemsize * d**2
        what = f"a list of {done} products of matrices of {d} x {d} and of their products"
        require_room(size, what, "give smaller matrices, or permutations where they are")
        batch = np.stack([table.matrices[i] for i in frontier])[:, None] @ generators
        batch = batch.reshape(-1, *generators.shape[1:])
        if batch.size and np.abs(batch).max() > _LARGEST:
            return None
        found = table.find(batch)
        for k in np.flatnonzero(found < 0):
            found[k] = table.position(batch[k])
            if found[k] == len(parent):
                parent.append(frontier[k // len(generators)])
                generator.append(int(k) % len(generators))
            if len(parent) > limit:
                return None
        steps.append(found.reshape(len(frontier), -1))
    parents = np.array(parent), np.array(generator)
    return Explored(np.stack(table.matrices), parents, np.concatenate(steps))


@functools.lru_cache(maxsize=8)
def explored(generators: Matrices) -> Explored | None:
    """``explore`` of generators in double precision, remembered."""
    return explore(generators.array)


@functools.lru_cache(maxsize=32)
def closure(generators: Matrices) -> tuple[np.ndarray, Words] | None:
    """The elements of a group with the tree of their words, or None, see ``explore``."""
    found = explored(generators)
    if found is None:
        return None
    parent, generator = found.parents
    return frozen(found.elements + 0.0), Words(frozen(parent), frozen(generator))


def are_unitary(matrices: np.ndarray) -> bool:
    """Whether all of ``[m, d, d]`` are orthogonal, or unitary, up to rounding."""
    gram = np.swapaxes(matrices.conj(), -1, -2) @ matrices
    return bool(np.all(np.abs(gram - np.eye(matrices.shape[-1])) <= _UNITARY))


def is_identity(g: np.ndarray) -> bool:
    """Whether ``g`` is the identity matrix, up to rounding."""
    return bool(np.abs(g - np.eye(len(g))).max() <= _SAME)
