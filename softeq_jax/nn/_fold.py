"""Models with relaxed layers as two branches, and as plain models."""

from collections.abc import Mapping
from typing import Any

from softeq_jax.projections import Plan
from softeq_jax.relaxation import Branches, finish

Tree = Any

_FREE = "free_"


def two_branches(params: Mapping[str, Any]) -> Branches:
    """Separates the free branches of all relaxed layers of a model.

    Args:
      params: nested dictionaries, as of Linen, or of NNX
        ``nnx.to_pure_dict(nnx.state(model, nnx.Param))``.

    Returns:
      The parameters of the plain model, for ``softeq_jax.plan``, and a tree like them with the
      free branches, None where a parameter has none.

    Raises:
      ValueError: a free branch without the parameter it belongs to (names it).
    """
    return Branches(*_separated(params, ""))


def fold(plan: Plan, params: Mapping[str, Any], theta: float = 0.0) -> Tree:
    """The plain strict model at the end: ``P (W_e + theta B)`` for every relaxed parameter.

    Args:
      plan: for the plain model's parameters, ``softeq_jax.plan(two_branches(params).equivariant,
        rules)``; it must cover what has a free branch.
      params: as for ``two_branches``.
      theta: the last theta, in [0, 1].

    Returns:
      Nested dictionaries for the model with ``Dense`` and ``Conv`` in place of the relaxed layers.

    Raises:
      ValueError: theta outside [0, 1]; a plan built for other parameters, or one that does not
        cover exactly what has a free branch (names the path).
    """
    pair = two_branches(params)
    loose = [path for path in _present(pair.free, "") if not _covers(plan, path)]
    if loose:
        raise ValueError(f"the plan does not cover {loose}, which have a free branch")
    return finish(plan, pair, theta)


def _separated(params: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    stored: dict[str, Any] = {}
    free: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            stored[name], free[name] = _separated(value, f"{where}{name}/")
        elif not str(name).startswith(_FREE):
            stored[name], free[name] = value, params.get(f"{_FREE}{name}")
        elif str(name).removeprefix(_FREE) not in params:
            raise ValueError(f"{where}{name} has no parameter {str(name).removeprefix(_FREE)!r}")
    return stored, free


def _present(free: Mapping[str, Any], where: str) -> list[str]:
    paths = []
    for name, value in free.items():
        if isinstance(value, Mapping):
            paths += _present(value, f"{where}{name}/")
        elif value is not None:
            paths.append(f"{where}{name}")
    return paths


def _covers(plan: Plan, path: str) -> bool:
    return path in plan.paths and plan.chosen[plan.paths.index(path)] >= 0
