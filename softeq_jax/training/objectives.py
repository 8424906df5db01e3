"""Losses for the trainer. A method is a plain function of the parameters, such as a plan."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from softeq_jax.projections import Plan
from softeq_jax.training.pmap import LossFn, Tree

Apply = Callable[[Tree, Tree, jax.Array], tuple[jax.Array, Tree]]


def projected_classification(apply_train: Apply) -> LossFn:
    r"""Cross-entropy of the network with projected weights, ``mean -log softmax(f_{P w}(x))_y``.

    The projection is part of the differentiated function, so the gradient is the projected
    gradient ``P dL/d(P w)`` and the stored weights stay unconstrained. Fold them at the end with
    ``plan.project(params)``.

    Args:
      apply_train: ``(params, model_state, images) -> (logits, new model_state)``.

    Returns:
      A loss for ``make_train_step`` whose batches hold ``image`` and ``label``, and whose
      ``extra`` is a ``Plan`` (or None: no projection). Its metrics are ``accuracy``.
    """

    def loss_fn(
        params: Tree, model_state: Tree, batch: dict[str, jax.Array], key: jax.Array, plan: Any
    ) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
        del key
        if plan is not None and not isinstance(plan, Plan):
            raise TypeError(f"extra must be a Plan or None, got {type(plan).__name__}")
        if plan is not None:
            params = plan.project(params)
        logits, model_state = apply_train(params, model_state, batch["image"])
        labels = batch["label"]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        accuracy = jnp.mean(logits.argmax(-1) == labels)
        return loss, (model_state, {"accuracy": accuracy})

    return loss_fn
