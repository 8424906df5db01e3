"""Losses for the trainer: of the weights that the network computes with, whatever the method."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from softeq_jax.training.pmap import device_mean
from softeq_jax.training.step import LossFn, Metrics, Tree

Apply = Callable[..., tuple[jax.Array, Tree]]


def classification(apply_train: Apply, *, smoothing: float = 0.0, keyed: bool = False) -> LossFn:
    r"""Cross-entropy, ``mean -sum_c y_c log softmax(f_w(x))_c``.

    Args:
      apply_train: ``(weights, model_state, images) -> (logits [b, classes], new model_state)``.
      smoothing: s of integer labels, ``y = (1 - s) onehot + s / classes``, 0 <= s < 1; labels
        that are mixed already, float ``[b, classes]``, are taken as they are.
      keyed: ``apply_train`` takes a key as its fourth argument (dropout, stochastic depth).

    Returns:
      A loss for ``make_train_step`` whose batches hold ``image`` and ``label`` (integers ``[b]``
      or float ``[b, classes]``). Its metric is ``accuracy``, the share of examples whose largest
      logit is the (heaviest) label. Logits are taken in float32.

    Raises:
      ValueError: smoothing out of range; when traced, labels of another shape.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be in [0, 1), got {smoothing}")

    def loss_fn(
        weights: Tree, model_state: Tree, batch: dict[str, jax.Array], key: jax.Array, extra: Any
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        del extra
        drawn = (key,) if keyed else ()
        logits, model_state = apply_train(weights, model_state, batch["image"], *drawn)
        logits = jnp.asarray(logits, jnp.float32)
        labels = batch["label"]
        if labels.shape not in (logits.shape[:1], logits.shape):
            raise ValueError(
                f"labels have shape {labels.shape}, expected {logits.shape[:1]} or {logits.shape}"
            )
        if labels.ndim == 1:
            target = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
        else:
            target, labels = jnp.asarray(labels, jnp.float32), labels.argmax(-1)
        loss = optax.softmax_cross_entropy(logits, target).mean()
        return loss, (model_state, {"accuracy": jnp.mean(logits.argmax(-1) == labels)})

    return loss_fn


def segmentation(apply_train: Apply, *, ignore: int = 255, keyed: bool = False) -> LossFn:
    r"""Mean cross-entropy over the pixels whose class counts.

    Args:
      apply_train: ``(weights, model_state, images) -> (logits [b, h, w, classes], model_state)``.
      ignore: class of the pixels that are left out.
      keyed: as in ``classification``.

    Returns:
      A loss for batches with ``image`` and ``mask``, integers ``[b, h, w]``, to be called inside
      the trainer's step: the mean is over the labeled pixels of all devices (of one part, when
      accumulating), 0 where there are none. Its metric is ``pixel_accuracy``.
    """

    def loss_fn(
        weights: Tree, model_state: Tree, batch: dict[str, jax.Array], key: jax.Array, extra: Any
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        del extra
        drawn = (key,) if keyed else ()
        logits, model_state = apply_train(weights, model_state, batch["image"], *drawn)
        logits, mask = jnp.asarray(logits, jnp.float32), batch["mask"]
        if mask.shape != logits.shape[:-1]:
            raise ValueError(f"mask has shape {mask.shape}, expected {logits.shape[:-1]}")
        counts = mask != ignore
        total = _mean_count(counts)
        labels = jnp.where(counts, mask, 0)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        right = (logits.argmax(-1) == mask) & counts
        loss = jnp.where(counts, losses, 0.0).sum() / total
        return loss, (model_state, {"pixel_accuracy": right.sum() / total})

    return loss_fn


def trajectories(apply_train: Apply, *, keyed: bool = False) -> LossFn:
    r"""Masked mean squared error of predicted positions, in square meters.

    Args:
      apply_train: ``(weights, model_state, observed [b, people, t, 2], present [b, people]) ->
        (predicted [b, people, t', 2], model_state)``.
      keyed: as in ``classification``, the key comes last.

    Returns:
      A loss for batches with ``observed``, ``future`` ``[b, people, t', 2]`` and ``present``, to
      be called inside the trainer's step: the mean is over the coordinates of the people who are
      present, on all devices. Its metric ``displacement`` is their mean distance, in meters
      (ADE).
    """

    def loss_fn(
        weights: Tree, model_state: Tree, batch: dict[str, jax.Array], key: jax.Array, extra: Any
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        del extra
        drawn = (key,) if keyed else ()
        present = jnp.asarray(batch["present"], jnp.float32)
        predicted, model_state = apply_train(
            weights, model_state, batch["observed"], batch["present"], *drawn
        )
        if predicted.shape != batch["future"].shape:
            raise ValueError(
                f"predicted positions have shape {predicted.shape}, expected "
                f"{batch['future'].shape}"
            )
        error = jnp.asarray(predicted, jnp.float32) - jnp.asarray(batch["future"], jnp.float32)
        squared = jnp.sum(error**2, axis=-1) * present[..., None]
        total = _mean_count(present) * squared.shape[-1]
        positive = squared > 0
        distance = jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)
        loss = squared.sum() / (2 * total)
        return loss, (model_state, {"displacement": distance.sum() / total})

    return loss_fn


def binary_classification(
    apply_train: Apply, *, field: str = "image", keyed: bool = False
) -> LossFn:
    r"""Cross-entropy of one logit, ``mean log(1 + exp(-(2 y - 1) f_w(x)))``.

    Args:
      apply_train: ``(weights, model_state, inputs) -> (logits [b], new model_state)``.
      field: of the batch, what the network is given.
      keyed: as in ``classification``.

    Returns:
      A loss for batches with that field and ``label``, integers 0 and 1, ``[b]``; its metric is
      ``accuracy``.
    """

    def loss_fn(
        weights: Tree, model_state: Tree, batch: dict[str, jax.Array], key: jax.Array, extra: Any
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        del extra
        drawn = (key,) if keyed else ()
        logits, model_state = apply_train(weights, model_state, batch[field], *drawn)
        logits, labels = jnp.asarray(logits, jnp.float32), batch["label"]
        if labels.shape != logits.shape:
            raise ValueError(f"labels have shape {labels.shape}, expected {logits.shape}")
        loss = optax.sigmoid_binary_cross_entropy(logits, labels).mean()
        return loss, (model_state, {"accuracy": jnp.mean((logits > 0) == (labels == 1))})

    return loss_fn


def with_penalty(
    loss_fn: LossFn, penalty: Callable[[Tree, Tree, jax.Array, Any], jax.Array]
) -> LossFn:
    """Adds what depends on the data, such as a sampled penalty; ``methods`` add the rest.

    Args:
      loss_fn: any loss of the trainer.
      penalty: ``penalty(weights, batch, key, extra)``, a scalar: the mean over the batch. Its key
        is not that of the loss.

    Returns:
      The loss plus the penalty, which is also the metric ``data_penalty``.
    """

    def wrapped(
        weights: Tree, model_state: Tree, batch: Tree, key: jax.Array, extra: Any
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        loss, (model_state, metrics) = loss_fn(weights, model_state, batch, key, extra)
        added = penalty(weights, batch, jax.random.fold_in(key, 1), extra)
        return loss + added, (model_state, {**metrics, "data_penalty": added})

    return wrapped


def _mean_count(counts: jax.Array) -> jax.Array:
    """What a device divides by, so that the mean over devices is the mean over all that counts."""
    return jnp.maximum(device_mean(jnp.sum(counts, dtype=jnp.float32)), 1e-6)
