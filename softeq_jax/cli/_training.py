"""Training of a checkpoint by the library's trainer: filters, recipe, steps, evaluation."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from softeq_jax import Plan
    from softeq_jax.cli._labeled import Labeled
    from softeq_jax.models.weights import Pretrained
    from softeq_jax.training import Method, Outcome

RULES = ("soft", "frozen", "none")
_RATES = {"dinov2": 5e-5, "cifar_resnet": 1e-3}  # of families; the others have the last number
_RATE, _HEAD = 1e-4, 10.0
_SAVE_EVERY = 100


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """What a run is made of.

    Published fine-tuning through soft equivariance: AdamW without weight decay, a rate of 1e-4
    (5e-5 for DINOv2) that falls as a cosine, batches of 128 images turned by up to 10 degrees. A
    new head learns ten times as fast; the small networks of CIFAR take a rate of 1e-3.

    Attributes:
      rules: one of ``RULES``.
      epochs: over the images.
      batch_size: images in a step.
      learning_rate: at its highest.
      weight_decay: decoupled.
      rotation: largest angle in degrees that images are turned by.
      flip: whether they are mirrored at random.
      seed: of order, turns and a new head.
    """

    rules: str
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    rotation: float
    flip: bool
    seed: int


def recipe(arguments: argparse.Namespace, family: str, images: int) -> FineTuning:
    """The recipe of a family, with what the arguments change.

    Args:
      arguments: of the command.
      family: of the network.
      images: to train on; a batch has no more, and a multiple of the number of devices.
    """
    import jax

    rate, devices = arguments.learning_rate, jax.device_count()
    size = max(min(arguments.batch_size, images) // devices, 1) * devices
    return FineTuning(
        rules=arguments.rules,
        epochs=arguments.epochs,
        batch_size=size,
        learning_rate=_RATES.get(family, _RATE) if rate is None else rate,
        weight_decay=arguments.weight_decay,
        rotation=arguments.rotation,
        flip=arguments.flip,
        seed=arguments.seed,
    )


def steps_of(tuning: FineTuning, images: int) -> int:
    """How many steps a run has."""
    return max(1, tuning.epochs * images // tuning.batch_size)


@dataclasses.dataclass(frozen=True)
class Start:
    """Weights to begin with.

    Attributes:
      network: with its head.
      plan: of the filters, None without.
      params: filtered, if there is a plan.
      fresh: paths of ``params`` that are a new head's.
    """

    network: "Pretrained"
    plan: "Plan | None"
    params: Any
    fresh: tuple[str, ...]


def train(
    start: Start,
    tuning: FineTuning,
    sources: "tuple[Labeled, Labeled]",
    workdir: Path,
    made_of: dict[str, Any],
) -> "tuple[Any, Outcome]":
    """Trains to the end, from wherever the work directory stands.

    Args:
      start: the weights.
      tuning: the recipe.
      sources: images to train on, and those that are held out.
      workdir: of this run alone.
      made_of: what else a resumed run must agree in.

    Returns:
      The variables, filtered, and how the run went.

    Raises:
      ValueError: see ``softeq_jax.training.train``, also for what is another error there.
    """
    from softeq_jax import training as tr

    steps = steps_of(tuning, len(sources[0]))
    method, extra = _method(start, tuning)
    optimizer, rate = _optimizer(start, tuning, steps)
    apply_train, apply_test = _applied(start.network)
    state = {k: v for k, v in start.network.variables.items() if k != "params"}
    epoch = max(1, len(sources[0]) // tuning.batch_size)
    settings = tr.RunSettings(
        steps,
        log_every=max(1, min(epoch, 20)),
        evaluate_every=epoch,
        save_every=min(epoch, _SAVE_EVERY),
        tensorboard=False,
    )
    measured = tr.make_evaluate(tr.evaluation.classification_metrics(apply_test), method=method)

    def evaluate(step: int, state: Any) -> dict[str, float]:
        return measured(*tr.averaged(state), _held_out(sources[1], tuning), extra, step)

    try:
        outcome = tr.train(
            tr.make_train_step(tr.objectives.classification(apply_train), optimizer, method=method),
            tr.init_state(start.params, optimizer, state, seed=tuning.seed),
            _batches(sources[0], tuning),
            settings,
            workdir,
            extra=extra,
            evaluate=evaluate,
            learning_rate=rate,
            config=made_of | dataclasses.asdict(tuning),
        )
    except (tr.NonFiniteLoss, tr.WorkdirInUse, tr.DamagedCheckpoint, tr.CheckpointFailed) as error:
        raise ValueError(str(error)) from error
    params = method.weights(outcome.state.params, extra, np.int32(outcome.step))
    return {**outcome.state.model_state, "params": params}, outcome


def _method(start: Start, tuning: FineTuning) -> "tuple[Method, Any]":
    """How parameters enter the loss, and what the step is given."""
    from softeq_jax.training import methods

    if start.plan is None or tuning.rules != "soft":
        return methods.plain(), None
    return methods.anchored(), methods.Anchored(start.plan, start.params)


def _optimizer(start: Start, tuning: FineTuning, steps: int) -> tuple[Any, Callable[[int], Any]]:
    """AdamW as of ``FineTuning``; frozen parameters do not move."""
    import softeq_jax as sq
    from softeq_jax.training import optimizers

    settings = optimizers.OptimizerSettings(
        learning_rate=tuning.learning_rate, weight_decay=tuning.weight_decay
    )
    rules = {sq.literal(path): _HEAD for path in start.fresh}
    if tuning.rules == "frozen" and start.plan is not None:
        rules |= {sq.literal(path): 0.0 for path, _, _ in start.plan.planned(start.params)}
    rates = optimizers.factors(start.params, rules, default=1.0)
    return settings.optimizer(start.params, steps, rates), settings.rate(steps)


def _applied(network: "Pretrained") -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The network in training, with batch statistics of all devices, and in tests."""
    from softeq_jax import training as tr

    local = network.model
    model: Any = local.clone(axis_name=tr.AXIS) if hasattr(local, "axis_name") else local

    def apply_train(params: Any, state: Any, images: Any) -> Any:
        variables = {"params": params, **state}
        return model.apply(variables, images, train=True, mutable=list(state))

    def apply_test(params: Any, state: Any, images: Any) -> Any:
        return local.apply({"params": params, **state}, images, train=False)

    return apply_train, apply_test


def _transforms(source: "Labeled", tuning: FineTuning | None) -> tuple[Any, ...]:
    """Normalization, after the turns of training if there is a recipe."""
    from softeq_jax import data

    preprocess, found = source.preprocess, []
    if tuning is not None and tuning.rotation:
        found.append(data.RandomRotation(tuning.rotation, fill=tuple(preprocess.mean)))
    if tuning is not None and tuning.flip:
        found.append(data.RandomFlip())
    return (*found, data.Normalize(preprocess.mean, preprocess.std, scale=1))


def _batches(source: "Labeled", tuning: FineTuning) -> Callable[[int], Any]:
    from softeq_jax import data

    return lambda start: data.train_batches(
        source,
        tuning.batch_size,
        seed=tuning.seed,
        start_step=start,
        transforms=_transforms(source, tuning),
    )


def _held_out(source: "Labeled", tuning: FineTuning) -> Any:
    from softeq_jax import data

    return data.eval_batches(source, tuning.batch_size, transforms=_transforms(source, None))
