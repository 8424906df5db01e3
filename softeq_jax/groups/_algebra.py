"""Lie algebras: closures of generators, in a basis that depends on the algebra alone."""

import numpy as np

_NEW = 1e-8  # of a bracket of unit matrices, the part that counts as a new direction


def lie_algebra(generators: np.ndarray, discrete: np.ndarray, new: float = _NEW) -> np.ndarray:
    """Orthonormal basis of the smallest Lie algebra that contains some matrices.

    It is closed under brackets and under ``A -> h A h^-1``. The product is ``tr(A^T B) / 2`` for
    real matrices and ``2 Re tr(A^H B)`` for complex ones. The basis depends on the algebra alone;
    if that is closed under (conjugate) transposition, so is the basis: first its skew matrices,
    then its symmetric ones.

    Args:
      generators: ``[k, d, d]``, real or complex.
      discrete: ``[m, d, d]``, invertible.
      new: of a bracket of unit matrices, the part that counts as a new direction.

    Returns:
      ``[dimension, d, d]``.
    """
    d = generators.shape[-1]
    complex_ = np.iscomplexobj(generators)
    inverses = np.linalg.inv(discrete)
    span = _extend(np.zeros((0, d * d * (1 + complex_))), flat(generators), new)
    while True:
        a = square(span, d, complex_)
        products = a[:, None] @ a
        brackets = (products - np.swapaxes(products, 0, 1)).reshape(-1, d, d)
        turned = (discrete[:, None] @ a @ inverses[:, None]).reshape(-1, d, d)
        larger = _extend(_extend(span, flat(brackets), new), flat(turned), new)
        if len(larger) == len(span):
            break
        span = larger
    scale = np.sqrt(0.5) if complex_ else np.sqrt(2.0)
    parts = [_canonical(part, d, complex_) for part in _by_symmetry(span, d, complex_)]
    return scale * square(np.concatenate(parts), d, complex_) + 0.0


def is_transpose_closed(basis: np.ndarray) -> bool:
    """Whether every matrix of a basis is skew or symmetric (skew-Hermitian or Hermitian)."""
    return bool(np.all(symmetries(basis) != 0))


def symmetries(basis: np.ndarray) -> np.ndarray:
    """For each matrix -1 if it is skew, 1 if it is symmetric, else 0; int ``[k]``."""
    adjoint = np.swapaxes(basis.conj(), -1, -2)
    skew = np.abs(basis + adjoint).max(axis=(1, 2), initial=0) <= 1e-6
    symmetric = np.abs(basis - adjoint).max(axis=(1, 2), initial=0) <= 1e-6
    return np.where(skew, -1, np.where(symmetric, 1, 0))


def flat(matrices: np.ndarray) -> np.ndarray:
    """Real rows of ``[n, d, d]``, in column-major order."""
    rows = np.swapaxes(matrices, -1, -2).reshape(len(matrices), matrices.shape[-1] ** 2)
    return np.concatenate([np.real(rows), np.imag(rows)], axis=1) if np.iscomplexobj(rows) else rows


def square(rows: np.ndarray, d: int, complex_: bool) -> np.ndarray:
    """Matrices ``[n, d, d]`` of such rows."""
    if complex_:
        rows = rows[:, : d * d] + 1j * rows[:, d * d :]
    return np.swapaxes(rows.reshape(-1, d, d), -1, -2)


def _extend(span: np.ndarray, rows: np.ndarray, new: float) -> np.ndarray:
    """Orthonormal rows that span both; vectors are taken in units of the longest."""
    largest = np.linalg.norm(rows, axis=1).max(initial=0)
    if largest <= new:
        return span
    rows = rows / max(largest, 1.0)
    rows = rows - (rows @ span.T) @ span
    _, s, v = np.linalg.svd(rows, full_matrices=False)
    return np.linalg.qr(np.concatenate([span, v[s > new]]).T)[0].T


def _by_symmetry(span: np.ndarray, d: int, complex_: bool) -> list[np.ndarray]:
    """The skew and the symmetric part of a span that holds the transposes, else the span."""
    adjoint = flat(np.swapaxes(square(span, d, complex_).conj(), -1, -2))
    if len(span) == 0 or np.abs(adjoint - (adjoint @ span.T) @ span).max() > 1e-6:
        return [span]
    values, vectors = np.linalg.eigh(span @ adjoint.T)
    return [vectors[:, values < 0].T @ span, vectors[:, values > 0].T @ span]


def _canonical(span: np.ndarray, d: int, complex_: bool) -> np.ndarray:
    """The orthonormal basis found by projecting unit matrices, the longest projection first."""
    rest = span.T @ span
    found = []
    for _ in range(len(span)):
        i = int(np.argmax(np.round(np.diag(rest), 6)))
        v = rest[i] / np.sqrt(rest[i, i])
        found.append(v)
        rest = rest - np.outer(v, v)
    return np.array(found).reshape(-1, span.shape[1])
