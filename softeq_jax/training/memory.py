"""Memory of a training step: what its compiled program holds on one device."""

from typing import Any

import jax
import numpy as np

from softeq_jax.training.layouts import layout_of
from softeq_jax.training.pmap import lowered
from softeq_jax.training.step import StepFn, TrainState, require_single

Tree = Any


def step_memory(step_fn: StepFn, state: TrainState, batch: Tree, extra: Tree = None) -> int:
    """Bytes that a training step holds on each device: arguments, results and temporaries.

    They are those of XLA's plan for the compiled step, ``arguments + results - donated +
    temporaries``; what the backend's libraries take beside it, and the host's data, is not in
    them. The step is compiled once more for it and not run; with a kept compilation cache that
    costs nothing.

    Args:
      step_fn: from `make_train_step`.
      state: as from `init_state`, not replicated.
      batch: this host's batch, a pytree of arrays ``[b, ...]``.
      extra: handed to the method and the loss.

    Raises:
      ValueError: the state is replicated, the devices do not divide the batch, or the backend
        plans no memory.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp, numpy as np, optax, softeq_jax as sq
      >>> def loss(w, model_state, batch, key, extra):
      ...     return jnp.mean((w - batch) ** 2), (model_state, {})
      >>> optimizer = optax.sgd(0.25)
      >>> step = sq.training.make_train_step(loss, optimizer)
      >>> state = sq.training.init_state(jnp.zeros(()), optimizer)
      >>> sq.training.step_memory(step, state, np.ones(8, np.float32)) > 0
      True
    """
    require_single(state)
    layout = layout_of(step_fn)
    vote = layout.spread(np.zeros(jax.local_device_count(), np.float32))
    placed = layout.place(state), layout.spread(batch), layout.copy(extra), vote
    program = lowered(step_fn, *placed).compile()
    planned = program.memory_analysis()
    if planned is None:
        raise ValueError(f"the backend {jax.default_backend()!r} does not say what it plans")
    return (
        planned.argument_size_in_bytes
        + planned.output_size_in_bytes
        - planned.alias_size_in_bytes
        + planned.temp_size_in_bytes
    )
