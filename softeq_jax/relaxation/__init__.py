"""Relaxed equivariance: train with the residual on, and land on the strict network.

``relax`` mixes ``P w + theta N w`` (or two ``branches``), schedules move theta, ``finish`` and
``jump`` end the training. A ``Control`` decides instead of a schedule: ``ace`` by dual ascent,
``rpp`` by priors, ``per`` among candidate groups, ``recurrent`` by the gradient, ``group_weights``
by numbers over the elements of a finite group.
``freeze_residual`` and ``control_optimizer`` need optax (``pip install softeq-jax[train]``), the
rest JAX alone.
"""

from typing import TYPE_CHECKING, Any

from softeq_jax.relaxation._ace import AceState, ace, ace_update
from softeq_jax.relaxation._control import (
    Control,
    Controlled,
    as_method,
    scheduled,
    start,
    weights,
)
from softeq_jax.relaxation._group_weights import (
    GroupAxis,
    GroupBanks,
    group_axis,
    group_banks,
    group_weights,
    mixed_banks,
)
from softeq_jax.relaxation._per import PerState, per, violations
from softeq_jax.relaxation._recurrent import RecurrentState, recurrent
from softeq_jax.relaxation._relax import Jump, branches, finish, jump, mix, relax
from softeq_jax.relaxation._rpp import rpp
from softeq_jax.relaxation._schedules import (
    Schedule,
    check_schedule,
    constant,
    cosine,
    linear,
    triangular,
)
from softeq_jax.relaxation._trees import Branches, factor_names

if TYPE_CHECKING:
    from softeq_jax.relaxation._transforms import control_optimizer, freeze_residual

_NEED_OPTAX = ("control_optimizer", "freeze_residual")

__all__ = [
    "AceState",
    "Branches",
    "Control",
    "Controlled",
    "GroupAxis",
    "GroupBanks",
    "Jump",
    "PerState",
    "RecurrentState",
    "Schedule",
    "ace",
    "ace_update",
    "as_method",
    "branches",
    "check_schedule",
    "constant",
    "control_optimizer",
    "cosine",
    "factor_names",
    "finish",
    "freeze_residual",
    "group_axis",
    "group_banks",
    "group_weights",
    "jump",
    "linear",
    "mix",
    "mixed_banks",
    "per",
    "recurrent",
    "relax",
    "rpp",
    "scheduled",
    "start",
    "triangular",
    "violations",
    "weights",
]


def __getattr__(name: str) -> Any:
    if name not in _NEED_OPTAX:
        raise AttributeError(f"module 'softeq_jax.relaxation' has no attribute {name!r}")
    from softeq_jax.relaxation import _transforms

    return getattr(_transforms, name)


def __dir__() -> list[str]:
    return sorted(__all__)
