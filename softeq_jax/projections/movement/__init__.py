"""Movement of a weight under a group: the question, exact values, bounds, and what they need."""

from softeq_jax.projections.movement._dispatch import certificate
from softeq_jax.projections.movement._general import ELEMENTS, unbounded
from softeq_jax.projections.movement._question import Inquiry, Question, understand
from softeq_jax.projections.movement._speeds import (
    frobenius,
    generator_defects,
    generator_norms,
    growth,
    is_isometric,
    level_parts,
    lie_images,
    logarithmic_norm,
    moving_part,
    speed,
    stretch_rate,
    word_lengths,
)

__all__ = [
    "ELEMENTS",
    "Inquiry",
    "Question",
    "certificate",
    "frobenius",
    "generator_defects",
    "generator_norms",
    "growth",
    "is_isometric",
    "level_parts",
    "lie_images",
    "logarithmic_norm",
    "moving_part",
    "speed",
    "stretch_rate",
    "unbounded",
    "understand",
    "word_lengths",
]


def __dir__() -> list[str]:
    return sorted(__all__)
