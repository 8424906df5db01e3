"""Measures under finite transforms: shifts, turns, rotations, scalings, elements of groups."""

from softeq_jax.measures.finite._averaging import group_average_residual
from softeq_jax.measures.finite._consistency import Consistency, consistency
from softeq_jax.measures.finite._deviation import (
    KLConsistency,
    equivariance_deviation,
    kl_consistency,
)
from softeq_jax.measures.finite._elements import Element, element
from softeq_jax.measures.finite._errors import null_normalized_error, relative_error
from softeq_jax.measures.finite._evaluator import Metric, Outcome, Slot, evaluate, per_image
from softeq_jax.measures.finite._families import (
    circular_shifts,
    cyclic_rotations,
    group_transforms,
    haar_transforms,
    uniform_rotations,
)
from softeq_jax.measures.finite._one_pixel import AzulayWeiss, azulay_weiss
from softeq_jax.measures.finite._orbit_lipschitz import OrbitLipschitz, orbit_lipschitz
from softeq_jax.measures.finite._psnr import eq_r, eq_t, eq_t_frac, psnr
from softeq_jax.measures.finite._shifts import Shift, shift
from softeq_jax.measures.finite._statistics import Estimate, bootstrap
from softeq_jax.measures.finite._transform import Transform
from softeq_jax.measures.finite._turns import Turn, flip, quarter_turn
from softeq_jax.measures.finite._warps import Rotation, Scaling, rotation, scaling
from softeq_jax.measures.finite._worst_case import (
    WorstCase,
    worst_case_along,
    worst_case_error,
)

__all__ = [
    "AzulayWeiss",
    "Consistency",
    "Element",
    "Estimate",
    "KLConsistency",
    "Metric",
    "OrbitLipschitz",
    "Outcome",
    "Rotation",
    "Scaling",
    "Shift",
    "Slot",
    "Transform",
    "Turn",
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
    "null_normalized_error",
    "orbit_lipschitz",
    "per_image",
    "psnr",
    "quarter_turn",
    "relative_error",
    "rotation",
    "scaling",
    "shift",
    "uniform_rotations",
    "worst_case_along",
    "worst_case_error",
]
