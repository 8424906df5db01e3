"""Checkpoints on disk: a safetensors file, a folder of one or of its shards, a hub repository."""

import dataclasses
import importlib
import json
import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import safetensors

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
_CUT_OFF = (".incomplete", ".part", ".crdownload")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_PICKLE = (
    "a PyTorch pickle; refused, since unpickling runs whatever code the file holds. Expected "
    "safetensors: save it with safetensors.torch.save_file, or take the model.safetensors that is "
    "published beside it"
)
_STARTS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself; run 'git lfs pull'"),
    (b"PK\x03\x04", f"this is {_PICKLE}"),
    (b"\x80\x02", f"this is {_PICKLE}"),
    (b"<", "an HTML or XML page; the download got an error page, not the file"),
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")
_HUB_FILES = [CONFIG, PREPROCESSOR, WEIGHTS, INDEX, "model-*.safetensors"]


@dataclasses.dataclass(frozen=True)
class Header:
    """Dtype, shape and place of a tensor, from the header of its file.

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


def find_checkpoint(source: str | os.PathLike[str]) -> Checkpoint:
    """Looks a source up: a file, a folder, or else a Hugging Face hub id.

    Raises:
      FileNotFoundError: nothing there, or a shard is missing.
      ValueError: what is there is no whole safetensors checkpoint; the message says what it is.
      ImportError: a hub id, and ``huggingface_hub`` is not installed.
    """
    path = Path(source)
    if path.suffix.lower() in _PICKLES:
        raise ValueError(f"{path}: {_PICKLE}")
    if path.is_dir():
        return read_folder(path, str(path))
    if not path.exists() and isinstance(source, str) and _is_hub_id(source):
        return read_folder(_fetch(source), source)
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
        reason = _damage(path) or str(error)
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
        return ValueError(f"{message}. {pickles[0]}: {_PICKLE}")
    return FileNotFoundError(message + _incomplete(folder))


def _incomplete(folder: Path) -> str:
    """A half-finished download, in words, or nothing."""
    cache = folder / ".cache" / "huggingface" / "download"
    places = (folder, cache, folder.parent.parent / "blobs")
    found = [f for place in places for end in _CUT_OFF for f in place.glob(f"*{end}")]
    return f" (a download was cut off: {found[0].name})" if found else ""


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _damage(path: Path) -> str | None:
    """What a file that cannot be read is instead, in words; None if there is no simple reason."""
    size = path.stat().st_size
    if not size:
        return "the file is empty"
    with path.open("rb") as file:
        start = file.read(256).lstrip()
        for known, reason in _STARTS:
            if start.startswith(known):
                return reason
        file.seek(0)
        return _size_damage(file, size)


def _size_damage(file: BinaryIO, size: int) -> str | None:
    """Compares the size of the file with what its header says."""
    length = file.read(8)
    if len(length) < 8:
        return f"truncated: {size} bytes, a header alone needs 8"
    header = struct.unpack("<Q", length)[0]
    if header > 100_000_000:
        return "its header is no safetensors header"
    if size < 8 + header:
        return f"truncated: {size} bytes, its header alone needs {8 + header}"
    try:
        fields = json.loads(file.read(header))
        ends = [v["data_offsets"][1] for k, v in fields.items() if k != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "its header is not readable"
    needed = 8 + header + max(ends, default=0)
    if size < needed:
        return f"truncated: {size} bytes of {needed}; download it again"
    return f"{size - needed} bytes too long ({size}, expected {needed})" if size > needed else None


def _is_hub_id(source: str) -> bool:
    """Whether a text has the form ``owner/name`` and does not end like a file of weights."""
    return bool(_HUB_ID.fullmatch(source)) and not source.endswith(".safetensors")


def _fetch(source: str) -> Path:
    """Downloads the safetensors and configuration of a repository, or takes them from the cache.

    Returns:
      The folder of the snapshot.

    Raises:
      ImportError: ``huggingface_hub`` is not installed.
      FileNotFoundError: there is no such repository, or it cannot be reached and is not cached.
    """
    try:
        hub = importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{source!r} is no file or folder here; to fetch it from the Hugging Face hub: "
            "pip install huggingface_hub"
        ) from error
    try:
        return Path(hub.snapshot_download(source, allow_patterns=_HUB_FILES))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{source!r} is no file or folder here, and could not be fetched from the Hugging Face "
            f"hub: {type(error).__name__}: {error}"
        ) from error
