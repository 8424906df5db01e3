"""Classes of solids under rotations: network of fields on voxels, loss, scores."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import softeq_jax as sq
from softeq_jax import regularizers
from softeq_jax.groups import Group
from softeq_jax.measures import kl_divergence
from softeq_jax.nn.equivariant import (
    EquivariantConv,
    FieldLayerNorm,
    Gated,
    conv_rules,
    gated_input,
    norms,
    split,
)
from softeq_jax.reps import Rep, trivial, vector, voxels

Tree = Any

TURNS = sq.groups.octahedral()
"""Rotations that permute the voxels: every network is asked about them."""


class FieldNet(nn.Module):
    """Convolutions between fields of scalars and vectors on voxels, a dense layer on invariants.

    Each layer is a norm of the fields, a 3x3x3 convolution and gates; the first one halves the
    map. The means over the map of the scalars and of the lengths of the vectors go through a dense
    layer and the head. Kernels are left to a plan with ``rules``.

    Attributes:
      group: of space.
      scalars: channels of every layer that rotations leave alone.
      vectors: vectors of every layer.
      layers: convolutions.
      hidden: units of the dense layer.
      plain_start: whether kernels start as those of any convolution, and not equivariant.
      classes: how many logits.
    """

    group: Group
    scalars: int
    vectors: int
    layers: int
    hidden: int
    plain_start: bool = False
    classes: int = 6

    @property
    def fields(self) -> Rep:
        """Of the features between layers."""
        scalars = trivial(self.group, self.scalars)
        return scalars + self.vectors * vector(self.group) if self.vectors else scalars

    def rules(self, **dials: Any) -> dict[str, Any]:
        """Of every convolution; strict without a dial."""
        found: dict[str, Any] = {}
        for i, source in enumerate(self._sources()):
            found |= conv_rules(f"conv{i}", source, gated_input(self.fields), 3, **dials)
        return {**found, "**": None}

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of volumes ``[n, d, h, w, 1]``; odd sides are halved exactly."""
        out = self.fields
        for i, source in enumerate(self._sources()):
            if i:
                x = FieldLayerNorm(out, name=f"norm{i}")(x)
            conv = EquivariantConv(
                source,
                gated_input(out),
                strides=1 if i else 2,
                project=False,
                kernel_init=nn.initializers.lecun_normal() if self.plain_start else None,
                name=f"conv{i}",
            )
            x = Gated(out)(conv(x))
        scalars, moved = split(out, x)
        lengths = [norms(v) for v in moved]
        invariants = jnp.concatenate([scalars, *lengths], axis=-1).mean(axis=(1, 2, 3))
        y = nn.silu(nn.Dense(self.hidden, name="dense")(invariants))
        return nn.Dense(self.classes, name="head")(y)

    def _sources(self) -> list[Rep]:
        return [trivial(self.group, 1), *[self.fields] * (self.layers - 1)]


def network(settings: Mapping[str, Any]) -> FieldNet:
    """The network of a row."""
    names = ("scalars", "vectors", "layers", "hidden", "plain_start", "classes")
    sizes = {name: settings[name] for name in names}
    return FieldNet(sq.groups.from_name(settings["group"]), **sizes)


def start(model: FieldNet, side: int, seed: int) -> Tree:
    """Parameters before training."""
    return jax.tree.map(np.asarray, _start(model, side, jax.random.key(seed)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _start(model: FieldNet, side: int, key: jax.Array) -> Tree:
    return model.init(key, jnp.zeros((1, side, side, side, 1)))["params"]


def make_loss(model: FieldNet, side: int, sampled: float = 0.0) -> Callable[..., Any]:
    """Cross-entropy of one view of each solid, with a sampled penalty if it has a factor.

    Args:
      model: the network.
      side: of the volumes.
      sampled: factor of ``E ||f(g x) - f(x)||^2`` over rotations g that permute the voxels, one
        for each solid and step.

    Returns:
      A loss of the trainer; batches hold ``views`` ``[b, views, d, h, w, 1]`` and ``label``. Its
      metric is ``accuracy``.
    """
    acting = voxels(TURNS, (side, side, side))

    def loss_fn(
        weights: Tree, model_state: Tree, batch: Tree, key: jax.Array, extra: Any
    ) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
        of_view, of_turn = jax.random.split(key)
        views = batch["views"]
        chosen = jax.random.randint(of_view, (len(views),), 0, views.shape[1])
        x = jax.vmap(lambda each, j: each[j])(views, chosen)

        def logits_of(x: jax.Array) -> Any:
            return model.apply({"params": weights}, x)

        logits = logits_of(x)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        if sampled:
            error = regularizers.orbit_penalty(
                logits_of, x, acting, None, of_turn, axes_in=(1, 2, 3)
            )
            loss = loss + sampled * error
        right = jnp.mean(logits.argmax(-1) == batch["label"])
        return loss, (model_state, {"accuracy": right})

    return loss_fn


def scores(
    model: FieldNet,
    params: Tree,
    upright: np.ndarray,
    views: np.ndarray,
    labels: np.ndarray,
    compared: int,
) -> dict[str, float]:
    """What a network is judged by.

    Args:
      model: the network.
      params: its parameters.
      upright: volumes ``[n, d, h, w, 1]``.
      views: the same solids under rotations, ``[n, views, d, h, w, 1]``.
      labels: classes.
      compared: how many solids, the first ones, the KL is taken of.

    Returns:
      ``accuracy`` of rotated views, ``upright``, ``worst`` (right in all views), and ``kl``, the
      mean ``KL(f(x) || f(g x))`` in nats over the rotations g that permute the voxels.
    """
    rotated = _logits_of_views(model, params, views)
    right = rotated.argmax(-1) == labels
    before, first = rotated[0, :compared], views[:compared, 0]
    side = upright.shape[1]
    acting = voxels(TURNS, (side, side, side))
    apart = [
        kl_divergence(before, _logits(model, params, acting.apply(g, first, axes=(1, 2, 3))))
        for g in TURNS.elements()[1:]
    ]
    return {
        "accuracy": float(right.mean()),
        "upright": float(np.mean(_logits(model, params, upright).argmax(-1) == labels)),
        "worst": float(right.all(axis=0).mean()),
        "kl": float(np.mean(apart)),
    }


def accuracy(model: FieldNet, params: Tree, views: np.ndarray, labels: np.ndarray) -> float:
    """The share of views ``[n, views, d, h, w, 1]`` that are classified rightly."""
    return float(np.mean(_logits_of_views(model, params, views).argmax(-1) == labels))


def _logits_of_views(model: FieldNet, params: Tree, views: np.ndarray) -> np.ndarray:
    """Float32 ``[views, n, classes]``."""
    return np.stack([_logits(model, params, views[:, j]) for j in range(views.shape[1])])


def _logits(model: FieldNet, params: Tree, x: Any, batch: int = 50) -> np.ndarray:
    parts = [x[first : first + batch] for first in range(0, len(x), batch)]
    return np.concatenate([np.asarray(_forward(model, params, np.asarray(p))) for p in parts])


@functools.partial(jax.jit, static_argnums=0)
def _forward(model: FieldNet, params: Tree, x: jax.Array) -> Any:
    return model.apply({"params": params}, x)
