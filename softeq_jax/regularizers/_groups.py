"""Which parameters share a norm, and the factor of each such group."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from softeq_jax._checks import coefficient, is_traced
from softeq_jax._paths import first_matches, refuse_idle
from softeq_jax.projections import Plan

Grouping = str | Callable[[str], str]
"""``"parameter"``, ``"layer"``, ``"all"``, or a function from the path to the name of a group."""


class ParameterGroup(NamedTuple):
    """Planned parameters whose joint norm is one term of a penalty.

    Attributes:
      name: of the group.
      paths: of its parameters.
      factor: what its term is multiplied by.
    """

    name: str
    paths: tuple[str, ...]
    factor: Any


def parameter_groups(
    plan: Plan, groups: Grouping, weights: Mapping[str, Any] | None
) -> list[ParameterGroup]:
    """The groups of the planned parameters, in the order of the plan.

    Args:
      plan: the plan.
      groups: ``"parameter"`` (each is its own), ``"layer"`` (those with the same parent, as a
        kernel and its bias), ``"all"``, or a function from a path to the name of its group.
      weights: from a glob over the paths to a factor, the first that covers a path decides; 1
        where none does.

    Raises:
      ValueError: an unknown grouping; a weight that is negative, NaN or infinite; a glob that
        decides about no planned parameter; different factors within a group.
    """
    paths = [path for path, index in zip(plan.paths, plan.chosen, strict=True) if index >= 0]
    weights = {} if weights is None else weights
    for pattern, value in weights.items():
        coefficient(value, f"weights[{pattern!r}]")
    rules = first_matches(weights, paths)
    refuse_idle(weights, rules, paths, "weights that decide about no planned parameter")
    members: dict[str, list[tuple[str, str | None]]] = {}
    for path, rule in zip(paths, rules, strict=True):
        members.setdefault(_name_of(path, groups), []).append((path, rule))
    return [
        ParameterGroup(name, tuple(path for path, _ in each), _factor(name, each, weights))
        for name, each in members.items()
    ]


def _name_of(path: str, groups: Grouping) -> str:
    if callable(groups):
        return groups(path)
    if groups == "parameter":
        return path
    if groups == "layer":
        return path.rpartition("/")[0]
    if groups == "all":
        return ""
    raise ValueError(
        f"groups must be 'parameter', 'layer', 'all' or a function of the path, got {groups!r}"
    )


def _factor(name: str, each: list[tuple[str, str | None]], weights: Mapping[str, Any]) -> Any:
    found = list({rule: 1.0 if rule is None else weights[rule] for _, rule in each}.values())
    alike = not any(map(is_traced, found)) and len(set(map(float, found))) == 1
    if len(found) > 1 and not alike:
        shown = ", ".join(f"{path} by {rule!r}" for path, rule in each[:4])
        raise ValueError(
            f"weights must be the same for all parameters of a group, but group {name!r} has "
            f"{shown}; choose groups='parameter' or globs that cover whole groups"
        )
    return found[0]
