r"""Small clusters of two species in a Lennard-Jones potential, drawn by Langevin dynamics.

.. math:: U = \sum_{i<j} 4 \epsilon_{ij} ((\sigma_{ij} / r)^{12} - (\sigma_{ij} / r)^6)

with the constants of the binary mixture of Kob and Andersen (Phys. Rev. E 51, 1995). Nothing
prefers a direction, so clusters are turned any way. All is float64 NumPy, many clusters at once.
"""

from typing import NamedTuple

import numpy as np

SIGMA = np.array([[1.0, 0.8], [0.8, 0.88]])
EPSILON = np.array([[1.0, 1.5], [1.5, 0.5]])
SPECIES = np.array([0, 0, 0, 1, 1])
_NEAREST = 0.6
"""Shortest distance at which the force is computed as it is."""


class Clusters(NamedTuple):
    """Many clusters with what a potential learns from them.

    Attributes:
      positions: ``[n, atoms, 3]``, about their mean.
      energy: ``[n]``.
      forces: ``[n, atoms, 3]``.
    """

    positions: np.ndarray
    energy: np.ndarray
    forces: np.ndarray


def energy_and_forces(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The potential ``[n]`` and its negative gradient ``[n, atoms, 3]``."""
    i, j = np.triu_indices(len(SPECIES), 1)
    sigma, epsilon = (a[SPECIES[i], SPECIES[j]] for a in (SIGMA, EPSILON))
    away = positions[:, i] - positions[:, j]
    r = np.maximum(np.linalg.norm(away, axis=-1), _NEAREST)
    sixth = (sigma / r) ** 6
    energy = (4 * epsilon * (sixth**2 - sixth)).sum(-1)
    pull = (24 * epsilon * (2 * sixth**2 - sixth) / r**2)[..., None] * away
    forces = np.zeros_like(positions)
    for k, (a, b) in enumerate(zip(i, j, strict=True)):
        forces[:, a] += pull[:, k]
        forces[:, b] -= pull[:, k]
    return energy, forces


def clusters(n: int, seed: int, temperature: float = 0.4, steps: int = 1500) -> Clusters:
    """Independent clusters: random starts, relaxed, then overdamped Langevin dynamics.

    Args:
      n: how many.
      seed: of all randomness.
      temperature: in units of the deepest well of the first species.
      steps: of both together.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(SPECIES), 3))
    for step in range(steps):
        dt = 5e-4
        forces = energy_and_forces(x)[1]
        noise = np.sqrt(2 * temperature * dt) * rng.normal(size=x.shape)
        x = x + np.clip(dt * forces, -0.05, 0.05) + (noise if step > steps // 3 else 0)
        x = x - x.mean(1, keepdims=True)
    return Clusters(x, *energy_and_forces(x))
