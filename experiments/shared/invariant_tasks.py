"""Synthetic tasks with an exact symmetry, and a term that breaks it (section 6 of the
specification of "Tunable Soft Equivariance with Guarantees"; the targets are those of EMLP).

All is float64 NumPy.
"""

import numpy as np


def o5_targets(x: np.ndarray, noise: float = 0.0) -> np.ndarray:
    r"""The invariant of two vectors of R^5,

    .. math:: \sin |x_1| - \tfrac12 |x_2|^3 + \frac{x_1 \cdot x_2}{|x_1| |x_2|},

    with the term that breaks the symmetry, ``noise * a / (b + 1)`` where a is the sum of
    ``|x_10|, |x_11|, |x_20|, |x_21|`` and b that of ``|x_12|, |x_13|, |x_22|, |x_23|``.

    Args:
      x: ``[n, 10]``, x_1 and then x_2.
      noise: strength of the breaking, 0.3 to 0.5 in the paper.

    Returns:
      ``[n, 1]``.

    Raises:
      ValueError: another shape.
    """
    pair = _vectors(x, 2, 5)
    first, second = pair[:, 0], pair[:, 1]
    r1, r2 = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    cosine = np.sum(first * second, axis=1) / (r1 * r2)
    size = np.abs(pair)
    breaking = size[:, :, :2].sum((1, 2)) / (size[:, :, 2:4].sum((1, 2)) + 1.0)
    return (np.sin(r1) - 0.5 * r2**3 + cosine + noise * breaking)[:, None]


def o5_data(n: int, seed: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal pairs of vectors and their targets, ``[n, 10]`` and ``[n, 1]``."""
    x = np.random.default_rng(seed).standard_normal((n, 10))
    return x, o5_targets(x, noise)


def lorentz_targets(x: np.ndarray, noise: float = 0.0) -> np.ndarray:
    r"""The matrix element of electron-muon scattering, without the masses of a shell.

    With the momenta p, q, p', q' and ``a = p.p' - p.p``, ``b = q.q' - q.q`` in the metric
    (+, -, -, -), the contraction of ``p^m p'^n - a eta^mn`` with ``q_m q'_n - b eta_mn``:

    .. math:: 4 \, [\, (p.q)(p'.q') - b \, (p.p') - a \, (q.q') + 4 a b \,].

    The term that breaks the symmetry is ``noise * sum v_x^2 / (v_y^2 + v_z^2 + 1)`` over the four
    momenta.

    Args:
      x: ``[n, 16]``, the four-vectors p, q, p', q', time first.
      noise: strength of the breaking.

    Returns:
      ``[n, 1]``.

    Raises:
      ValueError: another shape.
    """
    momenta = _vectors(x, 4, 4)
    gram = np.einsum("nim,m,njm->nij", momenta, np.array([1.0, -1.0, -1.0, -1.0]), momenta)
    a, b = gram[:, 0, 2] - gram[:, 0, 0], gram[:, 1, 3] - gram[:, 1, 1]
    crossed = gram[:, 0, 1] * gram[:, 2, 3] - b * gram[:, 0, 2] - a * gram[:, 1, 3]
    squares = momenta**2
    breaking = squares[:, :, 1] / (squares[:, :, 2] + squares[:, :, 3] + 1.0)
    return (4.0 * (crossed + 4.0 * a * b) + noise * breaking.sum(axis=1))[:, None]


def lorentz_data(n: int, seed: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Momenta with normal entries of deviation 1/4 and their targets, ``[n, 16]``, ``[n, 1]``."""
    x = np.random.default_rng(seed).standard_normal((n, 16)) / 4.0
    return x, lorentz_targets(x, noise)


def _vectors(x: np.ndarray, count: int, d: int) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or x.shape[1] != count * d:
        raise ValueError(
            f"x must be [n, {count * d}], {count} vectors of length {d}, got shape {x.shape}"
        )
    return x.reshape(len(x), count, d)
