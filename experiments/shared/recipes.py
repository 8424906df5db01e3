"""How the rows of a study enter the one trainer: what is trained, with which penalty, what is kept.

Every recipe works on a plan, whichever network the plan was made for, so that a study is its task
and a list of recipes. ``extra`` of the training step is the plan.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import optax

import softeq_jax as sq
from experiments.shared import trained
from experiments.shared.studies import Run, Settings, StepCost
from softeq_jax import regularizers, relaxation
from softeq_jax import training as tr
from softeq_jax.training import methods
from softeq_jax.training.step import LossFn

Tree = Any


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a row changes in a training run.

    Attributes:
      method: pair of functions of the trainer.
      plan: given to every step; None where nothing is projected.
      begin: from parameters and those of a second draw to the tree that is trained.
      wrap_optimizer: from an optimizer of parameters to one of that tree.
      finish: from the trained tree to the weights that the row is judged by.
    """

    method: methods.Method
    plan: sq.Plan | None = None
    begin: Callable[[Tree, Tree], Tree] = lambda params, second: params
    wrap_optimizer: Callable[[Any], Any] = lambda optimizer: optimizer
    finish: Callable[[Tree], Tree] = lambda params: params


def free() -> Recipe:
    """The network as it is."""
    return Recipe(methods.plain())


def projected(plan: sq.Plan) -> Recipe:
    """Trained through the projection of the plan: strict, at a level, or with a smooth mask."""
    return Recipe(methods.project(), plan, finish=plan.project)


def projected_after(plan: sq.Plan) -> Recipe:
    """Trained as it is, projected at the end."""
    return Recipe(methods.plain(), plan, finish=plan.project)


class Opened(NamedTuple):
    """What the loss of a relaxed row is given, so that a penalty can look at its free branches.

    Attributes:
      network: weights that the network computes with.
      free: free branches B, a tree like it with None where there is none.
      theta: their factor at this step.
    """

    network: Tree
    free: Tree
    theta: Any


def relaxed(
    plan: sq.Plan,
    schedule: relaxation.Schedule,
    *,
    opened: bool = False,
    penalty: Callable[[sq.Plan, Tree], Any] | None = None,
) -> Recipe:
    """Trained with ``P A + theta B``, theta from a schedule; B starts at 0; judged projected.

    Args:
      plan: strict.
      schedule: of theta, over all steps of the run.
      opened: whether the loss is given ``Opened`` in the place of weights.
      penalty: of B, whatever the data, see ``relaxation.scheduled``.
    """
    control = relaxation.scheduled(schedule, schedule.steps, penalty=penalty)

    def weights(params: Any, plan: sq.Plan, step: Any) -> Any:
        theta = schedule(step)
        network = relaxation.relax(plan, params, theta)
        return Opened(network, params.free, theta) if opened else network

    return Recipe(
        methods.Method(weights, relaxation.as_method(control)[1]),
        plan,
        begin=lambda params, second: relaxation.branches(plan, params),
        finish=lambda params: relaxation.finish(plan, params, float(schedule(schedule.steps))),
    )


def penalized(plan: sq.Plan, strength: float) -> Recipe:
    """``strength ||N w||^2`` added to the loss; judged as it was trained."""

    def penalty(plan: sq.Plan, params: Tree) -> Any:
        return regularizers.projection_penalty(plan, params, 0.0, strength)

    return Recipe(methods.penalize(penalty), plan)


def proximal(plan: sq.Plan, strength: float, rate: Any) -> Recipe:
    """A shrink of ``||N w||`` after every step, by ``rate * strength``; judged as it was trained.

    Args:
      plan: strict.
      strength: lambda of the norm (power 1), so that N w vanishes where the loss pulls less.
      rate: the learning rate, a number or a schedule.
    """

    def wrap(optimizer: Any) -> Any:
        decay = regularizers.add_equivariance_decay(plan, rate, lambda_perp=strength, power=1)
        return optax.chain(optimizer, decay)

    return Recipe(methods.plain(), plan, wrap_optimizer=wrap)


def mixed(plan: sq.Plan, share: float) -> Recipe:
    """Two sets of weights, ``(1 - share) P A + share B``: residual mixing, as in RPP.

    In a linear layer mixing weights is mixing outputs. Both sets are drawn independently.
    """

    def blend(params: Tree, plan: sq.Plan) -> Tree:
        even = plan.project(params["even"])
        return jax.tree.map(lambda a, b: (1.0 - share) * a + share * b, even, params["odd"])

    return Recipe(
        methods.Method(lambda params, extra, step: blend(params, extra)),
        plan,
        begin=lambda params, second: {"even": params, "odd": second},
        finish=lambda params: blend(params, plan),
    )


def dual_ascent(
    plan: sq.Plan, steps: int, *, primal_rate: float, dual_rate: float, augmentation: float
) -> Recipe:
    """ACE with the augmented term; judged projected, as its constraint asks."""
    control = relaxation.ace(
        primal_rate=primal_rate, dual_rate=dual_rate, augmentation=augmentation
    )

    def finish(params: relaxation.Controlled) -> Tree:
        return relaxation.finish(plan, control.weights(plan, params.params, params.control, steps))

    return Recipe(
        methods.controlled(control),
        plan,
        begin=lambda params, second: relaxation.start(control, plan, params),
        wrap_optimizer=lambda inner: relaxation.control_optimizer(control, plan, inner),
        finish=finish,
    )


def two_priors(plan: sq.Plan, equivariant_weight: float, free_weight: float) -> Recipe:
    """RPP: two branches ``P A + B`` with their priors; judged as it was trained."""
    control = relaxation.rpp(equivariant_weight=equivariant_weight, free_weight=free_weight)
    return Recipe(
        methods.controlled(control),
        plan,
        begin=lambda params, second: relaxation.branches(plan, params),
        finish=lambda params: control.weights(plan, params, (), 0),
    )


def group_weighted(plan: sq.Plan, strength: float) -> Recipe:
    """Relaxed group convolutions with two banks; judged as they were trained.

    Args:
      plan: strict, of weights between regular representations.
      strength: of the penalty on unequal weights over the group.
    """
    control = relaxation.group_weights(strength)
    return Recipe(
        methods.controlled(control),
        plan,
        begin=lambda params, second: relaxation.group_banks(plan, params, second),
        finish=lambda params: control.weights(plan, params, (), 0),
    )


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every row of a study may spend.

    Attributes:
      steps: of training.
      learning_rate: of Adam, a number or a schedule.
      weight_decay: added to the gradient.
      clip: norm of the gradient that is not exceeded, or None.
    """

    steps: int
    learning_rate: Any
    weight_decay: float = 0.0
    clip: float | None = None

    def optimizer(self) -> optax.GradientTransformation:
        """Adam, after the norm of the gradient is cut and the weights' decay added."""
        cut = optax.identity() if self.clip is None else optax.clip_by_global_norm(self.clip)
        decay = optax.add_decayed_weights(self.weight_decay)
        return optax.chain(cut, decay, optax.adam(self.learning_rate))


def steps_of_row(settings: Settings, whole: int) -> int:
    """All steps of a study, or the ``share`` of them that a row has time for."""
    return max(1, round(settings.get("share", 1.0) * whole))


def settings_of_step(run: Run, data_alone: Sequence[str] = ()) -> str:
    """All settings of a run that its compiled step depends on, as JSON: a key for caches.

    Args:
      run: of a study.
      data_alone: settings that decide about the data only.
    """
    shared = {key: value for key, value in run.settings.items() if key not in data_alone}
    return json.dumps(shared, sort_keys=True)


def named(method: str, strength: Any, plan: sq.Plan, budget: Budget) -> Recipe:
    """The recipe of a method that several studies have.

    Args:
      method: "free", "strict", "projected after", "penalty", "prox", "mixed" or "ace".
      strength: of the penalty or the prox, the share of "mixed", the rates of "ace"; the others
        have none.
      plan: strict.
      budget: of all rows.

    Raises:
      ValueError: another method.
    """
    match method:
        case "free":
            return free()
        case "strict":
            return projected(plan)
        case "projected after":
            return projected_after(plan)
        case "penalty":
            return penalized(plan, strength)
        case "prox":
            return proximal(plan, strength, budget.learning_rate)
        case "mixed":
            return mixed(plan, strength)
        case "ace":
            return dual_ascent(plan, budget.steps, **strength)
    raise ValueError(f"unknown method {method!r}")


class RowTrainer:
    """A row with its compiled step, for all seeds and all data of one shape.

    Attributes:
      recipe: of the row.
      budget: of all rows.
      optimizer: of the tree that is trained.
      step: compiled.
    """

    def __init__(self, recipe: Recipe, budget: Budget, loss: LossFn):
        self.recipe, self.budget = recipe, budget
        self.optimizer = recipe.wrap_optimizer(budget.optimizer())
        self.step = tr.make_train_step(loss, self.optimizer, method=recipe.method)

    def begin(
        self, starts: tuple[Tree, Tree], seed: int, model_state: Tree | None = None
    ) -> tr.TrainState:
        """The state before the first step, from two draws of the network's parameters.

        Args:
          starts: the draws; those of a pretrained network are twice the same.
          seed: of the keys of the steps.
          model_state: the network's other variables, such as statistics of batch norm.
        """
        return tr.init_state(self.recipe.begin(*starts), self.optimizer, model_state, seed=seed)

    def train(self, run: Run, state: tr.TrainState, source: Any, **batches: Any) -> Tree:
        """The weights that a run ends with; ``batches`` as of ``trained.train``."""
        return self.train_all(run, state, source, **batches)[0]

    def train_all(
        self, run: Run, state: tr.TrainState, source: Any, **batches: Any
    ) -> tuple[Tree, Tree]:
        """As ``train``, and the network's other variables at the end."""
        end = trained.train(
            run, self.step, state, source, self.budget.steps, extra=self.recipe.plan, **batches
        )
        return self.recipe.finish(end.params), end.model_state

    def step_cost(self, state: tr.TrainState, batch: Any) -> StepCost:
        """Time and memory of a training step on a batch."""
        plan, steps = self.recipe.plan, self.budget.steps
        return trained.step_cost(self.step, state, batch, plan, steps=steps)
