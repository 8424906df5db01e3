"""From a resolved training config to what the trainer needs: data, network, step, evaluation."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import softeq_jax as sq
from softeq_jax import data, models
from softeq_jax import training as tr
from softeq_jax.training import methods, objectives, optimizers, watch
from softeq_jax.training.evaluation import classification_metrics

_RUNS_ONCE = {"xla_backend_optimization_level": 0}
"""How what draws the weights is compiled: in a second instead of ten, with the same bits."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained on what, and how.

    Attributes:
      state: before the first step.
      step: the compiled step.
      batches: this host's training batches from a step on.
      evaluate: metrics of a state on the devices.
      learning_rate: of a step.
      plan: given to every step, or None.
      apply: `apply(params, images) -> logits` in test mode, with parameters and model variables
        as one tree.
    """

    state: tr.TrainState
    step: Any
    batches: Callable[[int], Any]
    evaluate: Callable[[int, tr.TrainState], dict[str, float]]
    learning_rate: optax.Schedule
    plan: sq.Plan | None
    apply: Callable[[Any, jax.Array], jax.Array]


def make_task(config: Any, data_dir: Path | None) -> Task:
    """Builds everything from a resolved config.

    Raises:
      ValueError: a name that does not exist, or a number out of range; it is named.
      FileNotFoundError: the data are not there.
    """
    train, test = sources(config.data, data_dir)
    side, channels = config.data.image_size, np.shape(train[0]["image"])[-1]
    model, variables = make_network(config.model, (1, side, side, channels), config.seed)
    local = model.clone(axis_name=None) if hasattr(model, "axis_name") else model
    params = variables.pop("params")

    def apply_train(params: Any, model_state: Any, images: jax.Array) -> tuple[jax.Array, Any]:
        return model.apply(
            {"params": params, **model_state}, images, train=True, mutable=list(model_state)
        )

    def apply_test(params: Any, model_state: Any, images: jax.Array) -> jax.Array:
        return local.apply({"params": params, **model_state}, images, train=False)

    method, plan = make_method(config.method, model, params)
    settings = optimizers.OptimizerSettings(
        **{k: v for k, v in config.optimizer.items() if k not in ("layers", "layer_decay")}
    )
    layers, decay = config.optimizer.layers, config.optimizer.layer_decay
    rates = optimizers.layer_decay(params, layers, decay) if layers else None
    optimizer = settings.optimizer(params, config.run.steps, rates)
    step = tr.make_train_step(
        objectives.classification(apply_train, smoothing=config.augment.smoothing),
        optimizer,
        method=method,
        **config.step,
    )
    state = tr.init_state(
        params,
        optimizer,
        variables,
        seed=config.seed,
        average=config.step.average_decay is not None,
    )
    return Task(
        state=state,
        step=step,
        batches=_batches(config, train),
        evaluate=_evaluation(config, test, apply_test, method, plan),
        learning_rate=jax.jit(settings.rate(config.run.steps)),
        plan=plan,
        apply=lambda both, images: apply_test(both["params"], both["model_state"], images),
    )


def sources(config: Any, data_dir: Path | None) -> tuple[Any, Any]:
    """Training and test examples.

    Raises:
      ValueError: a data set on disk without a folder.
    """
    if config.name == "digits":
        train_x, train_y, test_x, test_y = data.digits()
        as_bytes = lambda x: np.rint(255 * x).astype(np.uint8)  # noqa: E731
        parts = (train_x, train_y), (test_x, test_y)
        return tuple(data.ArraySource(as_bytes(images), labels) for images, labels in parts)
    if data_dir is None:
        raise ValueError(f"data.name={config.name!r} needs --data_dir (or SOFTEQ_DATA_DIR)")
    folder = data_dir / config.folder
    parts = config.train, config.test
    return tuple(data.open_source(config.name, part, folder) for part in parts)


def make_network(config: Any, shape: tuple[int, ...], seed: int) -> tuple[Any, dict[str, Any]]:
    """The Linen module, called as `model.apply(variables, images, train)`, and its variables.

    Args:
      config: section "model".
      shape: of images `[1, side, side, channels]`.
      seed: of weights that are not loaded.

    Raises:
      ValueError: an unknown name, weights of another family, or that take other images.
      FileNotFoundError: no such weights.
    """
    if config.weights:
        loaded = models.load(
            config.weights, num_classes=config.num_classes, reset_head=config.reset_head, seed=seed
        )
        model, variables = loaded.model, loaded.variables
        jax.eval_shape(model.apply, variables, jax.ShapeDtypeStruct(shape, jnp.float32))
    else:
        model = make_model(config, shape[1])
        init = jax.jit(
            lambda x: model.init(jax.random.key(seed), x, train=False),
            compiler_options=_RUNS_ONCE if jax.default_backend() == "cpu" else None,
        )
        variables = init(np.zeros(shape, np.float32))
    if hasattr(model, "axis_name"):
        model = model.clone(axis_name=tr.AXIS)
    return model, dict(variables)


def make_model(config: Any, image_size: int) -> Any:
    """The Linen module of a config.

    Raises:
      ValueError: an unknown name.
    """
    if config.name == "cifar_resnet":
        return models.CifarResNet(config.depth, config.num_classes, config.width)
    if config.name == "vit":
        return models.ViT(
            image_size=image_size,
            patch_size=config.patch_size,
            width=config.width,
            depth=config.depth,
            heads=config.heads,
            pool=config.pool,
            num_classes=config.num_classes,
        )
    if config.name not in models.PRESETS:
        known = ", ".join(("cifar_resnet", "vit", *models.PRESETS))
        raise ValueError(f"model.name must be one of {known}; got {config.name!r}")
    model = models.create(config.name, num_classes=config.num_classes)
    fixed = isinstance(model, models.ViT | models.MLPMixer)
    return model.clone(image_size=image_size) if fixed else model


def make_method(config: Any, model: Any, params: Any) -> tuple[tr.Method, sq.Plan | None]:
    """The method's pair of functions, and the plan that every step gets.

    Args:
      config: section "method".
      model: the Linen module.
      params: its parameters.

    Raises:
      ValueError: an unknown name, or as `softeq_jax.plan`.
    """
    if config.name == "plain":
        return methods.plain(), None
    if config.name not in ("project", "penalize"):
        raise ValueError(
            f"method.name must be 'plain', 'project' or 'penalize', got {config.name!r}"
        )
    if config.name == "project":
        return methods.project(), sq.plan(params, _rules(config, model, config.mask))
    if config.mask not in (None, "hard"):
        raise ValueError(
            'method.name = "penalize" needs the orthogonal parts of weights: method.mask must be '
            f'"hard", got {config.mask!r}'
        )
    if not config.lambda_g and not config.lambda_perp:
        raise ValueError("method.lambda_g and method.lambda_perp are both 0: nothing is penalized")
    plan = sq.plan(params, _rules(config, model, "hard"))
    penalty = functools.partial(
        sq.regularizers.projection_penalty,
        lambda_g=config.lambda_g,
        lambda_perp=config.lambda_perp,
        power=config.power,
    )
    return methods.penalize(penalty), plan


def _rules(config: Any, model: Any, mask: str | None) -> dict[str, Any]:
    group = sq.groups.from_name(config.group)
    if config.rules == "soft":
        names = ("cutoff", "softness", "position_softness")
        return models.soft_rules(model, group, mask=mask, **{name: config[name] for name in names})
    softness = {name: config[name] for name in ("softness", "position_softness")}
    if any(value is not None for value in softness.values()):
        raise ValueError(
            f'method.softness and method.position_softness are for rules = "soft", got {softness} '
            f"with rules = {config.rules!r}"
        )
    return {config.rules: sq.convolution_rule(group, cutoff=config.cutoff, mask=mask)}


def transforms(config: Any, *, train: bool) -> tuple[Any, ...]:
    """What is done to each stored image."""
    augment, found = config.augment, []
    if config.data.resize:
        side = config.data.image_size
        found.append(data.Resize((side, side), "bicubic"))
    if train and augment.crop:
        found.append(data.RandomCrop(augment.crop))
    if train and augment.flip:
        found.append(data.RandomFlip())
    if train and augment.rotation:
        found.append(data.RandomRotation(augment.rotation))
    if train and augment.randaugment:
        found.append(data.RandAugment(*augment.randaugment))
    found.append(data.Normalize(config.data.mean, config.data.std))
    if train and augment.erasing:
        found.append(data.RandomErasing(augment.erasing))
    return tuple(found)


def pairing(config: Any) -> Any:
    """Mixup, cutmix, or either in turn; None without them."""
    mixup, cutmix = config.augment.mixup, config.augment.cutmix
    options = {"num_classes": config.model.num_classes, "smoothing": config.augment.smoothing}
    if mixup and cutmix:
        return data.MixupOrCutmix(mixup, cutmix, **options)
    if mixup:
        return data.Mixup(mixup, **options)
    return data.Cutmix(cutmix, **options) if cutmix else None


def _batches(config: Any, source: Any) -> Callable[[int], Any]:
    def batches(start_step: int) -> Any:
        return data.train_batches(
            source,
            config.data.batch_size,
            seed=config.seed,
            transforms=transforms(config, train=True),
            pairing=pairing(config),
            check=data.classification(config.model.num_classes),
            start_step=start_step,
            num_threads=config.data.num_threads,
            num_workers=config.data.num_workers,
            host=jax.process_index(),
            hosts=jax.process_count(),
            on_bad_example=config.data.on_bad_example,
        )

    return batches


def _evaluation(
    config: Any, source: Any, apply_test: Any, method: tr.Method, plan: sq.Plan | None
) -> Callable[[int, tr.TrainState], dict[str, float]]:
    sharding, folded = config.step.sharding, jax.jit(method.weights)
    metrics = classification_metrics(apply_test)
    measured = tr.make_evaluate(metrics, method=method, sharding=sharding)
    check = data.classification(config.model.num_classes)
    finished = transforms(config, train=False)
    size = -(-config.data.eval_batch_size // jax.device_count()) * jax.device_count()
    chosen = min(config.curves.images, len(source))
    sample = None
    if chosen:
        rng = np.random.default_rng(0)
        examples = [dict(source[i]) for i in range(chosen)]
        for transform in finished:
            examples = [transform(example, rng) for example in examples]
        sample = np.stack([example["image"] for example in examples])

    def network(both: Mapping[str, Any], images: jax.Array) -> jax.Array:
        return apply_test(both["params"], both["model_state"], images)

    def evaluate(step: int, state: tr.TrainState) -> dict[str, float]:
        batches = data.eval_batches(
            source,
            size,
            transforms=finished,
            check=check,
            num_threads=config.data.num_threads,
            host=jax.process_index(),
            hosts=jax.process_count(),
            on_bad_example=config.data.on_bad_example,
        )
        params, model_state = tr.averaged(state)
        found = measured(params, model_state, batches, plan, step)
        found["skipped"] = float(len(batches.skipped))
        if sample is None:
            return found
        params, model_state = tr.layout(sharding).collect((params, model_state))
        weights = folded(params, plan, np.int32(step))
        both = {"params": weights, "model_state": model_state}
        found |= watch.equivariance_values(jax.tree_util.Partial(network, both), sample)
        if plan is not None:
            found |= watch.certificate_values(plan, weights)
        return found

    return evaluate
