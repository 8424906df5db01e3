"""The methods of the N-body study: how each enters the same trainer with the same network."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import softeq_jax as sq
from experiments.nbody import task
from experiments.shared.layer_penalties import lie_and_norm, scrambled_lie_and_norm
from softeq_jax import regularizers, relaxation
from softeq_jax.models import EquivariantGraphNet
from softeq_jax.relaxation import Branches
from softeq_jax.training import methods

Tree = Any


@dataclasses.dataclass(frozen=True)
class ParticleRecipe:
    """What a method changes in a training run.

    Attributes:
      method: pair of functions of the trainer, with ``extra = {"plan": ..., "strength": ...}``.
      projects: whether its network is the projected one at the end.
      begin: ``begin(params, key)``, from the network's parameters to the tree that is trained.
      wrap_optimizer: from one optimizer to another.
      layer_penalty: see ``task.make_loss``.
      seen: from the trained tree to the weights that the network computes with after the last
        step.
    """

    method: methods.Method
    projects: bool
    begin: Callable[[Tree, jax.Array], Tree] = lambda params, key: params
    wrap_optimizer: Callable[[Any], Any] = lambda optimizer: optimizer
    layer_penalty: task.LayerPenalty | None = None
    seen: Callable[[Tree], Tree] = lambda params: params


@dataclasses.dataclass(frozen=True)
class ParticleSetting:
    """What recipes are made for.

    Attributes:
      model: the network.
      plan: of its update layers.
      steps: of a run.
      hold: share of a run, at its end, that the relaxation is off.
      free_std: standard deviation of the free branches' first entries.
    """

    model: EquivariantGraphNet
    plan: sq.Plan
    steps: int
    hold: float
    free_std: float


def recipe(name: str, strength: Any, setting: ParticleSetting) -> ParticleRecipe:
    """The recipe of a method.

    Args:
      name: see ``NAMES``.
      strength: what the preset lists for it; see ``strength_is_data``.
      setting: of the study.

    Raises:
      ValueError: an unknown name.
    """
    if name not in _MAKERS:
        raise ValueError(f"method must be one of {NAMES}, got {name!r}")
    return _MAKERS[name](strength, setting)


def strength_is_data(name: str) -> bool:
    """Whether strengths of a method share one compiled step."""
    return name in ("relaxed", "relaxed, published term", "penalized")


def _strict(strength: Any, setting: ParticleSetting) -> ParticleRecipe:
    def weights(params: Tree, extra: Tree, step: jax.Array) -> Tree:
        return extra["plan"].project(params)

    return ParticleRecipe(methods.Method(weights), True, seen=setting.plan.project)


def _unconstrained(*, projects: bool) -> Callable[..., ParticleRecipe]:
    return lambda strength, setting: ParticleRecipe(methods.plain(), projects)


def _penalized(strength: Any, setting: ParticleSetting) -> ParticleRecipe:
    def penalty(params: Tree, extra: Tree, step: jax.Array) -> jax.Array:
        return regularizers.projection_penalty(extra["plan"], params, 0.0, extra["strength"])

    return ParticleRecipe(methods.Method(methods.plain().weights, penalty), False)


def _relaxed(terms: Callable[..., Any]) -> Callable[..., ParticleRecipe]:
    """Two branches, ``P W_e + theta B``, theta up and down again, terms that hold B back."""

    def make(strength: Any, setting: ParticleSetting) -> ParticleRecipe:
        schedule = relaxation.triangular(setting.steps, hold=setting.hold)
        relaxation.check_schedule(schedule, setting.steps)

        def weights(params: Branches, extra: Tree, step: jax.Array) -> task.Seen:
            return task.Seen(relaxation.relax(extra["plan"], params, schedule(step)), params.free)

        return ParticleRecipe(
            methods.Method(weights),
            True,
            begin=_two_branches(setting),
            layer_penalty=_layer_penalty(setting.model, terms),
            seen=lambda params: relaxation.relax(setting.plan, params, schedule(setting.steps)),
        )

    return make


def _two_priors(strength: tuple[float, float], setting: ParticleSetting) -> ParticleRecipe:
    """RPP: ``P A + B``, each with its weight in the loss."""
    equivariant, free = strength
    control = relaxation.rpp(equivariant_weight=equivariant, free_weight=free)
    return ParticleRecipe(
        _controlled(control),
        False,
        begin=_two_branches(setting),
        seen=lambda params: control.weights(setting.plan, params, (), setting.steps),
    )


def _ace(*third: str) -> Callable[..., ParticleRecipe]:
    """Dual ascent in one of its forms, by the name of the third number of its strength."""

    def make(strength: tuple[float, ...], setting: ParticleSetting) -> ParticleRecipe:
        named = zip(("primal_rate", "dual_rate", *third), strength, strict=True)
        plan, control = setting.plan, relaxation.ace(**dict(named))
        open_branches = _two_branches(setting)
        return ParticleRecipe(
            _controlled(control),
            "rho" not in third,
            begin=lambda params, key: relaxation.start(control, plan, open_branches(params, key)),
            wrap_optimizer=lambda inner: relaxation.control_optimizer(control, plan, inner),
            seen=lambda params: control.weights(plan, params.params, params.control, setting.steps),
        )

    return make


def _controlled(control: relaxation.Control) -> methods.Method:
    """``methods.controlled``, with the plan where this study's steps are given it."""
    made = methods.controlled(control)

    def weights(params: Tree, extra: Tree, step: jax.Array) -> Tree:
        return made.weights(params, extra["plan"], step)

    def penalty(params: Tree, extra: Tree, step: jax.Array) -> jax.Array:
        return methods.total_penalty(made, params, extra["plan"], step)

    return methods.Method(weights, penalty)


def _two_branches(setting: ParticleSetting) -> Callable[[Tree, jax.Array], Branches]:
    """Adds free branches with small normal entries."""

    def begin(params: Tree, key: jax.Array) -> Branches:
        opened = relaxation.branches(setting.plan, params)
        shapes, structure = jax.tree.flatten(opened.free)
        keys = jax.random.split(key, len(shapes))
        drawn = [
            np.asarray(setting.free_std * jax.random.normal(k, b.shape, b.dtype))
            for k, b in zip(keys, shapes, strict=True)
        ]
        return opened._replace(free=jax.tree.unflatten(structure, drawn))

    return begin


def _layer_penalty(model: EquivariantGraphNet, terms: Callable[..., Any]) -> task.LayerPenalty:
    """``lambda`` times the terms of the free branches on their inputs."""
    charged = terms(model.relaxed_representations(task.GROUP))

    def penalty(free: Tree, inputs: dict[str, jax.Array], extra: Tree) -> jax.Array:
        return jnp.asarray(extra["strength"]) * charged(task.layers_of(model, free), inputs)

    return penalty


def optimizer(learning_rate: Any, weight_decay: float) -> optax.GradientTransformation:
    """Adam with weight decay in the gradient."""
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate))


_MAKERS: dict[str, Callable[..., ParticleRecipe]] = {
    "strict": _strict,
    "relaxed": _relaxed(lie_and_norm),
    "relaxed, published term": _relaxed(scrambled_lie_and_norm),
    "ACE": _ace(),
    "ACE, augmented": _ace("augmentation"),
    "ACE, resilient": _ace("rho"),
    "penalized": _penalized,
    "RPP": _two_priors,
    "unconstrained": _unconstrained(projects=False),
    "unconstrained, projected after": _unconstrained(projects=True),
}
NAMES = tuple(_MAKERS)
