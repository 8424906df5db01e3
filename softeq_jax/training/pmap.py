"""The trainer: replicated steps with `jax.pmap`, and nothing else that is parallel.

`jax.pmap` is used in this module only. Arrays that live on the devices have a leading axis of
the number of local devices; the mapped axis is called "device".
"""

import collections
import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

AXIS = "device"

Tree = Any
Metrics = dict[str, Any]
LossFn = Callable[[Tree, Tree, Tree, jax.Array, Tree], tuple[jax.Array, tuple[Tree, Metrics]]]
StepFn = Callable[["TrainState", Tree, Any, Tree], tuple["TrainState", Metrics]]
Callback = Callable[[int, "TrainState", dict[str, float]], None]

_log = logging.getLogger(__name__)


@flax.struct.dataclass
class TrainState:
    """All that a step reads and changes.

    Attributes:
      step: number of steps taken, int32.
      params: what the gradient is taken of.
      model_state: the model's other variables, such as `{"batch_stats": ...}`; may be empty.
      opt_state: of the optax optimizer.
    """

    step: jax.Array
    params: Tree
    model_state: Tree
    opt_state: Tree


def init_state(
    params: Tree, optimizer: optax.GradientTransformation, model_state: Tree | None = None
) -> TrainState:
    """The state before the first step, on one device."""
    state = {} if model_state is None else model_state
    return TrainState(jnp.zeros((), jnp.int32), params, state, optimizer.init(params))


def replicate(tree: Tree) -> Tree:
    """Copies every leaf to all local devices: `[...]` becomes `[devices, ...]`, same dtype."""
    sharding = _sharding()
    count = jax.local_device_count()

    def copy(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        return jax.device_put(jnp.broadcast_to(leaf, (count, *leaf.shape)), sharding)

    return jax.tree.map(copy, tree)


def unreplicate(tree: Tree) -> Tree:
    """The first local device's copy of every leaf: `[devices, ...]` becomes a NumPy `[...]`."""

    def first(leaf: Any) -> np.ndarray:
        shards = getattr(leaf, "addressable_shards", None)
        return np.asarray(leaf if shards is None else shards[0].data)[0]

    return jax.tree.map(first, tree)


def shard(batch: Tree) -> Tree:
    """Splits the leading axis among the local devices: `[b, ...]` to `[devices, b/devices, ...]`.

    Raises:
      ValueError: a leaf has no leading axis, or the devices do not divide it.
    """
    sharding = _sharding()
    count = jax.local_device_count()

    def split(path: Any, leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        if not leaf.ndim or leaf.shape[0] % count:
            raise ValueError(
                f"batch{jax.tree_util.keystr(path)} has shape {leaf.shape}, expected a leading "
                f"axis that {count} devices divide"
            )
        return jax.device_put(leaf.reshape(count, -1, *leaf.shape[1:]), sharding)

    return jax.tree_util.tree_map_with_path(split, batch)


def _sharding() -> NamedSharding:
    return NamedSharding(Mesh(np.asarray(jax.local_devices()), (AXIS,)), PartitionSpec(AXIS))


def make_train_step(loss_fn: LossFn, optimizer: optax.GradientTransformation) -> StepFn:
    """Compiles one step of training over all devices.

    Args:
      loss_fn: `loss_fn(params, model_state, batch, key, extra) -> (loss, (model_state, metrics))`
        for one device's part of the batch: a scalar mean over it, the model's new variables, and
        a dictionary of scalars. `key` differs from step to step and device to device.
      optimizer: applied alike on every device.

    Returns:
      `step(state, batch, seed, extra) -> (state, metrics)` with a replicated state and a sharded
      batch. `seed` (an integer) and `extra` (any pytree of arrays, None included) are broadcast;
      new values of the same shapes and dtypes do not compile again. Gradients, metrics, `loss`
      among them, and floating-point model variables are averaged over the devices. The
      metrics are scalars without a device axis.
    """

    def mean(tree: Tree) -> Tree:
        def average(leaf: Any) -> jax.Array:
            leaf = jnp.asarray(leaf)
            inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
            return jax.lax.pmean(leaf, AXIS) if inexact else leaf

        return jax.tree.map(average, tree)

    @functools.partial(jax.pmap, axis_name=AXIS, in_axes=(0, 0, None, None), out_axes=(0, None))
    def step(state: TrainState, batch: Tree, seed: Any, extra: Tree) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
        value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (model_state, metrics)), grads = value_and_grad(
            state.params, state.model_state, batch, key, extra
        )
        updates, opt_state = optimizer.update(mean(grads), state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {k: jnp.asarray(v, jnp.float32) for k, v in {**metrics, "loss": loss}.items()}
        return TrainState(state.step + 1, params, mean(model_state), opt_state), mean(metrics)

    return step


def fit(
    step_fn: StepFn,
    state: TrainState,
    batches: Iterable[Tree],
    steps: int,
    *,
    extra: Tree = None,
    seed: int = 0,
    in_flight: int | None = None,
    progress: str | None = None,
    callback: Callback | None = None,
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """Trains for a number of steps.

    Args:
      step_fn: from `make_train_step`.
      state: on one device or the host (as from `init_state`), not replicated.
      batches: global batches, each a pytree of arrays `[b, ...]`. For a resumed run they start
        at `state.step`: `train_batches(..., start_step=int(state.step))`.
      steps: how many steps to take now.
      extra: handed to the loss on every step.
      seed: of the random keys, which depend on it, the step and the device.
      in_flight: steps that may be unfinished while the next is dispatched; 0 waits for
        each. None is 1 on CPU, where a queue of collective operations deadlocks, and 4 elsewhere.
      progress: text of a progress bar with the loss, or None for no bar.
      callback: called as `callback(step, state, metrics)` when a step is done: its number from 1,
        the replicated state after it (see `unreplicate`) and its metrics as floats.

    Returns:
      The state on the host (NumPy leaves), and every metric's history `[steps]`, float32.

    Raises:
      FloatingPointError: the loss is not finite; the message has the step.
      ValueError: `batches` ended early, or a batch does not divide among the devices.
    """
    if in_flight is None:
        in_flight = 1 if jax.default_backend() == "cpu" else 4
    if steps < 0 or in_flight < 0:
        raise ValueError(f"expected steps >= 0 and in_flight >= 0, got {steps} and {in_flight}")
    first = int(state.step)
    _log.info("training steps %d to %d on %d devices", first, first + steps, jax.device_count())
    history: dict[str, list[float]] = collections.defaultdict(list)
    pending: collections.deque[tuple[int, TrainState | None, Metrics]] = collections.deque()
    state = replicate(state)
    source = iter(batches)

    with tqdm(total=steps, desc=progress, disable=progress is None, mininterval=1.0) as bar:

        def finish_oldest() -> None:
            number, after, metrics = pending.popleft()
            values = {name: float(value) for name, value in metrics.items()}
            if not np.isfinite(values["loss"]):
                raise FloatingPointError(f"step {number}: the loss is {values['loss']}")
            for name, value in values.items():
                history[name].append(value)
            bar.set_postfix(loss=f"{values['loss']:.4g}", refresh=False)
            bar.update()
            if callback is not None:
                callback(number, after, values)

        for number in range(first + 1, first + steps + 1):
            try:
                batch = shard(next(source))
            except StopIteration:
                done = number - 1 - first
                raise ValueError(f"batches ended after {done} of {steps} steps") from None
            state, metrics = step_fn(state, batch, seed, extra)
            pending.append((number, state if callback is not None else None, metrics))
            while len(pending) > in_flight:
                finish_oldest()
        while pending:
            finish_oldest()
    return unreplicate(state), {k: np.asarray(v, np.float32) for k, v in history.items()}


def make_predict(apply_fn: Callable[[Tree, Tree, jax.Array, Tree], jax.Array]) -> Callable:
    """Compiles the evaluation of many images over all devices.

    Args:
      apply_fn: `apply_fn(params, model_state, images, extra) -> logits`, each image for itself.

    Returns:
      `predict(params, model_state, images, batch_size=256, extra=None)`: NumPy logits `[n, ...]`
      for images `[n, ...]`, in their order, once each; the last batch is filled up with zeros
      and cut again. `params`, `model_state` and `extra` are not replicated.
      It raises ValueError for no images or a batch size below 1.
    """
    mapped = jax.pmap(apply_fn, axis_name=AXIS)

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
