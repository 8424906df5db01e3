"""One checkpoint in one folder, written whole or not at all."""

import os
import shutil
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from softeq_jax.training.checkpoints import _format

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
    items = _format.to_items(state_tree, meta)
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
      ValueError: it cannot be read, does not fit the template, or has changed since it was
        written; the message names the leaf.
    """
    path = Path(path).absolute()
    if not path.exists() and _former(path).exists():
        path = _former(path)  # killed between the two renames of a save
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint; expected a folder written by save")

    def read(item: str, args: Any) -> Any:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            return checkpointer.restore(path, args=ocp.args.Composite(**{item: args}))[item]

    return _format.from_items(read, template, str(path))


def _former(path: Path) -> Path:
    return path.with_name(f".{path.name}.former")
