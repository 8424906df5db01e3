r"""Relaxation by dual ascent: every layer learns its own distance from equivariance (ACE).

The N-part of each layer has a factor gamma. Equality form, loss subject to :math:`\gamma_l = 0`:

.. math:: \gamma \leftarrow \gamma - \eta_p (\partial_\gamma \ell + \lambda), \quad
          \lambda \leftarrow \lambda + \eta_d \gamma.

Resilient form, subject to :math:`|\gamma_l| \le u_l` at the price :math:`\rho \|u\|^2 / 2`:

.. math:: \gamma \leftarrow \gamma - \eta_p (\partial_\gamma \ell + \lambda \, \mathrm{sign}\,
          \gamma), \quad u \leftarrow [u + \eta_p (\lambda - \rho u)]_+, \quad
          \lambda \leftarrow [\lambda + \eta_d (|\gamma| - u)]_+.

The dual step sees the new gamma and u: with the old ones the bilinear part of the Lagrangian would
spiral outwards where the loss is flat. Only the curvature of the loss damps the swings of gamma and
lambda, and it vanishes with the residual N w: then gamma goes on swinging and means nothing. Judge
by ``gamma N w``, and end with ``finish``; or add the augmented term :math:`c \gamma^2 / 2` of the
method of multipliers to the Lagrangian of the equality form (ours, not of the paper):

.. math:: \gamma \leftarrow \gamma - \eta_p (\partial_\gamma \ell + \lambda + c \gamma),

which vanishes where the constraint holds, so that it moves no solution, and damps the swings. In a
flat loss they die out fastest at :math:`c = 2 \sqrt{\eta_d / \eta_p}`, by a factor of
:math:`1 - \sqrt{\eta_p \eta_d}` a step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from softeq_jax._checks import coefficient
from softeq_jax.projections import Plan
from softeq_jax.regularizers import Per
from softeq_jax.relaxation import _trees
from softeq_jax.relaxation._control import Control, state_of
from softeq_jax.relaxation._relax import mixed
from softeq_jax.relaxation._trees import Branches, Tree


class AceState(NamedTuple):
    """One number per factor, in the order of ``factor_names(plan, per)``; float32.

    Attributes:
      gamma: factor of the N-part (or of the free branch). Any sign.
      dual: the multiplier lambda. Where it stays large, symmetry costs most.
      slack: the u that gamma may have in the resilient form; 0 in the equality form.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> state = sq.relaxation.ace(gamma=1.0).init(plan, w)
      >>> float(state.gamma[0]), float(state.dual[0])
      (1.0, 0.0)
    """

    gamma: jax.Array
    dual: jax.Array
    slack: jax.Array


def ace(
    *,
    primal_rate: float = 0.01,
    dual_rate: float = 0.001,
    rho: float | None = None,
    augmentation: float = 0.0,
    gamma: float = 1.0,
    per: Per = "layer",
) -> Control:
    """A control that drives the network towards equivariance by dual ascent.

    Args:
      primal_rate: eta_p, of gamma and of the slack.
      dual_rate: eta_d. Against a loss of curvature a in gamma, oscillations are damped while
        ``dual_rate < a``.
      rho: price of the slack, > 0: the resilient form, which ends at ``|gamma| = lambda / rho``.
        None is the equality form, which ends at ``gamma = 0`` with lambda minus the gradient
        there.
      augmentation: c >= 0 of the equality form; 0 is the published one.
      gamma: where all factors start.
      per: which parameters share a factor, see ``factor_names``.

    Returns:
      A control with an ``AceState``; its weights are ``P w + gamma N w``, or
      ``P W_e + gamma B`` for two branches.

    Raises:
      ValueError: a rate or rho that is negative, NaN or infinite, a rate or rho of 0, a negative
        augmentation or one of the resilient form, or an unknown ``per`` (from ``init``).

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> control = sq.relaxation.ace(gamma=0.5)
      >>> control.weights(plan, w, control.init(plan, w), 0)
      {'w': array([2.5, 1.5])}
    """
    coefficient(primal_rate, "primal_rate", positive=True)
    coefficient(dual_rate, "dual_rate", positive=True)
    coefficient(gamma, "gamma")
    if rho is not None:
        coefficient(rho, "rho", positive=True)
    coefficient(augmentation, "augmentation")
    if rho is not None and augmentation:
        raise ValueError(f"augmentation={augmentation} is for the equality form, got rho={rho}")

    def init(plan: Plan, params: Tree | Branches) -> AceState:
        stored = params.equivariant if isinstance(params, Branches) else params
        _trees.planned(plan, stored)
        count = len(_trees.factor_names(plan, per))
        zeros = jnp.zeros(count, jnp.float32)
        return AceState(jnp.full(count, gamma, jnp.float32), zeros, zeros)

    def weights(plan: Plan, params: Tree | Branches, state: AceState, step: Any) -> Tree:
        del step
        return mixed(plan, params, state_of(AceState, state).gamma, per)

    def update(plan: Plan, params: Tree, state: AceState, signal: AceState) -> AceState:
        del plan, params
        return ace_update(
            state,
            signal.gamma,
            primal_rate=primal_rate,
            dual_rate=dual_rate,
            rho=rho,
            augmentation=augmentation,
        )

    return Control(init, weights, None, update)


def ace_update(
    state: AceState,
    gradient: jax.Array,
    *,
    primal_rate: float,
    dual_rate: float,
    rho: float | None = None,
    augmentation: float = 0.0,
) -> AceState:
    """One step of the factors and multipliers alone; see ``ace``.

    Args:
      state: the present one.
      gradient: of the loss in ``state.gamma``, ``<N w, dL/dv>`` summed over the parameters that
        share a factor.
      primal_rate: eta_p.
      dual_rate: eta_d.
      rho: price of the slack, or None for the equality form.
      augmentation: c of the equality form.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> state = sq.relaxation.AceState(jnp.ones(1), jnp.zeros(1), jnp.zeros(1))
      >>> new = sq.relaxation.ace_update(state, jnp.zeros(1), primal_rate=0.1, dual_rate=0.5)
      >>> float(new.gamma[0]), float(new.dual[0])  # the multiplier grows while gamma is not 0
      (1.0, 0.5)
    """
    gamma, dual, slack = state
    if rho is None:
        gamma = gamma - primal_rate * (gradient + dual + augmentation * gamma)
        return AceState(gamma, dual + dual_rate * gamma, slack)
    gamma = gamma - primal_rate * (gradient + dual * jnp.sign(gamma))
    slack = jnp.maximum(slack + primal_rate * (dual - rho * slack), 0.0)
    dual = jnp.maximum(dual + dual_rate * (jnp.abs(gamma) - slack), 0.0)
    return AceState(gamma, dual, slack)
