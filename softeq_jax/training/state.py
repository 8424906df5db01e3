"""Everything that a training step reads and changes, as one pytree."""

from typing import Any

import flax.struct
import jax
import numpy as np
import optax

Tree = Any


@flax.struct.dataclass
class TrainState:
    """All that a step reads and changes.

    Attributes:
      step: number of steps taken, int32.
      params: what the gradient is taken of.
      model_state: the model's other variables, such as `{"batch_stats": ...}`; may be empty.
      opt_state: of the optax optimizer.
      key: data of the key that every random number of the run comes from, uint32.
      average: exponential moving average `{"params": ..., "model_state": ...}`, or None.
    """

    step: jax.Array
    params: Tree
    model_state: Tree
    opt_state: Tree
    key: jax.Array
    average: Tree = None


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
      model_state: the model's other variables.
      seed: of the random keys, which depend on it, the step and the device.
      average: also keep a moving average of parameters and model variables, as
        `make_train_step(..., average_decay=...)` needs.
    """
    model_state = {} if model_state is None else model_state
    params = jax.tree.map(_plain, params)
    start = {"params": params, "model_state": model_state} if average else None
    return TrainState(
        step=np.zeros((), np.int32),
        params=params,
        model_state=model_state,
        opt_state=optimizer.init(params),
        key=np.asarray(jax.random.key_data(jax.random.key(seed))),
        average=start,
    )


def averaged(state: TrainState) -> tuple[Tree, Tree]:
    """(parameters, model variables) to evaluate with: the moving average if one is kept."""
    if state.average is None:
        return state.params, state.model_state
    return state.average["params"], state.average["model_state"]


def _plain(leaf: Any) -> jax.Array:
    return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
