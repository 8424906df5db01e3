"""CIFAR ResNets from and to single files, without a record of where they came from."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from softeq_jax.models.cifar_resnet import CifarResNet
from softeq_jax.models.weights import _load, _network, _save
from softeq_jax.models.weights._cifar_resnet import PUBLISHED
from softeq_jax.models.weights._configuration import parse_config

_FAMILY = "cifar_resnet"


def load_cifar_resnet(path: str | os.PathLike[str]) -> tuple[CifarResNet, dict[str, Any]]:
    """Reads a CIFAR ResNet from a safetensors file with PyTorch names.

    Depth, width, input channels and classes are read off the tensors. PyTorch's step counters
    (`*.num_batches_tracked`) carry no weights and are skipped; every other tensor must be one of
    the network's, and all of the network's must be there. `load` does the same for all families.

    Args:
      path: the file. Tensors are float32 (or float16, bfloat16): convolutions `[out, in, h, w]`,
        the head `[out, in]`, batch norm `[c]`.

    Returns:
      The model, and its variables `{"params": ..., "batch_stats": ...}` of float32 NumPy arrays
      (kernels `[h, w, in, out]`, head `[in, out]`), ready for `model.apply`.

    Raises:
      FileNotFoundError: no such file.
      ValueError: not a readable safetensors file; a tensor is missing, left over, of another
        shape or dtype, not finite, or a variance is negative. The message names it.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, softeq_jax as sq
      >>> import tempfile
      >>> net, x = sq.models.CifarResNet(depth=8, width=4), jnp.ones((1, 8, 8, 3))
      >>> shapes = jax.eval_shape(net.init, jax.random.key(0), x)
      >>> variables = jax.tree.map(lambda a: np.ones(a.shape, a.dtype), shapes)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     sq.models.save_cifar_resnet(f"{folder}/net.safetensors", variables)
      ...     sq.models.load_cifar_resnet(f"{folder}/net.safetensors")[0].depth
      8
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a safetensors file")
    found = _load.load(path, family=_FAMILY)
    return cast(CifarResNet, found.model), found.variables


def save_cifar_resnet(path: str | os.PathLike[str], variables: Mapping[str, Any]) -> None:
    """Writes the variables of a `CifarResNet` under PyTorch names; the inverse of loading.

    The file appears under its name only when it is complete.

    Args:
      path: the file to write; its folder must exist.
      variables: `{"params": ..., "batch_stats": ...}` as from `CifarResNet.init`, float32.

    Raises:
      ValueError: a variable is missing, left over, of a wrong shape or dtype, or not finite.
      FileNotFoundError: the folder does not exist.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, softeq_jax as sq
      >>> import pathlib, tempfile
      >>> net, x = sq.models.CifarResNet(depth=8, width=4), jnp.ones((1, 8, 8, 3))
      >>> shapes = jax.eval_shape(net.init, jax.random.key(0), x)
      >>> variables = jax.tree.map(lambda a: np.ones(a.shape, a.dtype), shapes)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     sq.models.save_cifar_resnet(f"{folder}/net.safetensors", variables)
      ...     [path.name for path in pathlib.Path(folder).iterdir()]
      ['net.safetensors']
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    tensors = _tensors(_save.flatten(variables))
    headers = {
        name: ("F32" if array.dtype == np.float32 else str(array.dtype), array.shape)
        for name, array in tensors.items()
    }
    config = parse_config(None, str(path))
    network = _network.read_off(headers, str(path), config, _FAMILY)
    for entry in (*network.body, *network.head):
        _network.check_values(str(path), entry, tensors[entry.name])
    _save.write(path, tensors, {})


def _tensors(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays under PyTorch names in its layouts; what has no name there keeps its path."""
    tensors = {}
    for path, array in flat.items():
        try:
            entry = PUBLISHED.entry_of_path(path)
        except LookupError:
            tensors[path] = array
            continue
        fits = entry.layout == "array" or array.ndim == {"conv": 4, "linear": 2}[entry.layout]
        tensors[entry.name] = entry.to_torch([array]) if fits else array
    return tensors
