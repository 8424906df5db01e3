"""Strict checks of tensors against what a network needs."""

from collections.abc import Collection, Mapping, Sequence

import jax
import numpy as np
from flax import linen as nn
from flax import traverse_util

from softeq_jax.models.weights._table import Entry, Shape

DTYPES = ("F32", "F16", "BF16")
_WORDS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
}


def word(dtype: str) -> str:
    """NumPy's word for a dtype of safetensors, where there is one."""
    return _WORDS.get(dtype, dtype)


def array_shapes(model: nn.Module, side: int, channels: int) -> dict[str, Shape]:
    """Path to shape of every array of a model, from an abstract initialization."""
    images = jax.ShapeDtypeStruct((1, side, side, channels), np.float32)
    tree = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    flat = traverse_util.flatten_dict(dict(tree), sep="/")
    return {path: tuple(leaf.shape) for path, leaf in flat.items()}


def check_names(
    source: str, given: Collection[str], needed: Sequence[str], unknown: Sequence[str], what: str
) -> None:
    """Checks that what is needed is there, and no more.

    Args:
      source: what to call the checkpoint in messages.
      given: names of all tensors.
      needed: names that must be among them.
      unknown: names among them that are neither needed nor known to be of no use.
      what: what the needed ones make.

    Raises:
      ValueError: the message names what is missing and left over.
    """
    missing = [name for name in needed if name not in given]
    problems = []
    if missing:
        problems.append(f"missing {_some(missing)}")
    if unknown:
        problems.append(f"left over {_some(sorted(unknown))}")
    if problems:
        raise ValueError(
            f"{source}: expected the {len(needed)} tensors of {what}, got {len(given)}: "
            f"{'; '.join(problems)}"
        )


def _some(names: Sequence[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def check_header(source: str, name: str, dtype: str, shape: Shape, expected: Shape) -> None:
    """Checks dtype and shape of a tensor.

    Raises:
      ValueError: the message names the tensor, what it has, and what was expected.
    """
    if shape != expected:
        raise ValueError(f"{source}: tensor {name} has shape {shape}, expected {expected}")
    if dtype not in DTYPES:
        words = f"{', '.join(word(d) for d in DTYPES[:-1])} or {word(DTYPES[-1])}"
        raise ValueError(f"{source}: tensor {name} has dtype {word(dtype)}, expected {words}")


def check_values(source: str, entry: Entry, values: np.ndarray) -> None:
    """Checks that values are finite, and that variances are not negative.

    Raises:
      ValueError: the message names the tensor.
    """
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise ValueError(
            f"{source}: tensor {entry.name} has {bad} of {values.size} values that are not finite"
        )
    if entry.paths[0].endswith("/var") and np.any(values < 0):
        raise ValueError(
            f"{source}: tensor {entry.name} has the value {values.min()}, expected variances >= 0"
        )


def check_shapes(
    source: str,
    entries: Sequence[Entry],
    headers: Mapping[str, tuple[str, Shape]],
    shapes: Mapping[str, Shape],
) -> None:
    """``check_header`` of all tensors; ``headers`` are (dtype, shape), ``shapes`` by path."""
    for entry in entries:
        dtype, shape = headers[entry.name]
        expected = entry.torch_shape(shapes[entry.paths[0]])
        check_header(source, entry.name, dtype, shape, expected)
