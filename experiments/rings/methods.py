"""Every method of the rings study as a change of one name: how it enters the same trainer."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax

import softeq_jax as sq
from experiments.rings import task
from softeq_jax import regularizers, relaxation
from softeq_jax.training import methods, objectives

Tree = Any


@dataclasses.dataclass(frozen=True)
class RingsRecipe:
    """What a method changes in a training run.

    Attributes:
      network: ``network(weights, points) -> logits``.
      init: ``init(key) -> params``, what the network computes with if nothing else is done.
      method: pair of functions of the trainer, with ``extra = {"plan": ..., "strength": ...}``.
      begin: from those parameters to the tree that is trained.
      wrap_loss: adds what depends on the data.
      wrap_optimizer: ``(optimizer, learning_rate) -> optimizer``.
      model_state: of the trainer.
      plan: given to every step.
      finish: from the trained tree to weights and the jump in loss of a projection at the end (0
        where there is none).
    """

    network: Callable[[Tree, jax.Array], jax.Array]
    init: Callable[[jax.Array], Tree]
    method: methods.Method
    begin: Callable[[Tree], Tree] = lambda params: params
    wrap_loss: Callable[[Any], Any] = lambda loss: loss
    wrap_optimizer: Callable[[Any, float], Any] = lambda optimizer, rate: optimizer
    model_state: Tree = dataclasses.field(default_factory=dict)
    plan: Any = None
    finish: Callable[[Tree, Any], tuple[Tree, float]] = lambda params, loss: (params, 0.0)


def plans() -> dict[str, sq.Plan]:
    """Invariance to all rotations, and to those by 72 degrees only."""
    params = task.init_steerable(jax.random.key(0))
    narrow, wide = task.features(task.SHELLS), task.features(task.HIDDEN)
    five = sq.groups.cyclic(task.WAVES)
    coarse = [sq.reps.restrict(rep, five) for rep in (narrow, wide)]
    return {
        name: sq.plan(
            params,
            {
                "layer1/kernel": sq.projector("i o", {"i": a, "o": b}, cutoff=0.0),
                "layer2/kernel": sq.projector("i o", {"i": b, "o": b}, cutoff=0.0),
            },
        )
        for name, (a, b) in {"so2": (narrow, wide), "c5": coarse}.items()
    }


def recipe(name: str, strength: Any, steps: int, learning_rate: float) -> RingsRecipe:
    """The recipe of a method.

    Args:
      name: see ``NAMES``.
      strength: what the config lists for it: a coefficient, or a pair of them. Coefficients of
        penalties are data of the step; the others compile anew.
      steps: of the run.
      learning_rate: of the run.

    Raises:
      ValueError: an unknown name.
    """
    if name not in _MAKERS:
        raise ValueError(f"method must be one of {NAMES}, got {name!r}")
    return _MAKERS[name](strength, steps, learning_rate)


def _steerable(method: methods.Method, **more: Any) -> RingsRecipe:
    plan = more.pop("plan", plans()["so2"])
    return RingsRecipe(task.steerable, task.init_steerable, method, plan=plan, **more)


def _unconstrained(*_: Any) -> RingsRecipe:
    return _steerable(methods.plain())


def _mlp(*_: Any) -> RingsRecipe:
    return RingsRecipe(task.mlp, task.init_mlp, methods.plain())


def _strict(*_: Any) -> RingsRecipe:
    plan = plans()["so2"]
    return _steerable(
        methods.Method(lambda params, extra, step: extra["plan"].project(params)),
        finish=lambda params, loss: (plan.project(params), 0.0),
    )


def _penalty(power: int) -> Callable[..., RingsRecipe]:
    def make(*_: Any) -> RingsRecipe:
        def penalty(params: Tree, extra: Tree, step: jax.Array) -> jax.Array:
            lambda_g, lambda_perp = extra["strength"]
            return regularizers.projection_penalty(
                extra["plan"], params, lambda_g, lambda_perp, power=power
            )

        return _steerable(methods.Method(methods.plain().weights, penalty))

    return make


def _prox(strength: float, steps: int, learning_rate: float) -> RingsRecipe:
    plan = plans()["so2"]

    def wrap(optimizer: Any, rate: float) -> Any:
        decay = regularizers.add_equivariance_decay(plan, rate, lambda_perp=strength, power=1)
        return optax.chain(optimizer, decay)

    return _steerable(methods.plain(), wrap_optimizer=wrap)


def _lie(*_: Any) -> RingsRecipe:
    def penalty(params: Tree, extra: Tree, step: jax.Array) -> jax.Array:
        return extra["strength"] * regularizers.lie_penalty(extra["plan"], params)

    return _steerable(methods.Method(methods.plain().weights, penalty))


def _error(weights: Tree, points: jax.Array, key: jax.Array, samples: int) -> jax.Array:
    """Sampled invariance error of the logit."""
    turns = sq.reps.vector(sq.groups.so(2))
    f = lambda x: task.steerable(weights, x)[:, None]  # noqa: E731
    return regularizers.orbit_penalty(f, points, turns, None, key, samples)


def _orbit(samples: int) -> Callable[..., RingsRecipe]:
    def make(*_: Any) -> RingsRecipe:
        def wrap(loss: Any) -> Any:
            return objectives.with_penalty(
                loss,
                lambda weights, batch, key, extra: (
                    extra["strength"] * _error(weights, batch["point"], key, samples)
                ),
            )

        return _steerable(methods.plain(), wrap_loss=wrap)

    return make


def _remul(adaptive: bool) -> Callable[..., RingsRecipe]:
    def make(strength: float, *_: Any) -> RingsRecipe:
        start = regularizers.remul_weights(1.0, strength)

        def wrap(loss: Any) -> Any:
            return _remul_loss(loss, adaptive)

        return _steerable(methods.plain(), wrap_loss=wrap, model_state={"remul": start})

    return make


def _remul_loss(loss: Any, adaptive: bool) -> Any:
    """``alpha L + beta R`` with weights kept among the model's variables."""

    def wrapped(weights: Tree, state: Tree, batch: Tree, key: jax.Array, extra: Tree) -> Any:
        def task_loss(weights: Tree) -> Any:
            value, (_, metrics) = loss(weights, state, batch, key, extra)
            return value, metrics

        penalty_of = lambda weights: _error(weights, batch["point"], key, 1)  # noqa: E731
        value, metrics = task_loss(weights)
        penalty = penalty_of(weights)
        current = state["remul"]
        new = current
        if adaptive:
            gradients = [
                jax.grad(lambda w: task_loss(w)[0])(weights),
                jax.grad(penalty_of)(weights),
            ]
            shared = jax.lax.stop_gradient((value, penalty, gradients))
            new = regularizers.adapt_remul(current, shared[0], shared[1], *shared[2])
        total = regularizers.remul(value, penalty, current)
        return total, ({**state, "remul": new}, {**metrics, "invariance": penalty})

    return wrapped


def _with_plan(pair: tuple[Any, Any]) -> methods.Method:
    """A control's pair of functions, whose extra is the plan (or plans) alone."""
    weights, penalty = pair

    def weights_of(params: Tree, extra: Tree, step: jax.Array) -> Tree:
        return weights(params, extra["plan"], step)

    if penalty is None:
        return methods.Method(weights_of)
    return methods.Method(
        weights_of, lambda params, extra, step: penalty(params, extra["plan"], step)
    )


def _controlled(control: Any, plan: Any, finish: Any, branched: bool = False) -> RingsRecipe:
    def begin(params: Tree) -> Tree:
        stored = relaxation.branches(plan, params) if branched else params
        return relaxation.start(control, plan, stored)

    return _steerable(
        _with_plan(relaxation.as_method(control)),
        begin=begin,
        wrap_optimizer=lambda inner, rate: relaxation.control_optimizer(control, plan, inner),
        plan=plan,
        finish=finish,
    )


def _projected_at_the_end(control: Any, plan: sq.Plan, steps: int) -> Any:
    """Theorem 9: the nearest invariant network, with the jump in the training loss."""

    def finish(params: Tree, loss: Any) -> tuple[Tree, float]:
        seen = control.weights(plan, params.params, params.control, steps)
        after = relaxation.finish(plan, seen)
        return after, relaxation.jump(loss, seen, after).change

    return finish


def _as_seen(control: Any, plan: Any, steps: int) -> Any:
    """The weights that the network computes with at the end; nothing is projected."""
    return lambda params, loss: (
        control.weights(plan, params.params, params.control, steps),
        0.0,
    )


def _triangular(strength: float, steps: int, learning_rate: float) -> RingsRecipe:
    plan = plans()["so2"]
    control = relaxation.scheduled(relaxation.triangular(steps, hold=strength), steps)
    return _controlled(control, plan, _projected_at_the_end(control, plan, steps))


def _ace(resilient: bool) -> Callable[..., RingsRecipe]:
    def make(strength: tuple[float, ...], steps: int, learning_rate: float) -> RingsRecipe:
        plan = plans()["so2"]
        primal, dual, *rho = strength
        control = relaxation.ace(
            primal_rate=primal, dual_rate=dual, rho=rho[0] if resilient else None
        )
        end = _as_seen if resilient else _projected_at_the_end
        return _controlled(control, plan, end(control, plan, steps))

    return make


def _rpp(strength: tuple[float, float], steps: int, learning_rate: float) -> RingsRecipe:
    plan = plans()["so2"]
    control = relaxation.rpp(equivariant_weight=strength[0], free_weight=strength[1])
    return _controlled(control, plan, _as_seen(control, plan, steps), branched=True)


def _per(strength: float, steps: int, learning_rate: float) -> RingsRecipe:
    control, candidates = relaxation.per(strength=strength), plans()
    return _controlled(control, candidates, _as_seen(control, candidates, steps))


def _recurrent(strength: float, steps: int, learning_rate: float) -> RingsRecipe:
    plan = plans()["so2"]
    control = relaxation.recurrent(rate=strength, theta=0.0)
    made = _controlled(control, plan, _as_seen(control, plan, steps))
    # From strict weights: what random weights have to lose would count as demand.
    return dataclasses.replace(made, begin=lambda params: made.begin(plan.project(params)))


_MAKERS: dict[str, Callable[..., RingsRecipe]] = {
    "strict": _strict,
    "unconstrained": _unconstrained,
    "MLP": _mlp,
    "penalty, power 2": _penalty(2),
    "penalty, power 1": _penalty(1),
    "prox": _prox,
    "Lie penalty": _lie,
    "orbit, k = 1": _orbit(1),
    "orbit, k = 4": _orbit(4),
    "REMUL": _remul(False),
    "REMUL, adaptive": _remul(True),
    "RPP": _rpp,
    "PER": _per,
    "triangular": _triangular,
    "ACE": _ace(False),
    "ACE, resilient": _ace(True),
    "recurrent": _recurrent,
}
NAMES = tuple(_MAKERS)
