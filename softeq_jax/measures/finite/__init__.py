"""Measures under finite transforms: shifts, turns, rotations, scalings, elements of groups."""

from softeq_jax.measures._statistics import Estimate, bootstrap
from softeq_jax.measures.finite._consistency import (
    AzulayWeiss,
    Consistency,
    azulay_weiss,
    consistency,
)
from softeq_jax.measures.finite._elements import Element, element
from softeq_jax.measures.finite._errors import (
    equivariance_deviation,
    group_average_residual,
    null_normalized_error,
    relative_error,
)
from softeq_jax.measures.finite._evaluator import Comparison, Metric, Slot, evaluate, per_image
from softeq_jax.measures.finite._families import (
    circular_shifts,
    cyclic_rotations,
    group_transforms,
    haar_transforms,
    uniform_rotations,
)
from softeq_jax.measures.finite._psnr import eq_r, eq_t, eq_t_frac, psnr
from softeq_jax.measures.finite._robustness import (
    KLConsistency,
    RotationReport,
    kl_consistency,
    kl_divergence,
    kl_with_floor,
    rotate_bilinear,
    rotation_report,
)
from softeq_jax.measures.finite._shifts import Shift, shift
from softeq_jax.measures.finite._transform import Transform
from softeq_jax.measures.finite._turns import QuarterTurn, flip, quarter_turn
from softeq_jax.measures.finite._warps import Rotation, Scaling, rotation, scaling
from softeq_jax.measures.finite._worst_case import (
    OrbitLipschitz,
    WorstCase,
    orbit_lipschitz,
    worst_case_along,
    worst_case_error,
)

__all__ = [
    "AzulayWeiss",
    "Comparison",
    "Consistency",
    "Element",
    "Estimate",
    "KLConsistency",
    "Metric",
    "OrbitLipschitz",
    "QuarterTurn",
    "Rotation",
    "RotationReport",
    "Scaling",
    "Shift",
    "Slot",
    "Transform",
    "WorstCase",
    "azulay_weiss",
    "bootstrap",
    "circular_shifts",
    "consistency",
    "cyclic_rotations",
    "element",
    "eq_r",
    "eq_t",
    "eq_t_frac",
    "equivariance_deviation",
    "evaluate",
    "flip",
    "group_average_residual",
    "group_transforms",
    "haar_transforms",
    "kl_consistency",
    "kl_divergence",
    "kl_with_floor",
    "null_normalized_error",
    "orbit_lipschitz",
    "per_image",
    "psnr",
    "quarter_turn",
    "relative_error",
    "rotate_bilinear",
    "rotation",
    "rotation_report",
    "scaling",
    "shift",
    "uniform_rotations",
    "worst_case_along",
    "worst_case_error",
]
