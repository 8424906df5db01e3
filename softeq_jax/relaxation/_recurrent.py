r"""The recurrent control: a level per layer that follows what the gradient asks for.

A stand-in for recurrent equivariant constraint modulation, whose rule is not public: heuristic,
without its theorem. With an exponential average m of the loss gradient in the network's weights,

.. math:: \theta_l \leftarrow (1 - \kappa) \theta_l + \kappa \,
          \min(1, \|N m_l\| / \|m_l\|).

Where the data are symmetric and the layer is equivariant, the mean gradient is equivariant as
well: the ratio is left with noise, which averaging reduces, and the level falls. A stored residual
that the loss is shrinking counts as demand, too, so begin with the strict weights
(``plan.project(params)``); and where all gradients vanish the ratio is one of noise.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from softeq_jax._checks import share
from softeq_jax.projections import Plan
from softeq_jax.regularizers import Per, square
from softeq_jax.relaxation import _trees
from softeq_jax.relaxation._control import Control, state_of
from softeq_jax.relaxation._relax import mixed
from softeq_jax.relaxation._trees import Array, Branches, Tree


class RecurrentState(NamedTuple):
    """Levels and what they are estimated from.

    Attributes:
      theta: one per factor, float32 ``[n]`` in [0, 1], in the order of ``factor_names``.
      gradient: the average m, like the planned parameters (None elsewhere). It costs as much
        memory as they do in float32.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> w = {"w": jnp.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> state = sq.relaxation.recurrent(theta=0.5).init(plan, w)
      >>> state.theta.tolist(), state.gradient["w"].tolist()
      ([0.5], [0.0, 0.0])
    """

    theta: jax.Array
    gradient: Tree


def recurrent(
    *, rate: float = 0.01, memory: float = 0.99, theta: float = 1.0, per: Per = "layer"
) -> Control:
    """A control that adapts how far each layer is relaxed.

    Its weights are ``P w + theta_l N w`` plus the average gradient minus itself: the gradient of
    the objective in that term, the signal of ``update``, is the raw gradient in the network's
    weights, of which the gradient in the stored ones has lost the N-part at theta = 0.

    Args:
      rate: kappa in (0, 1].
      memory: of the average m, in [0, 1): ``m <- memory m + (1 - memory) g``.
      theta: where all levels start, in [0, 1].
      per: which parameters share a level, see ``factor_names``.

    Returns:
      A control with a ``RecurrentState``.

    Raises:
      ValueError: an argument out of range, named.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> w = {"w": jnp.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> control = sq.relaxation.recurrent(theta=0.5)
      >>> control.weights(plan, w, control.init(plan, w), 0)["w"]
      Array([2.5, 1.5], dtype=float32)
    """
    share(rate, "rate")
    share(theta, "theta")
    if rate == 0:
        raise ValueError("rate must be > 0: at 0 the levels never move")
    if not 0 <= memory < 1:
        raise ValueError(f"memory must be in [0, 1), got {memory}")

    def init(plan: Plan, params: Tree | Branches) -> RecurrentState:
        stored = _stored(params)
        zeros = [
            jnp.zeros(w.shape, jnp.promote_types(w.dtype, jnp.float32))
            for _, _, w in _trees.planned(plan, stored)
        ]
        levels = jnp.full(len(_trees.factor_names(plan, per)), theta, jnp.float32)
        return RecurrentState(levels, _trees.planned_only(plan, stored, zeros))

    def weights(plan: Plan, params: Tree | Branches, state: RecurrentState, step: Any) -> Tree:
        del step
        levels, average = state_of(RecurrentState, state)
        mixture = mixed(plan, params, jax.lax.stop_gradient(levels), per)
        probes = _trees.values_at(plan, _stored(params), average, "the average gradient")
        values = [w for _, _, w in _trees.planned(plan, mixture)]
        pairs = zip(values, probes, strict=True)
        probed = [w + (m - jax.lax.stop_gradient(m)).astype(w.dtype) for w, m in pairs]
        return _trees.replaced(plan, mixture, probed)

    def update(
        plan: Plan, params: Tree | Branches, state: RecurrentState, signal: RecurrentState
    ) -> RecurrentState:
        stored = _stored(params)
        old = _trees.values_at(plan, stored, state.gradient, "the average gradient")
        new = _trees.values_at(plan, stored, signal.gradient, "the signal")
        average = [memory * m + (1.0 - memory) * g for m, g in zip(old, new, strict=True)]
        tree = _trees.planned_only(plan, stored, average)
        target = jnp.minimum(_ratios(plan, stored, average, per), 1.0)
        return RecurrentState(state.theta + rate * (target - state.theta), tree)

    return Control(init, weights, None, update)


def _ratios(plan: Plan, stored: Tree, average: Sequence[Array], per: Per) -> jax.Array:
    """``||N m|| / ||m||`` of the parameters that share a level, 0 where m is 0."""
    index = jnp.asarray(_trees.factor_index(plan, per))
    count = len(_trees.factor_names(plan, per))
    parts = _trees.split(plan, _trees.replaced(plan, stored, average))
    odd = jnp.stack([square(part) for _, part in parts])
    whole = jnp.stack([square(m) for m in average])
    odd, whole = (jax.ops.segment_sum(x, index, count) for x in (odd, whole))
    return jnp.where(whole > 0, jnp.sqrt(odd / jnp.where(whole > 0, whole, 1.0)), 0.0)


def _stored(params: Tree | Branches) -> Tree:
    return params.equivariant if isinstance(params, Branches) else params
