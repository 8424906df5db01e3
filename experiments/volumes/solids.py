"""Solids in six classes as volumes, turned exactly: a task with left and right, made here.

A solid is a signed distance in its own frame; a rotated one is drawn anew from turned coordinates,
nothing is interpolated.
"""

import functools
from collections.abc import Callable, Mapping

import numpy as np
from scipy.spatial.transform import Rotation

Distance = Callable[[np.ndarray], np.ndarray]
"""Signed distance ``[n]``, negative inside, of points ``[n, 3]``."""

_TURNS, _CURVE = 1.5, 200  # of a helix, and points that its curve is told by


def ellipsoid(rng: np.random.Generator) -> Distance:
    """An ellipsoid; the distance is that of the nearest order."""
    axes = rng.uniform(0.4, 0.75, 3)

    def distance(x: np.ndarray) -> np.ndarray:
        scaled = np.linalg.norm(x / axes, axis=1)
        slope = np.linalg.norm(x / axes**2, axis=1)
        return scaled * (scaled - 1) / np.maximum(slope, 1e-12)

    return distance


def box(rng: np.random.Generator) -> Distance:
    """A box."""
    half = rng.uniform(0.3, 0.6, 3)

    def distance(x: np.ndarray) -> np.ndarray:
        beyond = np.abs(x) - half
        return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(axis=1), 0)

    return distance


def torus(rng: np.random.Generator) -> Distance:
    """A ring about z."""
    radius, thick = rng.uniform(0.45, 0.6), rng.uniform(0.15, 0.25)

    def distance(x: np.ndarray) -> np.ndarray:
        return np.hypot(np.hypot(x[:, 0], x[:, 1]) - radius, x[:, 2]) - thick

    return distance


def cone(rng: np.random.Generator) -> Distance:
    """A cone about z, the larger of the distances to its mantle and its base."""
    radius, height = rng.uniform(0.45, 0.65), rng.uniform(0.9, 1.2)

    def distance(x: np.ndarray) -> np.ndarray:
        up = x[:, 2] + height / 2
        outward = np.hypot(x[:, 0], x[:, 1]) - radius * (1 - up / height)
        return np.maximum(outward * height / np.hypot(radius, height), -up)

    return distance


def _helix(hand: float, rng: np.random.Generator) -> Distance:
    """A tube about a curve of one and a half turns around z."""
    radius, height = rng.uniform(0.35, 0.5), rng.uniform(0.9, 1.2)
    thick = rng.uniform(0.13, 0.18)
    t = np.linspace(-0.5, 0.5, _CURVE)
    angle = 2 * np.pi * _TURNS * t
    curve = np.stack([radius * np.cos(angle), hand * radius * np.sin(angle), height * t], axis=1)

    def distance(x: np.ndarray) -> np.ndarray:
        squared = np.sum(x**2, axis=1)[:, None] - 2 * x @ curve.T + np.sum(curve**2, axis=1)
        return np.sqrt(np.maximum(squared.min(axis=1), 0)) - thick

    return distance


def left_helix(rng: np.random.Generator) -> Distance:
    """A left-handed tube."""
    return _helix(-1.0, rng)


def right_helix(rng: np.random.Generator) -> Distance:
    """A right-handed tube."""
    return _helix(1.0, rng)


SOLIDS: Mapping[str, Callable[[np.random.Generator], Distance]] = {
    solid.__name__: solid for solid in (ellipsoid, box, torus, cone, left_helix, right_helix)
}
"""The classes, in the order of their labels."""


def ceiling() -> float:
    """The largest accuracy, all classes alike, of who cannot tell a solid from its mirror image:
    one of the two helices is always wrong."""
    return 1.0 - 1.0 / len(SOLIDS)


def volume(distance: Distance, side: int, rotation: np.ndarray) -> np.ndarray:
    """A solid turned by a rotation, float32 ``[side, side, side]``, 1 inside and 0 outside.

    Axes are x, y, z; voxel centers run from -1 to 1 between the centers of the faces. The value at
    x is ``1 / (1 + exp(2 d / h))`` with the signed distance d of ``R^-1 x`` and the voxel's side h.
    """
    axis = np.linspace(-1, 1, side)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    found = distance(grid @ rotation) * (side - 1)
    return (1 / (1 + np.exp(np.clip(found, -30, 30)))).reshape(side, side, side).astype(np.float32)


@functools.lru_cache(maxsize=12)
def solids(
    part: int, count: int, side: int, noise: float, seed: int, turns: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Volumes with normal noise, and labels int32 ``[count]``, all classes alike.

    Args:
      part: of the data: 0 to train with, 1 held out, 2 to judge by.
      count: of solids.
      side: of the volumes.
      noise: standard deviation of the noise of a voxel.
      seed: of the data set.
      turns: how many rotated views of every solid; 0 for the upright one.

    Returns:
      float32 ``[count, max(turns, 1), side, side, side, 1]`` and the labels.
    """
    labels = np.arange(count, dtype=np.int32) % len(SOLIDS)
    makers = list(SOLIDS.values())
    views = np.empty((count, max(turns, 1), side, side, side, 1), np.float32)
    for i, label in enumerate(labels):
        distance = makers[label](np.random.default_rng((seed, part, i)))
        rng = np.random.default_rng((seed, part, i, 1 + turns))
        for j in range(views.shape[1]):
            turn = Rotation.from_quat(rng.standard_normal(4)).as_matrix() if turns else np.eye(3)
            drawn = volume(distance, side, turn)
            views[i, j, ..., 0] = drawn + noise * rng.standard_normal(drawn.shape)
    return views, labels
