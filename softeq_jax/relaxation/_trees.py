"""Trees of parameters seen through a plan: planned leaves, which share a factor, two branches."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._paths import naming
from softeq_jax.projections import Plan, Projector
from softeq_jax.regularizers import Per, parameter_groups

Tree = Any
Array = jax.Array | np.ndarray


class Branches(NamedTuple):
    """Two branches in parallel, ``P W_e + theta B``; a pytree.

    Attributes:
      equivariant: W_e, a tree like the model's parameters (with the unplanned ones, which have no
        second branch). Its N-part never acts.
      free: B, a tree of the same structure with None at the unplanned parameters.

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> both = sq.relaxation.Branches(equivariant={"w": np.ones(2)}, free={"w": np.zeros(2)})
      >>> len(jax.tree.leaves(both))
      2
    """

    equivariant: Tree
    free: Tree


def two(params: Tree, what: str) -> Branches:
    """The parameters, if they are two branches.

    Raises:
      TypeError: they are not; the message begins with ``what``.
    """
    if not isinstance(params, Branches):
        raise TypeError(f"{what} needs Branches, got {type(params).__name__}: see branches()")
    return params


def planned(plan: Plan, params: Tree) -> list[tuple[str, Projector, Array]]:
    """``(path, projector, weight)`` of the planned parameters.

    Raises:
      TypeError: ``plan`` is no Plan.
      ValueError: the plan was built for other parameters.
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"plan must be a Plan, got {type(plan).__name__}")
    return plan.planned(params)


def split(plan: Plan, params: Tree) -> list[tuple[Array, Array]]:
    """``(P w, N w)`` of the planned parameters, in their order.

    Raises:
      ValueError: a smooth mask, or a weight of another shape (names the path).
      TypeError: a weight of another kind of numbers (names the path).
    """
    pairs = []
    for path, projector, w in planned(plan, params):
        with naming(path):
            pairs.append(projector.split(w))
    return pairs


def replaced(plan: Plan, params: Tree, values: Iterable[Array]) -> Tree:
    """The tree with other values, in their order, at the planned parameters."""
    new = _by_path(plan, params, values)
    leaves = [new.get(path, w) for path, _, w in plan.leaves(params)]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


def planned_only(plan: Plan, params: Tree, values: Iterable[Array | None]) -> Tree:
    """A tree of the same structure with values at the planned parameters and None elsewhere."""
    new = _by_path(plan, params, values)
    leaves = [new.get(path) for path, _, _ in plan.leaves(params)]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


def _by_path(plan: Plan, params: Tree, values: Iterable[Any]) -> dict[str, Any]:
    return {path: v for (path, _, _), v in zip(planned(plan, params), values, strict=True)}


def values_at(plan: Plan, params: Tree, tree: Tree, what: str) -> list[Array]:
    """The values of a ``planned_only`` tree in the order of the planned parameters.

    Raises:
      ValueError: another structure, None at a planned parameter, or another shape than the
        parameter's; the message starts with ``what``.
    """
    try:
        leaves = jax.tree.structure(params).flatten_up_to(tree)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what} is not a tree like the parameters: {error}") from error
    pairs = zip(plan.leaves(params), leaves, strict=True)
    found = {path: leaf for (path, _, _), leaf in pairs}
    values = []
    for path, _, w in planned(plan, params):
        value = found[path]
        values.append(value)
        shape = None if value is None else jnp.shape(value)
        if shape != jnp.shape(w):
            raise ValueError(f"{what} at {path!r} has shape {shape}, expected {jnp.shape(w)}")
    return values


def factor_names(plan: Plan, per: Per = "layer") -> tuple[str, ...]:
    """Names of the factors of relaxation, each for the parameters that share it, in the order of
    their first parameter.

    Args:
      plan: the plan.
      per: ``"parameter"`` (each on its own, named by its path), ``"layer"`` (those with the same
        parent, such as kernel and bias, named by it), ``"all"``, or a function from a path to the
        name of what it belongs to; as in ``regularizers.Terms``.

    Raises:
      ValueError: another ``per``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"dense": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}}
      >>> R = sq.reps.regular(sq.groups.cyclic(2))
      >>> P, Q = sq.projector("i o", {"o": R}), sq.projector("o", {"o": R})
      >>> plan = sq.plan(w, {"*/kernel": P, "*/bias": Q})
      >>> sq.relaxation.factor_names(plan), sq.relaxation.factor_names(plan, per="parameter")
      (('dense',), ('dense/bias', 'dense/kernel'))
    """
    return tuple(shared.name for shared in parameter_groups(plan, per))


def factor_index(plan: Plan, per: Per) -> list[int]:
    """For each planned parameter the index of its factor in ``factor_names``."""
    members = parameter_groups(plan, per)
    index = {path: i for i, shared in enumerate(members) for path in shared.paths}
    pairs = zip(plan.paths, plan.chosen, strict=True)
    return [index[path] for path, chosen in pairs if chosen >= 0]
