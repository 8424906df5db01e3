"""Logarithms of orthogonal, unitary and symplectic matrices, inside their Lie algebra.

Also where an eigenvalue is -1 and the logarithm is not unique.
"""

from typing import Any, Literal

import numpy as np


def nearest_unitary(g: np.ndarray) -> np.ndarray:
    """The orthogonal or unitary matrix nearest to ``g`` (its polar factor)."""
    u, _, v = np.linalg.svd(g)
    return u @ v


def rotation_log(g: np.ndarray) -> np.ndarray:
    """The shortest skew ``X`` with ``exp(X) = g``.

    The real Schur form has 2x2 rotations and, as det g = 1, an even number of -1: each two of
    those are a half turn.

    Args:
      g: orthogonal, of determinant 1, ``[n, n]``.

    Returns:
      ``[n, n]`` with eigenvalues ``+-i t``, ``|t| <= pi``.
    """

    t, z = _schur(nearest_unitary(g), output="real")
    x = np.zeros_like(g)
    negative = []
    i = 0
    while i < len(g):
        if i + 1 < len(g) and t[i + 1, i] != 0:
            angle = np.arctan2(t[i + 1, i] - t[i, i + 1], t[i, i] + t[i + 1, i + 1])
            x += angle * _plane(z[:, i], z[:, i + 1])
            i += 2
        else:
            if t[i, i] < 0:
                negative.append(i)
            i += 1
    for i, j in zip(negative[::2], negative[1::2], strict=True):
        x += np.pi * _plane(z[:, i], z[:, j])
    return x


def _plane(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The generator that turns ``a`` towards ``b``."""
    return np.outer(b, a) - np.outer(a, b)


def unitary_log(g: np.ndarray, special: bool = False) -> np.ndarray:
    """The shortest skew-Hermitian ``X`` with ``exp(X) = g``, of trace 0 if ``special``.

    The angles of a matrix of determinant 1 add up to ``2 pi k``; the trace vanishes once ``2 pi``
    is taken from the ``k`` largest of them (given to the smallest for negative ``k``).
    """

    t, z = _schur(nearest_unitary(g), output="complex")
    angle = np.angle(np.diag(t))
    if special:
        turns = round(float(angle.sum()) / (2 * np.pi))
        ascending = np.argsort(angle)
        angle[ascending[len(g) - turns :] if turns > 0 else ascending[:-turns]] -= (
            2 * np.pi * np.sign(turns)
        )
        angle -= angle.mean()
    return (z * (1j * angle)) @ z.conj().T


def symplectic_unitary_log(g: np.ndarray) -> np.ndarray:
    """``X`` in the Lie algebra of USp(n) with ``exp(X) = g``, angles within pi.

    Eigenvectors come in pairs ``v``, ``J^T conj(v)`` of opposite angles.

    Args:
      g: unitary, ``[2n, 2n]``, with ``g^T J g = J``.
    """

    g = nearest_unitary(g)
    _, z = _schur(g, output="complex")
    v = half_basis(z)
    angle = np.angle(np.einsum("ia,ij,ja->a", v.conj(), g, v))
    w = partner(v)
    return (v * (1j * angle)) @ v.conj().T - (w * (1j * angle)) @ w.conj().T


def partner(v: np.ndarray) -> np.ndarray:
    """``J^T conj(v)`` for columns ``v``, with ``J = [[0, 1], [-1, 0]]``."""
    n = len(v) // 2
    return np.concatenate([-v[n:], v[:n]]).conj()


def half_basis(columns: np.ndarray) -> np.ndarray:
    """Half of an orthonormal basis that its partners complete.

    Args:
      columns: ``[2n, m]``; their spans for each eigenvalue are what the result respects. Columns
        without a partner among the others are returned unchanged.

    Returns:
      ``[2n, n]``, orthonormal to each other and to their partners.
    """
    rest, chosen = columns.copy(), []
    for _ in range(len(columns) // 2):
        i = int(np.argmax(np.linalg.norm(rest, axis=0).round(6)))
        v = rest[:, i] / np.linalg.norm(rest[:, i])
        for u in chosen:  # once more than in `rest`, to remove its rounding
            v = v - u * (u.conj() @ v) - partner(u) * (partner(u).conj() @ v)
        v /= np.linalg.norm(v)
        chosen.append(v)
        w = partner(v)
        rest = rest - np.outer(v, v.conj() @ rest) - np.outer(w, w.conj() @ rest)
    return np.stack(chosen, axis=1)


def _schur(matrix: np.ndarray, output: Literal["real", "complex"]) -> tuple[Any, Any]:
    """``(T, Z)`` with ``matrix = Z T Z^H``."""
    import scipy.linalg

    t, z, *_ = scipy.linalg.schur(matrix, output=output)
    return t, z
