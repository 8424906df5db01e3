"""One row of a softening study: filter, fine-tune, fold, evaluate, certify.

Shared by the study on pretrained networks (``experiments.soften``) and the demo
(``experiments.soften.digits_demo``).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

import softeq_jax as sq
from softeq_jax import data, training
from softeq_jax.models import ConvGeometry
from softeq_jax.training import methods, objectives

TILT = math.radians(30)
"""The angle that invariance errors and bounds are compared at."""


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """How a network is trained: one-cycle cosine rate, SGD with Nesterov momentum or AdamW."""

    steps: int
    batch_size: int
    learning_rate: float
    algorithm: str = "sgd"
    weight_decay: float = 1e-4
    warmup: float = 0.15
    seed: int = 0

    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer with its schedule.

        Raises:
          ValueError: an algorithm other than ``"sgd"`` and ``"adamw"``.
        """
        schedule = optax.cosine_onecycle_schedule(
            self.steps, self.learning_rate, pct_start=self.warmup
        )
        if self.algorithm == "adamw":
            return optax.adamw(schedule, weight_decay=self.weight_decay)
        if self.algorithm == "sgd":
            return optax.chain(
                optax.add_decayed_weights(self.weight_decay),
                optax.sgd(schedule, momentum=0.9, nesterov=True),
            )
        raise ValueError(f"algorithm must be 'sgd' or 'adamw', got {self.algorithm!r}")


@dataclasses.dataclass(frozen=True)
class Network:
    """A classifier and where its weights live on the pixel grid.

    Attributes:
      model: Linen module called as ``model.apply(variables, images, train)``.
      variables: its starting variables.
      geometry: of its convolutions.
      preprocess: what turns stored images into its inputs.
    """

    model: Any
    variables: Mapping[str, Any]
    geometry: Mapping[str, ConvGeometry]
    preprocess: Callable[[Any], Any]

    def apply_train(self, params: Any, model_state: Any, images: Any) -> tuple[Any, Any]:
        """Logits in training mode and the new batch statistics."""
        return self.model.apply(
            {"params": params, **model_state},
            self.preprocess(images),
            train=True,
            mutable=list(model_state),
        )

    def apply_test(self, params: Any, model_state: Any, images: Any, _: None) -> Any:
        """Logits of preprocessed images in test mode."""
        return self.model.apply({"params": params, **model_state}, images, train=False)

    @property
    def model_state(self) -> dict[str, Any]:
        """The variables that are not parameters."""
        return {k: v for k, v in self.variables.items() if k != "params"}


@dataclasses.dataclass(frozen=True)
class Tools:
    """The compiled functions of one network, shared by all rows (a level recompiles nothing)."""

    step: Any
    predict: Any
    optimizer: optax.GradientTransformation


def compile_tools(network: Network, tuning: FineTuning) -> Tools:
    """Training step and prediction of a network."""
    optimizer = tuning.optimizer()
    loss = objectives.classification(network.apply_train)
    return Tools(
        step=training.make_train_step(loss, optimizer, method=methods.project()),
        predict=training.make_predict(network.apply_test),
        optimizer=optimizer,
    )


def fine_tune(
    network: Network,
    tools: Tools,
    plan: sq.Plan | None,
    source: Any,
    tuning: FineTuning,
    *,
    transforms: Sequence[Any] = (),
    progress: str | None = None,
) -> tuple[dict[str, Any], float]:
    """Trains through a plan and folds it (None: plain training).

    Returns:
      (variables with projected parameters, mean training loss over the last tenth of the steps).
    """
    state = training.init_state(
        network.variables["params"], tools.optimizer, network.model_state, seed=tuning.seed
    )
    with data.train_batches(
        source, tuning.batch_size, seed=tuning.seed, transforms=transforms, steps=tuning.steps
    ) as batches:
        state, history = training.fit(
            tools.step, state, batches, tuning.steps, extra=plan, progress=progress
        )
    params = state.params if plan is None else plan.project(state.params)
    params = jax.tree.map(np.asarray, params)
    last = history["loss"][-max(1, tuning.steps // 10) :]
    return {"params": params, **state.model_state}, float(last.mean())


def evaluate(
    network: Network,
    tools: Tools,
    variables: Mapping[str, Any],
    images: np.ndarray,
    labels: np.ndarray,
    angles: tuple[float, ...],
    batch_size: int = 500,
) -> sq.measures.RotationReport:
    """Upright and rotated predictions of folded variables on stored images; angles in radians."""
    params = variables["params"]
    model_state = {k: v for k, v in variables.items() if k != "params"}

    def predict(x: np.ndarray) -> np.ndarray:
        return tools.predict(params, model_state, x, batch_size=batch_size)

    inputs = np.asarray(network.preprocess(images), np.float32)
    return sq.measures.rotation_report(predict, inputs, labels, angles)


def summary(outcome: sq.measures.RotationReport) -> dict[str, Any]:
    """The numbers of a row."""
    values: dict[str, Any] = {"images": len(outcome.correct)}
    values["accuracy"], values["accuracy_se"] = outcome.accuracy()
    rotated = outcome.accuracy_rotated(TILT)
    values["accuracy_rotated"], values["accuracy_rotated_se"] = rotated
    for angle in sorted({round(abs(math.degrees(a))) for a in outcome.angles}):
        kl, floor = outcome.kl_at(math.radians(angle)), outcome.kl_floor_at(math.radians(angle))
        values |= {f"kl_{angle}": kl[0], f"kl_{angle}_se": kl[1]}
        values |= {f"floor_{angle}": floor[0], f"floor_{angle}_se": floor[1]}
    return values


@dataclasses.dataclass(frozen=True)
class Movement:
    """Worst relative movement of the planned weights, ``||g w - w|| / ||w||``, as they are.

    Attributes:
      certified: bound over the rotations of SO(2) by at most 30 degrees.
      measured: the same rotations applied to the weights.
      certified_group: bound over the whole group of the plan.
      measured_group: its elements (for SO(2) and O(2) 24 angles) applied to the weights.
    """

    certified: float
    measured: float
    certified_group: float
    measured_group: float


def movement(plan: sq.Plan, rotations: sq.Plan, params: Any) -> Movement:
    """Certified and measured movement of concrete parameters.

    Args:
      plan: of the row.
      rotations: for the same parameters under SO(2), so that rows of all groups are compared at
        the same angles; its levels play no part.
      params: the filtered parameters.

    Raises:
      ValueError: the plan filters nothing.
    """
    if not plan.projectors:
        raise ValueError("the plan filters nothing")
    group, so2 = plan.projectors[0].space.group, rotations.projectors[0].space.group
    within = rotations.certificate(params, within=TILT)
    whole = plan.certificate(params)
    turns = [so2.element(t) for t in np.linspace(0, TILT, 13)]
    if group.is_finite:
        elements = list(group.elements())
    else:
        flips = (False, True) if group.has_flip else (False,)
        angles = np.arange(24) * (2 * math.pi / 24)
        elements = [group.element(t, flip) for t in angles for flip in flips]
    return Movement(
        certified=within.relative,
        measured=_farthest(rotations, params, turns) / within.weight_norm,
        certified_group=whole.relative,
        measured_group=_farthest(plan, params, elements) / whole.weight_norm,
    )


def _farthest(plan: sq.Plan, params: Any, elements: list[np.ndarray]) -> float:
    """The largest movement of the planned weights over group elements, applied in float64."""
    squared = np.zeros(len(elements))
    for _, projector, w in plan.planned(params):
        w = np.asarray(w, np.float64)
        moved = (projector.act(g, w) - w for g in elements)
        squared += [np.sum(difference**2) for difference in moved]
    return float(np.sqrt(squared.max()))


def layer_certificates(
    plan: sq.Plan, params: Any, geometry: Mapping[str, ConvGeometry]
) -> dict[str, sq.Certificate]:
    """The certificate of every planned convolution as a layer, over the whole group."""
    return {
        path: sq.certificates.convolution(projector, np.asarray(w), geometry[path])
        for path, projector, w in plan.planned(params)
        if path in geometry
    }


def kept_share(plan: sq.Plan) -> float:
    """Rank of the planned projectors over the dimensions they act on (1 = nothing removed)."""
    rank = dim = 0.0
    for shape, index in zip(plan.shapes, plan.chosen, strict=True):
        if index >= 0:
            projector = plan.projectors[index]
            copies = math.prod(shape) / projector.dim
            rank += copies * projector.rank()
            dim += copies * projector.dim
    return rank / dim
