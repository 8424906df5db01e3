"""Transforms of optax for relaxed training. Need optax."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from softeq_jax.projections import Plan
from softeq_jax.relaxation._control import Control, Controlled
from softeq_jax.relaxation._trees import Branches, Tree

try:
    import optax
except ImportError as error:
    raise ImportError(
        "this part of softeq_jax.relaxation needs optax: pip install softeq-jax[train]"
    ) from error


class FreezeState(NamedTuple):
    """Steps taken, int32."""

    count: jax.Array


def freeze_residual(
    plan: Plan, schedule: Callable[[Any], Any] | None = None
) -> optax.GradientTransformation:
    """Keeps the stored residual where it is while theta = 0. Put it last in ``optax.chain``.

    At theta = 0 the gradient in N w vanishes, but moments and weight decay go on moving it. Here
    the updates become ``P u``. Of two branches the updates of B become 0, and those of W_e become
    ``P u`` at every theta: what leaves the subspace never acts.

    Args:
      plan: hard masks.
      schedule: theta as a function of the step: frozen at those steps at which it is 0. Steps
        are counted here, so steps that the trainer takes back (``skip_nonfinite``) do not count.
        None freezes always.

    Returns:
      A transform for parameters, ``Branches``, or ``Controlled`` trees of either (whose control is
      left alone).

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> frozen = sq.relaxation.freeze_residual(plan)
      >>> frozen.update({"w": np.array([1.0, 0.0])}, frozen.init(w), w)[0]["w"].tolist()
      [0.5, 0.5]
    """

    def init(params: Tree) -> FreezeState:
        del params
        return FreezeState(jnp.zeros((), jnp.int32))

    def update(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, FreezeState]:
        del params
        free = jnp.asarray(False) if schedule is None else schedule(state.count) > 0
        count = jnp.asarray(optax.safe_increment(state.count))
        return _frozen(plan, updates, free), FreezeState(count)

    return optax.GradientTransformation(init, update)


def _frozen(plan: Plan, updates: Tree, free: jax.Array) -> Tree:
    if isinstance(updates, Controlled):
        return updates._replace(params=_frozen(plan, updates.params, free))
    if isinstance(updates, Branches):
        held = jax.tree.map(lambda u: jnp.where(free, u, jnp.zeros_like(u)), updates.free)
        return Branches(plan.split(updates.equivariant)[0], held)
    even = plan.split(updates)[0]
    return jax.tree.map(lambda u, e: jnp.where(free, u, e), updates, even)


def control_optimizer(
    control: Control, plan: Any, inner: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """One optimizer for a ``Controlled`` tree: parameters by ``inner``, the control by its rule.

    The parameters' part of the gradient goes through ``inner``, which sees no part of the control;
    the state of the control moves by ``control.update``, with its part of the gradient as the
    signal.

    Args:
      control: what the parameters were started with.
      plan: the plan (or plans) it was started with.
      inner: any optimizer of the parameters.

    Raises:
      ValueError: from ``update``, without parameters.
      TypeError: the tree is not ``Controlled``.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp, optax, softeq_jax as sq
      >>> w = {"w": jnp.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> tree = sq.relaxation.start(sq.relaxation.ace(), plan, w)
      >>> optimizer = sq.relaxation.control_optimizer(sq.relaxation.ace(), plan, optax.sgd(0.5))
      >>> updates, _ = optimizer.update(tree, optimizer.init(tree), tree)
      >>> updates.params["w"], bool(updates.control.gamma[0] < 0)
      (Array([-1.5, -0.5], dtype=float32), True)
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> Any:
        return inner.init(_controlled(params).params)

    def update(updates: Any, state: Any, params: Any = None, **more: Any) -> tuple[Controlled, Any]:
        if params is None:
            raise ValueError("params are missing: update(updates, state, params)")
        _controlled(params)
        moves, state = inner.update(updates.params, state, params.params, **more)
        after = control.update(plan, params.params, params.control, updates.control)
        deltas = jax.tree.map(lambda new, old: new - old, after, params.control)
        return Controlled(moves, deltas), state

    return optax.GradientTransformationExtraArgs(init, update)


def _controlled(params: Any) -> Controlled:
    if not isinstance(params, Controlled):
        raise TypeError(
            f"expected a Controlled tree, got {type(params).__name__}: "
            "begin with start(control, plan, params)"
        )
    return params
