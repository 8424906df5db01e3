"""Frequencies: the basis in which rotations and flips of the plane are simplest."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from softeq_jax._checks import frozen
from softeq_jax._sizes import require_room
from softeq_jax._text import brief
from softeq_jax.groups import PlanarGroup

_TOLERANCE = 1e-8


@dataclasses.dataclass(frozen=True, eq=False)
class Frequencies:
    """An orthonormal basis in which rotations and flips are as simple as they can be.

    In a pair of an even column a and an odd column b of frequency m, the rotation by t acts as

        a -> cos(m t) a + sin(m t) b,    b -> cos(m t) b - sin(m t) a,

    and the flip F fixes the even columns and negates the odd ones. A column without a partner is
    fixed by rotations (frequency 0) or, for C_n and D_n with even n, negated by the generating
    rotation (frequency n/2, or 2 where only quarter turns act). An unmatched column is fixed by
    rotations for want of a partner (of grids it is odd, of circles odd or even); it belongs to no
    finite frequency, which is recorded as -1.

    Attributes:
      basis: orthonormal columns, float64 ``[dim, dim]``.
      frequency: int ``[dim]``, at least 0, or -1 where unmatched.
      odd: bool ``[dim]``, whether the flip negates the column.
      partner: int ``[dim]``, index of the other column of the pair, -1 for a column without one.
      unmatched: bool ``[dim]``.

    Example:
      >>> import softeq_jax as sq
      >>> found = sq.reps.circle(sq.groups.so(2), 5).frequencies()
      >>> sorted(found.frequency.tolist())
      [0, 1, 1, 2, 2]
    """

    basis: np.ndarray
    frequency: np.ndarray
    odd: np.ndarray
    partner: np.ndarray
    unmatched: np.ndarray

    __repr__ = brief

    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices of the even columns that have a partner, of the partners, and frequencies."""
        even = np.flatnonzero((self.partner >= 0) & ~self.odd)
        return even, self.partner[even], self.frequency[even]


def require_basis(n: int, what: str, instead: str = "take fewer of them") -> None:
    """TooLargeError where a basis of that dimension, and what it is computed from, five matrices of
    its size, need more memory than ``memory_limit()``."""
    require_room(5 * 8 * n**2, f"the basis of frequencies of {what}", instead)


def read_only(*arrays: np.ndarray) -> Frequencies:
    """``Frequencies`` of these arrays, which become read-only."""
    return Frequencies(*map(frozen, arrays))


@functools.lru_cache(maxsize=64)
def joined(rep: Any) -> Frequencies | None:
    """The frequencies of a direct sum; None where a summand has none."""
    if any(part.frequencies() is None for part in rep.parts):
        return None
    total = rep.dim
    require_basis(total, repr(rep), "treat its terms by themselves")
    parts = [part.frequencies() for part in rep.summands]
    basis = np.zeros((total, total))
    partner, start = [], 0
    for part in parts:
        stop = start + len(part.basis)
        basis[start:stop, start:stop] = part.basis
        partner.append(np.where(part.partner < 0, -1, part.partner + start))
        start = stop
    return read_only(
        basis,
        np.concatenate([part.frequency for part in parts]),
        np.concatenate([part.odd for part in parts]),
        np.concatenate(partner),
        np.concatenate([part.unmatched for part in parts]),
    )


def decompose(
    group: PlanarGroup, turn: np.ndarray, flip: np.ndarray | None, what: str
) -> Frequencies:
    r"""The frequencies of an orthogonal representation that is given by matrices.

    Complex eigenvectors v of the rotation, with eigenvalue ``e^(i m t)``, give the pairs
    ``a = sqrt(2) Re v, b = -sqrt(2) Im v``; with a flip, a is taken from its +1 eigenspace and
    ``b = J a`` with the complex structure J of the rotation.

    Args:
      group: the planar group.
      turn: float64 ``[n, n]``: for SO(2) and O(2) the skew derivative at the identity, for C_n
        and D_n the rotation by ``2 pi / n``.
      flip: the matrix of the flip, None where the group has none.
      what: of what, for errors.

    Returns:
      Read-only frequencies.

    Raises:
      ValueError: the frequencies are not integers, so this is no representation of the group.
    """
    n = group.rotations
    if n is None:
        values, vectors = _hermitian(turn)
        rounded = np.round(values).astype(np.int64)
        worst = float(np.max(np.abs(values - rounded), initial=0.0))
        if worst > _TOLERANCE * max(1.0, float(np.abs(values).max(initial=0.0))):
            raise ValueError(f"{what}: the frequencies must be integers, but differ by {worst:.2g}")
    else:
        vectors, rounded = _cyclic_frequencies(turn, n)
    columns, frequency, odd, partner = [], [], [], []
    for m in np.unique(np.abs(rounded)):
        space = vectors[:, rounded == m]
        if m == 0 or (n is not None and 2 * m == n):
            real = _real_span(vectors[:, np.abs(rounded) == m])
            singles, parity = _by_flip(real, flip)
            columns.append(singles)
            frequency += [m] * singles.shape[1]
            odd += list(parity)
            partner += [-1] * singles.shape[1]
            continue
        even, uneven = _pairs(space, flip)
        start, p = len(frequency), even.shape[1]
        columns += [even, uneven]
        frequency += [m] * (2 * p)
        odd += [False] * p + [True] * p
        partner += [*range(start + p, start + 2 * p), *range(start, start + p)]
    basis = np.concatenate(columns, axis=1)
    return read_only(
        basis,
        np.array(frequency, dtype=np.int64),
        np.array(odd, dtype=bool),
        np.array(partner, dtype=np.int64),
        np.zeros(basis.shape[1], dtype=bool),
    )


@functools.lru_cache(maxsize=64)
def frequencies_of(group: PlanarGroup, rep: Any) -> Frequencies:
    """The frequencies of an orthogonal representation of a planar group, by its matrices."""
    require_basis(2 * rep.dim, repr(rep), "take a smaller one")  # eigenvectors are complex
    if group.rotations is None:
        turn = rep.lie_matrices()[0]
    else:
        turn = rep.matrix(group.element(2.0 * math.pi / group.rotations))
    flip = rep.matrix(group.element(flip=True)) if group.has_flip else None
    return decompose(group, turn, flip, repr(rep))


def _hermitian(skew: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``-i A = V diag(values) V^H``: e^(t A) has eigenvalues ``e^(i values t)``."""
    matrix = -1j * skew
    return np.linalg.eigh((matrix + matrix.conj().T) / 2.0)


def _cyclic_frequencies(turn: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal eigenvectors of a rotation of order n, and frequencies in (-n/2, n/2]."""
    symmetric, skew = (turn + turn.T) / 2.0, (turn - turn.T) / 2.0
    # cos and sin of the angle commute; an irrational mix of them separates all eigenvalues
    mix = symmetric - 1j * math.sqrt(2.0) * skew
    values, vectors = np.linalg.eigh((mix + mix.conj().T) / 2.0)
    angles = 2.0 * np.pi * np.arange(-((n - 1) // 2), n // 2 + 1) / n
    candidates = np.cos(angles) + math.sqrt(2.0) * np.sin(angles)
    nearest = np.argmin(np.abs(values[:, None] - candidates[None]), axis=1)
    worst = float(np.max(np.abs(values - candidates[nearest]), initial=0.0))
    if worst > _TOLERANCE:
        raise ValueError(f"the rotation is not of order {n}: eigenvalues differ by {worst:.2g}")
    m = nearest - (n - 1) // 2
    return vectors, m


def _real_span(vectors: np.ndarray) -> np.ndarray:
    """An orthonormal real basis of a space that is closed under complex conjugation."""
    projector = np.real(vectors @ vectors.conj().T)
    values, basis = np.linalg.eigh((projector + projector.T) / 2.0)
    return basis[:, values > 0.5]


def _by_flip(space: np.ndarray, flip: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if flip is None:
        return space, np.zeros(space.shape[1], dtype=bool)
    inside = space.T @ flip @ space
    values, vectors = np.linalg.eigh((inside + inside.T) / 2.0)
    order = np.argsort(values < 0, kind="stable")
    return (space @ vectors)[:, order], (values < 0)[order]


def _pairs(space: np.ndarray, flip: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Even and odd columns from the eigenvectors of one positive frequency."""
    if flip is None:
        return math.sqrt(2.0) * np.real(space), -math.sqrt(2.0) * np.imag(space)
    both = _real_span(np.concatenate([space, space.conj()], axis=1))
    columns, parity = _by_flip(both, flip)
    even = columns[:, ~parity]
    coefficients = space.conj().T @ even  # a = 2 Re(space c), J a = 2 Re(i space c)
    odd = -2.0 * np.imag(space @ coefficients)
    return even, odd
