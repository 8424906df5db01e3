"""Soft equivariance in JAX: measure it, project weights onto it, certify it.

``groups`` and ``reps`` say what acts on the axes of a weight, ``projector`` and ``plan`` filter
weights and whole models, ``orbits`` average functions, ``certificates`` prove how far a group can
still move weights and layers, ``measures`` say how far it does. Models, training and data are
sub-packages with their own extras and are not imported here.
"""

from softeq_jax import certificates, groups, measures, orbits, reps
from softeq_jax.projections import (
    Certificate,
    Plan,
    Projector,
    convolution_rule,
    plan,
    projector,
    soften,
)

__all__ = [
    "Certificate",
    "Plan",
    "Projector",
    "certificates",
    "convolution_rule",
    "groups",
    "measures",
    "orbits",
    "plan",
    "projector",
    "reps",
    "soften",
]
