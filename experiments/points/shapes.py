"""Clouds of points on eight kinds of surfaces, noisy and partly hidden; nothing to download."""

import functools
from collections.abc import Callable, Mapping

import numpy as np

Patch = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A piece of a surface: from u and v in [0, 1], ``[n]`` each, to points ``[n, 3]``."""

_FINE = 16
"""Candidates for each point that is kept, so that those kept are nearly independent."""


def _stacked(*coordinates: np.ndarray) -> np.ndarray:
    return np.stack(np.broadcast_arrays(*coordinates), axis=-1)


def _parallelogram(corner: np.ndarray, first: np.ndarray, second: np.ndarray) -> Patch:
    return lambda u, v: corner + u[:, None] * first + v[:, None] * second


def _triangle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Patch:
    return lambda u, v: a + u[:, None] * ((b - a) + v[:, None] * (c - b))


def _round(radius: Callable[[np.ndarray], np.ndarray], height: Patch) -> Patch:
    """A surface of revolution about z."""

    def points(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        r, angle = radius(v), 2 * np.pi * u
        return _stacked(r * np.cos(angle), r * np.sin(angle), height(u, v))

    return points


def _disc(z: float) -> Patch:
    return _round(lambda v: v, lambda u, v: np.full_like(v, z))


def ellipsoid(rng: np.random.Generator) -> list[Patch]:
    """A sphere; the axes are stretched as those of all shapes are."""
    return [_round(lambda v: np.sin(np.pi * v), lambda u, v: np.cos(np.pi * v))]


def box(rng: np.random.Generator) -> list[Patch]:
    """Six faces."""
    eye = np.eye(3)
    faces = []
    for axis in range(3):
        first, second = 2 * eye[(axis + 1) % 3], 2 * eye[(axis + 2) % 3]
        for side in (-1, 1):
            faces.append(_parallelogram(side * eye[axis] - (first + second) / 2, first, second))
    return faces


def cylinder(rng: np.random.Generator) -> list[Patch]:
    """A mantle and two discs."""
    return [_round(np.ones_like, lambda u, v: 2 * v - 1), _disc(-1.0), _disc(1.0)]


def cone(rng: np.random.Generator) -> list[Patch]:
    """A mantle and a disc."""
    return [_round(lambda v: 1 - v, lambda u, v: 2 * v - 1), _disc(-1.0)]


def torus(rng: np.random.Generator) -> list[Patch]:
    """A ring; its tube is a quarter to a half as thick as the ring is wide."""
    thick = rng.uniform(0.25, 0.5)
    return [
        _round(
            lambda v: 1 + thick * np.cos(2 * np.pi * v), lambda u, v: thick * np.sin(2 * np.pi * v)
        )
    ]


def pyramid(rng: np.random.Generator) -> list[Patch]:
    """A square and four triangles."""
    corners = np.array([[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1]], float)
    top = np.array([0.0, 0.0, 1.0])
    sides = [_triangle(top, corners[i], corners[(i + 1) % 4]) for i in range(4)]
    return [_parallelogram(corners[0], corners[1] - corners[0], corners[3] - corners[0]), *sides]


def spring(rng: np.random.Generator) -> list[Patch]:
    """A tube of two turns, left- or right-handed."""
    hand, thick = rng.choice([-1.0, 1.0]), 0.2

    def tube(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        angle, around = 4 * np.pi * u, 2 * np.pi * v
        r = 1 + thick * np.cos(around)
        z = 2 * u - 1 + thick * np.sin(around)
        return _stacked(r * np.cos(angle), hand * r * np.sin(angle), z)

    return [tube]


def moebius(rng: np.random.Generator) -> list[Patch]:
    """A band with half a turn, left- or right-handed."""
    hand = rng.choice([-1.0, 1.0])

    def band(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        angle, across = 2 * np.pi * u, 1.2 * (v - 0.5)
        r = 1 + across * np.cos(angle / 2)
        return _stacked(r * np.cos(angle), hand * r * np.sin(angle), across * np.sin(angle / 2))

    return [band]


SHAPES: Mapping[str, Callable[[np.random.Generator], list[Patch]]] = {
    shape.__name__: shape
    for shape in (ellipsoid, box, cylinder, cone, torus, pyramid, spring, moebius)
}
"""The classes, in the order of their labels."""


def area_element(patch: Patch, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """``|dx/du x dx/dv|`` ``[n]``, by central differences."""
    step = 1e-5
    du = (patch(u + step, v) - patch(u - step, v)) / (2 * step)
    dv = (patch(u, v + step) - patch(u, v - step)) / (2 * step)
    return np.linalg.norm(np.cross(du, dv), axis=-1)


def on_surface(patches: list[Patch], count: int, rng: np.random.Generator) -> np.ndarray:
    """Points ``[count, 3]`` spread evenly by area over the patches.

    Drawn without replacement from sixteen times as many, with the chances of their area elements.
    """
    candidates, areas = [], []
    for patch in patches:
        u, v = rng.random((2, _FINE * count))
        candidates.append(patch(u, v))
        areas.append(area_element(patch, u, v))
    weights = np.concatenate(areas)
    chosen = rng.choice(len(weights), count, replace=False, p=weights / weights.sum())
    return np.concatenate(candidates)[chosen]


def cloud(
    label: int, points: int, noise: float, hidden: float, seed: tuple[int, ...]
) -> np.ndarray:
    """A cloud of a class, float32 ``[points, 3]``, upright, centered, of root mean square 1.

    Axes are stretched by factors between 0.6 and 1.6. The share ``hidden`` that lies furthest in a
    random direction is not seen; what is seen gets normal noise in all coordinates, in units of
    the cloud's root mean square.
    """
    rng = np.random.default_rng(seed)
    patches = list(SHAPES.values())[label](rng)
    whole = on_surface(patches, round(points / (1 - hidden)), rng)
    whole = whole * np.exp(rng.uniform(np.log(0.6), np.log(1.6), 3))
    direction = rng.standard_normal(3)
    seen = whole[np.argsort(whole @ direction)[:points]]
    seen = seen - seen.mean(axis=0)
    seen = seen / np.sqrt(np.mean(np.sum(seen**2, axis=1)))
    seen = seen + noise * rng.standard_normal(seen.shape)
    return (seen - seen.mean(axis=0)).astype(np.float32)


@functools.lru_cache(maxsize=8)
def clouds(
    part: int, count: int, points: int, noise: float, hidden: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Clouds ``[count, points, 3]`` and labels int32 ``[count]``, all classes alike.

    Args:
      part: of the data: 0 to train with, 1 held out, 2 to judge by.
      count: of clouds.
      points: of each.
      noise, hidden: see ``cloud``.
      seed: of the data set.
    """
    labels = np.arange(count, dtype=np.int32) % len(SHAPES)
    found = [cloud(int(c), points, noise, hidden, (seed, part, i)) for i, c in enumerate(labels)]
    return np.stack(found), labels
