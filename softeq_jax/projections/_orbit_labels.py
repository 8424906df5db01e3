"""Orbits of (signed) permutation actions by connected components over the generators."""

import functools

import numpy as np

from softeq_jax.projections._filter import OrbitFilter
from softeq_jax.reps import Rep

Move = tuple[np.ndarray, np.ndarray]


def joint_moves(atoms: tuple[Rep, ...]) -> list[Move] | None:
    """``(index, sign)`` of each discrete generator on the tensor product, None if one mixes."""
    moves = []
    for g in atoms[0].group.discrete_generators:
        each = [atom.signed_permutation(g) for atom in atoms]
        if any(move is None for move in each):
            return None
        moves.append(functools.reduce(_outer, each))
    return moves


def _outer(a: Move, b: Move) -> Move:
    index = (a[0][:, None] * len(b[0]) + b[0][None, :]).reshape(-1)
    return index, np.multiply.outer(a[1], b[1]).reshape(-1)


def orbit_filter(n: int, moves: list[Move], index: np.ndarray) -> OrbitFilter:
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
    _, component = connected_components(graph, directed=False)
    if not signed:
        return _labelled(component, np.ones(n), np.ones(n, bool), index)
    plus, minus = component[:n], component[n:]
    representative = np.minimum(plus, minus)
    return _labelled(representative, np.where(plus < minus, 1.0, -1.0), plus != minus, index)


def _labelled(
    component: np.ndarray, sign: np.ndarray, consistent: np.ndarray, index: np.ndarray
) -> OrbitFilter:
    _, inverse = np.unique(component[consistent], return_inverse=True)
    orbits = int(inverse.max(initial=-1)) + 1
    labels = np.full(len(component), orbits, dtype=np.int32)
    labels[consistent] = inverse
    lengths = np.bincount(inverse, minlength=orbits)
    return OrbitFilter(labels, sign, 1.0 / lengths, index, orbits)
