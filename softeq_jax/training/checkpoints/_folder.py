"""One checkpoint in one folder: packed arrays, and a record of names, digests and metadata.

Leaves of one dtype are laid end to end in pieces of bounded size. A state of a hundred leaves is
then a few files instead of hundreds, and every save leaks the less: tensorstore 0.1.86, asked
for the JSON form of a location, as Orbax does three times for each array, keeps its strings.
"""

import concurrent.futures
import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._paths import by_path
from softeq_jax.training.checkpoints._faults import DamagedCheckpoint, reading

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

Tree = Any
Spec = tuple[tuple[int, ...], str]

PIECE_BYTES = 2**28
"""Largest stored array: a larger one would be a single chunk of its file."""


def save(path: str | os.PathLike[str], state_tree: Tree, meta: dict[str, Any]) -> None:
    """Writes a checkpoint folder and waits until it is complete.

    It is written beside `path` and renamed, so that a run killed meanwhile leaves the former
    checkpoint readable. One process writes a path at a time.

    Args:
      path: the folder; an earlier checkpoint there is replaced, anything else is not.
      state_tree: pytree of non-empty arrays and numbers, not replicated, of any dtype.
      meta: anything that JSON can hold, such as the step and the configuration.

    Raises:
      TypeError: a leaf is not an array of numbers or is empty, or `meta` is not JSON.
      ValueError: two leaves have one path (names it).
      FileExistsError: `path` holds something that is not a checkpoint.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     sq.training.save(f"{folder}/weights", {"w": np.arange(3.0)}, {"step": 7})
      ...     sq.training.restore(f"{folder}/weights", {"w": np.zeros(4)})  # of another shape
      Traceback (most recent call last):
      ValueError: ...
    """
    import orbax.checkpoint as ocp

    path = Path(path).absolute()
    partial, former = path.with_name(f".{path.name}.partial"), _former(path)
    items = to_items(state_tree, meta)
    if path.exists() and not (path / "record").is_dir():
        raise FileExistsError(f"{path}: exists and is not a checkpoint; expected nothing there")
    shutil.rmtree(partial, ignore_errors=True)
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(partial, args=items)
    if path.exists():
        shutil.rmtree(former, ignore_errors=True)
        path.rename(former)
    partial.rename(path)
    shutil.rmtree(former, ignore_errors=True)


def restore(path: str | os.PathLike[str], template: Tree) -> tuple[Tree, dict[str, Any]]:
    """Reads a checkpoint and compares every leaf with the digest it was saved with.

    Args:
      path: the folder given to `save`.
      template: pytree of the same structure, leaves with the saved shapes and dtypes (arrays,
        numbers or `jax.ShapeDtypeStruct`).

    Returns:
      A tree like the template with NumPy leaves, and the `meta` given to `save`.

    Raises:
      FileNotFoundError: no such checkpoint.
      OSError: the machine cannot read it now, which says nothing about it.
      ValueError: it is damaged, does not fit the template, or has changed since it was
        written; the message names the leaf.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     sq.training.save(f"{folder}/weights", {"w": np.arange(3.0)}, {"step": 7})
      ...     tree, meta = sq.training.restore(f"{folder}/weights", {"w": np.zeros(3)})
      >>> tree, meta
      ({'w': array([0., 1., 2.])}, {'step': 7})
    """
    import orbax.checkpoint as ocp

    path = Path(path).absolute()
    if not path.exists() and _former(path).exists():
        path = _former(path)  # killed between the two renames of a save
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint; expected a folder written by save")

    def read(item: str, args: Any) -> Any:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            return checkpointer.restore(path, args=ocp.args.Composite(**{item: args}))[item]

    return from_items(read, template, str(path))


def _former(path: Path) -> Path:
    return path.with_name(f".{path.name}.former")


def to_items(tree: Tree, meta: dict[str, Any]) -> "ocp.args.Composite":
    """The items that Orbax writes: `arrays` and `record`.

    Raises:
      TypeError: a leaf is not an array of numbers or is empty, or `meta` is not JSON.
      ValueError: two leaves have one path (names it).
    """
    import orbax.checkpoint as ocp

    arrays = host_arrays(tree)
    record = {
        "meta": meta,
        "meta_sha256": json_digest(meta),
        "leaves": (leaves := records(arrays)),
        "leaves_sha256": json_digest(leaves),
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
      OSError: the machine cannot read it now.
      ValueError: it does not fit the template; the message names the leaf.
    """
    import orbax.checkpoint as ocp

    record = _read(read, "record", ocp.args.JsonRestore(), where)
    try:
        meta, leaves = record["meta"], record["leaves"]
        intact = record["meta_sha256"] == json_digest(meta)
        intact &= record.get("leaves_sha256") in (None, json_digest(leaves))
        saved = {leaf["name"]: (tuple(leaf["shape"]), leaf["dtype"]) for leaf in leaves}
        digests = {leaf["name"]: leaf["sha256"] for leaf in leaves}
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpoint(f"{where}: its record is not complete ({error!r})") from error
    if not intact:
        raise DamagedCheckpoint(f"{where}: its record does not match its digest; it has changed")
    wanted = {name: spec(leaf) for name, leaf in by_path(template).items()}
    compare_specs(saved, wanted, where)
    targets = {name: np.empty(length, dtype) for name, (length, dtype) in _pieces(saved).items()}
    found = _read(read, "arrays", ocp.args.StandardRestore(targets), where)
    arrays = _unpacked(found, saved)
    for name, array in arrays.items():
        if digest(array) != digests[name]:
            raise DamagedCheckpoint(f"{where}: leaf {name} does not match its digest; it changed")
    structure = jax.tree.structure(template)
    return jax.tree.unflatten(structure, [arrays[name] for name in wanted]), meta


def _pieces(saved: Mapping[str, Spec]) -> dict[str, tuple[int, str]]:
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
    specs = {name: spec(array) for name, array in arrays.items()}
    for name, (length, dtype) in _pieces(specs).items():
        start = places[dtype]
        packed[name] = whole[dtype][start : start + length]
        places[dtype] += length
    return packed


def _unpacked(found: Mapping[str, Any], saved: Mapping[str, Spec]) -> dict[str, np.ndarray]:
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
    return reading(lambda: dict(read(item, args)), Path(where), item)


def host_arrays(tree: Tree) -> dict[str, np.ndarray]:
    """Leaves as NumPy arrays by their path, such as `params/stem/kernel`, in the order of the tree.

    Raises:
      ValueError: two leaves have one path; it is named.
      TypeError: a leaf has no bytes to compare (keys, text) or is empty; it is named.
    """
    return {name: _host(name, leaf) for name, leaf in by_path(tree).items()}


def spec(leaf: Any) -> Spec:
    """(shape, dtype) of an array, a number or a `jax.ShapeDtypeStruct`."""
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return tuple(leaf.shape), str(leaf.dtype)


def records(arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Name, shape, dtype and SHA-256 (of the three and the bytes) of every array, for JSON."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = pool.map(digest, arrays.values())
        return [
            {"name": name, "shape": list(a.shape), "dtype": str(a.dtype), "sha256": sha}
            for (name, a), sha in zip(arrays.items(), found, strict=True)
        ]


def digest(array: np.ndarray) -> str:
    """SHA-256 of shape, dtype and bytes."""
    head = json.dumps([list(array.shape), str(array.dtype)]).encode()
    state = hashlib.sha256(head)
    state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of anything that JSON can hold.

    Raises:
      TypeError: it is not JSON.
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def compare_specs(saved: Mapping[str, Spec], wanted: Mapping[str, Spec], where: str) -> None:
    """Refuses a checkpoint whose leaves are not those of the template.

    Raises:
      ValueError: leaves are missing or left over, or one has another shape or dtype.
    """
    missing, left_over = sorted(set(wanted) - set(saved)), sorted(set(saved) - set(wanted))
    if missing or left_over:
        raise ValueError(
            f"{where}: the checkpoint lacks leaves {missing[:8]} of the template and has "
            f"{left_over[:8]} beyond it"
        )
    for name, expected in wanted.items():
        if saved[name] != expected:
            raise ValueError(
                f"{where}: leaf {name} is {saved[name]}, the template expects {expected}"
            )


def _host(name: str, leaf: Any) -> np.ndarray:
    kind = getattr(leaf, "dtype", np.asarray(0).dtype)
    extended = jnp.issubdtype(kind, jax.dtypes.extended)
    array = None if extended else np.asarray(leaf)
    if array is None or array.dtype.kind in "OUSM" or not array.size:
        raise TypeError(f"leaf {name} is {leaf!r}, expected a non-empty array of numbers")
    return array
