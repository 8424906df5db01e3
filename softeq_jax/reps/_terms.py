"""Terms of a representation: copies of tensor products of atoms, and which entries they occupy.

A representation lists them as ``(term, index)`` pairs, index int ``[multiplicity, product of atom
dims]``; here are the lists of sums, products, copies and real parts.
"""

import functools
import itertools
import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from softeq_jax.reps._matrices import pairs


class Term(NamedTuple):
    """``multiplicity`` copies of the tensor product of ``atoms``; no atoms: the trivial one.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> [(term.multiplicity, len(term.atoms)) for term, _ in (2 * V + V * V).terms()]
      [(2, 1), (1, 2)]
    """

    multiplicity: int
    atoms: tuple[Any, ...]


Terms = list[tuple[Term, np.ndarray]]


def in_sum(parts: Iterable[tuple[int, Terms]]) -> Terms:
    """Of parts that follow one another, each with its dimension."""
    found, start = [], 0
    for dim, terms in parts:
        found += [(term, index + start) for term, index in terms]
        start += dim
    return found


def in_product(parts: Iterable[tuple[int, Terms]]) -> Terms:
    """Of a tensor product of parts, row-major, each with its dimension."""
    found = [(Term(1, ()), np.zeros((1, 1), dtype=np.int64))]
    for dim, terms in parts:
        found = [
            (Term(a.multiplicity * b.multiplicity, a.atoms + b.atoms), pairs(i, j, dim))
            for (a, i), (b, j) in itertools.product(found, terms)
        ]
    return found


def in_copies(n: int, dim: int, terms: Terms) -> Terms:
    """Of n copies of a representation of dimension ``dim``."""
    starts = np.arange(n)[:, None, None] * dim
    return [
        (
            Term(n * term.multiplicity, term.atoms),
            (starts + index[None]).reshape(-1, index.shape[1]),
        )
        for term, index in terms
    ]


def in_real(dim: int, terms: Terms) -> Terms:
    """Of the real and imaginary parts of a complex representation of dimension ``dim``."""
    found = []
    for term, index in terms:
        if any(atom.is_complex for atom in term.atoms):
            atom = functools.reduce(operator.mul, term.atoms)
            both = np.concatenate([index, index + dim], axis=1)
            found.append((Term(term.multiplicity, (atom.real,)), both))
        else:
            both = np.concatenate([index, index + dim], axis=0)
            found.append((Term(2 * term.multiplicity, term.atoms), both))
    return found
