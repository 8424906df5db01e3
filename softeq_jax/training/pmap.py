"""Mapped axis over all devices (`jax.pmap`), and how arrays get onto it.

`jax.pmap` is used in this module only. Arrays that live on the devices have a leading axis of
the number of local devices; the mapped axis is called "device" and runs over the devices of all
hosts. The queue of steps in flight is bounded by `InFlight`, because a queue of collective
operations deadlocks on CPU.
"""

import collections
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from softeq_jax._checks import whole

AXIS = "device"
LOWER = "lower"
"""Where a compiled function keeps how it is lowered; see `lowered`."""

Tree = Any


def over_devices(
    f: Callable[..., Any] | None = None,
    *,
    in_axes: tuple[int | None, ...],
    out_axes: Any = 0,
    donate: int = 0,
) -> Callable[..., Any]:
    """Compiles a function to run on every device at once, each on its slice of axis 0.

    Arguments reach `jax.pmap` as two tuples. Passed one by one, as many arguments as there are
    leaves in them all are taken for leaves themselves (jax 0.10.2), and a dictionary beside an
    empty one is then cut up along the wrong axes without a word.

    Args:
      f: the function for one device, of positional arguments; collectives over `AXIS` are
        allowed. None returns a decorator.
      in_axes: for each argument 0 if it has a device axis, None if it is broadcast.
      out_axes: the same for the results; None for what is equal on all devices.
      donate: how many arguments, the first ones, give their memory away; they must not be
        used again.

    Returns:
      The compiled function. It raises ValueError for an argument that lacks its device axis.
    """
    if f is None:
        return functools.partial(over_devices, in_axes=in_axes, out_axes=out_axes, donate=donate)

    def of_tuples(given: tuple[Any, ...], kept: tuple[Any, ...]) -> Any:
        return f(*given, *kept)

    names = list(inspect.signature(f).parameters)
    mapped = jax.pmap(
        of_tuples,
        axis_name=AXIS,
        in_axes=(in_axes[:donate], in_axes[donate:]),
        out_axes=out_axes,
        donate_argnums=(0,) if donate else (),
    )

    @functools.wraps(f)
    def call(*args: Any) -> Any:
        for name, arg, axis in zip(names, args, in_axes, strict=False):
            if axis == 0:
                _require_device_axis(name, arg)
        return mapped(args[:donate], args[donate:])

    vars(call)[LOWER] = lambda *args: mapped.lower(args[:donate], args[donate:])
    return call


def lowered(call: Callable[..., Any], *args: Any) -> Any:
    """A compiled function with arguments, not compiled yet: a `jax.stages.Lowered`."""
    return vars(call)[LOWER](*args)


def _require_device_axis(name: str, tree: Tree) -> None:
    """Refuses what has no axis of the devices, such as parameters that were not replicated."""
    count = jax.local_device_count()
    if all(np.shape(leaf)[:1] == (count,) for leaf in jax.tree.leaves(tree)):
        return
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if np.shape(leaf)[:1] != (count,):
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} has shape {np.shape(leaf)}, expected a first "
                f"axis of length {count}, that of the local devices: replicate states and "
                "parameters, shard batches"
            )


def device_index() -> jax.Array:
    """Number of this device among those of all hosts, inside a mapped function."""
    return jax.lax.axis_index(AXIS)


def device_mean(tree: Tree) -> Tree:
    """Mean over all devices of the floating-point leaves; other leaves are kept as they are.

    16-bit floats are added in float32, the mean has their dtype.
    """

    def average(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        return jax.lax.pmean(widened(leaf), AXIS).astype(leaf.dtype)

    return jax.tree.map(average, tree)


def widened(tree: Tree) -> Tree:
    """The tree with its 16-bit floats in float32, where sums and averages are to be kept."""

    def wide(leaf: Any) -> Any:
        leaf = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
        narrow = jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize < 4
        return leaf.astype(jnp.float32) if narrow else leaf

    return jax.tree.map(wide, tree)


def cast(tree: Tree, dtype: Any) -> Tree:
    """The tree with its floating-point leaves in another dtype; None casts nothing."""
    if dtype is None:
        return tree

    def to(leaf: Any) -> Any:
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(leaf, dtype) if floating else leaf

    return jax.tree.map(to, tree)


def on_shares(
    f: Callable[..., Any], weights: Tree, kept: Tree, split: Tree, *, gradient: bool
) -> tuple[Tree, Tree]:
    """Runs a function on this device's share, inside `over_devices`: see `sharded.on_shares`."""
    found, results = f(cast, weights, kept, split)
    return (device_mean(found) if gradient else None), results


def device_sum(tree: Tree) -> Tree:
    """Sum over all devices of every leaf, inside a mapped function."""
    return jax.lax.psum(tree, AXIS)


def replicate(tree: Tree) -> Tree:
    """Copies every leaf to all local devices: `[...]` becomes `[devices, ...]`, same dtype.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> tree = sq.training.replicate({"w": jnp.ones(3)})
      >>> tree["w"].shape == (jax.local_device_count(), 3)
      True
    """
    sharding = _sharding()
    count = jax.local_device_count()

    def copy(leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(
            (count, *leaf.shape), sharding, lambda _: np.array(leaf)[None]
        )

    return jax.tree.map(copy, jax.tree.map(canonical, tree))


def unreplicate(tree: Tree) -> Tree:
    """The first local device's copy of every leaf, `[devices, ...]` to a NumPy `[...]` of its own.

    The arrays share no memory with the devices, so that a donated buffer cannot change them.

    Raises:
      ValueError: a leaf has no axis of the devices.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> sq.training.unreplicate(sq.training.replicate({"w": jnp.ones(3)}))
      {'w': array([1., 1., 1.], dtype=float32)}
    """
    _require_device_axis("the tree to unreplicate", tree)

    def first(leaf: Any) -> np.ndarray:
        shards = getattr(leaf, "addressable_shards", None)
        return np.array(np.asarray(leaf if shards is None else shards[0].data)[0])

    return jax.tree.map(first, tree)


def shard(batch: Tree) -> Tree:
    """Splits the leading axis among the local devices: `[b, ...]` to `[devices, b/devices, ...]`.

    Raises:
      ValueError: a leaf has no leading axis, or the devices do not divide it.

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> n = jax.local_device_count()
      >>> sq.training.shard({"x": np.ones((4 * n, 3))})["x"].shape == (n, 4, 3)
      True
    """
    count = jax.local_device_count()

    def split(path: Any, leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        require_divided(path, leaf, count)
        return leaf.reshape(count, leaf.shape[0] // count, *leaf.shape[1:])

    return jax.device_put(jax.tree_util.tree_map_with_path(split, batch), _sharding())


def require_divided(path: Any, leaf: np.ndarray, count: int) -> None:
    """Refuses a leaf of a batch whose leading axis so many devices do not divide."""
    if not leaf.ndim or leaf.shape[0] % count:
        raise ValueError(
            f"batch{jax.tree_util.keystr(path)} has shape {leaf.shape}, expected a leading "
            f"axis that {count} devices divide: choose a batch size that is a multiple of it"
        )


def default_in_flight() -> int:
    """1 on CPU, where a queue of collective operations deadlocks, 4 elsewhere."""
    return 1 if jax.default_backend() == "cpu" else 4


class InFlight:
    """A queue of dispatched steps that waits for the oldest when it is longer than `depth`.

    Args:
      depth: how many may be unfinished while the next one is dispatched; 0 waits for each.

    Raises:
      ValueError: a negative depth.
    """

    def __init__(self, depth: int):
        self._depth = whole(depth, "in_flight", 0)
        self._waiting: collections.deque[tuple[Any, Tree]] = collections.deque()

    def push(self, label: Any, results: Tree) -> list[tuple[Any, Tree]]:
        """Adds a step's results; returns the finished (label, results), oldest first."""
        self._waiting.append((label, results))
        return self._take(self._depth)

    def drain(self) -> list[tuple[Any, Tree]]:
        """Waits for all; returns them, oldest first."""
        return self._take(0)

    def _take(self, left: int) -> list[tuple[Any, Tree]]:
        done = []
        while len(self._waiting) > left:
            done.append(self._waiting.popleft())
        for _, results in done:
            jax.block_until_ready(results)
        return done


def canonical(leaf: Any) -> Any:
    """The leaf with the dtype that JAX would give it."""
    if isinstance(leaf, jax.Array):
        return leaf
    leaf = np.asarray(leaf)
    return leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype), copy=False)


def _sharding() -> NamedSharding:
    return _sharding_over(tuple(jax.local_devices()))


@functools.lru_cache(maxsize=4)
def _sharding_over(devices: tuple[Any, ...]) -> NamedSharding:
    return NamedSharding(Mesh(np.asarray(devices), (AXIS,)), PartitionSpec(AXIS))
