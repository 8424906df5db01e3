"""Soft equivariance in JAX: measure it, project weights onto it, certify it, train towards it.

``groups`` and ``reps`` say what acts on the axes of a weight, ``projector`` and ``plan`` filter
weights and whole models, ``orbits`` average functions, ``certificates`` prove how far a group can
still move weights and layers, ``measures`` say how far it does, ``regularizers`` and
``relaxation`` train towards symmetry and through it. Models, layers, training and data are
sub-packages with their own extras. Everything is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from softeq_jax._sizes import TooLargeError, memory_limit
from softeq_jax._version import version

if TYPE_CHECKING:
    from softeq_jax import (
        certificates,
        data,
        groups,
        measures,
        models,
        nn,
        orbits,
        regularizers,
        relaxation,
        reps,
        training,
    )
    from softeq_jax.projections import (
        Certificate,
        Plan,
        Projector,
        convolution_rule,
        literal,
        plan,
        projector,
        soften,
    )

__all__ = [
    "Certificate",
    "Plan",
    "Projector",
    "TooLargeError",
    "certificates",
    "convolution_rule",
    "data",
    "groups",
    "literal",
    "measures",
    "memory_limit",
    "models",
    "nn",
    "orbits",
    "plan",
    "projector",
    "regularizers",
    "relaxation",
    "reps",
    "soften",
    "training",
]

_PACKAGES = (
    "certificates",
    "data",
    "groups",
    "measures",
    "models",
    "nn",
    "orbits",
    "regularizers",
    "relaxation",
    "reps",
    "training",
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version()
    if name not in __all__:
        raise AttributeError(f"module 'softeq_jax' has no attribute {name!r}")
    if name in _PACKAGES:
        return importlib.import_module(f"softeq_jax.{name}")
    value = getattr(importlib.import_module("softeq_jax.projections"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
