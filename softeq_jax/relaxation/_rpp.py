"""Residual pathway priors: an equivariant and a free branch, each with its own prior."""

from typing import Any

import jax
import jax.numpy as jnp

from softeq_jax._checks import coefficient
from softeq_jax.projections import Plan
from softeq_jax.regularizers import square
from softeq_jax.relaxation import _trees
from softeq_jax.relaxation._control import Control, keep_state, no_state
from softeq_jax.relaxation._relax import mixed
from softeq_jax.relaxation._trees import Branches, Tree


def rpp(*, equivariant_weight: float, free_weight: float) -> Control:
    r"""A control of two branches that prefers the equivariant one; no state.

    The network computes with :math:`P A + B` and pays

    .. math:: a \|P A\|^2 + b \|B\|^2,

    summed over the planned parameters (norms squared, not halved). As an objective it is the
    projection penalty with ``lambda_g = a b / (a + b)`` and ``lambda_perp = b`` on the sum; the
    paths of the optimizer differ. A is projected before it is penalized, so that nothing but what
    acts is.

    Args:
      equivariant_weight: a >= 0.
      free_weight: b >= 0, much larger than a for a preference.

    Returns:
      A control whose parameters are ``Branches``; open them with ``branches(plan, params,
      scale=1e-3)`` for a free branch that starts small.

    Raises:
      ValueError: a weight that is negative, NaN or infinite.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> control = sq.relaxation.rpp(equivariant_weight=1.0, free_weight=10.0)
      >>> both = sq.relaxation.branches(plan, w)
      >>> round(float(control.penalty(plan, both, (), 0)), 4)  # 8 and 10 times 2
      28.0
    """
    coefficient(equivariant_weight, "equivariant_weight")
    coefficient(free_weight, "free_weight")

    def weights(plan: Plan, params: Branches, state: Tree, step: Any) -> Tree:
        del state, step
        return mixed(plan, _trees.two(params, "rpp"), 1.0, "all")

    def penalty(plan: Plan, params: Branches, state: Tree, step: Any) -> jax.Array:
        del state, step
        stored, free = _trees.two(params, "rpp")
        even = [pair[0] for pair in _trees.split(plan, stored)]
        other = _trees.values_at(plan, stored, free, "the free branch")
        zero = jnp.zeros((), jnp.float32)
        first, second = (sum(map(square, part), zero) for part in (even, other))
        return jnp.asarray(equivariant_weight * first + free_weight * second)

    return Control(no_state, weights, penalty, keep_state)
