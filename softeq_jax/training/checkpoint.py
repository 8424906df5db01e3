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
      path: the folder; an earlier checkpoint there is replaced, anything else is not.
      state_tree: pytree of non-empty arrays and numbers, not replicated, of any dtype.
      meta: anything that JSON can hold, such as the step and the configuration.

    Raises:
      TypeError: a leaf is not an array of numbers or is empty, or `meta` is not JSON.
      FileExistsError: `path` holds something that is not a checkpoint.
    """
    path = Path(path).absolute()
    partial, former = path.with_name(f".{path.name}.partial"), _former(path)
    arrays = {name: _host(name, leaf) for name, leaf in _named_leaves(state_tree).items()}
    leaves = [{"name": name, **_digest(array)} for name, array in arrays.items()]
    record = {"meta": meta, "meta_sha256": _meta_digest(meta), "leaves": leaves}
    if path.exists() and not (path / "record").is_dir():
        raise FileExistsError(f"{path}: exists and is not a checkpoint; expected nothing there")
    shutil.rmtree(partial, ignore_errors=True)
    stored = {str(i): array for i, array in enumerate(arrays.values())}
    args = ocp.args.Composite(
        arrays=ocp.args.StandardSave(stored), record=ocp.args.JsonSave(record)
    )
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(partial, args=args)
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
      ValueError: it cannot be read, does not fit the template, or has changed since it was
        written; the message names the leaf.
    """
    path = Path(path).absolute()
    if not path.exists() and _former(path).exists():
        path = _former(path)  # killed between the two renames of a save
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint; expected a folder written by save")
    record = _read(path, "record", ocp.args.JsonRestore())
    meta = record.get("meta")
    if record.get("meta_sha256") != _meta_digest(meta):
        raise ValueError(f"{path}: meta does not match its digest; the checkpoint has changed")
    saved = {leaf["name"]: leaf for leaf in record["leaves"]}
    wanted = {name: _spec(leaf) for name, leaf in _named_leaves(template).items()}
    missing, left_over = sorted(set(wanted) - set(saved)), sorted(set(saved) - set(wanted))
    if missing or left_over:
        raise ValueError(
            f"{path}: the checkpoint lacks leaves {missing[:8]} of the template and has "
            f"{left_over[:8]} beyond it"
        )
    for name, spec in wanted.items():
        came, expected = (tuple(saved[name]["shape"]), saved[name]["dtype"]), spec
        if came != expected:
            raise ValueError(f"{path}: leaf {name} is {came}, the template expects {expected}")
    stored = {str(i): np.empty(wanted[name][0], wanted[name][1]) for i, name in enumerate(saved)}
    found = _read(path, "arrays", ocp.args.StandardRestore(stored))
    arrays = {name: np.asarray(found[str(i)]) for i, name in enumerate(saved)}
    for name, array in arrays.items():
        if _digest(array)["sha256"] != saved[name]["sha256"]:
            raise ValueError(f"{path}: leaf {name} does not match its digest; it has changed")
    return jax.tree.unflatten(jax.tree.structure(template), [arrays[n] for n in wanted]), meta


def _former(path: Path) -> Path:
    return path.with_name(f".{path.name}.former")


def _named_leaves(tree: Tree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _host(name: str, leaf: Any) -> np.ndarray:
    """The leaf as a NumPy array; refuses what has no bytes to compare (keys, text, nothing)."""
    kind = getattr(leaf, "dtype", np.asarray(0).dtype)
    extended = jax.dtypes.issubdtype(kind, jax.dtypes.extended)
    array = None if extended else np.asarray(leaf)
    if array is None or array.dtype.kind in "OUSM" or not array.size:
        raise TypeError(f"leaf {name} is {leaf!r}, expected a non-empty array of numbers")
    return array


def _spec(leaf: Any) -> tuple[tuple[int, ...], str]:
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return tuple(leaf.shape), str(leaf.dtype)


def _digest(array: np.ndarray) -> dict[str, Any]:
    shape, dtype = list(array.shape), str(array.dtype)
    head = json.dumps([shape, dtype]).encode()
    digest = hashlib.sha256(head + np.ascontiguousarray(array).tobytes())
    return {"shape": shape, "dtype": dtype, "sha256": digest.hexdigest()}


def _meta_digest(meta: Any) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _read(path: Path, item: str, args: Any) -> dict[str, Any]:
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            return dict(checkpointer.restore(path, args=ocp.args.Composite(**{item: args}))[item])
    except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged folder
        raise ValueError(f"{path}: {item} of the checkpoint cannot be read ({error})") from error
