"""Digests of the leaves of a pytree, and pytrees as flat dictionaries of NumPy arrays."""

import concurrent.futures
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

Tree = Any
Spec = tuple[tuple[int, ...], str]


def named_leaves(tree: Tree) -> dict[str, Any]:
    """Leaves by their path, such as `params/stem/kernel`, in the order of the tree."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def host_arrays(tree: Tree) -> dict[str, np.ndarray]:
    """Leaves as NumPy arrays by their path.

    Raises:
      TypeError: a leaf has no bytes to compare (keys, text) or is empty; it is named.
    """
    return {name: _host(name, leaf) for name, leaf in named_leaves(tree).items()}


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
    state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
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
    extended = jax.dtypes.issubdtype(kind, jax.dtypes.extended)
    array = None if extended else np.asarray(leaf)
    if array is None or array.dtype.kind in "OUSM" or not array.size:
        raise TypeError(f"leaf {name} is {leaf!r}, expected a non-empty array of numbers")
    return array
