"""Orbits of arrays, group means of functions, how functions vary, and canonicalization.

``TreeAction`` and what makes one are for code that loops over elements itself, such as sampled
penalties.
"""

from softeq_jax.orbits._average import Sampling, average, weighted_sum
from softeq_jax.orbits._draws import Draw, draw, every_element
from softeq_jax.orbits._frames import Choice, canonicalize, frame_average
from softeq_jax.orbits._orbit import (
    TreeAction,
    common_group,
    lie_action,
    orbit,
    orbit_tree,
    tree_action,
)
from softeq_jax.orbits._quadrature import Quadrature, polynomial_degree, quadrature
from softeq_jax.orbits._variation import OutputVariation, Variation, variation

__all__ = [
    "Choice",
    "Draw",
    "OutputVariation",
    "Quadrature",
    "Sampling",
    "TreeAction",
    "Variation",
    "average",
    "canonicalize",
    "common_group",
    "draw",
    "every_element",
    "frame_average",
    "lie_action",
    "orbit",
    "orbit_tree",
    "polynomial_degree",
    "quadrature",
    "tree_action",
    "variation",
    "weighted_sum",
]


def __dir__() -> list[str]:
    return sorted(__all__)
