"""Projectors of weights onto their softly invariant part, and plans for whole models."""

from softeq_jax.projections._certificate import Certificate, combine
from softeq_jax.projections._create import projector
from softeq_jax.projections._kernels import convolution_rule
from softeq_jax.projections._plan import Plan, plan, soften
from softeq_jax.projections._projector import Projector

__all__ = [
    "Certificate",
    "Plan",
    "Projector",
    "combine",
    "convolution_rule",
    "plan",
    "projector",
    "soften",
]
