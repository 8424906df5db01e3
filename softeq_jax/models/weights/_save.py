"""Variables into a checkpoint of the form that they came in."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from softeq_jax._atomic import replacing, write_tensors
from softeq_jax._paths import by_path
from softeq_jax.models.weights._checkpoint import CONFIG, INDEX, PREPROCESSOR, WEIGHTS
from softeq_jax.models.weights._network import check_names, check_values
from softeq_jax.models.weights._pretrained import Origin, Stored

_NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


def save(path: str | os.PathLike[str], variables: Mapping[str, Any], origin: Origin) -> None:
    """Writes variables under the names, layouts and dtypes of the checkpoint that they came from.

    PyTorch loads the result as it loaded the original. Tensors that the model does not use are
    written as they were; where no variable changed, all tensors are equal byte for byte. One file
    is written even if the original was in shards. A file appears under its name only when it is
    complete, the weights last.

    Args:
      path: a file that ends in ``.safetensors``, or else a folder, which gets
        ``model.safetensors``, ``config.json`` and, if there was one, ``preprocessor_config.json``.
        Its parent must exist.
      variables: ``{"params": ..., "batch_stats": ...}`` like those of ``load``, float32 (or the
        dtype of the tensor).
      origin: of the variables, from ``load``.

    Raises:
      ValueError: a variable is missing, left over, of another shape or dtype, not finite (also: too
        large for the file's dtype); a folder is to be written, but there was no ``config.json``,
        or the folder holds a checkpoint in shards. The message names it.
      FileNotFoundError: the parent of ``path`` does not exist.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, softeq_jax as sq
      >>> import tempfile
      >>> net, x = sq.models.CifarResNet(depth=8, width=4), jnp.ones((1, 8, 8, 3))
      >>> shapes = jax.eval_shape(net.init, jax.random.key(0), x)
      >>> variables = jax.tree.map(lambda a: np.ones(a.shape, a.dtype), shapes)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     sq.models.save_cifar_resnet(f"{folder}/a.safetensors", variables)
      ...     found = sq.models.load(f"{folder}/a.safetensors")
      ...     sq.models.save(f"{folder}/b.safetensors", found.variables, found.origin)
      ...     both = [sq.models.weights.sha256(f"{folder}/{name}.safetensors") for name in "ab"]
      >>> both[0] == both[1]
      True
    """
    path = Path(path)
    check_place(path, origin)
    tensors = tensors_of(variables, origin, str(path))
    if path.suffix == ".safetensors":
        write(path, tensors, origin.metadata)
        return
    path.mkdir(exist_ok=True)
    for name, text in (
        (CONFIG, origin.config),
        (PREPROCESSOR, origin.preprocessor),
    ):
        if text is not None:
            with replacing(path / name) as partial:
                partial.write_text(text, encoding="utf-8")
    write(path / WEIGHTS, tensors, origin.metadata)


def check_place(path: str | os.PathLike[str], origin: Origin) -> None:
    """Checks that a checkpoint of this form can be written there, before it is made.

    Args:
      path: see ``save``.
      origin: see ``save``.

    Raises:
      ValueError, FileNotFoundError: it cannot, see ``save``.

    Example:
      >>> import softeq_jax as sq
      >>> origin = sq.models.weights.Origin("net", "vit", "timm", (), {}, {})
      >>> sq.models.weights.check_place("net.safetensors", origin)
      >>> sq.models.weights.check_place("nowhere/net.safetensors", origin)
      Traceback (most recent call last):
      FileNotFoundError: ...
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    if path.suffix == ".safetensors":
        if path.is_dir():
            raise ValueError(f"{path} is a folder, expected a file")
        return
    if path.exists() and not path.is_dir():
        raise ValueError(
            f"{path} is a file; expected a folder, or a name that ends in .safetensors"
        )
    if origin.config is None:
        raise ValueError(
            f"{path}: a folder needs a {CONFIG}, and {origin.source} came without; give a "
            "name that ends in .safetensors"
        )
    if (path / INDEX).exists():
        raise ValueError(f"{path}: holds a checkpoint in shards ({INDEX}); choose another")


def tensors_of(variables: Mapping[str, Any], origin: Origin, where: str) -> dict[str, np.ndarray]:
    """Name to tensor, strictly checked.

    Raises:
      ValueError: see ``save``.
    """
    flat = flatten(variables)
    needed = {path for stored in origin.tensors for path in stored.entry.paths}
    incomplete = [s.entry.name for s in origin.tensors if not flat.keys() >= set(s.entry.paths)]
    given = [s.entry.name for s in origin.tensors if s.entry.name not in incomplete]
    left_over = sorted(flat.keys() - needed)
    names = [s.entry.name for s in origin.tensors]
    what = f"the {origin.family} of {origin.source}"
    check_names(where, [*given, *left_over], names, left_over, what)
    tensors = {s.entry.name: _tensor(flat, s, where) for s in origin.tensors}
    return {**tensors, **origin.carried}


def flatten(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Path to array for the collections that checkpoints hold.

    Raises:
      ValueError: there are others, or two arrays have one path.
    """
    if odd := sorted(set(variables) - {"params", "batch_stats"}):
        raise ValueError(f"variables has {', '.join(odd)}, expected params and batch_stats alone")
    given = {key: dict(variables.get(key, {})) for key in ("params", "batch_stats")}
    return {path: np.asarray(leaf) for path, leaf in by_path(given).items()}


def write(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file, which appears only when it is complete."""
    with replacing(path) as partial:
        write_tensors(partial, tensors, metadata)


def _tensor(flat: Mapping[str, np.ndarray], stored: Stored, where: str) -> np.ndarray:
    """One tensor in the file's layout and dtype."""
    entry, dtype = stored.entry, np.dtype(_NUMPY[stored.dtype])
    for path in entry.paths:
        array, expected = flat[path], entry.flax_shape(stored.shape)
        if array.shape != expected:
            raise ValueError(f"{where}: {path} has shape {array.shape}, expected {expected}")
        if array.dtype not in (np.float32, dtype):
            raise ValueError(f"{where}: {path} has dtype {array.dtype}, expected float32")
    tensor = entry.to_torch([flat[path] for path in entry.paths]).astype(np.float32)
    check_values(where, entry, tensor)
    with np.errstate(over="ignore"):
        cast = tensor.astype(dtype)
    if dtype != np.float32 and not np.all(np.isfinite(cast)):
        high = np.abs(tensor).max()
        raise ValueError(f"{where}: tensor {entry.name} has {high}, too large for {dtype}")
    return cast
