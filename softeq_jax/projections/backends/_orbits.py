"""Orbit means of (signed) permutation actions, by connected components over the generators."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.projections._filter import Array, StrictFilter, as_dtype, filter_class, static
from softeq_jax.projections.backends._atoms import (
    STRICT,
    Atoms,
    BuiltBlock,
    Move,
    joint_moves,
    named,
    strict,
)
from softeq_jax.reps import Gains


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
    moves = joint_moves(atoms)
    if moves is None:
        raise ValueError(f"{named(atoms)} is no signed permutation action: no orbits to average")
    if complete:
        raise ValueError("orbit means give level 0 only; leave the back end to be chosen")
    n = math.prod(atom.dim for atom in atoms)
    found = orbit_filter(n, moves)
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


def orbit_filter(n: int, moves: list[Move]) -> OrbitFilter:
    """Labels, signs and lengths of the orbits of n entries.

    A signed action is an unsigned one on 2 n nodes (entry, sign). An orbit that contains both
    signs of an entry has mean zero and gets no label of its own.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    signed = any(np.any(sign < 0) for _, sign in moves)
    nodes = 2 * n if signed else n
    rows, columns = [np.arange(0)], [np.arange(0)]
    entries = np.arange(n)
    for source, sign in moves:
        flip = (sign < 0) * n
        rows.append(entries)
        columns.append(source + flip)
        if signed:
            rows.append(entries + n)
            columns.append((source + n + flip) % nodes)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = csr_array((np.ones(len(row), np.int8), (row, column)), shape=(nodes, nodes))
    component = np.asarray(connected_components(graph, directed=False)[1])
    if not signed:
        return _labelled(component, np.ones(n), np.ones(n, bool))
    plus, minus = component[:n], component[n:]
    representative = np.minimum(plus, minus)
    return _labelled(representative, np.where(plus < minus, 1.0, -1.0), plus != minus)


def _labelled(component: np.ndarray, sign: np.ndarray, consistent: np.ndarray) -> OrbitFilter:
    _, inverse = np.unique(component[consistent], return_inverse=True)
    orbits = int(inverse.max(initial=-1)) + 1
    labels = np.full(len(component), orbits, dtype=np.int32)
    labels[consistent] = inverse
    lengths = np.bincount(inverse, minlength=orbits)
    return OrbitFilter(labels, sign, 1.0 / lengths, STRICT, orbits)
