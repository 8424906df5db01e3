"""The proximal step as a transformation of optax: one line more in an optimizer."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from softeq_jax._checks import coefficient
from softeq_jax.projections import Plan
from softeq_jax.regularizers._combine import check_power
from softeq_jax.regularizers._groups import Grouping, parameter_groups
from softeq_jax.regularizers._prox import prox_step

if TYPE_CHECKING:
    import optax

Tree = Any


class EquivarianceDecayState(NamedTuple):
    """How many steps were taken, int32, for schedules."""

    count: jax.Array


def add_equivariance_decay(
    plan: Plan,
    learning_rate: Any | Callable[[jax.Array], Any],
    lambda_g: Any = 0.0,
    lambda_perp: Any = 1.0,
    power: int = 1,
    *,
    relative: bool = False,
    mean: bool = False,
    weights: Mapping[str, Any] | None = None,
    groups: Grouping = "parameter",
    eps: Any = 1e-12,
) -> "optax.GradientTransformationExtraArgs":
    r"""Decay towards equivariance, decoupled from the gradient: put it last in ``optax.chain``.

        optimizer = optax.chain(optax.adam(rate), add_equivariance_decay(plan, rate))

    It turns updates u that are ready to be added into those with
    ``params + u_new = prox_step(plan, params + u, learning_rate, ...)``, so it comes after
    everything that scales updates, the learning rate included: before that, the decay would be
    scaled too and weights would miss the point where N w vanishes. With SGD this is proximal
    gradient descent. With Adam it is a decoupled shrink as in AdamW, not the proximal step in the
    metric of the preconditioner.

    The sum ``params + u_new`` is rounded once, so N w ends at rounding (1e-7 of the weight in
    float32), not at 0 to the bit; ``plan.project`` at the end of training does the rest.

    The plan is a constant of the compiled step. To change its level without compiling again pass
    one as an argument, ``optimizer.update(grads, state, params, plan=other)``, which has
    precedence; through ``optax.chain`` it reaches this transformation. Under ``optax.masked`` or
    ``optax.multi_transform`` parameters have another structure than the plan: leave it outside.

    Args:
      plan: which parameters are projected, and how.
      learning_rate: the step size eta, a number or a schedule (from the number of steps taken to
        a number): that of the optimizer, in general.
      lambda_g: as of ``prox_step``, and so for all others.
      lambda_perp: likewise.
      power: likewise.
      relative: likewise.
      mean: likewise.
      weights: likewise.
      groups: likewise.
      eps: likewise.

    Returns:
      A transformation; its ``update`` needs ``params``.

    Raises:
      ValueError: as ``prox_step``, now; when updating, ``params`` are missing or are not those of
        the plan.
      ImportError: optax is not installed.
    """
    try:
        import optax
    except ImportError as error:
        raise ImportError(
            "add_equivariance_decay needs optax, which the extra softeq-jax[train] brings: "
            "pip install 'softeq-jax[train]'; prox_step does without"
        ) from error
    if not callable(learning_rate):
        coefficient(learning_rate, "learning_rate")
    for name, value in (("lambda_g", lambda_g), ("lambda_perp", lambda_perp), ("eps", eps)):
        coefficient(value, name)
    check_power(power)
    parameter_groups(plan, groups, weights)

    def init(params: Tree) -> EquivarianceDecayState:
        plan.planned(params)
        return EquivarianceDecayState(jnp.zeros((), jnp.int32))

    def update(
        updates: Tree,
        state: EquivarianceDecayState,
        params: Tree | None = None,
        *,
        plan: Plan = plan,
        **others: Any,
    ) -> tuple[Tree, EquivarianceDecayState]:
        del others
        if params is None:
            raise ValueError("add_equivariance_decay needs params: update(updates, state, params)")
        plan.planned(params)
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        moved = _where_planned(plan, lambda p, u: p + u, params, updates, otherwise=params)
        shrunk = prox_step(
            plan,
            moved,
            rate,
            lambda_g,
            lambda_perp,
            power,
            relative=relative,
            mean=mean,
            weights=weights,
            groups=groups,
            eps=eps,
        )
        updates = _where_planned(plan, lambda new, p: new - p, shrunk, params, otherwise=updates)
        return updates, EquivarianceDecayState(optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(init, update)


def _where_planned(
    plan: Plan, function: Callable[[Any, Any], Any], a: Tree, b: Tree, *, otherwise: Tree
) -> Tree:
    """``function`` of the leaves of two trees where a parameter is planned, else the third."""
    leaves, structure = jax.tree.flatten(a)
    rows = zip(
        plan.chosen,
        leaves,
        structure.flatten_up_to(b),
        structure.flatten_up_to(otherwise),
        strict=True,
    )
    return structure.unflatten(
        [function(x, y) if index >= 0 else other for index, x, y, other in rows]
    )
