"""Projectors of weights onto their softly invariant part, and plans for whole models."""

from softeq_jax._paths import literal
from softeq_jax.projections._certificate import ROUNDING, Certificate, combine
from softeq_jax.projections._choose import Splitting, splitting
from softeq_jax.projections._dials import Dials, continuous
from softeq_jax.projections._filter import removed_part
from softeq_jax.projections._kept_norm import keep_norm
from softeq_jax.projections._levels import Levels
from softeq_jax.projections._plan import Plan, Rule, plan, soften, unmoved
from softeq_jax.projections._projector import Projector, projector
from softeq_jax.projections._rules import Untouched, convolution_rule
from softeq_jax.projections._space import Space
from softeq_jax.projections.movement import Question

__all__ = [
    "ROUNDING",
    "Certificate",
    "Dials",
    "Levels",
    "Plan",
    "Projector",
    "Question",
    "Rule",
    "Space",
    "Splitting",
    "Untouched",
    "combine",
    "continuous",
    "convolution_rule",
    "keep_norm",
    "literal",
    "plan",
    "projector",
    "removed_part",
    "soften",
    "splitting",
    "unmoved",
]


def __dir__() -> list[str]:
    return sorted(__all__)
