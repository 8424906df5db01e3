"""Layouts: how a state, a batch and what else a step is given lie on the devices.

A step is written once, for one device's share of the batch and whole parameters; its layout says
where the parameters are and how the share becomes the whole.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from softeq_jax.training import pmap, sharded

Tree = Any
_LAYOUT = "layout"


class StateLayout(NamedTuple):
    """StateLayout of states and batches on the devices; `layout` names them.

    Attributes:
      name: "replicated" or "full".
      place: from a state on the host to the devices.
      collect: back, NumPy leaves on every host; all hosts must call it.
      spread: from this host's batch to the devices.
      copy: from what is the same for all devices to what a compiled function takes for it.
      compiled: a function over the devices, as `pmap.over_devices`.
      on_shares: see `sharded.on_shares`.
      settle: keeps new states in the layout, inside a compiled function.
      kept: policy of `jax.checkpoint` for what the backward pass finds stored, or None for all.

    Example:
      >>> from softeq_jax import training as tr
      >>> [tr.layout(name).name for name in ("replicated", "full")]
      ['replicated', 'full']
    """

    name: str
    place: Callable[[Tree], Tree]
    collect: Callable[[Tree], Tree]
    spread: Callable[[Tree], Tree]
    copy: Callable[[Tree], Tree]
    compiled: Callable[..., Callable[..., Any]]
    on_shares: Callable[..., tuple[Tree, Tree]]
    settle: Callable[[Tree], Tree]
    kept: Callable[..., Any] | None


def _same(tree: Tree) -> Tree:
    return tree


def _over_mesh(
    f: Callable[..., Any], *, in_axes: Any, out_axes: Any = 0, donate: int = 0
) -> Callable[..., Any]:
    del in_axes, out_axes  # global arrays say themselves where they lie
    return sharded.over_mesh(f, donate=donate)


LAYOUTS: Mapping[str, StateLayout] = {
    "replicated": StateLayout(
        "replicated",
        pmap.replicate,
        pmap.unreplicate,
        pmap.shard,
        _same,
        pmap.over_devices,
        pmap.on_shares,
        _same,
        None,
    ),
    "full": StateLayout(
        "full",
        sharded.place,
        sharded.collect,
        sharded.spread,
        sharded.copy,
        _over_mesh,
        sharded.on_shares,
        sharded.settle,
        sharded.gathered_again,
    ),
}


def layout(sharding: str) -> StateLayout:
    """The layout of a name: "replicated", a copy on every device, or "full", divided among them.

    Raises:
      ValueError: another name.

    Example:
      >>> import numpy as np
      >>> from softeq_jax import training as tr
      >>> full = tr.layout("full")
      >>> placed = full.place({"w": np.ones((64, 32), np.float32)})
      >>> placed["w"].shape
      (64, 32)
      >>> full.collect(placed)["w"].sum()
      np.float32(2048.0)
    """
    if sharding not in LAYOUTS:
        raise ValueError(f"sharding must be one of {sorted(LAYOUTS)}, got {sharding!r}")
    return LAYOUTS[sharding]


def laid_out(f: Callable[..., Any], chosen: StateLayout, **axes: Any) -> Callable[..., Any]:
    """A function compiled in a layout that it remembers; see `layout_of`."""
    call = chosen.compiled(f, **axes)
    vars(call)[_LAYOUT] = chosen
    return call


def layout_of(step_fn: Callable[..., Any]) -> StateLayout:
    """The layout that a step was made for; the replicated one where it does not say."""
    return getattr(step_fn, _LAYOUT, LAYOUTS["replicated"])
