"""Files that are there as a whole or not at all, and tensors in them: same content, same bytes."""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

# The dtypes of safetensors by NumPy's name, in the order in which their values lie in a file.
TENSOR_DTYPES = {
    **{"uint64": "U64", "int64": "I64", "float64": "F64", "complex64": "C64", "float32": "F32"},
    **{"uint32": "U32", "int32": "I32", "bfloat16": "BF16", "float16": "F16", "uint16": "U16"},
    **{"int16": "I16", "float8_e8m0fnu": "F8_E8M0", "float8_e4m3fn": "F8_E4M3"},
    **{"float8_e5m2": "F8_E5M2", "int8": "I8", "uint8": "U8", "bool": "BOOL"},
}


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a path beside `path` to write to, and moves it to `path` once it is complete.

    A process that dies meanwhile leaves `path` as it was; the file that it was writing is removed
    when the same path is written again. The new file has the mode of the old one, or else what the
    umask leaves of 0666. Missing folders are made. One thread of a process writes a path at a time.

    Raises:
      OSError: it cannot be written, say on a full disk; the message has `path`.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        with partial.open("wb") as file:
            mode = os.fstat(file.fileno()).st_mode
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        old = path.stat().st_mode if path.is_file() else mode
        if partial.stat().st_mode != old:
            partial.chmod(old & 0o7777)
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial), partial):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _remove_abandoned(path: Path) -> None:
    """Removes what writers of a path have left that live no more."""
    name = re.compile(rf"\.{re.escape(path.name)}(?:\.(\d+))?\.partial")
    for entry in list(os.scandir(path.parent)):
        found = name.fullmatch(entry.name)
        if found and not (found[1] and _lives(int(found[1]))):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)


def _lives(process: int) -> bool:
    """Whether another process of this number runs here, as far as can be told."""
    if process == os.getpid():
        return False
    try:
        if os.name == "posix":
            os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a safetensors file.

    Its bytes depend on names, values and metadata alone: the package `safetensors` has metadata in
    an order that changes from process to process, and makes files that only their owner may read.

    Args:
      path: the file; what is there is written over.
      tensors: by name.
      metadata: text by name.

    Raises:
      ValueError: a dtype that the format does not have (names the tensor).
      OSError: it cannot be written.
    """
    order = list(TENSOR_DTYPES)
    for name, tensor in tensors.items():
        if tensor.dtype.name not in TENSOR_DTYPES:
            raise ValueError(f"{path}: tensor {name} has dtype {tensor.dtype}, expected {order}")
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype.name), name.encode()))
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in names:
        begin, end = end, end + tensors[name].nbytes
        kind, shape = TENSOR_DTYPES[tensors[name].dtype.name], list(tensors[name].shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            tensor = tensors[name]
            little = tensor.dtype.newbyteorder("<") if tensor.dtype.kind in "iufc" else tensor.dtype
            file.write(np.ascontiguousarray(tensor, little).tobytes())
