"""What a checkpoint holds: packed arrays, and a record of names, digests and metadata.

Leaves of one dtype are laid end to end in pieces of bounded size. A state of a hundred leaves is
then a few files instead of hundreds, and every save leaks the less: tensorstore 0.1.86, asked
for the JSON form of a location, as Orbax does three times for each array, keeps its strings.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from softeq_jax.training.checkpoints import _digests

Tree = Any

PIECE_BYTES = 2**28
"""Largest stored array: a larger one would be a single chunk of its file."""


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
    return ocp.args.Composite(
        arrays=ocp.args.StandardSave(_packed(arrays)), record=ocp.args.JsonSave(record)
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
    targets = {name: np.empty(length, dtype) for name, (length, dtype) in _pieces(saved).items()}
    found = _read(read, "arrays", ocp.args.StandardRestore(targets), where)
    arrays = _unpacked(found, saved)
    for name, array in arrays.items():
        if _digests.digest(array) != digests[name]:
            raise DamagedCheckpoint(f"{where}: leaf {name} does not match its digest; it changed")
    structure = jax.tree.structure(template)
    return jax.tree.unflatten(structure, [arrays[name] for name in wanted]), meta


class DamagedCheckpoint(ValueError):
    """A checkpoint that cannot be read, or that has changed since it was written."""


def _pieces(saved: Mapping[str, _digests.Spec]) -> dict[str, tuple[int, str]]:
    """Length and dtype of every stored piece by its name, `<dtype>_<number>`."""
    totals: dict[str, int] = {}
    for shape, dtype in saved.values():
        totals[dtype] = totals.get(dtype, 0) + math.prod(shape)
    pieces = {}
    for dtype, total in totals.items():
        most = PIECE_BYTES // np.dtype(dtype).itemsize
        for number, start in enumerate(range(0, total, most)):
            pieces[f"{dtype}_{number}"] = (min(most, total - start), dtype)
    return pieces


def _packed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The stored pieces of some arrays."""
    by_dtype: dict[str, list[np.ndarray]] = {}
    for array in arrays.values():
        by_dtype.setdefault(str(array.dtype), []).append(array.reshape(-1))
    packed, places = {}, dict.fromkeys(by_dtype, 0)
    whole = {dtype: np.concatenate(parts) for dtype, parts in by_dtype.items()}
    specs = {name: _digests.spec(array) for name, array in arrays.items()}
    for name, (length, dtype) in _pieces(specs).items():
        start = places[dtype]
        packed[name] = whole[dtype][start : start + length]
        places[dtype] += length
    return packed


def _unpacked(
    found: Mapping[str, Any], saved: Mapping[str, _digests.Spec]
) -> dict[str, np.ndarray]:
    """The arrays by name, from the stored pieces."""
    by_dtype: dict[str, list[np.ndarray]] = {}
    for name, (_, dtype) in _pieces(saved).items():
        by_dtype.setdefault(dtype, []).append(np.asarray(found[name]))
    whole = {dtype: np.concatenate(parts) for dtype, parts in by_dtype.items()}
    arrays, places = {}, dict.fromkeys(by_dtype, 0)
    for name, (shape, dtype) in saved.items():
        start, size = places[dtype], math.prod(shape)
        arrays[name] = whole[dtype][start : start + size].reshape(shape)
        places[dtype] += size
    return arrays


def _read(read: Any, item: str, args: Any, where: str) -> dict[str, Any]:
    try:
        return dict(read(item, args))
    except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged folder
        raise DamagedCheckpoint(
            f"{where}: {item} of the checkpoint cannot be read ({error})"
        ) from error
