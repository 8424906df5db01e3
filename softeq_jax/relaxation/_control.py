"""Controls: pure functions that decide how far weights are relaxed, for any training loop.

A loop that uses a control keeps ``(params, state)`` and repeats:

    def objective(params, state):
        weights = control.weights(plan, params, state, step)
        return loss(weights, batch)  # + control.penalty(plan, params, state, step) if it has one

    gradient, signal = jax.grad(objective, argnums=(0, 1))(params, state)
    state = control.update(plan, params, state, signal)
    params = ...any optimizer's step with gradient...

``start`` puts both into one tree, ``as_method`` gives the pair of functions that the trainer of
``softeq_jax.training`` takes, ``control_optimizer`` makes one optimizer of the two updates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from softeq_jax._checks import share
from softeq_jax.projections import Plan
from softeq_jax.relaxation._relax import mixed
from softeq_jax.relaxation._schedules import check_schedule
from softeq_jax.relaxation._trees import Branches, Tree, replaced, two, values_at

TrainerFn = Callable[[Tree, Any, jax.Array], Any]


class Control(NamedTuple):
    """Pure functions, all with the plan first (a mapping of plans for ``per``).

    Attributes:
      init: ``init(plan, params) -> state``, a pytree of floating-point arrays; ``()`` if there is
        nothing to remember.
      weights: ``weights(plan, params, state, step)``, what the network computes with.
      penalty: ``penalty(plan, params, state, step)``, a scalar added to the loss, or None.
      update: ``update(plan, params, state, signal) -> state``; the signal is the gradient of the
        objective in the state.

    Example:
      >>> import softeq_jax as sq
      >>> control = sq.relaxation.scheduled(sq.relaxation.triangular(100))
      >>> control.init(None, None), control.penalty  # nothing to remember, nothing to pay
      ((), None)
    """

    init: Callable[[Any, Tree], Tree]
    weights: Callable[[Any, Tree, Tree, Any], Tree]
    penalty: Callable[[Any, Tree, Tree, Any], jax.Array] | None
    update: Callable[[Any, Tree, Tree, Tree], Tree]


class Controlled(NamedTuple):
    """Stored parameters beside the state of what controls them; a pytree.

    Attributes:
      params: one weight or two branches.
      control: the state of a ``Control``.

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> tree = sq.relaxation.start(sq.relaxation.ace(), plan, w)
      >>> len(jax.tree.leaves(tree.params)), len(jax.tree.leaves(tree.control))
      (1, 3)
    """

    params: Tree
    control: Tree


def start(control: Control, plan: Any, params: Tree) -> Controlled:
    """The tree that a training state keeps: parameters and the control's first state.

    Raises:
      ValueError, TypeError: as the control's ``init``; ValueError for a plan that leaves every
        weight as it is, which any control would follow in vain.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> w = {"w": jnp.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> tree = sq.relaxation.start(sq.relaxation.recurrent(), plan, w)
      >>> tree.params["w"].tolist(), tree.control.theta.tolist()
      ([3.0, 1.0], [1.0])
    """
    if isinstance(plan, Plan) and all(
        plan.projectors[i].softness == 1.0 for i in plan.chosen if i >= 0
    ):
        raise ValueError("the plan leaves every weight as it is: there is nothing to relax")
    return Controlled(params, control.init(plan, params))


def as_method(control: Control) -> tuple[TrainerFn, TrainerFn | None]:
    """``(weights, penalty)`` as functions of ``(params, extra, step)``; extra is the plan.

    The parameters are a ``Controlled`` tree; plain ones will do where the control's state is
    ``()``. ``softeq_jax.training.Method(*as_method(control))`` is a method of the trainer.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> weights, penalty = sq.relaxation.as_method(sq.relaxation.scheduled(lambda step: 0.5))
      >>> weights(w, plan, 0), penalty
      ({'w': array([2.5, 1.5])}, None)
    """

    charge = control.penalty

    def weights(params: Tree, extra: Any, step: Any) -> Tree:
        stored, state = _opened(params)
        return control.weights(extra, stored, state, step)

    if charge is None:
        return weights, None

    def penalty(params: Tree, extra: Any, step: Any) -> jax.Array:
        stored, state = _opened(params)
        return charge(extra, stored, state, step)

    return weights, penalty


def scheduled(
    schedule: Callable[[Any], Any],
    steps: int | None = None,
    *,
    penalty: Callable[[Plan, Tree], jax.Array] | None = None,
) -> Control:
    """Relaxation that follows a schedule, ``P w + theta(step) N w``; no state.

    Args:
      schedule: theta as a function of the step.
      steps: of the run that the schedule is checked against, if given.
      penalty: ``penalty(plan, tree)`` of the free branch B of two branches, added to the loss: a
        tree like the parameters, with B at the planned ones (``regularizers.lie_penalty`` say).

    Raises:
      ValueError, TypeError: see ``check_schedule``; TypeError for a penalty where there is one
        weight (from the control's penalty).

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> control = sq.relaxation.scheduled(sq.relaxation.linear(100))
      >>> [control.weights(plan, w, (), step)["w"].round(6).tolist() for step in (0, 45, 90)]
      [[3.0, 1.0], [2.5, 1.5], [2.0, 2.0]]
    """
    if steps is not None:
        check_schedule(schedule, steps)

    def apply(plan: Plan, params: Tree | Branches, state: Tree, step: Any) -> Tree:
        del state
        theta = schedule(step)
        share(theta, "theta")
        return mixed(plan, params, theta, "all")

    if penalty is None:
        return Control(no_state, apply, None, keep_state)

    def charge(plan: Plan, params: Branches, state: Tree, step: Any) -> jax.Array:
        del state, step
        stored, free = two(params, "a penalty of the free branch")
        return penalty(
            plan, replaced(plan, stored, values_at(plan, stored, free, "the free branch"))
        )

    return Control(no_state, apply, charge, keep_state)


def weights(schedule: Callable[[Any], Any], steps: int | None = None) -> TrainerFn:
    """``weights(params, extra, step)`` of the trainer for ``scheduled``; extra is the plan.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> weights = sq.relaxation.weights(sq.relaxation.constant(100))
      >>> weights(w, plan, 0), weights(w, plan, 99)
      ({'w': array([3., 1.])}, {'w': array([2., 2.])})
    """
    return as_method(scheduled(schedule, steps))[0]


def no_state(plan: Any, params: Tree) -> tuple[()]:
    """The state of a control that remembers nothing."""
    del plan, params
    return ()


def keep_state(plan: Any, params: Tree, state: Tree, signal: Tree) -> Tree:
    """The update of a control whose state does not change."""
    del plan, params, signal
    return state


def state_of(kind: type, state: Any) -> Any:
    """The state, if it is of the control's kind.

    Raises:
      TypeError: it is not.
    """
    if not isinstance(state, kind):
        raise TypeError(
            f"the control's state must be {kind.__name__}, got {type(state).__name__}: "
            "begin with start(control, plan, params)"
        )
    return state


def _opened(params: Tree) -> tuple[Tree, Tree]:
    return params if isinstance(params, Controlled) else (params, ())
