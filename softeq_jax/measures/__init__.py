"""Measures of equivariance and invariance."""

from softeq_jax.measures._robustness import RotationReport, rotation_report
from softeq_jax.measures._rotation import kl_divergence, mean_and_error, rotate_bilinear

__all__ = [
    "RotationReport",
    "kl_divergence",
    "mean_and_error",
    "rotate_bilinear",
    "rotation_report",
]
