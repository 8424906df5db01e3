"""Checkpoints of any pytree of arrays with Orbax, verified leaf by leaf when they are read."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

Tree = Any


def save(path: str | os.PathLike[str], state_tree: Tree, meta: dict[str, Any]) -> None:
    """Writes a checkpoint folder and waits until it is complete.

    It is written beside `path` and renamed, so that a run killed meanwhile leaves the former
    checkpoint readable. One process writes a path at a time.

    Args:
      path: the folder; an earlier checkpoint there is replaced, other folders are not.
      state_tree: pytree of arrays and numbers, not replicated, of any dtype.
      meta: anything that JSON can hold, such as the step and the configuration.

    Raises:
      TypeError: a leaf is not an array, or `meta` is not JSON.
      FileExistsError: `path` holds something that is not a checkpoint.
    """
    path = Path(path).absolute()
    partial, former = _beside(path)
    arrays = {name: _host(name, leaf) for name, leaf in _named_leaves(state_tree)}
    leaves = [{"name": name, **_digest(array)} for name, array in arrays.items()]
    record = {"meta": meta, "meta_sha256": _meta_digest(meta), "leaves": leaves}
    if path.exists() and not _holds_checkpoint(path):
        raise FileExistsError(f"{path}: exists and is not a checkpoint; expected nothing there")
    shutil.rmtree(partial, ignore_errors=True)
    stored = {_key(i): array for i, array in enumerate(arrays.values()) if array.size}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        items = {"record": ocp.args.JsonSave(record)}
        if stored:
            items["arrays"] = ocp.args.StandardSave(stored)
        checkpointer.save(partial, args=ocp.args.Composite(**items))
    if path.exists():
        shutil.rmtree(former, ignore_errors=True)
        path.rename(former)
    partial.rename(path)
    shutil.rmtree(former, ignore_errors=True)


def restore(path: str | os.PathLike[str], template: Tree) -> tuple[Tree, dict[str, Any]]:
    """Reads a checkpoint and compares every leaf with the digest it was saved with.

    Args:
      path: the folder given to `save`.
      template: pytree of the same structure, leaves with the saved shapes and dtypes (arrays or
        `jax.ShapeDtypeStruct`).

    Returns:
      A tree like the template with NumPy leaves, and the `meta` given to `save`.

    Raises:
      FileNotFoundError: no such checkpoint.
      ValueError: it cannot be read, does not fit the template, or a leaf's bytes have changed;
        the message names the leaf.
    """
    path = Path(path).absolute()
    _, former = _beside(path)
    if not path.exists() and _holds_checkpoint(former):
        path = former  # killed between the two renames of a save
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint; expected a folder written by save")
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        record = _read(checkpointer, path, "record", ocp.args.JsonRestore())
        try:
            meta, leaves = record["meta"], record["leaves"]
            intact = record["meta_sha256"] == _meta_digest(meta)
            saved = {leaf["name"]: leaf for leaf in leaves}
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: the record of the checkpoint is incomplete") from error
        if not intact:
            raise ValueError(f"{path}: meta does not match its digest; the checkpoint has changed")
        wanted = dict(_named_leaves(template))
        _compare(path, saved, wanted)
        empty = {n: np.empty(w.shape, w.dtype) for n, w in map(_as_spec, wanted.items())}
        stored = {_key(i): empty[n] for i, n in enumerate(saved) if empty[n].size}
        found = _read(checkpointer, path, "arrays", ocp.args.StandardRestore(stored), stored)
    for i, (name, leaf) in enumerate(saved.items()):
        array = np.asarray(found.get(_key(i), empty[name]))
        if _digest(array)["sha256"] != leaf["sha256"]:
            raise ValueError(f"{path}: leaf {name} does not match its digest; it has changed")
        empty[name] = array
    return jax.tree.unflatten(jax.tree.structure(template), [empty[n] for n in wanted]), meta


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.former")


def _holds_checkpoint(path: Path) -> bool:
    return (path / "record").is_dir()


def _key(index: int) -> str:
    return f"leaf{index:05d}"


def _named_leaves(tree: Tree) -> list[tuple[str, Any]]:
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/") or "tree", leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    ]


def _as_spec(item: tuple[str, Any]) -> tuple[str, Any]:
    name, leaf = item
    return name, leaf if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else np.asarray(leaf)


def _host(name: str, leaf: Any) -> np.ndarray:
    array = (
        None
        if jax.dtypes.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.extended)
        else (np.asarray(leaf))
    )
    if array is None or array.dtype.kind in "OUSM":
        raise TypeError(f"leaf {name} is {type(leaf).__name__}, expected an array or a number")
    return array


def _digest(array: np.ndarray) -> dict[str, Any]:
    shape, dtype = list(array.shape), str(array.dtype)
    head = json.dumps([shape, dtype]).encode()
    digest = hashlib.sha256(head + np.ascontiguousarray(array).tobytes())
    return {"shape": shape, "dtype": dtype, "sha256": digest.hexdigest()}


def _meta_digest(meta: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _read(
    checkpointer: ocp.Checkpointer, path: Path, item: str, args: Any, need: Any = True
) -> Any:
    if not need:
        return {}
    try:
        return checkpointer.restore(path, args=ocp.args.Composite(**{item: args}))[item]
    except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged folder
        raise ValueError(f"{path}: {item} of the checkpoint cannot be read ({error})") from error


def _compare(path: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    missing, left_over = sorted(set(wanted) - set(saved)), sorted(set(saved) - set(wanted))
    if missing or left_over:
        raise ValueError(
            f"{path}: the checkpoint lacks leaves {missing[:8]} of the template and has "
            f"{left_over[:8]} beyond it"
        )
    for name, leaf in map(_as_spec, wanted.items()):
        came = tuple(saved[name]["shape"]), saved[name]["dtype"]
        expected = tuple(leaf.shape), str(np.dtype(leaf.dtype))
        if came != expected:
            raise ValueError(f"{path}: leaf {name} is {came}, the template expects {expected}")
