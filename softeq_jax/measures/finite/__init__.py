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
from softeq_jax.measures.finite._evaluator import evaluate
from softeq_jax.measures.finite._families import (
    circular_shifts,
    cyclic_rotations,
    group_transforms,
    haar_transforms,
    uniform_rotations,
)
from softeq_jax.measures.finite._metrics import Comparison, Metric, Slot, per_image
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
from softeq_jax.measures.finite._task_scores import (
    Scores,
    accuracy_under,
    combined,
    confusion_counts,
    iou_under,
    mean_iou,
    moved_labels,
)
from softeq_jax.measures.finite._transform import Transform
from softeq_jax.measures.finite._turns import QuarterTurn, flip, quarter_turn
from softeq_jax.measures.finite._vector_scores import (
    RegressionScores,
    TrajectoryScores,
    ade,
    fde,
    regression_under,
    symmetric_relative_error,
    trajectories_under,
)
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
    "RegressionScores",
    "Rotation",
    "RotationReport",
    "Scaling",
    "Scores",
    "Shift",
    "Slot",
    "TrajectoryScores",
    "Transform",
    "WorstCase",
    "accuracy_under",
    "ade",
    "azulay_weiss",
    "bootstrap",
    "circular_shifts",
    "combined",
    "confusion_counts",
    "consistency",
    "cyclic_rotations",
    "element",
    "eq_r",
    "eq_t",
    "eq_t_frac",
    "equivariance_deviation",
    "evaluate",
    "fde",
    "flip",
    "group_average_residual",
    "group_transforms",
    "haar_transforms",
    "iou_under",
    "kl_consistency",
    "kl_divergence",
    "kl_with_floor",
    "mean_iou",
    "moved_labels",
    "null_normalized_error",
    "orbit_lipschitz",
    "per_image",
    "psnr",
    "quarter_turn",
    "regression_under",
    "relative_error",
    "rotate_bilinear",
    "rotation",
    "rotation_report",
    "scaling",
    "shift",
    "symmetric_relative_error",
    "trajectories_under",
    "uniform_rotations",
    "worst_case_along",
    "worst_case_error",
]


def __dir__() -> list[str]:
    return sorted(__all__)
