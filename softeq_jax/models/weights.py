"""CIFAR ResNet weights as safetensors with PyTorch names: strict reading, exact writing."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from softeq_jax.models.cifar_resnet import CifarResNet

Shape = tuple[int, ...]

# How an array of each kind goes from the PyTorch layout to the Flax one, and back.
_TO_FLAX = {"conv": (2, 3, 1, 0), "linear": (1, 0), "vector": (0,)}  # OIHW -> HWIO, [o,i] -> [i,o]
_TO_TORCH = {kind: tuple(np.argsort(axes)) for kind, axes in _TO_FLAX.items()}

# Batch norm: PyTorch's name of the tensor, Flax's collection and name.
_BATCH_NORM = (
    ("weight", "params", "scale"),
    ("bias", "params", "bias"),
    ("running_mean", "batch_stats", "mean"),
    ("running_var", "batch_stats", "var"),
)


class _Entry(NamedTuple):
    """One row of the table: a tensor's name in the file, and where it goes."""

    name: str
    path: tuple[str, ...]  # collection, modules..., leaf
    kind: str  # "conv", "linear" or "vector"


def _table(blocks: int) -> list[_Entry]:
    """Every tensor of a network with `blocks` residual blocks per stage."""
    layers = [("", ())]
    for stage in (1, 2, 3):
        for block in range(blocks):
            layers.append((f"layer{stage}.{block}.", (f"stage{stage}_block{block}",)))
    entries = []
    for prefix, module in layers:
        for i in ("1",) if not module else ("1", "2"):
            path = ("params", *module, f"conv{i}", "kernel")
            entries.append(_Entry(f"{prefix}conv{i}.weight", path, "conv"))
            for torch_name, collection, leaf in _BATCH_NORM:
                path = (collection, *module, f"bn{i}", leaf)
                entries.append(_Entry(f"{prefix}bn{i}.{torch_name}", path, "vector"))
    entries.append(_Entry("linear.weight", ("params", "linear", "kernel"), "linear"))
    entries.append(_Entry("linear.bias", ("params", "linear", "bias"), "vector"))
    return entries


def load_cifar_resnet(path: str | os.PathLike[str]) -> tuple[CifarResNet, dict[str, Any]]:
    """Reads a CIFAR ResNet from a safetensors file with PyTorch names.

    Depth, width, input channels and classes are read off the tensors. PyTorch's step counters
    (`*.num_batches_tracked`) carry no weights and are skipped; every other tensor must be one of
    the network's, and all of the network's must be there.

    Args:
      path: the file. Tensors are float32: convolutions `[out, in, h, w]`, the head `[out, in]`,
        batch norm `[c]`.

    Returns:
      The model, and its variables `{"params": ..., "batch_stats": ...}` of float32 NumPy arrays
      (kernels `[h, w, in, out]`, head `[in, out]`), ready for `model.apply`.

    Raises:
      FileNotFoundError: no such file.
      ValueError: not a readable safetensors file; a tensor is missing, left over, of another
        shape or dtype, not finite, or a variance is negative. The message names it.
    """
    path = Path(path)
    tensors = _read(path)
    model, table = _check(path, tensors)
    flat = {
        entry.path: np.ascontiguousarray(tensors[entry.name].transpose(_TO_FLAX[entry.kind]))
        for entry in table
    }
    return model, traverse_util.unflatten_dict(flat)


def save_cifar_resnet(path: str | os.PathLike[str], variables: Mapping[str, Any]) -> None:
    """Writes the variables of a `CifarResNet` under PyTorch names; the inverse of loading.

    The file appears under its name only when it is complete.

    Args:
      path: the file to write; its folder must exist.
      variables: `{"params": ..., "batch_stats": ...}` as from `CifarResNet.init`, float32.

    Raises:
      ValueError: a variable is missing, left over, of a wrong shape or dtype, or not finite.
      FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    given = {"params": variables.get("params", {}), "batch_stats": variables.get("batch_stats", {})}
    flat = traverse_util.flatten_dict(jax.tree.map(np.asarray, given))
    blocks = sum(1 for name in given["params"] if name.startswith("stage1_block"))
    entries = {entry.path: entry for entry in _table(blocks)}
    tensors = {}
    for module_path, array in flat.items():
        entry = entries.get(module_path)
        name = entry.name if entry else "/".join(module_path)
        if entry and array.ndim == len(_TO_TORCH[entry.kind]):
            array = array.transpose(_TO_TORCH[entry.kind])
        tensors[name] = np.ascontiguousarray(array)
    _check(path, tensors)
    partial = path.with_name(f".{path.name}.tmp")
    save_file(tensors, partial)
    partial.replace(path)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The file's tensors, without the step counters."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a safetensors file")
    try:
        tensors = load_file(path)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    return {k: v for k, v in tensors.items() if not k.endswith(".num_batches_tracked")}


def _check(path: Path, tensors: Mapping[str, np.ndarray]) -> tuple[CifarResNet, list[_Entry]]:
    """The model that the tensors belong to, and its table, or a ValueError naming what is wrong."""
    blocks = _count_blocks(tensors)
    depth = 6 * blocks + 2
    table = _table(blocks)
    _check_names(path, tensors, [entry.name for entry in table], depth)
    model = CifarResNet(depth=depth, num_classes=_classes(path, tensors), width=_width(tensors))
    expected = _expected_shapes(path, model, _input_channels(tensors), table)
    for entry in table:
        where = f"{path}: tensor {entry.name}"
        _check_tensor(where, tensors[entry.name], expected[entry.name])
        if entry.path[-1] == "var" and np.any(tensors[entry.name] < 0):
            low = tensors[entry.name].min()
            raise ValueError(f"{where} has the value {low}, expected variances >= 0")
    return model, table


def _count_blocks(tensors: Mapping[str, np.ndarray]) -> int:
    """Blocks per stage: the largest number of distinct block indices that a stage has."""
    found: dict[str, set[str]] = {"1": set(), "2": set(), "3": set()}
    for name in tensors:
        if match := re.match(r"layer([123])\.(\d+)\.", name):
            found[match[1]].add(match[2])
    return max(1, *(len(indices) for indices in found.values()))


def _check_names(path: Path, tensors: Mapping[str, Any], names: list[str], depth: int) -> None:
    missing = [name for name in names if name not in tensors]
    left_over = sorted(set(tensors) - set(names))
    problems = []
    if missing:
        problems.append(f"missing {_some(missing)}")
    if left_over:
        problems.append(f"left over {_some(left_over)}")
    if problems:
        raise ValueError(
            f"{path}: expected the {len(names)} tensors of a ResNet of depth {depth}, "
            f"got {len(tensors)}: {'; '.join(problems)}"
        )


def _some(names: list[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _width(tensors: Mapping[str, np.ndarray]) -> int:
    """Channels of the first stage: what most of its batch norms have."""
    sizes = [a.shape[0] for k, a in tensors.items() if re.match(r"(layer1\..*)?bn", k) and a.ndim]
    return max(sorted(set(sizes)), key=sizes.count, default=0)


def _classes(path: Path, tensors: Mapping[str, np.ndarray]) -> int:
    weight, bias = tensors["linear.weight"], tensors["linear.bias"]
    if weight.ndim != 2 or bias.ndim != 1 or weight.shape[0] != bias.shape[0]:
        raise ValueError(
            f"{path}: tensors linear.weight {weight.shape} and linear.bias {bias.shape} do not "
            "agree; expected [classes, features] and [classes]"
        )
    return bias.shape[0]


def _input_channels(tensors: Mapping[str, np.ndarray]) -> int:
    stem = tensors["conv1.weight"]
    return max(1, stem.shape[1]) if stem.ndim == 4 else 3


def _expected_shapes(
    path: Path, model: CifarResNet, channels: int, table: list[_Entry]
) -> dict[str, Shape]:
    """Shapes in the PyTorch layout, from an abstract initialization of the model."""
    if model.width < 2 or model.width % 2:
        raise ValueError(
            f"{path}: tensor bn1.weight has {model.width} channels, expected an even number >= 2"
        )
    images = jax.ShapeDtypeStruct((1, 8, 8, channels), np.float32)
    init = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    flat = traverse_util.flatten_dict(init)
    return {
        entry.name: tuple(flat[entry.path].shape[axis] for axis in _TO_TORCH[entry.kind])
        for entry in table
    }


def _check_tensor(where: str, array: np.ndarray, shape: Shape) -> None:
    if array.shape != shape:
        raise ValueError(f"{where} has shape {array.shape}, expected {shape}")
    if array.dtype != np.float32:
        raise ValueError(f"{where} has dtype {array.dtype}, expected float32")
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise ValueError(f"{where} has {bad} of {array.size} values that are not finite")
