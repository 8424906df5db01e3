"""The share of the loss that asymmetry can explain: what a predictor gains by breaking the group.

Kernel ridge regression learns the labels three times over: as an equivariant function
(``K_G((x, a), (x', b)) = mean_g k(x, g x') rho(g)_ab``), as one that varies along orbits up to a
level, and freely. The held-out losses say which of them the labels ask for, however asymmetric the
examples are; a network may say it otherwise.
"""

import dataclasses
from typing import Any

import numpy as np

from softeq_jax.measures.base._layouts import Invariant
from softeq_jax.measures.diagnosis._meanings import Meaning, declared
from softeq_jax.measures.symmetry._action import Acting
from softeq_jax.measures.symmetry._bands import Bands
from softeq_jax.measures.symmetry._kernels import median_width, ridge, squared_distances

_CLASSES = 64
"""Most classes, or entries of a label."""
_ROWS = 800
"""Equations of one fit, about."""
_WIDTHS = (0.3, 1.0)
"""Widths that are tried, in median distances."""


@dataclasses.dataclass(frozen=True)
class LabelLoss:
    """Held-out losses of predictors that may vary along orbits up to a level.

    Attributes:
      levels: ``[b]``, ascending; 0 is strict, the last one free.
      losses: ``[b, m]``, squared errors of held-out examples (of one-hot labels for classes).
      trivial: ``[m]``, those of the best constant that the group leaves as it is.
    """

    levels: np.ndarray
    losses: np.ndarray
    trivial: np.ndarray

    @property
    def share(self) -> tuple[float, float]:
        """``(L_strict - L_free) / max(L_strict, L_free)`` and its standard error (delta method):
        of the loss of a strict predictor what asymmetry explains, or, below 0, of the loss of a
        free one what the symmetry saves."""
        strict, free = self.losses[0], self.losses[-1]
        larger = max(strict, free, key=np.mean)
        size = float(larger.mean()) or 1.0
        value = float((strict - free).mean()) / size
        spread = (strict - free - value * larger).std(ddof=1) / np.sqrt(len(strict))
        return value, float(spread / size)


def label_loss(acting: Acting, y: np.ndarray, given: Any, found: Bands, first: Any) -> LabelLoss:
    """Losses by level, fitted on the examples ``first``, measured on the others.

    Args:
      acting: the examples.
      y: their labels, ``[n]`` classes (integers) or numbers, or ``[n, ...]``.
      given: how the group acts on them; None: not at all.
      found: the bands of the group.
      first: bool ``[n]``.

    Raises:
      ValueError: labels that do not fit, of more than 64 entries or classes, or the same for all.
    """
    targets, meaning = _targets(acting, y, given)
    q = targets.shape[1]
    matrices = np.stack([_matrix(acting, meaning, g, y.shape, q) for g in found.elements])
    most = max(_ROWS // q, 20) if meaning is not None else _ROWS // 2
    fit, held = np.flatnonzero(first)[:most], np.flatnonzero(~first)[:most]
    flat = acting.x.reshape(len(acting.x), -1)
    orbit = [acting.move(g, acting.x[fit]).reshape(len(fit), -1) for g in found.elements]
    width = median_width(flat[fit])
    inner = [squared_distances(flat[fit], other) for other in orbit]
    outer = [squared_distances(flat[held], other) for other in orbit]
    losses = []
    for band in range(len(found.levels)):
        weights, best = found.up_to(band), None
        for h in (share * width for share in _WIDTHS):
            fitted = ridge(_kernel(inner, weights, matrices, h), _rows(targets[fit], matrices))
            if best is None or fitted.left_out < best[0].left_out:
                best = fitted, h
        assert best is not None
        across = _kernel(outer, weights, matrices, best[1])
        guess = (across @ best[0].coefficients).reshape(len(held), q)
        losses.append(((guess - targets[held]) ** 2).sum(1))
    mean = targets[fit].mean(0)
    mean = mean if meaning is None else matrices.mean(0) @ mean
    trivial = ((targets[held] - mean) ** 2).sum(1)
    return LabelLoss(found.levels, np.array(losses), trivial)


def _targets(acting: Acting, y: np.ndarray, given: Any) -> tuple[np.ndarray, Meaning | None]:
    """Labels as ``[n, q]``, one-hot for classes, and what acts on them."""
    if len(y) != len(acting.x):
        raise ValueError(f"{len(acting.x)} examples came with {len(y)} labels")
    classes = y.ndim == 1 and y.dtype.kind in "iub"
    if classes:
        found, index = np.unique(y, return_inverse=True)
        count, y = len(found), np.eye(len(found))[index]
    else:
        y = np.asarray(y, np.float64)
        if not np.all(np.isfinite(y)):
            raise ValueError("the labels hold NaN or infinite entries")
        count = int(np.prod(y.shape[1:]))
    if count > _CLASSES or (classes and count < 2) or not np.ptp(y):
        kind = "classes" if classes else "entries"
        raise ValueError(
            f"labels of 2 to {_CLASSES} {kind} are needed, not all the same, got {count} {kind}"
        )
    if given is None or classes:
        return y.reshape(len(y), -1), None
    meaning = declared(given, acting.group, y.shape, "the labels")
    trivial = isinstance(meaning.layout, Invariant)
    return y.reshape(len(y), -1), None if trivial else meaning


def _matrix(acting: Acting, meaning: Meaning | None, g: np.ndarray, shape: Any, q: int) -> Any:
    """How an element acts on labels, ``[q, q]``; ``[1, 1]`` where it does not."""
    if meaning is None:
        return np.ones((1, 1))
    moved = meaning.move(acting.group, g, np.eye(q).reshape(q, *shape[1:]), (1, 1))
    return np.asarray(moved, np.float64).reshape(q, q).T


def _rows(targets: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    return targets if matrices.shape[1] == 1 else targets.reshape(-1, 1)


def _kernel(squares: list[np.ndarray], weights: Any, matrices: np.ndarray, h: float) -> np.ndarray:
    """``sum_g w(g) (1 + k(x, g x')) rho(g)``, ``[n q, m q]``."""
    n, m = squares[0].shape
    d = matrices.shape[1]
    total = np.zeros((n, d, m, d))
    for square, weight, matrix in zip(squares, weights, matrices, strict=True):
        if abs(weight) > 1e-12:
            kernel = weight * (1 + np.exp(-square / (2 * h**2)))
            total += kernel[:, None, :, None] * matrix[None, :, None, :]
    return total.reshape(n * d, m * d)
