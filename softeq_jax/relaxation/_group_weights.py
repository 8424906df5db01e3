r"""Relaxed group convolutions: weights over the elements of a finite group (Wang et al. 2022).

A group convolution shares its kernel over the group; the relaxed one mixes L of them, each entry
weighted by the element h of the group that its input is a function of:

.. math:: (f * \psi)(g) = \sum_h f(h) \sum_l w_l(h) \, \psi_l(g^{-1} h).

On stored weights that is :math:`\sum_l w_l \odot P \psi_l`, with P the projector and w_l spread
along the axis that carries the regular representation: the input's, or, where the input is no
function on the group (the lifting), the output's. Equal numbers leave a strict map, and unequal
ones do not depend on place: what is lost is the group alone, translations are kept.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import coefficient
from softeq_jax._paths import naming
from softeq_jax.projections import Plan, Projector
from softeq_jax.regularizers import square
from softeq_jax.relaxation import _trees
from softeq_jax.relaxation._control import Control, keep_state, no_state
from softeq_jax.relaxation._trees import Array, Tree
from softeq_jax.reps import Regular


class GroupBanks(NamedTuple):
    """What a relaxed group convolution stores; a pytree.

    Attributes:
      first: the first kernels psi_1, a tree like the model's parameters, with the unplanned ones.
      more: the others, each a tree of the same structure with None where there are no banks.
      weights: w ``[banks, order]``, a tree of the same structure with None where there are none.

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> one = {"w": np.ones((4, 4))}
      >>> banks = sq.relaxation.GroupBanks(first=one, more=(one,), weights={"w": np.ones((2, 4))})
      >>> len(jax.tree.leaves(banks))
      3
    """

    first: Tree
    more: tuple[Tree, ...]
    weights: Tree


class GroupAxis(NamedTuple):
    """Where a weight is a function on the group.

    Attributes:
      position: of the axis.
      elements: which element each entry belongs to, int ``[length]``, in the order of
        ``group.elements()``; -1 for entries that are no function on the group.
      order: of the group.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> axis = sq.relaxation.GroupAxis(position=0, elements=np.array([0, 1, -1]), order=2)
      >>> axis.elements[axis.elements >= 0]  # the last entry is no function on the group
      array([0, 1])
    """

    position: int
    elements: np.ndarray
    order: int


def group_axis(projector: Projector) -> GroupAxis | None:
    """The first axis of a weight that carries copies of the regular representation, or None.

    Kernels are written with the input before the output: the input's, where it has one.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.cyclic(4)
      >>> R, V = sq.reps.regular(G), sq.reps.vector(G)
      >>> sq.relaxation.group_axis(sq.projector("i o", {"i": V, "o": 2 * R})).elements
      array([0, 1, 2, 3, 0, 1, 2, 3])
    """
    for positions, rep in projector.space.entries:
        if len(positions) != 1:
            continue
        elements = np.full(rep.dim, -1)
        for term, index in rep.terms():
            if len(term.atoms) == 1 and isinstance(term.atoms[0], Regular):
                elements[index] = np.arange(term.atoms[0].dim)
        if elements.max() >= 0:
            return GroupAxis(positions[0], elements, int(elements.max()) + 1)
    return None


def mixed_banks(projector: Projector, kernels: Any, weights: Array) -> Array:
    r"""``sum_l w_l * P psi_l`` of one parameter, w spread along its ``group_axis``.

    Args:
      projector: strict, or a level above; a hard mask.
      kernels: psi, L weights or an array ``[L, ...]`` of them.
      weights: w, ``[L, order]``.

    Returns:
      A weight, in the dtype of the kernels.

    Raises:
      ValueError: a smooth mask, no axis with functions on the group, weights of another shape.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.cyclic(2))
      >>> P = sq.projector("i o", {"i": R, "o": R})
      >>> bank = jnp.array([[[3.0, 1.0], [1.0, 3.0]]])
      >>> sq.relaxation.mixed_banks(P, bank, jnp.array([[1.0, 2.0]])).round(4).tolist()
      [[3.0, 1.0], [2.0, 6.0]]
    """
    axis = group_axis(projector)
    if axis is None:
        raise ValueError(
            f"no axis of {projector.space.describe()} is a function on the group: relaxed group "
            "convolutions need copies of the regular representation"
        )
    if jnp.shape(weights) != (len(kernels), axis.order):
        raise ValueError(
            f"weights over the group must be [{len(kernels)}, {axis.order}], one number for each "
            f"bank and element, got shape {jnp.shape(weights)}"
        )
    shape = [1] * len(projector.space.names)
    shape[axis.position] = len(axis.elements)
    found: Any = 0.0
    for kernel, own in zip(kernels, weights, strict=True):
        spread = jnp.where(axis.elements < 0, 1.0, own[axis.elements]).astype(kernel.dtype)
        found = found + spread.reshape(shape) * projector.split(kernel)[0]
    return found


def group_banks(plan: Plan, *draws: Tree) -> GroupBanks:
    """Opens banks from independent draws of a model's parameters, one bank for each.

    All weights start at ``1 / sqrt(banks)``: a strict map, of the size of one draw.

    Args:
      plan: for the model's parameters. Those that have a ``group_axis`` get banks, kernels and
        biases alike; others are projected.
      draws: the parameters, drawn anew for every bank. Those without banks are of the first.

    Raises:
      ValueError: no draw, or parameters that are not those of the plan (names the path).

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.cyclic(2))
      >>> w, v = {"w": np.ones((2, 2))}, {"w": np.zeros((2, 2))}
      >>> plan = sq.plan(w, {"w": sq.projector("i o", {"i": R, "o": R})})
      >>> sq.relaxation.group_banks(plan, w, v).weights["w"].shape  # banks and elements
      (2, 2)
    """
    if not draws:
        raise ValueError("group_banks needs at least one draw of the parameters")
    first = draws[0]
    axes = [group_axis(projector) for _, projector, _ in _trees.planned(plan, first)]
    if not any(axes):
        raise ValueError(
            "no planned parameter has an axis with functions on the group: relaxed group "
            "convolutions need copies of the regular representation"
        )
    start = 1.0 / np.sqrt(len(draws))
    weights = [axis and jnp.full((len(draws), axis.order), start) for axis in axes]
    others = [
        [w if axis else None for (_, _, w), axis in zip(_trees.planned(plan, p), axes, strict=True)]
        for p in draws[1:]
    ]
    trees = [_trees.planned_only(plan, first, values) for values in (weights, *others)]
    return GroupBanks(first, tuple(trees[1:]), trees[0])


def group_weights(strength: float = 0.0) -> Control:
    r"""A control whose weights are relaxed group convolutions; no state.

    It pays :math:`\lambda \sum_l \sum_h (w_l(h) - \overline{w_l})^2`, which is 0 where every map
    is strict.

    Args:
      strength: lambda >= 0.

    Returns:
      A control whose parameters are ``group_banks(plan, ...)``. ``plan.project`` of its weights
      is the nearest strict network.

    Raises:
      ValueError: a strength that is negative, NaN or infinite.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.cyclic(2))
      >>> w = {"w": jnp.array([[3.0, 1.0], [1.0, 3.0]])}
      >>> plan = sq.plan(w, {"w": sq.projector("i o", {"i": R, "o": R})})
      >>> banks = sq.relaxation.group_banks(plan, w)
      >>> float(sq.relaxation.group_weights(1.0).penalty(plan, banks, (), 0))  # they start strict
      0.0
    """
    coefficient(strength, "strength")

    def weights(plan: Plan, params: GroupBanks, state: Tree, step: Any) -> Tree:
        del state, step
        return _trees.replaced(plan, _banks(params).first, _mixed(plan, params))

    def penalty(plan: Plan, params: GroupBanks, state: Tree, step: Any) -> jax.Array:
        del plan, state, step
        spread = [w - w.mean(axis=1, keepdims=True) for w in jax.tree.leaves(params.weights)]
        return jnp.asarray(strength * sum(map(square, spread), jnp.zeros((), jnp.float32)))

    return Control(no_state, weights, penalty if strength else None, keep_state)


def _mixed(plan: Plan, params: GroupBanks) -> list[Array]:
    found = []
    planned = _trees.planned(plan, params.first)
    trees = (params.weights, *params.more)
    rows = zip(*(_at(plan, params.first, tree) for tree in trees), strict=True)
    for (path, projector, kernel), (own, *others) in zip(planned, rows, strict=True):
        with naming(path):
            if group_axis(projector) is None:
                found.append(projector.split(kernel)[0])
            else:
                found.append(mixed_banks(projector, [kernel, *others], own))
    return found


def _at(plan: Plan, params: Tree, tree: Tree) -> list[Any]:
    """What a ``planned_only`` tree has at the planned parameters, in their order."""
    leaves = jax.tree.structure(params).flatten_up_to(tree)
    found = {path: x for (path, _, _), x in zip(plan.leaves(params), leaves, strict=True)}
    return [found[path] for path, _, _ in plan.planned(params)]


def _banks(params: Tree) -> GroupBanks:
    if not isinstance(params, GroupBanks):
        raise TypeError(
            f"group_weights needs GroupBanks, got {type(params).__name__}: see group_banks()"
        )
    return params
