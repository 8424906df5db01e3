"""Evaluation over all devices and hosts that counts every example exactly once."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.training import methods
from softeq_jax.training.layouts import laid_out, layout
from softeq_jax.training.pmap import InFlight, device_sum, over_devices, replicate, shard

Tree = Any
ExampleMetrics = Callable[[Tree, Tree, Tree, Tree], dict[str, jax.Array]]


def make_evaluate(
    metrics_fn: ExampleMetrics,
    *,
    method: methods.Method | None = None,
    in_flight: int = 1,
    sharding: str = "replicated",
) -> Callable[..., dict[str, Any]]:
    """Compiles the mean of per-example metrics over a data set.

    Args:
      metrics_fn: `metrics_fn(weights, model_state, batch, extra) -> {name: [b, ...]}`, one value
        (or array, such as a confusion matrix) for each example of a device's part of the batch.
      method: turns parameters into weights, as in training; None takes them as they are.
      in_flight: batches that may be unfinished while the next is dispatched.
      sharding: of parameters and model variables, as of the step; see `softeq_jax.training.layout`.

    Returns:
      `evaluate(params, model_state, batches, extra=None, step=0) -> {name: mean, ..., "count":
      n}`. `params` and `model_state` lie on the devices, `extra` does not. `batches` are
      host-local, as from `eval_batches`: all of one size, the same number on every host, with
      `weight` `[b]`, 1 for an example and 0 for padding. Sums are made on the devices; the means,
      over all hosts, are floats, or NumPy arrays for metrics that are arrays. What padding
      evaluates to does not matter.
      It raises ValueError for batches without `weight`, or whose weights sum to 0.

    Example:
      >>> import jax.numpy as jnp, numpy as np, softeq_jax as sq
      >>> def metrics(weights, model_state, batch, extra):
      ...     return {"error": jnp.abs(batch["x"] - weights)}
      >>> evaluate = sq.training.make_evaluate(metrics)
      >>> batch = {"x": np.array([1.0, 3.0, 9.0]), "weight": np.array([1.0, 1.0, 0.0])}
      >>> evaluate(sq.training.replicate(jnp.float32(1)), {}, [batch])  # the 9 is padding
      {'error': 1.0, 'count': 2.0}
    """
    method = methods.plain() if method is None else method

    chosen = layout(sharding)

    def share(gather: Any, weights: Tree, kept: Tree, batch: Tree) -> tuple[None, Tree]:
        model_state, extra = kept
        inputs = {name: value for name, value in batch.items() if name != "weight"}
        values = metrics_fn(gather(weights, None), model_state, inputs, extra)
        weight = batch["weight"]

        def total(path: Any, value: jax.Array) -> jax.Array:
            if value.shape[:1] != weight.shape:
                raise ValueError(
                    f"metrics{jax.tree_util.keystr(path)} has shape {value.shape}, expected one "
                    f"value for each of {weight.shape[0]} examples"
                )
            value = jnp.asarray(value, jnp.float32)
            counts = weight.reshape(-1, *(1,) * (value.ndim - 1))
            return jnp.where(counts > 0, counts * value, 0.0).sum(0)

        totals = jax.tree_util.tree_map_with_path(total, values)
        return None, device_sum({**totals, "count": weight.sum()})

    def sums(params: Tree, model_state: Tree, batch: Tree, extra: Tree, step: Any) -> Tree:
        weights = method.weights(params, extra, step)
        return chosen.on_shares(share, weights, (model_state, extra), batch, gradient=False)[1]

    compiled = laid_out(sums, chosen, in_axes=(0, 0, 0, None, None), out_axes=None)

    def evaluate(
        params: Tree, model_state: Tree, batches: Iterable[Tree], extra: Tree = None, step: int = 0
    ) -> dict[str, Any]:
        queue, found = InFlight(in_flight), []
        taken, extra = np.int32(step), chosen.copy(extra)
        for number, batch in enumerate(batches):
            if "weight" not in batch:
                raise ValueError(f"batch {number} has {sorted(batch)}, expected 'weight' as well")
            batch = {**batch, "weight": np.asarray(batch["weight"], np.float32)}
            results = compiled(params, model_state, chosen.spread(batch), extra, taken)
            found += queue.push(number, results)
        found += queue.drain()
        totals: dict[str, Any] = {}
        for _, values in found:
            for name, value in values.items():
                totals[name] = totals.get(name, 0.0) + np.asarray(value, np.float64)
        count = float(totals.pop("count", 0.0))
        if not count:
            raise ValueError("nothing to evaluate: the weights of all batches sum to 0")
        means = {name: value / count for name, value in totals.items()}
        return {n: v if v.ndim else float(v) for n, v in means.items()} | {"count": count}

    return evaluate


def classification_metrics(apply_test: Callable[[Tree, Tree, jax.Array], jax.Array]) -> Any:
    """Per-example `accuracy` (0 or 1) and `cross_entropy` (nats) for `make_evaluate`.

    Args:
      apply_test: `(weights, model_state, images) -> logits [b, classes]`; batches hold `image`
        and integer `label`.
    """

    def metrics(weights: Tree, model_state: Tree, batch: Tree, extra: Tree) -> dict[str, jax.Array]:
        del extra
        logits = jnp.asarray(apply_test(weights, model_state, batch["image"]), jnp.float32)
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["label"][:, None], axis=1)
        return {"accuracy": logits.argmax(-1) == batch["label"], "cross_entropy": -picked[:, 0]}

    return metrics


def segmentation_metrics(
    apply_test: Callable[[Tree, Tree, jax.Array], jax.Array], classes: int, ignore: int = 255
) -> Any:
    """Per-example `confusion` `[b, classes, classes]` (labeled as i, predicted as j) in pixels.

    Args:
      apply_test: `(weights, model_state, images) -> logits [b, h, w, classes]`; batches hold
        `image` and integer `mask` `[b, h, w]`.
      classes: number of classes.
      ignore: class of the pixels that are left out.
    """

    def metrics(weights: Tree, model_state: Tree, batch: Tree, extra: Tree) -> dict[str, jax.Array]:
        del extra
        mask = batch["mask"]
        predicted = apply_test(weights, model_state, batch["image"]).argmax(-1)
        label = jax.nn.one_hot(jnp.where(mask == ignore, classes, mask), classes)
        guess = jax.nn.one_hot(predicted, classes)
        return {"confusion": jnp.einsum("nhwi,nhwj->nij", label, guess)}

    return metrics


def mean_iou(confusion: np.ndarray) -> float:
    """Mean over classes of `c_ii / (sum_j c_ij + sum_j c_ji - c_ii)`, absent classes left out.

    Args:
      confusion: `[classes, classes]`, in any unit.

    Returns:
      A number in [0, 1]; NaN where no class occurs.
    """
    confusion = np.asarray(confusion, np.float64)
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    there = union > 0
    return float(np.mean(np.diag(confusion)[there] / union[there])) if there.any() else np.nan


def make_predict(apply_fn: Callable[[Tree, Tree, jax.Array, Tree], jax.Array]) -> Callable:
    """Compiles the evaluation of many images over all devices of one host.

    Args:
      apply_fn: `apply_fn(params, model_state, images, extra) -> logits`, each image for itself.

    Returns:
      `predict(params, model_state, images, batch_size=256, extra=None)`: NumPy logits `[n, ...]`
      for images `[n, ...]`, in their order, once each; the last batch is filled up with zeros
      and cut again. `params`, `model_state` and `extra` are not replicated.
      It raises ValueError for no images or a batch size below 1.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> double = lambda params, model_state, images, extra: params * images
      >>> predict = sq.training.make_predict(double)
      >>> predict(2.0, {}, np.ones((5, 3), np.float32), batch_size=4).shape
      (5, 3)
    """
    mapped = over_devices(apply_fn, in_axes=(0, 0, 0, 0))

    def predict(
        params: Tree,
        model_state: Tree,
        images: np.ndarray,
        batch_size: int = 256,
        extra: Tree = None,
    ) -> np.ndarray:
        if len(images) < 1 or batch_size < 1:
            raise ValueError(
                f"expected images and a batch size >= 1, got {len(images)} and {batch_size}"
            )
        count = jax.local_device_count()
        size = -(-min(batch_size, len(images)) // count) * count
        copies = replicate((params, model_state, extra))
        logits = []
        for start in range(0, len(images), size):
            part = np.asarray(images[start : start + size])
            padded = np.zeros((size, *part.shape[1:]), part.dtype)
            padded[: len(part)] = part
            out = np.asarray(mapped(copies[0], copies[1], shard(padded), copies[2]))
            logits.append(out.reshape(size, *out.shape[2:])[: len(part)])
        return np.concatenate(logits)

    return predict
