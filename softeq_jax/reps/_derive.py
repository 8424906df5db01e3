"""Exact derivatives of homomorphisms along one-parameter subgroups; host side, float64."""

from collections.abc import Callable

import numpy as np

_STEPS = (2.0**-5, 2.0**-9, 2.0**-13)


def derivative(
    image: Callable[[np.ndarray], np.ndarray], generator: np.ndarray, what: str, tolerance: float
) -> np.ndarray:
    """The B with ``image(exp(t A)) = exp(t B)``, for a homomorphism ``image`` of matrices.

    ``B = log(image(exp(h A))) / h`` with the principal logarithm holds exactly, not to some order
    in h, once ``|h B| < pi``. What is left is rounding, about ``1e-16 / h``.

    Args:
      image: from matrices ``[d, d]`` to matrices ``[n, n]``.
      generator: A.
      what: of what, for errors.
      tolerance: largest deviation, relative to the size of the matrices.

    Returns:
      ``[n, n]``.

    Raises:
      ValueError: the image of this one-parameter subgroup is no one-parameter subgroup.
    """
    import scipy.linalg

    worst = np.inf
    for h in _STEPS:
        moved = image(scipy.linalg.expm(h * generator))
        if not np.linalg.norm(moved - np.eye(len(moved)), 2) < 0.5:
            continue
        b = scipy.linalg.logm(moved) / h
        b = b if np.iscomplexobj(moved) else b.real
        worst = 0.0
        for t in (h / np.sqrt(2.0), 0.7, -1.3):  # the first one excludes a whole turn within h
            found, expected = image(scipy.linalg.expm(t * generator)), scipy.linalg.expm(t * b)
            worst = max(worst, deviation(found, expected))
        if worst <= tolerance:
            return b
    shown = f"by {worst:.2g}" if np.isfinite(worst) else "already close to the identity"
    raise ValueError(
        f"{what} is no homomorphism: along a Lie generator it differs from an exponential {shown}"
    )


def deviation(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of an entry, relative to the largest entry if that exceeds 1."""
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
    return float(np.max(np.abs(found - expected), initial=0.0)) / scale


def random_elements(
    lie: np.ndarray, discrete: np.ndarray, n: int, d: int, seed: int = 0
) -> list[np.ndarray]:
    """``n`` random elements: products of exponentials and of discrete generators."""
    import scipy.linalg

    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        g = np.eye(d)
        for _ in range(2):
            if len(lie):
                t = rng.normal(size=len(lie)) / np.sqrt(len(lie))
                g = g @ scipy.linalg.expm(np.tensordot(t, lie, 1))
            for i in rng.integers(len(discrete), size=3 if len(discrete) else 0):
                g = g @ discrete[i]
        found.append(g)
    return found


def shown(matrix: np.ndarray) -> str:
    """A matrix in one line, with few digits, for messages."""
    text = np.array2string(matrix, precision=3, suppress_small=True, threshold=100)
    return " ".join(text.split())
