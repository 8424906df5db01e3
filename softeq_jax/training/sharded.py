"""States sharded over all devices of all hosts: fully sharded data parallel training.

Every leaf of parameters, averages and optimizer state lies in equal parts on the devices, along
one of its axes. What a step does with whole leaves (projections, penalties, the optimizer) is
compiled by `jax.jit` for these shardings; what it does with a share of the batch runs on every
device for itself (`jax.shard_map`), over the same axis "device" as in `pmap`. There a leaf is
gathered where the network uses it, in the forward pass and again in the backward pass, and its
gradient is summed into the parts: whole parameters are never all in memory. (XLA on CPU makes one
of the two gatherings and keeps it.)

This is Rajbhandari et al., *ZeRO* (2020), stage 3. Arrays are global, without an axis of devices.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from softeq_jax.training.pmap import AXIS, LOWER, canonical, device_mean, require_divided, widened

Tree = Any

_SMALL = 1024
"""Leaves of fewer entries than this are copied to all devices: gathering them costs more."""


def sharded_axis(shape: tuple[int, ...], devices: int) -> int | None:
    """Axis along which a leaf is divided: the longest one that the devices divide.

    None, the leaf is copied to all devices: it has fewer than 1024 entries, or no such axis.
    """
    fitting = [axis for axis, length in enumerate(shape) if length % devices == 0]
    if math.prod(shape) < _SMALL or not fitting:
        return None
    return max(fitting, key=lambda axis: shape[axis])


def over_mesh(f: Callable[..., Any], *, donate: int = 0) -> Callable[..., Any]:
    """Compiles a function of global arrays for all devices of all hosts.

    Args:
      f: of positional arguments, which lie where `place`, `spread` and `copy` put them.
      donate: how many arguments, the first ones, give their memory away.
    """
    compiled = jax.jit(f, donate_argnums=tuple(range(donate)))

    @functools.wraps(f)
    def call(*args: Any) -> Any:
        return compiled(*args)

    vars(call)[LOWER] = compiled.lower
    return call


def on_shares(
    f: Callable[..., Any], weights: Tree, kept: Tree, split: Tree, *, gradient: bool
) -> tuple[Tree, Tree]:
    """Runs a function on every device with its share of the batch, inside `over_mesh`.

    Args:
      f: ``f(gather, weights, kept, split) -> (gradient, results)`` for one device; collectives
        over `AXIS` are allowed. `weights` are parts; ``gather(weights, dtype)`` makes them
        whole, floats cast to the dtype first, and its derivative is the mean over the
        devices, in parts again. The results are the same on all devices.
      weights: divided among the devices.
      kept: whole on every device.
      split: divided along the leading axes.
      gradient: whether there is one, a tree like the weights; otherwise it is None.
    """
    count = jax.device_count()
    leaves, structure = jax.tree.flatten(weights)
    axes = [sharded_axis(np.shape(leaf), count) for leaf in leaves]
    specs = jax.tree.unflatten(structure, [_spec(axis) for axis in axes])

    def gather(parts: Tree, dtype: Any) -> Tree:
        parts = zip(jax.tree.leaves(parts), axes, strict=True)
        return jax.tree.unflatten(structure, [_whole(part, axis, dtype) for part, axis in parts])

    whole = PartitionSpec()
    run = jax.shard_map(
        functools.partial(f, gather),
        mesh=_mesh(),
        in_specs=(specs, whole, PartitionSpec(AXIS)),
        out_specs=(specs if gradient else whole, whole),
        check_vma=False,
    )
    return run(weights, kept, split)


def gathered_again(primitive: Any, *_: Any, **__: Any) -> bool:
    """Policy of `jax.checkpoint`: all is kept for the backward pass but what was gathered."""
    return primitive is not jax.lax.all_gather_p


def settle(tree: Tree) -> Tree:
    """The tree in its shardings, inside `over_mesh`."""
    return jax.lax.with_sharding_constraint(tree, jax.tree.map(_sharding_of, tree))


def place(tree: Tree) -> Tree:
    """Divides every leaf among the devices of all hosts; each host holds the whole tree."""

    def put(leaf: Any) -> jax.Array:
        leaf = np.asarray(canonical(leaf))
        return jax.make_array_from_callback(
            leaf.shape, _sharding_of(leaf), lambda index: np.array(leaf[index])
        )

    return jax.tree.map(put, tree)


def collect(tree: Tree) -> Tree:
    """Whole leaves as NumPy arrays of their own, on every host; all hosts must call it.

    With several hosts one leaf at a time is whole on the devices.
    """

    def take(leaf: jax.Array) -> np.ndarray:
        if leaf.is_fully_addressable:
            return np.array(leaf)
        if not leaf.is_fully_replicated:
            leaf = jax.block_until_ready(_copied(_sharding(None))(leaf))
        return np.array(leaf.addressable_shards[0].data)

    return jax.tree.map(take, tree)


def spread(batch: Tree) -> Tree:
    """The batches of all hosts as one, `[b, ...]` to `[hosts b, ...]`, divided among the devices.

    Raises:
      ValueError: a leaf has no leading axis, or the local devices do not divide it.
    """
    count = jax.local_device_count()

    def put(path: Any, leaf: Any) -> jax.Array:
        leaf = np.asarray(canonical(leaf))
        require_divided(path, leaf, count)
        return jax.make_array_from_process_local_data(_sharding(0), leaf)

    return jax.tree_util.tree_map_with_path(put, batch)


def copy(tree: Tree) -> Tree:
    """Copies every leaf, the same on all hosts, to every device; Python's numbers stay."""

    def put(leaf: Any) -> Any:
        if isinstance(leaf, int | float | complex):
            return leaf  # an array of it would decide about dtypes
        leaf = np.asarray(canonical(leaf))
        return jax.make_array_from_callback(leaf.shape, _sharding(None), lambda _: leaf)

    return jax.tree.map(put, tree)


def _whole(part: jax.Array, axis: int | None, dtype: Any) -> jax.Array:
    """A leaf from its parts, in another dtype if that is given and the leaf is a float."""
    part = jnp.asarray(part)
    if not jnp.issubdtype(part.dtype, jnp.inexact):
        return part if axis is None else jax.lax.all_gather(part, AXIS, axis=axis, tiled=True)
    stored, floating = part.dtype, jnp.issubdtype(part.dtype, jnp.floating)
    return _gathered(part, axis, stored if dtype is None or not floating else dtype, stored)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _gathered(part: jax.Array, axis: int | None, dtype: Any, stored: Any) -> jax.Array:
    del stored
    part = part.astype(dtype)
    return part if axis is None else jax.lax.all_gather(part, AXIS, axis=axis, tiled=True)


def _gathered_forward(
    part: jax.Array, axis: int | None, dtype: Any, stored: Any
) -> tuple[jax.Array, None]:
    return _gathered(part, axis, dtype, stored), None


def _mean_in_parts(
    axis: int | None, dtype: Any, stored: Any, _: None, gradient: jax.Array
) -> tuple[jax.Array]:
    """The mean over the devices of the gradient, each device's part of it; 16 bits in float32."""
    del dtype
    gradient = widened(gradient)
    if axis is None:
        return (device_mean(gradient).astype(stored),)
    total = jax.lax.psum_scatter(gradient, AXIS, scatter_dimension=axis, tiled=True)
    return ((total / jax.lax.axis_size(AXIS)).astype(stored),)


_gathered.defvjp(_gathered_forward, _mean_in_parts)


def _spec(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS)


def _mesh() -> Mesh:
    return _mesh_over(tuple(jax.devices()))


@functools.lru_cache(maxsize=4)
def _mesh_over(devices: tuple[Any, ...]) -> Mesh:
    return Mesh(np.asarray(devices), (AXIS,))


@functools.lru_cache(maxsize=4)
def _copied(sharding: NamedSharding) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(lambda leaf: leaf, out_shardings=sharding)


def _sharding(axis: int | None) -> NamedSharding:
    return NamedSharding(_mesh(), _spec(axis))


def _sharding_of(leaf: Any) -> NamedSharding:
    return _sharding(sharded_axis(np.shape(leaf), jax.device_count()))
