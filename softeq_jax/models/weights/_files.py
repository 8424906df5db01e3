"""Checkpoints on disk: a safetensors file, or a folder with one or with shards of one."""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors

from softeq_jax.models.weights import _damage, _hub

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
_CUT_OFF = (".incomplete", ".part", ".crdownload")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says about a tensor.

    Attributes:
      dtype: ``"F32"``, ``"BF16"``, ... as safetensors has it.
      shape: in PyTorch's layout.
      file: where its values are.
    """

    dtype: str
    shape: tuple[int, ...]
    file: Path


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Headers of all tensors, and what lies beside them.

    Attributes:
      source: what to call it in messages.
      tensors: by name.
      metadata: the text metadata of the file, or of all shards together.
      config: text of ``config.json``, or None.
      preprocessor: text of ``preprocessor_config.json``, or None.
      files: ``"file"``, ``"folder"`` or ``"shards"``.
    """

    source: str
    tensors: Mapping[str, Header]
    metadata: Mapping[str, str]
    config: str | None
    preprocessor: str | None
    files: Literal["file", "folder", "shards"]

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """The tensors of these names, one after the other."""
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self.tensors[name].file, []).append(name)
        for file, wanted in by_file.items():
            with safetensors.safe_open(file, framework="np") as opened:
                for name in wanted:
                    yield name, opened.get_tensor(name)


def find(source: str | os.PathLike[str]) -> Checkpoint:
    """Looks a source up: a file, a folder, or else a Hugging Face hub id.

    Raises:
      FileNotFoundError: nothing there, or a shard is missing.
      ValueError: what is there is no whole safetensors checkpoint; the message says what it is.
      ImportError: a hub id, and ``huggingface_hub`` is not installed.
    """
    path = Path(source)
    if path.suffix.lower() in _PICKLES:
        raise ValueError(f"{path}: {_damage.PICKLE}")
    if path.is_dir():
        return read_folder(path, str(path))
    if not path.exists() and isinstance(source, str) and _hub.is_id(source):
        return read_folder(_hub.fetch(source), source)
    return read_file(path)


def read_file(path: Path) -> Checkpoint:
    """A single file. Its folder's configuration is read if it has the name that goes with one."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder; expected safetensors weights")
    tensors, metadata = _headers(path)
    named = path.name == WEIGHTS
    config = _text(path.parent / CONFIG) if named else None
    preprocessor = _text(path.parent / PREPROCESSOR) if named else None
    return Checkpoint(str(path), tensors, metadata, config, preprocessor, "file")


def read_folder(folder: Path, source: str) -> Checkpoint:
    """A folder with ``model.safetensors``, or with shards and their index."""
    single, index = folder / WEIGHTS, folder / INDEX
    config, preprocessor = _text(folder / CONFIG), _text(folder / PREPROCESSOR)
    if single.is_file() and index.is_file():
        raise ValueError(f"{source}: has both {WEIGHTS} and {INDEX}; expected one of them")
    if single.is_file():
        tensors, metadata = _headers(single)
        return Checkpoint(source, tensors, metadata, config, preprocessor, "folder")
    if index.is_file():
        tensors, metadata = _shards(folder, index)
        return Checkpoint(source, tensors, metadata, config, preprocessor, "shards")
    raise _nothing_in(folder, source)


def json_object(text: str, where: str) -> dict[str, Any]:
    """Text of a JSON file as a dict.

    Raises:
      ValueError: it is none; the message names the file.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


def _headers(path: Path) -> tuple[dict[str, Header], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="np") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            tensors = {
                name: Header(part.get_dtype(), tuple(part.get_shape()), path)
                for name, part in slices.items()
            }
            return tensors, dict(opened.metadata() or {})
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        reason = _damage.describe(path) or str(error)
        raise ValueError(f"{path}: not a readable safetensors file: {reason}") from error


def _shards(folder: Path, index: Path) -> tuple[dict[str, Header], dict[str, str]]:
    where = json_object(index.read_text(encoding="utf-8"), str(index)).get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(v, str) for v in where.values()):
        raise ValueError(f"{index}: expected an object 'weight_map' from tensors to files")
    tensors: dict[str, Header] = {}
    metadata: dict[str, str] = {}
    for name in dict.fromkeys(where.values()):
        shard = folder / name
        if Path(name).name != name:
            raise ValueError(f"{index}: the shard {name!r} is not a file of the folder")
        if not shard.is_file():
            raise FileNotFoundError(
                f"{index}: the shard {name} is missing{_incomplete(folder)}; download it again"
            )
        found, texts = _headers(shard)
        listed = {tensor for tensor, file in where.items() if file == name}
        if odd := sorted(listed ^ set(found)):
            raise ValueError(
                f"{index}: tensors {', '.join(odd[:8])} are in {INDEX} or in {name} but not in both"
            )
        tensors.update(found)
        metadata = {**texts, **metadata}
    return tensors, metadata


def _nothing_in(folder: Path, source: str) -> Exception:
    files = sorted(f.name for f in folder.iterdir() if f.is_file())
    there = ", ".join(files[:12]) or "nothing"
    message = f"{source}: expected {WEIGHTS} or {INDEX}, the folder has {there}"
    if pickles := [name for name in files if name.endswith(_PICKLES)]:
        return ValueError(f"{message}. {pickles[0]}: {_damage.PICKLE}")
    return FileNotFoundError(message + _incomplete(folder))


def _incomplete(folder: Path) -> str:
    """A half-finished download, in words, or nothing."""
    cache = folder / ".cache" / "huggingface" / "download"
    places = (folder, cache, folder.parent.parent / "blobs")
    found = [f for place in places for end in _CUT_OFF for f in place.glob(f"*{end}")]
    return f" (a download was cut off: {found[0].name})" if found else ""


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
