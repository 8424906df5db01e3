"""What a graph network is given: features of nodes and edges, made and checked."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray

_LEAST = 1e-12  # lengths are sqrt(|x|^2 + _LEAST), smooth at 0


class Edges(NamedTuple):
    """Where messages go, and what is known of each edge.

    Attributes:
      senders: int ``[e]``.
      receivers: int ``[e]``.
      directions: unit vectors from receiver to sender, ``[..., e, d]``.
      scalars: invariants, ``[..., e, k]``.
    """

    senders: np.ndarray
    receivers: np.ndarray
    directions: jax.Array
    scalars: jax.Array


def complete_edges(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """(senders, receivers), int ``[nodes (nodes - 1)]``: all pairs of different nodes, those
    with the same receiver after one another."""
    receivers, senders = np.nonzero(~np.eye(nodes, dtype=bool))
    return senders, receivers


def node_features(
    shape: tuple[int, ...],
    vectors: Array,
    scalars: Array,
    vector_count: int,
    scalar_count: int,
) -> jax.Array:
    """Scalars, lengths of the vectors, vectors: ``[..., n, scalars + vectors (1 + d)]``.

    Args:
      shape: of the positions, ``[..., n, d]``.
      vectors: ``[..., n, vectors, d]``.
      scalars: ``[..., n, scalars]``.
      vector_count: vectors.
      scalar_count: scalars.

    Raises:
      ValueError: other shapes.
    """
    vectors = _shaped("vectors", vectors, (*shape[:-1], vector_count, shape[-1]))
    scalars = _shaped("scalars", scalars, (*shape[:-1], scalar_count))
    flat = vectors.reshape(*shape[:-1], -1)
    return jnp.concatenate([scalars, _length(vectors), flat], axis=-1)


def edge_features(
    positions: jax.Array,
    given: Array | None,
    senders: Array | None,
    receivers: Array | None,
    given_count: int,
    ranges: Sequence[float],
) -> Edges:
    """Directions, and the invariants ``exp(-d / l_k), q, q exp(-d / l_k)`` of every edge.

    Args:
      positions: ``[..., n, d]``.
      given: q ``[..., e, given_count]``, None if there are none.
      senders: int ``[e]``; None, with ``receivers``, for those of ``complete_edges``.
      receivers: int ``[e]``.
      given_count: invariants given for each edge.
      ranges: the lengths l_k.

    Raises:
      ValueError: other shapes, or edges that are none.
    """
    nodes = positions.shape[-2]
    if (senders is None) != (receivers is None):
        raise ValueError("give senders and receivers, or neither")
    if senders is None:
        senders, receivers = complete_edges(nodes)
    else:
        senders, receivers = (np.asarray(index) for index in (senders, receivers))
        _check_edges(senders, receivers, nodes)
    apart = jnp.take(positions, senders, axis=-2) - jnp.take(positions, receivers, axis=-2)
    distance = _length(apart)[..., None]
    radial = jnp.exp(-distance / np.asarray(ranges, positions.dtype))
    known = [radial]
    if given_count:
        shape = (*positions.shape[:-2], len(senders), given_count)
        q = _shaped("edge_scalars", given, shape)
        products = q[..., :, None] * radial[..., None, :]
        known += [q, products.reshape(*q.shape[:-1], -1)]
    elif given is not None:
        raise ValueError("edge_scalars are given, but the model's attribute edge_scalars is 0")
    return Edges(senders, receivers, apart / distance, jnp.concatenate(known, axis=-1))


def _shaped(name: str, x: Array | None, shape: tuple[int, ...]) -> jax.Array:
    if x is None or jnp.shape(x) != shape:
        got = None if x is None else jnp.shape(x)
        raise ValueError(f"{name} must have shape {shape}, got {got}")
    return jnp.asarray(x)


def _check_edges(senders: np.ndarray, receivers: np.ndarray, nodes: int) -> None:
    for name, index in (("senders", senders), ("receivers", receivers)):
        if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
            raise ValueError(f"{name} must be integers [e], got {index.dtype}{list(index.shape)}")
        if index.size and (index.min() < 0 or index.max() >= nodes):
            raise ValueError(f"{name} must be in [0, {nodes}), got {index.min()} to {index.max()}")
    if senders.shape != receivers.shape:
        raise ValueError(f"got {len(senders)} senders and {len(receivers)} receivers")
    if np.any(senders == receivers):
        raise ValueError("an edge must join two different nodes")


def _length(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(x**2, axis=-1) + _LEAST)
