"""Measures of equivariance and invariance."""

from softeq_jax.measures._generators import (
    Action,
    Color,
    Flow,
    Generator,
    LieElement,
    color,
    flow,
    lie_basis,
    lie_element,
)
from softeq_jax.measures._layouts import Fiber, Image, Invariant, Layout, Tokens
from softeq_jax.measures._lie import lie_derivative
from softeq_jax.measures._lie_errors import LieErrors, lie_errors, local_equivariance_error
from softeq_jax.measures._robustness import RotationReport, rotation_report
from softeq_jax.measures._rotation import kl_divergence, mean_and_error, rotate_bilinear
from softeq_jax.measures._stencils import Stencil

__all__ = [
    "Action",
    "Color",
    "Fiber",
    "Flow",
    "Generator",
    "Image",
    "Invariant",
    "Layout",
    "LieElement",
    "LieErrors",
    "RotationReport",
    "Stencil",
    "Tokens",
    "color",
    "flow",
    "kl_divergence",
    "lie_basis",
    "lie_derivative",
    "lie_element",
    "lie_errors",
    "local_equivariance_error",
    "mean_and_error",
    "rotate_bilinear",
    "rotation_report",
]
