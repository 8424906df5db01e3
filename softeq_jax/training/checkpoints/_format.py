"""What a checkpoint holds: arrays by number, and a record of names, digests and metadata."""

from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from softeq_jax.training.checkpoints import _digests

Tree = Any


def to_items(tree: Tree, meta: dict[str, Any]) -> ocp.args.Composite:
    """The items that Orbax writes: `arrays` and `record`.

    Raises:
      TypeError: a leaf is not an array of numbers or is empty, or `meta` is not JSON.
    """
    arrays = _digests.host_arrays(tree)
    record = {
        "meta": meta,
        "meta_sha256": _digests.json_digest(meta),
        "leaves": _digests.records(arrays),
    }
    stored = {str(i): array for i, array in enumerate(arrays.values())}
    return ocp.args.Composite(
        arrays=ocp.args.StandardSave(stored), record=ocp.args.JsonSave(record)
    )


def from_items(read: Any, template: Tree, where: str) -> tuple[Tree, dict[str, Any]]:
    """Reads and verifies a checkpoint.

    Args:
      read: `read(item, args)` restores one item with Orbax.
      template: pytree of the saved structure; leaves are arrays, numbers or
        `jax.ShapeDtypeStruct`.
      where: the folder, for messages.

    Returns:
      A tree like the template with NumPy leaves, and the metadata.

    Raises:
      DamagedCheckpoint: it cannot be read or has changed since it was written.
      ValueError: it does not fit the template; the message names the leaf.
    """
    record = _read(read, "record", ocp.args.JsonRestore(), where)
    try:
        meta, leaves = record["meta"], record["leaves"]
        intact = record["meta_sha256"] == _digests.json_digest(meta)
        saved = {leaf["name"]: (tuple(leaf["shape"]), leaf["dtype"]) for leaf in leaves}
        digests = {leaf["name"]: leaf["sha256"] for leaf in leaves}
    except (KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"{where}: its record is not complete ({error!r})") from error
    if not intact:
        raise DamagedCheckpoint(f"{where}: meta does not match its digest; it has changed")
    wanted = {name: _digests.spec(leaf) for name, leaf in _digests.named_leaves(template).items()}
    _digests.compare_specs(saved, wanted, where)
    targets = {str(i): np.empty(*saved[name]) for i, name in enumerate(saved)}
    found = _read(read, "arrays", ocp.args.StandardRestore(targets), where)
    arrays = {name: np.asarray(found[str(i)]) for i, name in enumerate(saved)}
    for name, array in arrays.items():
        if _digests.digest(array) != digests[name]:
            raise DamagedCheckpoint(f"{where}: leaf {name} does not match its digest; it changed")
    structure = jax.tree.structure(template)
    return jax.tree.unflatten(structure, [arrays[name] for name in wanted]), meta


class DamagedCheckpoint(ValueError):
    """A checkpoint that cannot be read, or that has changed since it was written."""


def _read(read: Any, item: str, args: Any, where: str) -> dict[str, Any]:
    try:
        return dict(read(item, args))
    except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged folder
        raise DamagedCheckpoint(
            f"{where}: {item} of the checkpoint cannot be read ({error})"
        ) from error
