"""Headers of safetensors files, and JSON files, read strictly: what is wrong is told by name."""

import dataclasses
import json
import math
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 (NumPy then knows bfloat16 by name)
import numpy as np

from softeq_jax._atomic import TENSOR_DTYPES
from softeq_jax.models.weights import _settings

PICKLE = (
    "a PyTorch pickle; refused, since unpickling runs whatever code the file holds. Expected "
    "safetensors: save it with safetensors.torch.save_file, or take the model.safetensors that is "
    "published beside it"
)
_STARTS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself; run 'git lfs pull'"),
    (b"PK\x03\x04", f"this is {PICKLE}"),
    (b"\x80\x02", f"this is {PICKLE}"),
    (b"<", "an HTML or XML page; the download got an error page, not the file"),
)
_NUMPY = {word: name for name, word in TENSOR_DTYPES.items()}
_LARGEST_HEADER = 100_000_000
_DEEPEST = 64
_METADATA = "__metadata__"


@dataclasses.dataclass(frozen=True)
class Header:
    """Dtype, shape and place of a tensor, from the header of its file.

    Attributes:
      dtype: ``"F32"``, ``"BF16"``, ... as safetensors has it.
      shape: in PyTorch's layout.
      file: where its values are.
      begin: of its values in the file, in bytes.
      size: of its values in bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    size: int

    def read(self, name: str) -> np.ndarray:
        """The values.

        Raises:
          ValueError: NumPy has no such dtype; the message has ``name``, that of the tensor.
          OSError: the file cannot be read, or has become shorter.
        """
        if self.dtype not in _NUMPY:
            raise ValueError(f"{self.file}: tensor {name} has dtype {self.dtype}, which is unknown")
        with self.file.open("rb") as file:
            file.seek(self.begin)
            values = file.read(self.size)
        if len(values) < self.size:
            raise OSError(f"{self.file}: ends within tensor {name}; it has changed meanwhile")
        return np.frombuffer(values, np.dtype(_NUMPY[self.dtype])).reshape(self.shape)


def read_headers(path: Path) -> tuple[dict[str, Header], dict[str, str]]:
    """The tensors of a safetensors file by name, and its text metadata.

    All of the file is accounted for: the tensors lie one after the other, from the header to the
    end, and each is as large as its dtype and shape say.

    Raises:
      ValueError: it is no such file, or a damaged one; the message says what it is.
      OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(256)
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
        file.seek(8)
        text = file.read(length) if 0 < length <= min(_LARGEST_HEADER, size - 8) else b""
    where = f"{path}: not a readable safetensors file"
    if not text:
        raise ValueError(f"{where}: {_without_header(start, size, length)}")
    entries = json_object(text, f"{where}: its header is not readable")
    metadata = entries.pop(_METADATA, None) or {}
    _settings.check({_METADATA: metadata}, where, {_METADATA: _settings.TEXT_BY_NAME})
    begin = 8 + length
    tensors = {
        name: _header(entry, path, begin, f"{where}: tensor {name}")
        for name, entry in entries.items()
    }
    end = begin
    for name, header in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].size)):
        if header.begin != end:
            raise ValueError(
                f"{where}: tensor {name} begins at byte {header.begin}, expected {end}, where the "
                "one before it ends"
            )
        end += header.size
    if size < end:
        raise ValueError(f"{where}: truncated: {size} bytes of {end}; download it again")
    if size > end:
        raise ValueError(f"{where}: {size - end} bytes too long ({size}, expected {end})")
    return tensors, metadata


def _header(entry: Any, path: Path, start: int, where: str) -> Header:
    """One tensor of a header; its offsets count from ``start``."""
    if type(entry) is not dict:
        raise ValueError(f"{where} is {_settings.shown(entry)}, expected an object")
    _settings.check(entry, where, _settings.TENSOR, required=tuple(_settings.TENSOR))
    begin, end = entry["data_offsets"]
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    if dtype in _NUMPY:
        needed = math.prod(shape) * np.dtype(_NUMPY[dtype]).itemsize
        if end - begin != needed:
            raise ValueError(
                f"{where} has {end - begin} bytes, expected {needed} for {dtype} "
                f"{_settings.shown(list(shape))}"
            )
    return Header(dtype, shape, path, start + begin, end - begin)


def _without_header(start: bytes, size: int, length: int) -> str:
    """What a file without a header is instead, in words."""
    if not size:
        return "the file is empty"
    for known, reason in _STARTS:
        if start.lstrip().startswith(known):
            return reason
    if size < 8:
        return f"truncated: {size} bytes, a header alone needs 8"
    if not 0 < length <= _LARGEST_HEADER:
        return "its header is no safetensors header"
    return f"truncated: {size} bytes, its header alone needs {8 + length}"


def read_text(path: Path) -> str | None:
    """The text of a JSON file, or None if there is nothing of this name.

    Raises:
      ValueError: it is no file, such as a folder, or not in UTF-8.
      OSError: it is there, but cannot be read, such as a link to nothing.
    """
    if not (path.exists() or path.is_symlink()):
        return None
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is no file; expected a text, or nothing of this name")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text in UTF-8 ({error})") from error


def json_object(text: str | bytes, where: str) -> dict[str, Any]:
    """Text of a JSON file as a dict.

    Raises:
      ValueError: it is none, has one name twice, or is nested too deeply; the message starts with
        ``where``.
    """
    try:
        value = json.loads(
            text if isinstance(text, str) else text.decode("utf-8"), object_pairs_hook=_once
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(value).__name__}")
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        inside = (v.values() if type(v) is dict else v for v in level if type(v) in (dict, list))
        level = [child for children in inside for child in children]
    if level:
        raise ValueError(f"{where}: nested more than {_DEEPEST} levels deep")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, none of whose names may occur twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {_settings.shown(twice)} occurs twice")
    return found
