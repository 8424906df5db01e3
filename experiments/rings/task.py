"""Two wavy rings in the plane: invariant to rotations, until the waves break the symmetry.

The points of two rings have radius ``r_k + u + sigma sin(5 theta)``, u uniform within the ring's
half-width; the label is the ring. At sigma = 0 the label is a function of the radius; at sigma > 0
it depends on the angle as well, and only turns by 72 degrees leave it alone.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import softeq_jax as sq

RADII = (1.1, 2.2)
HALF_WIDTHS = (0.15, 0.22)
WAVES = 5
FREQUENCIES = 4  # M: the lift has the angular frequencies 0 ... M
SHELLS = 4  # radial functions of the lift
HIDDEN = 8  # copies of every frequency in the hidden layers
ROTATIONS = 36  # random rotations that the worst case is taken over

Tree = Any


def rings(sigma: float, seed: int, per_ring: int) -> tuple[np.ndarray, np.ndarray]:
    """Points ``[2 per_ring, 2]``, float32, and labels, int32."""
    rng = np.random.default_rng([seed, round(1000 * sigma)])
    points, labels = [], []
    for label, (radius, half) in enumerate(zip(RADII, HALF_WIDTHS, strict=True)):
        angle = rng.uniform(0, 2 * np.pi, per_ring)
        r = radius + rng.uniform(-half, half, per_ring) + sigma * np.sin(WAVES * angle)
        points.append(np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1))
        labels.append(np.full(per_ring, label, np.int32))
    return np.concatenate(points).astype(np.float32), np.concatenate(labels)


def features(copies: int) -> sq.reps.Rep:
    """Copies of the sum of all frequencies 0 ... M of SO(2)."""
    one = sq.reps.irrep(sq.groups.so(2), 0)
    for m in range(1, FREQUENCIES + 1):
        one = one + sq.reps.irrep(sq.groups.so(2), m)
    return copies * one


def lift(points: jax.Array) -> jax.Array:
    """``phi_c(r) e^{i m theta}`` in real form: ``[n, 2]`` to ``[n, SHELLS (2 M + 1)]``."""
    radius = jnp.linalg.norm(points, axis=-1, keepdims=True)
    angle = jnp.arctan2(points[..., 1], points[..., 0])
    centers = jnp.linspace(0.0, 3.0, SHELLS)
    shells = jnp.exp(-(((radius - centers) / 0.75) ** 2))
    waves = [jnp.ones_like(angle)]
    for m in range(1, FREQUENCIES + 1):
        waves += [jnp.cos(m * angle), jnp.sin(m * angle)]
    both = shells[..., :, None] * jnp.stack(waves, axis=-1)[..., None, :]
    return both.reshape(*points.shape[:-1], -1)


def init_steerable(key: jax.Array) -> Tree:
    """Weights of two linear layers and a head, as if nothing were known of rotations."""
    first, second, head = jax.random.split(key, 3)
    narrow, wide = features(SHELLS).dim, features(HIDDEN).dim
    invariants = (FREQUENCIES + 1) * HIDDEN * (HIDDEN + 1) // 2

    def normal(key: jax.Array, rows: int, columns: int) -> np.ndarray:
        return np.asarray(jax.random.normal(key, (rows, columns)) / np.sqrt(rows), np.float32)

    return {
        "layer1": {"kernel": normal(first, narrow, wide)},
        "layer2": {"kernel": normal(second, wide, wide)},
        "head": {"kernel": normal(head, invariants, 1), "bias": np.zeros(1, np.float32)},
    }


def steerable(weights: Tree, points: jax.Array) -> jax.Array:
    """Logits ``[n]``: lift, two linear layers, contraction to frequency 0, linear head."""
    x = lift(points) @ weights["layer1"]["kernel"] @ weights["layer2"]["kernel"]
    x = x.reshape(*x.shape[:-1], HIDDEN, 2 * FREQUENCIES + 1)
    upper = np.triu_indices(HIDDEN)
    parts = []
    for m in range(FREQUENCIES + 1):
        wave = x[..., :1] if m == 0 else x[..., 2 * m - 1 : 2 * m + 1]
        gram = jnp.einsum("...cd,...ed->...ce", wave, wave)
        parts.append(gram[..., upper[0], upper[1]])
    invariants = jnp.concatenate(parts, axis=-1)
    return (invariants @ weights["head"]["kernel"] + weights["head"]["bias"])[..., 0]


def init_mlp(key: jax.Array, width: int = 96, depth: int = 4) -> Tree:
    """A perceptron of four layers that sees the bare coordinates."""
    sizes = [2, *[width] * (depth - 1), 1]
    keys = jax.random.split(key, depth)
    return {
        f"dense{i}": {
            "kernel": np.asarray(
                jax.random.normal(keys[i], (sizes[i], sizes[i + 1])) * np.sqrt(2 / sizes[i]),
                np.float32,
            ),
            "bias": np.zeros(sizes[i + 1], np.float32),
        }
        for i in range(depth)
    }


def mlp(weights: Tree, points: jax.Array) -> jax.Array:
    """Logits ``[n]``."""
    x = points
    for i in range(len(weights)):
        x = x @ weights[f"dense{i}"]["kernel"] + weights[f"dense{i}"]["bias"]
        x = x if i == len(weights) - 1 else jax.nn.gelu(x)
    return x[..., 0]


@dataclasses.dataclass(frozen=True)
class RingsScores:
    """What a trained network is judged by.

    Attributes:
      accuracy: share of the points on the right side.
      worst_error: largest ``|p(R x) - p(x)|`` of the probability, over points and rotations.
      worst_logit_error: the same for the logit.
      mean_error: root mean square of the probability's change.
      loss: cross-entropy in nats.
    """

    accuracy: float
    worst_error: float
    worst_logit_error: float
    mean_error: float
    loss: float


def scores(network: Any, weights: Tree, points: np.ndarray, labels: np.ndarray) -> RingsScores:
    """Judges a network on points, and on the same points rotated (fixed random angles)."""
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, ROTATIONS).astype(np.float32)
    values = _judged(network, weights, points, labels, angles)
    return RingsScores(*(float(value) for value in values))


def _turned(points: jax.Array, angle: jax.Array) -> jax.Array:
    c, s = jnp.cos(angle), jnp.sin(angle)
    return points @ jnp.stack([jnp.stack([c, s]), jnp.stack([-s, c])])


def _judged_of(network: Any, weights: Tree, points: Any, labels: Any, angles: Any) -> Any:
    logits = network(weights, points)
    turned = jax.vmap(lambda angle: network(weights, _turned(points, angle)))(angles)
    change = jax.nn.sigmoid(turned) - jax.nn.sigmoid(logits)
    signs = 2.0 * labels - 1.0
    return (
        jnp.mean((logits > 0) == (labels == 1)),
        jnp.abs(change).max(),
        jnp.abs(turned - logits).max(),
        jnp.sqrt(jnp.mean(change**2)),
        jnp.mean(jax.nn.softplus(-signs * logits)),
    )


_judged = jax.jit(_judged_of, static_argnums=0)
