"""The training state, and one step over all devices as a pure function of state and batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from softeq_jax._checks import whole
from softeq_jax._text import brief
from softeq_jax.training import methods
from softeq_jax.training.layouts import laid_out, layout
from softeq_jax.training.pmap import cast, device_index, device_mean, device_sum, widened

Tree = Any
Array = jax.Array | np.ndarray


@flax.struct.dataclass
class TrainState:
    """State of training: all that a step reads and changes.

    Attributes:
      step: number of steps taken, int32.
      params: what the gradient is taken of.
      model_state: the model's other variables, such as `{"batch_stats": ...}`; may be empty.
      opt_state: of the optax optimizer.
      key: data of the key that every random number of the run comes from, uint32.
      average: exponential moving average `{"params": ..., "model_state": ...}`, or None. That of
        16-bit floats is float32: in 16 bits it would stand still.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp, optax, softeq_jax as sq
      >>> state = sq.training.init_state({"w": jnp.ones(2)}, optax.sgd(0.1))
      >>> int(state.step), state.params, state.average
      (0, {'w': Array([1., 1.], dtype=float32)}, None)
    """

    step: Array
    params: Tree
    model_state: Tree
    opt_state: Tree
    key: Array
    average: Tree = None

    __repr__ = brief


def init_state(
    params: Tree,
    optimizer: optax.GradientTransformation,
    model_state: Tree | None = None,
    *,
    seed: int = 0,
    average: bool = False,
) -> TrainState:
    """The state before the first step, on the host.

    Args:
      params: initial parameters.
      optimizer: the one given to `make_train_step`.
      model_state: the model's other variables; 16-bit floats among them, such as the running
        averages of batch norm, are kept in float32.
      seed: of the random keys, which depend on it, the step and the device.
      average: also keep a moving average of parameters and model variables, as
        `make_train_step(..., average_decay=...)` needs.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp, optax, softeq_jax as sq
      >>> state = sq.training.init_state({"w": jnp.ones(2)}, optax.sgd(0.1), average=True)
      >>> int(state.step), sorted(state.average)
      (0, ['model_state', 'params'])
    """
    model_state = {} if model_state is None else widened(model_state)
    params = jax.tree.map(_plain, params)
    start = {"params": widened(params), "model_state": model_state} if average else None

    @jax.jit  # one small program, not one for each shape
    def first(params: Tree) -> tuple[Tree, jax.Array]:
        return optimizer.init(params), jax.random.key_data(jax.random.key(seed))

    opt_state, key = jax.device_get(first(params))
    return TrainState(
        step=np.zeros((), np.int32),
        params=params,
        model_state=model_state,
        opt_state=opt_state,
        key=key,
        average=start,
    )


def averaged(state: TrainState) -> tuple[Tree, Tree]:
    """(parameters, model variables) to evaluate with: the moving average if one is kept.

    They have the dtypes of the trained ones.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp, optax, softeq_jax as sq
      >>> state = sq.training.init_state({"w": jnp.ones(2)}, optax.sgd(0.1), average=True)
      >>> params, model_state = sq.training.averaged(state)
      >>> params["w"].tolist()
      [1.0, 1.0]
    """
    if state.average is None:
        return state.params, state.model_state
    return _like(state.average["params"], state.params), state.average["model_state"]


def require_single(state: TrainState) -> None:
    """Refuses a replicated state where one without an axis of the devices is expected.

    Raises:
      ValueError: it has an axis of the devices.
    """
    if np.ndim(state.step):
        raise ValueError(
            f"the state is replicated, its step has shape {np.shape(state.step)}: give the one of "
            "init_state, or unreplicate(state)"
        )


def _like(tree: Tree, other: Tree) -> Tree:
    """The leaves in the dtypes of another tree."""
    return jax.tree.map(lambda a, b: a if a.dtype == b.dtype else a.astype(b.dtype), tree, other)


def _plain(leaf: Any) -> Array:
    return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)


Metrics = dict[str, Any]
LossFn = Callable[[Tree, Tree, Tree, jax.Array, Tree], tuple[jax.Array, tuple[Tree, Metrics]]]
StepFn = Callable[[TrainState, Tree, Tree, Any], tuple[TrainState, Metrics]]

REMAT = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_saveable,
    "dots_no_batch": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
"""Names of what a rematerialized forward pass keeps: nothing, products, products with weights."""


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    method: methods.Method | None = None,
    accumulate: int = 1,
    compute_dtype: Any = None,
    remat: str | None = None,
    average_decay: float | None = None,
    skip_nonfinite: bool = False,
    sharding: str = "replicated",
) -> StepFn:
    r"""Compiles one step of training over all devices.

    A step with parameters w minimizes ``mean loss(weights(w)) + penalty(w)`` with the method's
    pair of functions; the gradient of the loss is pulled back through ``weights`` once, however
    many parts the batch is accumulated in.

    Args:
      loss_fn: `loss_fn(weights, model_state, batch, key, extra) -> (loss, (model_state,
        metrics))` for one device's part of the batch (or one part of it when accumulating): a
        scalar mean over it, the model's new variables, and a dictionary of scalars. `key`
        differs from step to step, device to device and part to part.
      optimizer: applied alike on every device, to gradients averaged over all of them.
      method: a pair of functions of the parameters; None is `methods.plain()`.
      accumulate: parts that each device's share of the batch is processed in, one after the
        other; their gradients are averaged (those of 16-bit floats in float32). Batch statistics
        are those of a part.
      compute_dtype: floating-point weights and batch entries are cast to it (bfloat16) for the
        forward and backward pass; parameters, model variables, gradients, optimizer and
        metrics stay in their own dtype. None casts nothing.
      remat: what the backward pass finds stored, a key of `REMAT`, the rest being computed
        again; None stores everything. (Layers are rematerialized by the model, `nn.remat`.)
      average_decay: d of the moving average `a <- d_t a + (1 - d_t) w` of parameters and
        floating-point model variables after step t, `d_t = min(d, (1 + t) / (10 + t))`; the
        state needs `init_state(..., average=True)`. None keeps no average.
      skip_nonfinite: a step whose loss or gradient is not finite leaves parameters, model
        variables, optimizer and average as they were; only `step` advances.
      sharding: "replicated", every device holds the whole state, or "full": parameters, average
        and optimizer state are divided among the devices of all hosts (`softeq_jax.training.
        sharded`), and what a step needs of them is gathered layer by layer. The numbers are the
        same to rounding. Methods, penalties and the optimizer see whole leaves in both.

    Returns:
      `step(state, batch, extra, stop) -> (state, metrics)` with a state and a batch on the devices
      (`layout(sharding).place(state)` and `.spread(batch)`; replicated, `replicate` and `shard`).
      The state is donated: do not use it again. `extra` (any pytree of arrays, None
      included) is broadcast; new values of the same shapes and dtypes do not compile again.
      `stop` is a float32 vote of each device. Metrics are float32 scalars, averaged over the
      devices: those of the loss function, `loss` (with the penalty), `penalty` where the method
      has one, `grad_norm` (of the mean gradient in the stored parameters), `finite` (1 or 0),
      `rolled_back` (1 or 0) with `skip_nonfinite`, and `stop` (the sum of the votes, the same on
      all hosts).

    Raises:
      ValueError: an option out of range, named; when called, a share of the batch that
        `accumulate` does not divide.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp, numpy as np, optax, softeq_jax as sq
      >>> def loss(w, model_state, batch, key, extra):
      ...     return jnp.mean((w - batch) ** 2), (model_state, {})
      >>> optimizer = optax.sgd(0.25)
      >>> step = sq.training.make_train_step(loss, optimizer, accumulate=2)
      >>> state = sq.training.init_state(jnp.zeros(()), optimizer)
      >>> float(sq.training.fit(step, state, [np.ones(8, np.float32)], 1)[0].params)
      0.5
    """
    whole(accumulate, "accumulate")
    if remat is not None and remat not in REMAT:
        raise ValueError(f"remat must be None or one of {sorted(REMAT)}, got {remat!r}")
    if average_decay is not None and not 0 <= average_decay < 1:
        raise ValueError(f"average_decay must be in [0, 1), got {average_decay}")
    method = methods.plain() if method is None else method
    chosen = layout(sharding)
    policy = chosen.kept if remat is None else REMAT[remat]

    def share(gather: Any, weights: Tree, kept: Tree, split: Tree) -> tuple[Tree, Tree]:
        model_state, key, extra = kept
        batch, stop = split

        def loss_of(weights: Tree, model_state: Tree, batch: Tree, key: jax.Array) -> Any:
            weights, batch = gather(weights, compute_dtype), cast(batch, compute_dtype)
            loss, (model_state, metrics) = loss_fn(weights, model_state, batch, key, extra)
            metrics = {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
            return jnp.asarray(loss, jnp.float32), (model_state, metrics)

        if policy is not None:
            loss_of = jax.checkpoint(loss_of, policy=policy)
        key = jax.random.fold_in(key, device_index())
        loss, model_state, metrics, grads = _accumulated(
            loss_of, weights, model_state, batch, key, accumulate
        )
        metrics = device_mean({**metrics, "loss": loss}) | {"stop": device_sum(stop.sum())}
        return grads, (device_mean(model_state), metrics)

    def step(
        state: TrainState, batch: Tree, extra: Tree, stop: jax.Array
    ) -> tuple[TrainState, Metrics]:
        taken = jnp.asarray(state.step)
        key = jax.random.fold_in(jax.random.wrap_key_data(jnp.asarray(state.key)), taken)
        weights, pull_back = jax.vjp(lambda p: method.weights(p, extra, taken), state.params)
        grads, (model_state, metrics) = chosen.on_shares(
            share, weights, (state.model_state, key, extra), (batch, stop), gradient=True
        )
        (grads,) = pull_back(grads)
        if method.penalty is not None:
            penalty, more = jax.value_and_grad(
                lambda p: methods.total_penalty(method, p, extra, taken)
            )(state.params)
            grads = jax.tree.map(jnp.add, grads, more)
            metrics |= {"penalty": penalty, "loss": metrics["loss"] + penalty}
        metrics["grad_norm"] = jnp.asarray(optax.tree.norm(widened(grads)), jnp.float32)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        metrics["finite"] = finite.astype(jnp.float32)

        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        new = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            model_state=model_state,
            opt_state=opt_state,
            key=state.key,
            average=state.average,
        )
        if average_decay is not None:
            new = dataclasses.replace(new, average=_averaged(new, average_decay))
        if skip_nonfinite:
            metrics["rolled_back"] = 1.0 - metrics["finite"]
            kept = dataclasses.replace(state, step=new.step)
            new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, kept)
        return chosen.settle(new), metrics

    return laid_out(step, chosen, in_axes=(0, 0, None, 0), out_axes=(0, None), donate=1)


def _accumulated(
    loss_of: Callable[..., Any],
    weights: Tree,
    model_state: Tree,
    batch: Tree,
    key: jax.Array,
    parts: int,
) -> tuple[jax.Array, Tree, Metrics, Tree]:
    """(loss, model variables, metrics, gradient) of a batch, averaged over its parts."""
    value_and_grad = jax.value_and_grad(loss_of, has_aux=True)
    if parts == 1:
        (loss, (model_state, metrics)), grads = value_and_grad(weights, model_state, batch, key)
        return loss, model_state, metrics, grads
    batch = jax.tree_util.tree_map_with_path(lambda path, x: _split(path, x, parts), batch)

    def part(carry: Any, inputs: Any) -> Any:
        model_state, grads = carry
        number, batch = inputs
        (loss, (model_state, metrics)), more = value_and_grad(
            weights, model_state, batch, jax.random.fold_in(key, number)
        )
        grads = jax.tree.map(jnp.add, grads, widened(more))
        return (widened(model_state), grads), {**metrics, "loss": loss}

    start = (widened(model_state), jax.tree.map(jnp.zeros_like, widened(weights)))
    (model_state, grads), metrics = jax.lax.scan(part, start, (jnp.arange(parts), batch))
    metrics = jax.tree.map(jnp.mean, metrics)
    grads = _like(jax.tree.map(lambda g: g / parts, grads), weights)
    return metrics.pop("loss"), model_state, metrics, grads


def _split(path: Any, leaf: jax.Array, parts: int) -> jax.Array:
    if leaf.shape[0] % parts:
        raise ValueError(
            f"batch{jax.tree_util.keystr(path)}: a device's share of {leaf.shape[0]} examples "
            f"cannot be accumulated in {parts} equal parts"
        )
    return leaf.reshape(parts, -1, *leaf.shape[1:])


def _averaged(new: TrainState, decay: float) -> Tree:
    """The moving average after a step."""
    if new.average is None:
        raise ValueError("average_decay needs a state made with init_state(..., average=True)")
    taken = new.step.astype(jnp.float32)
    rate = 1.0 - jnp.minimum(decay, (1.0 + taken) / (10.0 + taken))

    def toward(old: Any, value: Any) -> jax.Array:
        value = jnp.asarray(value)
        if not jnp.issubdtype(value.dtype, jnp.inexact):
            return value
        return (old + rate * (value - old)).astype(value.dtype)

    values = widened({"params": new.params, "model_state": new.model_state})
    return jax.tree.map(toward, new.average, values)
