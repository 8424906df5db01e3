"""Ridge regression with Gaussian kernels, its strength chosen by leaving one out."""

from typing import NamedTuple

import numpy as np

WIDTHS = (0.3, 1.0, 3.0)
"""Widths that are tried, in median distances between examples."""
_RIDGES = np.logspace(-5, 1, 13)
"""Strengths that are tried, in means of the eigenvalues."""
COARSE = 1e-2
"""The least of them for which differences of a percent do not count."""


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``||a_i - b_j||^2`` of rows, ``[n, m]``."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.maximum(squares, 0)


def median_width(x: np.ndarray) -> float:
    """The median distance between rows, 1 where they are all the same."""
    squares = squared_distances(x, x)[np.triu_indices(len(x), 1)]
    return float(np.sqrt(np.median(squares))) or 1.0


class Ridge(NamedTuple):
    """What a fit gave.

    Attributes:
      coefficients: of the kernel functions, ``[n, q]``.
      left_out: mean squared error at examples that were left out.
    """

    coefficients: np.ndarray
    left_out: float


def ridge(kernel: np.ndarray, y: np.ndarray, least: float = 0.0) -> Ridge:
    """``(K + r)^-1 y`` with the r of the least error at what is left out.

    Args:
      kernel: symmetric ``[n, n]``; eigenvalues below zero are rounding and count as zero.
      y: ``[n, q]``.
      least: strength, in means of the eigenvalues.
    """
    values, vectors = np.linalg.eigh((kernel + kernel.T) / 2)
    values = np.maximum(values, 0)
    turned = vectors.T @ y
    best = Ridge(np.zeros_like(y), np.inf)
    for strength in _RIDGES[least <= _RIDGES] * max(float(values.mean()), 1e-300):
        share = values / (values + strength)
        hat = np.minimum((vectors**2) @ share, 1 - 1e-9)
        error = float(
            np.mean(((y - vectors @ (share[:, None] * turned)) / (1 - hat)[:, None]) ** 2)
        )
        if error < best.left_out:
            best = Ridge(vectors @ (turned / (values + strength)[:, None]), error)
    return best
