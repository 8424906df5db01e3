"""How a classifier behaves when its inputs turn: accuracy and consistency by angle."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from softeq_jax.measures._rotation import (
    Array,
    kl_divergence,
    mean_and_error,
    rotate_bilinear,
)

_rotate = jax.jit(rotate_bilinear)


@dataclasses.dataclass(frozen=True)
class RotationReport:
    """Per-image outcomes of a classifier under a fixed grid of rotations.

    Attributes:
      angles: float64 [a], radians.
      correct: bool [n], top-1 upright.
      correct_rotated: bool [a, n], top-1 at each angle.
      kl: float64 [a, n], ``KL(f(x) || f(R x))`` in nats.
      kl_floor: float64 [a, n], ``KL(f(x) || f(R^-1 R x))``: what interpolation and the cut
        corners do without any net rotation (about twice, since the image is resampled twice).
    """

    angles: np.ndarray
    correct: np.ndarray
    correct_rotated: np.ndarray
    kl: np.ndarray
    kl_floor: np.ndarray

    def accuracy(self) -> tuple[float, float]:
        """Top-1 upright: mean and standard error over images."""
        return mean_and_error(self.correct)

    def accuracy_rotated(self, limit: float = np.inf) -> tuple[float, float]:
        """Top-1 averaged over the angles up to ``limit``: mean, standard error over images."""
        return mean_and_error(self.correct_rotated[self._up_to(limit)].mean(axis=0))

    def kl_at(self, angle: float) -> tuple[float, float]:
        """Mean KL over the grid angles +angle and -angle, and its standard error over images."""
        return mean_and_error(self.kl[self._at(angle)].mean(axis=0))

    def kl_floor_at(self, angle: float) -> tuple[float, float]:
        """The interpolation floor of ``kl_at``."""
        return mean_and_error(self.kl_floor[self._at(angle)].mean(axis=0))

    def _up_to(self, limit: float) -> np.ndarray:
        chosen = np.abs(self.angles) <= limit + 1e-9
        if not chosen.any():
            raise ValueError(f"no angle up to {limit} in the grid {self.angles}")
        return chosen

    def _at(self, angle: float) -> np.ndarray:
        chosen = np.isclose(np.abs(self.angles), abs(angle), atol=1e-9)
        if not chosen.any():
            raise ValueError(f"angle {angle} is not in the grid {self.angles}")
        return chosen


def rotation_report(
    predict: Callable[[Array], Array],
    images: Array,
    labels: Array,
    angles: Sequence[float],
) -> RotationReport:
    """Evaluates a classifier upright and at every angle of a fixed grid.

    Args:
      predict: images [n, h, w, c] to logits [n, classes].
      images: floating point, normalized as the classifier wants them; the zero fill of the
        rotation is in this scale.
      labels: int [n].
      angles: radians, the same grid for every classifier that is to be compared.

    Returns:
      Per-image outcomes. Costs 1 + 2 a calls of ``predict``.

    Raises:
      ValueError: no angle, labels of another length, or non-finite logits.
    """
    angles = np.asarray(angles, dtype=np.float64).ravel()
    labels = np.asarray(labels)
    if angles.size == 0:
        raise ValueError("the grid of angles is empty")
    if labels.shape != (len(images),):
        raise ValueError(f"{len(images)} images need as many labels, got shape {labels.shape}")
    upright = _finite(predict(images), "upright")
    correct, kl, floor = [], [], []
    for angle in angles:
        turned = np.asarray(_rotate(images, angle))
        logits = _finite(predict(turned), f"at angle {angle:.4g}")
        back = _finite(predict(np.asarray(_rotate(turned, -angle))), f"back from {angle:.4g}")
        correct.append(logits.argmax(-1) == labels)
        kl.append(np.asarray(kl_divergence(upright, logits), dtype=np.float64))
        floor.append(np.asarray(kl_divergence(upright, back), dtype=np.float64))
    return RotationReport(
        angles, upright.argmax(-1) == labels, np.array(correct), np.array(kl), np.array(floor)
    )


def _finite(logits: Array, where: str) -> np.ndarray:
    logits = np.asarray(logits)
    if not np.all(np.isfinite(logits)):
        raise ValueError(f"the classifier returned NaN or infinite logits {where}")
    return logits
