"""The proximal step of the projection penalty: as a function, and as a transformation of optax."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import coefficient, is_zero
from softeq_jax._paths import naming
from softeq_jax.projections import Plan
from softeq_jax.regularizers._parts import Array, Params, safe_sqrt, square, widened
from softeq_jax.regularizers._terms import Form, Terms, form

if TYPE_CHECKING:
    import optax


def prox_step(
    plan: Plan,
    params: Params,
    step_size: Any,
    lambda_g: Any = 0.0,
    lambda_perp: Any = 1.0,
    **terms: Unpack[Terms],
) -> Params:
    r"""The proximal step of ``projection_penalty``: one projection and two scalars.

    With the step size eta, for powers 1 and 2

    .. math:: \Big(1 - \frac{\eta \lambda_G}{\|P w\|}\Big)_+ P w
       + \Big(1 - \frac{\eta \lambda_\perp}{\|N w\|}\Big)_+ N w, \qquad
       \frac{P w}{1 + 2 \eta \lambda_G} + \frac{N w}{1 + 2 \eta \lambda_\perp}.

    After gradient steps on the loss alone, with the same eta, power 1 makes a weight exactly
    equivariant (to rounding) in finitely many steps if ``lambda_perp`` exceeds the norm of the
    part ``N grad`` of the gradient there; if it does not, N w stops short of 0, where the two
    balance. Power 2 shrinks N w geometrically and never reaches 0. It is the other default than
    that of the penalty for this reason.

    Args:
      plan: as of ``projection_penalty``.
      params: the parameters after a step on the loss.
      step_size: eta, at least 0: the learning rate of that step; may be traced.
      lambda_g: as of ``projection_penalty``.
      lambda_perp: as of ``projection_penalty``.
      terms: ``power`` (1) and others, see ``Terms``.

    Returns:
      New parameters of the same structure, shapes and dtypes; those not planned as they are.

    Raises:
      ValueError, TypeError: as ``projection_penalty``; a negative ``step_size``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"bias": np.array([3.0, 1.0])}
      >>> P = sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})
      >>> plan = sq.plan(w, {"bias": P})
      >>> sq.regularizers.prox_step(plan, w, 10.0)["bias"]  # exactly equivariant
      array([2., 2.])
      >>> sq.regularizers.prox_step(plan, w, 0.5, power=2)["bias"]  # half of what is not
      array([2.5, 1.5])
    """
    step_size = coefficient(step_size, "step_size")
    lambda_g = coefficient(lambda_g, "lambda_g")
    lambda_perp = coefficient(lambda_perp, "lambda_perp")
    shape = _form(plan, "prox_step", terms)
    parts = {}
    for path, projector, w in plan.planned(params):
        with naming(path):
            parts[path] = projector.split(widened(w))
    new = _shrunk(shape, parts, step_size, lambda_g, lambda_perp)
    leaves = [
        leaf if path not in new else (widened(leaf) - new[path]).astype(leaf.dtype)
        for path, _, leaf in plan.leaves(params)
    ]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


def _form(plan: Plan, what: str, terms: Terms) -> Form:
    if "stop_gradient" in terms:
        raise TypeError(f"{what} takes no gradient, so that there is no stop_gradient to choose")
    return form(plan, what, terms, power=1)


def _shrunk(
    shape: Form,
    parts: dict[str, tuple[Array, Array]],
    step_size: Any,
    lambda_g: Any,
    lambda_perp: Any,
) -> dict[str, Array]:
    """What the step takes away from each weight; of a part that vanishes all, to the bit."""
    squares = [{path: square(pair[i]) for path, pair in parts.items()} for i in (0, 1)]
    whole = {path: squares[0][path] + squares[1][path] for path in parts}
    sizes = {path: pair[0].size for path, pair in parts.items()}
    removed: dict[str, Any] = dict.fromkeys(parts, 0.0)
    for group in shape.members:
        d = shape.denominator(group, whole, sizes)
        for i, weight in enumerate((lambda_g, lambda_perp)):
            if is_zero(weight):
                continue
            rate = step_size * weight * group.factor
            if shape.power == 2:
                rate = 2.0 * rate / d
                share = rate / (1.0 + rate)
            else:
                norm = safe_sqrt(group.total(squares[i]))
                rate = rate / safe_sqrt(d) if shape.relative or shape.mean else rate
                xp = jnp if isinstance(norm, jax.Array) or isinstance(rate, jax.Array) else np
                stays = norm > rate
                share = xp.where(stays, rate / xp.where(stays, norm, 1.0), 1.0)
            for path in group.paths:
                part = parts[path][i]
                xp = np if isinstance(part, np.ndarray) else jnp
                removed[path] = (
                    removed[path] + xp.asarray(share, jnp.finfo(part.dtype).dtype) * part
                )
    return {path: gone for path, gone in removed.items() if not isinstance(gone, float)}


class EquivarianceDecayState(NamedTuple):
    """How many steps were taken, int32, for schedules.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"bias": np.ones(2)}
      >>> P = sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})
      >>> decay = sq.regularizers.add_equivariance_decay(sq.plan(w, {"bias": P}), 0.1)
      >>> int(decay.init(w).count)
      0
    """

    count: jax.Array


def add_equivariance_decay(
    plan: Plan,
    learning_rate: Any | Callable[[jax.Array], Any],
    lambda_g: Any = 0.0,
    lambda_perp: Any = 1.0,
    **terms: Unpack[Terms],
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
      lambda_g: as of ``prox_step``.
      lambda_perp: as of ``prox_step``.
      terms: as of ``prox_step``, see ``Terms``.

    Returns:
      A transformation; its ``update`` needs ``params``.

    Raises:
      ValueError: as ``prox_step``, now; when updating, ``params`` are missing or are not those of
        the plan.
      ImportError: optax is not installed.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"bias": np.array([3.0, 1.0])}
      >>> P = sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})
      >>> decay = sq.regularizers.add_equivariance_decay(sq.plan(w, {"bias": P}), 10.0)
      >>> updates, _ = decay.update({"bias": np.zeros(2)}, decay.init(w), w)
      >>> (w["bias"] + updates["bias"]).round(6)
      array([2., 2.])
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
    coefficient(lambda_g, "lambda_g")
    coefficient(lambda_perp, "lambda_perp")
    _form(plan, "add_equivariance_decay", terms)

    def init(params: Params) -> EquivarianceDecayState:
        plan.planned(params)
        return EquivarianceDecayState(jnp.zeros((), jnp.int32))

    def update(
        updates: Params,
        state: Any,
        params: Params | None = None,
        *,
        plan: Plan = plan,
        **others: Any,
    ) -> tuple[Params, EquivarianceDecayState]:
        del others
        if params is None:
            raise ValueError("add_equivariance_decay needs params: update(updates, state, params)")
        plan.planned(params)
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        moved = _where_planned(plan, lambda p, u: p + u, params, updates, otherwise=params)
        shrunk = prox_step(plan, moved, rate, lambda_g, lambda_perp, **terms)
        updates = _where_planned(plan, lambda new, p: new - p, shrunk, params, otherwise=updates)
        count = jnp.asarray(optax.safe_increment(state.count))
        return updates, EquivarianceDecayState(count)

    return optax.GradientTransformationExtraArgs(init, update)


def _where_planned(
    plan: Plan, function: Callable[[Any, Any], Any], a: Params, b: Params, *, otherwise: Params
) -> Params:
    """``function`` of the leaves of two trees where a parameter is planned, else the third."""
    structure = jax.tree.structure(a)
    others = zip(structure.flatten_up_to(b), structure.flatten_up_to(otherwise), strict=True)
    return structure.unflatten(
        [
            other if projector is None else function(x, y)
            for (_, projector, x), (y, other) in zip(plan.leaves(a), others, strict=True)
        ]
    )
