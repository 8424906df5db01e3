r"""Projection penalties for several candidate groups that find out which one holds (PER).

.. math:: \sum_k \lambda_k \sum_l \|W_l - P_k W_l\|^2

The strengths follow the violations: with

.. math:: v_k = \frac{\sum_l \|N_k W_l\|^2}{\sum_l s_{kl} \|W_l\|^2}

where s is the share of the weight space that N_k keeps (so that v = 1 for a random weight, for
small groups and large ones), they move at a given rate towards

.. math:: \lambda_k^* = K \lambda \, \frac{1 / (v_k + \epsilon)}{\sum_j 1 / (v_j + \epsilon)} :

their mean stays :math:`\lambda`, and a symmetry that nearly holds is enforced the more. The rule
is our own; that strengths grow where the violation is small is the idea of PER.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import coefficient, share
from softeq_jax.projections import Plan, Projector
from softeq_jax.regularizers import part_squares
from softeq_jax.relaxation import _trees
from softeq_jax.relaxation._control import Control, state_of
from softeq_jax.relaxation._trees import Array, Tree

Plans = Mapping[str, Plan]


class PerState(NamedTuple):
    """The strengths lambda_k, float32 ``[K]``, in the order of the sorted names of the plans.

    Attributes:
      strengths: of the penalties.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> sq.relaxation.per(strength=0.5).init({"flip": plan}, w).strengths.tolist()
      [0.5]
    """

    strengths: jax.Array


def per(*, strength: float, rate: float = 0.01, floor: float = 1e-3) -> Control:
    """A control with one projection penalty per candidate group.

    Its plan is a mapping from names to plans of the same parameters, in every function and as the
    ``extra`` of the trainer. The network computes with the parameters as they are.

    Args:
      strength: the mean of the strengths, where they all start.
      rate: share in [0, 1] of the way to their targets that they go in one step; 0 keeps them.
      floor: epsilon > 0, the violation below which a symmetry counts as holding.

    Returns:
      A control with a ``PerState``.

    Raises:
      ValueError: a negative strength, a rate outside [0, 1], a floor that is not positive; from
        ``init`` no plans, or one that leaves every weight as it is (names it).

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> control = sq.relaxation.per(strength=0.5)
      >>> state = control.init({"flip": plan}, w)
      >>> float(control.penalty({"flip": plan}, w, state, 0)) > 0
      True
    """
    coefficient(strength, "strength")
    share(rate, "rate")
    coefficient(floor, "floor", positive=True)

    def init(plans: Plans, params: Tree) -> PerState:
        for name in _names(plans):
            shares = [_share(projector) for _, projector, _ in _trees.planned(plans[name], params)]
            if not np.any(np.asarray(shares) > 0):
                raise ValueError(f"plan {name!r} leaves every weight as it is: nothing to violate")
            _trees.split(plans[name], params)
        return PerState(jnp.full(len(plans), strength, jnp.float32))

    def weights(plans: Plans, params: Tree, state: PerState, step: Any) -> Tree:
        del plans, state, step
        return params

    def penalty(plans: Plans, params: Tree, state: PerState, step: Any) -> jax.Array:
        del step
        sizes = jnp.stack([_violation(plans[name], params)[0] for name in _names(plans)])
        return jax.lax.stop_gradient(state_of(PerState, state).strengths) @ sizes

    def update(plans: Plans, params: Tree, state: PerState, signal: Tree) -> PerState:
        del signal
        inverse = 1.0 / (violations(plans, params) + floor)
        target = len(plans) * strength * inverse / jnp.sum(inverse)
        return PerState(state.strengths + rate * (target - state.strengths))

    return Control(init, weights, penalty, update)


def violations(plans: Plans, params: Tree) -> jax.Array:
    """``v_k`` of every candidate group, float32 ``[K]`` in the order of the sorted names.

    0 for an equivariant network, about 1 for random weights.

    Raises:
      ValueError: no plans, a smooth mask, or plans built for other parameters.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([2.0, 2.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> sq.relaxation.violations({"flip": plan}, w).tolist()
      [0.0]
    """
    pairs = [_violation(plans[name], params) for name in _names(plans)]
    return jnp.stack([odd / jnp.where(scale > 0, scale, 1.0) for odd, scale in pairs])


def _violation(plan: Plan, params: Tree) -> tuple[jax.Array, jax.Array]:
    """``(sum ||N w||^2, sum s ||w||^2)``."""
    squares = part_squares(plan, params)
    odd = jnp.stack([square.residual for square in squares.values()])
    whole = jnp.stack([square.equivariant + square.residual for square in squares.values()])
    shares = [_share(projector) for _, projector, _ in _trees.planned(plan, params)]
    return jnp.sum(odd), jnp.sum(jnp.asarray(shares, whole.dtype) * whole)


def _share(projector: Projector) -> Array:
    """Share of the space that N keeps, ``1 - rank / dim``; the mask may be traced."""
    sizes = projector.spectrum.sizes.astype(np.float64)
    return sizes @ projector.dropped / projector.dim


def _names(plans: Plans) -> list[str]:
    if isinstance(plans, Plan) or not isinstance(plans, Mapping) or not plans:
        raise ValueError(f"per needs a mapping from names to plans, got {plans!r}")
    return sorted(plans)
