"""Checkpoints on disk: a safetensors file, a folder of one or of its shards, a hub repository."""

import dataclasses
import hashlib
import importlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from softeq_jax.models.weights import _settings
from softeq_jax.models.weights._headers import (
    PICKLE,
    Header,
    json_object,
    read_headers,
    read_text,
)

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
_CUT_OFF = (".incomplete", ".part", ".crdownload")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_SHARD = re.compile(r".*-(\d{5,})-of-(\d{5,})\.safetensors")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")
_HUB_FILES = [CONFIG, PREPROCESSOR, WEIGHTS, INDEX, "model-*.safetensors"]


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
        for name in names:
            yield name, self.tensors[name].read(name)


def find_checkpoint(source: str | os.PathLike[str]) -> Checkpoint:
    """Looks a source up: a file, a folder, or else a Hugging Face hub id.

    Raises:
      FileNotFoundError: nothing there, or a shard is missing.
      ValueError: what is there is no whole safetensors checkpoint; the message says what it is.
      ImportError: a hub id, and ``huggingface_hub`` is not installed.
    """
    path = Path(source)
    if path.suffix.lower() in _PICKLES:
        raise ValueError(f"{path}: {PICKLE}")
    if path.is_dir():
        return read_folder(path, str(path))
    if not path.exists() and isinstance(source, str) and _is_hub_id(source):
        return read_folder(_fetch(source), source)
    return read_file(path)


def sha256(source: str | os.PathLike[str]) -> str:
    """SHA-256 of the weights of a checkpoint, 64 hexadecimal digits.

    Of shards it is that of their bytes one after another, in the order of their names, as
    ``cat model-*.safetensors | sha256sum`` prints it.

    Args:
      source: see ``load``.

    Raises:
      FileNotFoundError, ValueError, ImportError, OSError: see ``load``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> import tempfile
      >>> from safetensors.numpy import save_file
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save_file({"w": np.ones(2)}, f"{folder}/net.safetensors")
      ...     len(sq.models.weights.sha256(f"{folder}/net.safetensors"))
      64
    """
    digest = hashlib.sha256()
    for path in sorted({header.file for header in find_checkpoint(source).tensors.values()}):
        with path.open("rb") as file:
            while piece := file.read(2**20):
                digest.update(piece)
    return digest.hexdigest()


def read_file(path: Path) -> Checkpoint:
    """A single file. Its folder's configuration is read if it has the name that goes with one."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder; expected safetensors weights")
    _refuse_shard(path)
    tensors, metadata = read_headers(path)
    named = path.name == WEIGHTS
    config = read_text(path.parent / CONFIG) if named else None
    preprocessor = read_text(path.parent / PREPROCESSOR) if named else None
    return Checkpoint(str(path), tensors, metadata, config, preprocessor, "file")


def read_folder(folder: Path, source: str) -> Checkpoint:
    """A folder with ``model.safetensors``, or with shards and their index."""
    single, index = folder / WEIGHTS, folder / INDEX
    config, preprocessor = read_text(folder / CONFIG), read_text(folder / PREPROCESSOR)
    if single.is_file() and index.is_file():
        raise ValueError(f"{source}: has both {WEIGHTS} and {INDEX}; expected one of them")
    if single.is_file():
        tensors, metadata = read_headers(single)
        return Checkpoint(source, tensors, metadata, config, preprocessor, "folder")
    if index.is_file():
        tensors, metadata = _shards(folder, index)
        return Checkpoint(source, tensors, metadata, config, preprocessor, "shards")
    raise _nothing_in(folder, source)


def _refuse_shard(path: Path) -> None:
    """Refuses a file that holds a part of a checkpoint only, by its name or by the index beside it.

    Raises:
      ValueError: it is one; the message says which, and what to load instead.
    """
    index = path.parent / INDEX
    listed: list[str] = []
    if index.is_file() and path.name in (read_text(index) or ""):
        listed = sorted(set(_weight_map(index).values()))
    named = _SHARD.fullmatch(path.name)
    part, parts = (int(named[1]), int(named[2])) if named else (1, 1)
    if path.name in listed:
        part, parts = listed.index(path.name) + 1, len(listed)
    if parts > 1:
        raise ValueError(
            f"{path}: is shard {part} of {parts} of a checkpoint; load the folder {path.parent}, "
            f"which must hold all of them and {INDEX}"
        )


def _weight_map(index: Path) -> dict[str, str]:
    """From tensors to the files of an index.

    Raises:
      ValueError: it is no index; the message names it.
    """
    values = json_object(read_text(index) or "", str(index))
    _settings.check(values, str(index), _settings.INDEX, required=("weight_map",))
    return values["weight_map"]


def _shards(folder: Path, index: Path) -> tuple[dict[str, Header], dict[str, str]]:
    where = _weight_map(index)
    tensors: dict[str, Header] = {}
    metadata: dict[str, str] = {}
    listed: dict[str, set[str]] = {}
    for tensor, name in where.items():
        listed.setdefault(name, set()).add(tensor)
    for name in listed:
        shard = folder / name
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(
                f"{index}: the shard {_settings.shown(name)} is not a safetensors file of the "
                "folder"
            )
        if not shard.is_file():
            raise FileNotFoundError(
                f"{index}: the shard {name} is missing{_incomplete(folder)}; download it again"
            )
        found, texts = read_headers(shard)
        if odd := sorted(listed[name] ^ set(found)):
            raise ValueError(
                f"{index}: tensors {', '.join(odd[:8])} are in {INDEX} or in {name} but not in both"
            )
        tensors.update(found)
        metadata = {**texts, **metadata}
    return tensors, metadata


def _nothing_in(folder: Path, source: str) -> Exception:
    files = sorted(f"{f.name}/" if f.is_dir() else f.name for f in folder.iterdir())
    there = ", ".join(files[:12]) or "nothing"
    message = f"{source}: expected {WEIGHTS} or {INDEX}, the folder has {there}"
    if pickles := [name for name in files if name.endswith(_PICKLES)]:
        return ValueError(f"{message}. {pickles[0]}: {PICKLE}")
    return FileNotFoundError(message + _incomplete(folder))


def _incomplete(folder: Path) -> str:
    """A half-finished download, in words, or nothing."""
    cache = folder / ".cache" / "huggingface" / "download"
    places = (folder, cache, folder.parent.parent / "blobs")
    found = [f for place in places for end in _CUT_OFF for f in place.glob(f"*{end}")]
    return f" (a download was cut off: {found[0].name})" if found else ""


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
            "pip install softeq-jax[hub]"
        ) from error
    try:
        return Path(hub.snapshot_download(source, allow_patterns=_HUB_FILES))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{source!r} is no file or folder here, and could not be fetched from the Hugging Face "
            f"hub: {type(error).__name__}: {error}"
        ) from error
