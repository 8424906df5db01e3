"""Elements that are tried: generators first, those that permute the lattice apart from others."""

import math
from typing import NamedTuple

import jax
import numpy as np

from softeq_jax.groups import Group, PlanarGroup

MOST = 4
"""Generators that are tried, about."""


class Trial(NamedTuple):
    """An element and its name."""

    name: str
    g: np.ndarray


def trials(group: Group, on_grid: bool) -> tuple[list[Trial], list[Trial]]:
    """Exact elements and, for maps, those between the points of the lattice.

    For maps the exact ones are the quarter turns, the left-right flip and their product; else one
    element per discrete generator, ``exp(0.7 A)`` along Lie generators (where there are more than
    three: along three mixtures of all), and a product of all.
    """
    if on_grid and isinstance(group, PlanarGroup):
        return _on_lattice(group)
    k = len(group.lie_generators)
    along = np.eye(k) if k < MOST else _spread(k)
    names = [f"along generator {i}" if k < MOST else f"along all generators, {i}" for i in range(3)]
    found = [Trial(name, group.exp(0.7 * t)) for name, t in zip(names, along, strict=False)]
    letters = group.discrete_generators[: max(1, MOST - len(found))]
    found += [Trial(f"generator {k}", g) for k, g in enumerate(letters)]
    found = [trial for trial in found if not np.allclose(trial.g, np.eye(group.d))]
    if len(found) > 1:
        product = found[0].g
        for trial in found[1:]:
            product = product @ trial.g
        if not np.allclose(product, np.eye(group.d)):
            found.append(Trial("their product", product))
    return found, []


def _spread(k: int) -> np.ndarray:
    """Three unit vectors of coordinates along all of k generators."""
    t = np.cos(np.outer([1.0, 2.0, 3.0], np.arange(k)) + 0.5)
    return t / np.linalg.norm(t, axis=1, keepdims=True)


def _on_lattice(group: PlanarGroup) -> tuple[list[Trial], list[Trial]]:
    n = group.rotations
    exact = []
    step = next((q for q in (1, 2) if n is None or (n * q) % 4 == 0), 0)
    if step:
        name = "quarter turn" if step == 1 else "half turn"
        exact.append(Trial(name, group.element(step * math.pi / 2)))
    if group.has_flip:
        exact.append(Trial("left-right flip", group.element(0.0, True)))
    if len(exact) > 1:
        exact.append(Trial(f"flip and {exact[0].name}", exact[0].g @ exact[1].g))
    if n in (1, 2, 4):
        return exact, []
    angle = math.pi / 6 if n is None else 2 * math.pi / n
    return exact, [Trial(f"{math.degrees(angle):.4g} degrees", group.element(angle))]


def drawn(group: Group, key: jax.Array, n: int) -> list[Trial]:
    """Random elements: uniform of a compact group, else ``exp`` of normal coordinates."""
    if group.is_compact:
        found = np.asarray(group.sample(key, n), group.dtype)
    else:
        size = (n, len(group.lie_generators))
        found = [group.exp(t) for t in 0.5 * np.asarray(jax.random.normal(key, size))]
    return [Trial(f"random element {k}", g) for k, g in enumerate(found)]
