r"""The N-body task for the trainer: data, network, loss, scores.

From positions, velocities and charges of five particles at one time, predict the positions 1,000
steps later; the loss is the mean square of the coordinates' error. Random rotations of the
training systems (augmentation) are drawn in the step, a new one for every system.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import softeq_jax as sq
from experiments.nbody import simulator
from experiments.shared.rotations import random_rotations, turn
from softeq_jax.models import EquivariantGraphNet, complete_edges
from softeq_jax.models.rules import soft_rules

Tree = Any
LayerPenalty = Callable[[Tree, dict[str, jax.Array], Any], jax.Array]

GROUP = sq.groups.o(3)


class Seen(NamedTuple):
    """What the loss is given where a penalty looks at the free branches on their inputs.

    Attributes:
      net: weights of the network.
      free: free branches, a tree like it with None where there is none.
    """

    net: Tree
    free: Tree


@functools.lru_cache(maxsize=8)
def data(part: str, count: int, seed: int) -> dict[str, np.ndarray]:
    """One part of the task; see ``simulator.trajectories``."""
    return simulator.trajectories(part, count, seed=seed)


def network(width: int, layers: int) -> EquivariantGraphNet:
    """The network; its update layers are left to a plan."""
    return EquivariantGraphNet(width, layers, edge_scalars=1, group=GROUP, project=False)


def init(model: EquivariantGraphNet, seed: int) -> Tree:
    """Parameters; those of the update layers start equivariant."""
    return jax.tree.map(np.asarray, _init(model, jax.random.key(seed)))


@functools.partial(jax.jit, static_argnums=0)
def _init(model: EquivariantGraphNet, key: jax.Array) -> Tree:
    shape = (1, simulator.PARTICLES)
    example = {name: jnp.zeros((*shape, 3)) for name in ("position", "velocity")}
    return model.init(key, *_inputs({**example, "charge": jnp.ones(shape)}))["params"]


def plan(model: EquivariantGraphNet, params: Tree) -> sq.Plan:
    """The plan of the update layers: strict equivariance under O(3)."""
    return sq.plan(params, soft_rules(model, GROUP))


def predict(model: EquivariantGraphNet, weights: Tree, batch: Tree) -> jax.Array:
    """Positions at the end, ``[b, particles, 3]``."""
    return model.apply({"params": weights}, *_inputs(batch))


def make_loss(
    model: EquivariantGraphNet, rotate: bool, layer_penalty: LayerPenalty | None = None
) -> Any:
    """A loss of the trainer: the mean squared error, with a penalty on the layers if given.

    Args:
      model: the network.
      rotate: whether every system is turned by a random rotation of its own.
      layer_penalty: ``layer_penalty(free branches, inputs by layer, extra)``; its weights must be
        ``Seen``. The inputs are those of the forward pass.

    Returns:
      A loss with the metric ``mse``.
    """

    def loss_fn(
        weights: Tree, model_state: Tree, batch: Tree, key: jax.Array, extra: Any
    ) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
        net = weights.net if isinstance(weights, Seen) else weights
        if rotate:
            batch = turned(batch, random_rotations(key, len(batch["position"])))
        predicted, seen = model.apply({"params": net}, *_inputs(batch), mutable=["intermediates"])
        mse = jnp.mean((predicted - batch["target"]) ** 2)
        total = mse
        if layer_penalty is not None:
            total = mse + layer_penalty(weights.free, _by_path(seen["intermediates"]), extra)
        return total, (model_state, {"mse": mse})

    return loss_fn


def layers_of(model: EquivariantGraphNet, tree: Tree) -> dict[str, jax.Array]:
    """The kernels of the update layers by the layers' paths, of a tree like the parameters."""
    return {path: _at(tree, path)["kernel"] for path in model.relaxed_representations()}


def turned(batch: Tree, rotations: jax.Array) -> Tree:
    """Every system turned by its rotation ``[b, 3, 3]``."""
    names = ("position", "velocity", "target")
    moved = {name: turn(batch[name], rotations) for name in names}
    return {**batch, **moved}


class ParticleScores(NamedTuple):
    """What a network is judged by.

    Attributes:
      mse: mean squared error of the predicted coordinates.
      equivariance_error: root mean square of ``f(R x) - R f(x)`` over systems and random
        rotations, relative to that of the true displacement.
    """

    mse: float
    equivariance_error: float


def scores(
    model: EquivariantGraphNet, weights: Tree, systems: Tree, rotations: int
) -> ParticleScores:
    """Judges a network on systems, and on each of them turned by fixed random rotations."""
    return ParticleScores(*map(float, _scores(model, weights, systems, rotations)))


@functools.partial(jax.jit, static_argnums=(0, 3))
def _scores(
    model: EquivariantGraphNet, weights: Tree, systems: Tree, rotations: int
) -> tuple[jax.Array, jax.Array]:
    predicted = predict(model, weights, systems)

    def squared_error(key: jax.Array) -> jax.Array:
        matrices = random_rotations(key, len(predicted))
        after = predict(model, weights, turned(systems, matrices))
        return jnp.mean((after - turn(predicted, matrices)) ** 2)

    errors = jax.lax.map(squared_error, jax.random.split(jax.random.key(0), rotations))
    moved = jnp.mean((systems["target"] - systems["position"]) ** 2)
    mse = jnp.mean((predicted - systems["target"]) ** 2)
    return mse, jnp.sqrt(errors.mean() / moved)


def straight_flight(train: Tree, systems: Tree) -> float:
    """Mean squared error of ``x + c v`` with the c that fits the training systems best."""
    v = train["velocity"]
    c = np.sum((train["target"] - train["position"]) * v) / np.sum(v * v)
    predicted = systems["position"] + c * systems["velocity"]
    return float(np.mean((predicted - systems["target"]) ** 2))


def _inputs(batch: Tree) -> tuple[jax.Array, ...]:
    """Positions, velocities, charges, and the products of charges of the edges."""
    charge = batch["charge"]
    senders, receivers = complete_edges(charge.shape[-1])
    products = charge[..., senders] * charge[..., receivers]
    velocity = batch["velocity"][..., None, :]
    return batch["position"], velocity, charge[..., None], products[..., None]


def _by_path(intermediates: Tree) -> dict[str, jax.Array]:
    """Sown inputs by the paths of their layers."""
    found = jax.tree_util.tree_flatten_with_path(intermediates)[0]
    names = ["/".join(str(key.key) for key in path[:-1]) for path, _ in found]
    return {n.removesuffix("_input"): leaf for n, (_, leaf) in zip(names, found, strict=True)}


def _at(tree: Tree, path: str) -> Tree:
    return functools.reduce(lambda node, name: node[name], path.split("/"), tree)
