"""Orbit means of (signed) permutation actions, by connected components over the generators."""

import math
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._sizes import require_room
from softeq_jax.projections._filter import Array, StrictFilter, as_dtype, filter_class, static
from softeq_jax.projections.backends._atoms import (
    STRICT,
    Atoms,
    BuiltBlock,
    Move,
    moves,
    named,
    permutes,
    strict,
)
from softeq_jax.reps import Gains

_FEW_EDGES = 2**16


@filter_class
class OrbitFilter(StrictFilter):
    """Means over the orbits of a (signed) permutation action.

    Attributes:
      labels: int32 ``[n]``, the orbit of each entry, ``orbits`` for entries whose orbit contains
        both signs and therefore has mean zero.
      sign: float64 ``[n]``, sign of each entry within its orbit.
      weight: float64 ``[orbits]``, one over the length of each orbit.
      index: int ``[2]``: level 0, and everything else.
      orbits: number of consistent orbits, the rank.
    """

    labels: Array
    sign: Array
    weight: Array
    index: Array
    orbits: int = static()

    def invariant(self, w: Array) -> Array:
        """The mean over the orbit of each entry."""
        sign = as_dtype(self.sign, w)[:, None]
        if isinstance(w, np.ndarray):
            sums = np.zeros((self.orbits + 1, w.shape[1]), w.dtype)
            np.add.at(sums, self.labels, sign * w)
            xp = np
        else:
            sums = jax.ops.segment_sum(sign * w, jnp.asarray(self.labels), self.orbits + 1)
            xp = jnp
        means = sums[: self.orbits] * as_dtype(self.weight, w)[:, None]
        means = xp.concatenate([means, xp.zeros_like(sums[:1])])
        return sign * means[xp.asarray(self.labels)]


def block(atoms: Atoms, complete: bool) -> BuiltBlock:
    """Level 0 of a tensor product that the generators permute, up to signs."""
    if not permutes(atoms):
        raise ValueError(f"{named(atoms)} is no signed permutation action: no orbits to average")
    if complete:
        raise ValueError("orbit means give level 0 only; leave the back end to be chosen")
    n = math.prod(atom.dim for atom in atoms)
    found = orbit_filter(n, moves(atoms))
    return strict(found, found.orbits, n)


def gains_block(atoms: Atoms, complete: bool) -> BuiltBlock:
    """Level 0 of gains, which are averaged over the components that the group mixes."""
    gains = atoms[0]
    if len(atoms) > 1 or not isinstance(gains, Gains):
        raise ValueError(
            f"gains of {named(atoms)} have no action to combine with that of another axis: "
            "depthwise kernels need a (signed) permutation representation on their channels"
        )
    if complete:
        raise ValueError(f"gains of {named(atoms)} are averaged or left alone: no levels between")
    n = gains.dim
    found = _labelled(np.asarray(gains.labels), np.ones(n), np.ones(n, bool))
    return strict(found, found.orbits, n)


def orbit_filter(n: int, moves: Iterable[Move]) -> OrbitFilter:
    """Labels, signs and lengths of the orbits of n entries.

    A signed action is an unsigned one on 2 n nodes (entry, sign), of which the second n have the
    negative sign. An orbit that contains both signs of an entry has mean zero and gets no label of
    its own. Memory grows with n, not with the number of moves.
    """
    require_room(150 * n, f"the orbits of {n} entries", "divide the weight, or name fewer axes")
    entries, component, signed = np.arange(n), np.arange(2 * n), False
    edges: list[tuple[np.ndarray, np.ndarray]] = []
    for source, sign in moves:
        negative = sign < 0
        signed = signed or bool(negative.any())
        moved = np.flatnonzero((source != entries) | negative)
        edges.append((moved, source[moved] + n * negative[moved]))
        if sum(len(one) for one, _ in edges) > n:
            component, edges = _joined(component, edges), []
    component = _joined(component, edges)
    plus, minus = component[:n], component[n:]
    if not signed:
        return _labelled(plus, np.ones(n), np.ones(n, bool))
    representative = np.minimum(plus, minus)
    return _labelled(representative, np.where(plus < minus, 1.0, -1.0), plus != minus)


def _joined(component: np.ndarray, edges: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Components of 2 n nodes, after nodes i and j, and those of the other signs, were joined for
    each (i, j) of ``edges``."""
    if not edges:
        return component
    n, count = len(component) // 2, int(component.max(initial=-1)) + 1
    row, column = (np.concatenate(each) for each in zip(*edges, strict=True))
    row, column = np.append(row, row + n), np.append(column, (column + n) % (2 * n))
    return _components(component[row], component[column], count)[component]


def _components(row: np.ndarray, column: np.ndarray, count: int) -> np.ndarray:
    """Labels of the components of ``count`` nodes with edges (row, column), in the order of their
    first nodes.

    Few edges: each node has the least label it has met, and takes that of its label, until no edge
    joins two labels (Shiloach and Vishkin 1982). SciPy, whose import takes longer than that, is
    for many.
    """
    if len(row) > _FEW_EDGES:
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import connected_components

        graph = csr_array((np.ones(len(row), bool), (row, column)), shape=(count, count))
        return np.asarray(connected_components(graph, directed=False)[1])
    label = np.arange(count)
    while True:
        one, other = label[row], label[column]
        apart = one != other
        if not apart.any():
            return label
        row, column, one, other = row[apart], column[apart], one[apart], other[apart]
        np.minimum.at(label, np.maximum(one, other), np.minimum(one, other))
        while np.any(label != (further := label[label])):
            label = further


def _labelled(component: np.ndarray, sign: np.ndarray, consistent: np.ndarray) -> OrbitFilter:
    _, inverse = np.unique(component[consistent], return_inverse=True)
    orbits = int(inverse.max(initial=-1)) + 1
    labels = np.full(len(component), orbits, dtype=np.int32)
    labels[consistent] = inverse
    lengths = np.bincount(inverse, minlength=orbits)
    return OrbitFilter(labels, sign, 1.0 / lengths, STRICT, orbits)
