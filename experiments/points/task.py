"""Classes of clouds under rotations: networks, loss, scores."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import softeq_jax as sq
from experiments.points.shapes import SHAPES
from experiments.shared.layer_penalties import LayerPenalty
from experiments.shared.recipes import Opened
from experiments.shared.rotations import random_rotations, rotations_about_z, turn
from softeq_jax import models
from softeq_jax.measures import kl_divergence
from softeq_jax.nn.equivariant import VectorDense

Tree = Any
Rotations = Callable[[jax.Array, int], jax.Array]

GROUP = sq.groups.so(3)
TRAINED_UNDER: dict[str, Rotations] = {"z": rotations_about_z, "SO(3)": random_rotations}
"""Rotations of the training clouds, a new one for every cloud at every step."""

NETWORKS: dict[str, Callable[..., Any]] = {"PointNet": models.VNPointNet, "DGCNN": models.VNDGCNN}


def network(settings: Any) -> Any:
    """The network of a row, its kernels on vectors left to a plan."""
    return NETWORKS[settings["network"]](
        len(SHAPES),
        widths=tuple(settings["widths"]),
        neighbors=settings["neighbors"],
        hidden=tuple(settings["hidden"]),
        free=True,
    )


def start(model: Any, points: int, seed: int) -> dict[str, Tree]:
    """Variables before training; kernels on vectors start equivariant."""
    return jax.tree.map(np.asarray, _start(model, points, jax.random.key(seed)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _start(model: Any, points: int, key: jax.Array) -> dict[str, Tree]:
    return model.init(key, jnp.zeros((2, points, 3)) + jnp.arange(points)[:, None])


def make_loss(
    model: Any,
    rotations: Rotations,
    penalty: LayerPenalty | None = None,
    *,
    strength: float = 0.0,
    times_theta: bool = False,
    clouds: int = 1,
) -> Any:
    """Cross-entropy of turned clouds, with a penalty on free branches where one is given.

    Args:
      model: the network.
      rotations: of the training clouds.
      penalty: of the free branches on their inputs; weights must then be ``Opened``.
      strength: factor of the penalty.
      times_theta: whether theta is a further factor, as published for DGCNN.
      clouds: of a batch, the first ones, that the penalty is taken on. Its terms are means, so
        that it estimates the same with fewer.

    Returns:
      A loss of the trainer with the metric ``accuracy``.
    """

    def loss_fn(
        weights: Any, model_state: Tree, batch: Tree, key: jax.Array, extra: Any
    ) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
        params = weights.network if isinstance(weights, Opened) else weights
        x = turn(batch["points"], rotations(key, len(batch["points"])))
        (logits, new), inputs = with_inputs(model, {"params": params, **model_state}, x)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        right = jnp.mean(logits.argmax(-1) == batch["label"])
        if penalty is not None:
            kernels = {path: _at(weights.free, path)["kernel"] for path in inputs}
            seen = {path: value[:clouds] for path, value in inputs.items()}
            factor = strength * weights.theta if times_theta else strength
            loss = loss + factor * penalty(kernels, seen)
        return loss, (new, {"accuracy": right})

    return loss_fn


def with_inputs(
    model: Any, variables: Tree, x: jax.Array
) -> tuple[tuple[jax.Array, Tree], dict[str, jax.Array]]:
    """(logits and new statistics, flattened inputs ``[..., 3 c]`` of every kernel on vectors)."""
    inputs: dict[str, jax.Array] = {}

    def note(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, VectorDense):
            v = args[0]
            inputs["/".join(context.module.path)] = v.reshape(*v.shape[:-2], -1)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        found = model.apply(variables, x, True, mutable=["batch_stats"])
    return found, inputs


def scores(
    model: Any, variables: Tree, points: np.ndarray, labels: np.ndarray, seed: int, batch: int
) -> dict[str, float]:
    """Accuracy on clouds as they are and rotated, and what a rotation changes.

    Args:
      model: the network.
      variables: with statistics.
      points: clouds ``[n, p, 3]``.
      labels: their classes.
      seed: of the rotations, two for every cloud.
      batch: of clouds at a time; must divide n.

    Returns:
      ``upright`` and ``accuracy`` (rotated), shares; ``kl``, mean ``KL(f(R x) || f(R' x))``
      in nats for two uniform rotations.
    """
    keys = jax.random.split(jax.random.key(seed), 2)
    moved = [np.asarray(turn(points, random_rotations(key, len(points)))) for key in keys]
    upright, first, second = (_logits(model, variables, x, batch) for x in (points, *moved))
    return {
        "accuracy": float(np.mean(first.argmax(-1) == labels)),
        "upright": float(np.mean(upright.argmax(-1) == labels)),
        "kl": float(np.mean(kl_divergence(first, second))),
    }


def renewed(
    model: Any, variables: Tree, points: np.ndarray, rotations: Rotations, batch: int
) -> Tree:
    """The variables with batch statistics of a pass over training clouds, turned anew.

    All rows end with it, since the weights of some change after their last step.
    """
    state = {"batch_stats": variables["batch_stats"]}
    for i, first in enumerate(range(0, len(points) - batch + 1, batch)):
        part = turn(points[first : first + batch], rotations(jax.random.key(i), batch))
        state = _statistics(model, variables["params"], state, part)
    return {"params": variables["params"], **jax.tree.map(np.asarray, state)}


def majority(labels: np.ndarray) -> float:
    """The share of the most frequent class."""
    return float(np.bincount(labels).max() / len(labels))


def _logits(model: Any, variables: Tree, points: np.ndarray, batch: int) -> np.ndarray:
    parts = [points[first : first + batch] for first in range(0, len(points), batch)]
    return np.concatenate([np.asarray(_forward(model, variables, part)) for part in parts])


@functools.partial(jax.jit, static_argnums=0)
def _forward(model: Any, variables: Tree, points: jax.Array) -> jax.Array:
    return model.apply(variables, points)


@functools.partial(jax.jit, static_argnums=0)
def _statistics(model: Any, params: Tree, state: Tree, points: jax.Array) -> Tree:
    return model.apply({"params": params, **state}, points, True, mutable=["batch_stats"])[1]


def _at(tree: Tree, path: str) -> Tree:
    return functools.reduce(lambda node, name: node[name], path.split("/"), tree)
