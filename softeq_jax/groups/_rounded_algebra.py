"""Rounded Lie generators: the nearest ones that are closed under brackets, and how far they are."""

import itertools
from typing import NamedTuple

import numpy as np

from softeq_jax.groups._algebra import flat, lie_algebra, square
from softeq_jax.groups._rounded import (
    COINCIDENCE,
    LARGEST,
    deviation_of,
    resolution,
    tolerance_of,
)

_CLEAN = 1e-8  # of a bracket, what counts as a new direction where entries are double precision
_CLOSED = 1e-13  # part of a bracket of unit matrices outside of the span, after polishing
_EQUATIONS = 30_000_000  # entries of the linear system that is solved
_NOISE = 1e-3  # relative singular values that only rounding opens
_TURNS = 40  # frequencies of a circle that are recognized as whole multiples of one


class RoundedAlgebra(NamedTuple):
    """A Lie algebra near to some generators.

    Attributes:
      basis: orthonormal, ``[k, d, d]``.
      deviation: of the generators from it, in units of their largest entries.
      tolerance: up to which numbers that come from the given entries count as equal.
    """

    basis: np.ndarray
    deviation: float
    tolerance: float


def nearest_algebra(
    name: str, given: np.ndarray, discrete: np.ndarray, exact: bool
) -> RoundedAlgebra:
    """The algebra that generators span and generate, up to their rounding.

    What is nearly skew, symmetric or traceless becomes it; directions that only rounding opens are
    none; and the span is moved until its brackets lie in it, by Gauss-Newton steps of least norm.

    Args:
      name: of the group, for messages.
      given: generators, ``[k, d, d]``.
      discrete: ``[m, d, d]``, invertible, which conjugate the algebra to itself.
      exact: whether the generators are meant as they are: nothing is moved.

    Raises:
      ValueError: the brackets leave the span by more than rounding, and by too little to be meant.
    """
    if len(given) == 0:
        return RoundedAlgebra(given, 0.0, 0.0)
    if exact:
        return RoundedAlgebra(lie_algebra(given, discrete), 0.0, 0.0)
    size = np.abs(given).max(axis=(1, 2), keepdims=True)
    scaled = given / np.where(size > 0, size, 1.0)
    units = [resolution(a) / s for a, s in zip(given, size.reshape(-1), strict=True) if s > 0]
    tolerance = _tolerance(scaled, max(units, default=0.0))
    moved = np.array([_symmetrized(a, tolerance) for a in scaled])
    turns = _whole_turns(moved[0], tolerance) if len(moved) == 1 else None
    moved = moved if turns is None else turns[None]
    moved = _strictly_triangular(moved, tolerance)
    basis = lie_algebra(moved, discrete)
    if tolerance > 1e-14:
        coarse = lie_algebra(moved, discrete, max(_CLEAN, 10.0 * tolerance))
        off = _outside(coarse, discrete)
        if len(coarse) < len(basis) or off > _CLOSED:
            polished = _closed(coarse, discrete)
            if polished is not None:
                basis = lie_algebra(polished, discrete)
            elif len(coarse) < len(basis):
                raise ValueError(
                    f"the brackets of the Lie generators of {name} leave their span of "
                    f"{len(coarse)} dimensions by {off:.2g}, as those of rounded matrices do, and "
                    "no algebra is that near; give more digits, or exact=True if they are meant "
                    f"as they are (then the algebra has {len(basis)} dimensions)"
                )
    rows, span = flat(scaled), flat(basis)
    span = span / np.linalg.norm(span, axis=1, keepdims=True)
    inside = square(rows @ span.T @ span, given.shape[1], np.iscomplexobj(given))
    settled = turns is not None or _is_perfect(basis)
    return RoundedAlgebra(basis, deviation_of(inside, scaled), 0.0 if settled else tolerance)


def _tolerance(scaled: np.ndarray, unit: float) -> float:
    """From the format of the entries, and from what is nearly skew, symmetric or traceless."""
    adjoint = np.swapaxes(scaled.conj(), 1, 2)
    defects = [np.abs(scaled + sign * adjoint).max(axis=(1, 2)) for sign in (1, -1)]
    seen = np.concatenate([*defects, np.abs(np.trace(scaled, axis1=1, axis2=2))])
    return tolerance_of(max(unit, *seen[seen <= LARGEST], 0.0))


def _symmetrized(a: np.ndarray, tolerance: float) -> np.ndarray:
    """What is skew, symmetric or traceless up to the tolerance, made so."""
    adjoint, trace = a.conj().T, np.trace(a) / len(a)
    for sign in (-1, 1):
        if np.abs(a - sign * adjoint).max() <= tolerance:
            a = (a + sign * adjoint) / 2.0
    return a - trace * np.eye(len(a)) if 0.0 < abs(trace) <= tolerance else a


def _is_perfect(basis: np.ndarray) -> bool:
    """Whether brackets span the algebra: then nothing about it can vary, such as the frequencies of
    a torus, and a closed basis is exact."""
    pairs = itertools.combinations(basis, 2)
    rows = [flat((x @ y - y @ x)[None])[0] for x, y in pairs]
    return len(rows) > 0 and bool(np.linalg.matrix_rank(np.array(rows), 1e-6) == len(basis))


def _whole_turns(a: np.ndarray, tolerance: float) -> np.ndarray | None:
    """A skew or symmetric matrix whose eigenvalues are whole multiples of one, up to the tolerance,
    made so: the circle that it generates closes. None where they are not."""
    skew = np.abs(a + a.conj().T).max() <= 1e-15
    if not skew and np.abs(a - a.conj().T).max() > 1e-15:
        return None
    values, vectors = np.linalg.eigh(1j * a if skew else a)
    largest = np.abs(values).max()
    for m in range(1, _TURNS + 1) if largest > 0 else ():
        turns = values / largest * m
        off = np.abs(turns - np.rint(turns)).max()
        if off <= max(m * tolerance, 1e-13) and m * off <= COINCIDENCE:
            if off <= 1e-13:
                return a
            found = (vectors * (np.rint(turns) * largest / m)) @ vectors.conj().T
            found = -1j * found if skew else found
            return found if np.iscomplexobj(a) else np.real(found)
    return None


def _strictly_triangular(matrices: np.ndarray, tolerance: float) -> np.ndarray:
    """Matrices ``[k, d, d]`` that are strictly triangular in one orthonormal basis, up to the
    tolerance, made so: shears stay nilpotent, and what they fix stays fixed."""
    d, slack = matrices.shape[1], 10.0 * tolerance
    rest, columns, level = np.eye(d), np.zeros((d, 0)), np.zeros(0, int)
    while rest.shape[1]:
        inside = rest.conj().T @ matrices @ rest
        _, sizes, v = np.linalg.svd(inside.reshape(-1, rest.shape[1]), full_matrices=True)
        fixed = np.concatenate([sizes, np.zeros(len(v) - len(sizes))]) <= slack
        if not fixed.any():
            return matrices
        columns = np.concatenate([columns, rest @ v[fixed].conj().T], axis=1)
        level = np.concatenate([level, np.full(fixed.sum(), level.max(initial=0) + 1)])
        rest = rest @ v[~fixed].conj().T
    turned = columns.conj().T @ matrices @ columns
    found = columns @ np.where(level[:, None] < level, turned, 0.0) @ columns.conj().T
    return matrices if np.abs(found - matrices).max() <= 1e-13 else found


def _outside(basis: np.ndarray, discrete: np.ndarray) -> float:
    """Largest part of a bracket, or of a conjugate, of unit matrices outside of their span."""
    span, normal = _split(basis)
    return max((float(np.abs(row).max(initial=0.0)) for row in _residuals(span, normal, basis,
               discrete)), default=0.0)  # fmt: skip


def _split(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal rows of the span of ``[k, d, d]``, and of what is orthogonal to it."""
    rows = flat(basis)
    _, _, v = np.linalg.svd(rows, full_matrices=True)
    return v[: len(rows)], v[len(rows) :]


def _residuals(
    span: np.ndarray, normal: np.ndarray, basis: np.ndarray, discrete: np.ndarray
) -> list[np.ndarray]:
    """Brackets of pairs, then conjugates, in coordinates of the orthogonal complement."""
    d, complex_ = basis.shape[1], np.iscomplexobj(basis)
    a = square(span, d, complex_)
    found = [flat((x @ y - y @ x)[None])[0] @ normal.T for x, y in itertools.combinations(a, 2)]
    for h in discrete:
        found += list(flat(h @ a @ np.linalg.inv(h)) @ normal.T)
    return found


def _closed(basis: np.ndarray, discrete: np.ndarray) -> np.ndarray | None:
    """The span moved until it is closed, ``[k, d, d]``; None if that fails, or is too large.

    With ``a_i + x_i``, x_i orthogonal to the span, the first order of what leaves it is

        [x_i, a_j] + [a_i, x_j] - sum_l c_ijl x_l   and   h x_i h^-1 - sum_l h_il x_l.
    """
    d, complex_ = basis.shape[1], np.iscomplexobj(basis)
    pairs = list(itertools.combinations(range(len(basis)), 2))
    k, q = len(basis), flat(basis).shape[1] - len(basis)
    if (len(pairs) + k * len(discrete)) * q * k * q > _EQUATIONS:
        return None
    for _ in range(9):
        span, normal = _split(basis)
        residuals = _residuals(span, normal, basis, discrete)
        if max((np.abs(r).max(initial=0.0) for r in residuals), default=0.0) <= _CLOSED:
            return square(span, d, complex_)
        a, x = square(span, d, complex_), square(normal, d, complex_)
        bracket = [flat(x @ y - y @ x) @ normal.T for y in a]  # [q, q], of x with y
        system = np.zeros((len(residuals), q, k, q))
        for row, (i, j) in enumerate(pairs):
            inside = flat((a[i] @ a[j] - a[j] @ a[i])[None])[0] @ span.T
            system[row] -= np.einsum("l,pq->qlp", inside, np.eye(q))
            system[row, :, i] += bracket[j].T
            system[row, :, j] -= bracket[i].T
        row = len(pairs)
        for h in discrete:
            back = np.linalg.inv(h)
            turned = flat(h @ x @ back) @ normal.T
            for i in range(k):
                inside = flat((h @ a[i] @ back)[None])[0] @ span.T
                system[row] -= np.einsum("l,pq->qlp", inside, np.eye(q))
                system[row, :, i] += turned.T
                row += 1
        step = np.linalg.lstsq(system.reshape(-1, k * q), -np.concatenate(residuals), rcond=_NOISE)
        basis = square(span + step[0].reshape(k, q) @ normal, d, complex_)
    return None
