"""What a file that is not a safetensors file is instead."""

import json
import struct
from pathlib import Path
from typing import BinaryIO

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


def describe(path: Path) -> str | None:
    """The reason why a file cannot be read, in words, or None if there is no simple one."""
    size = path.stat().st_size
    if not size:
        return "the file is empty"
    with path.open("rb") as file:
        start = file.read(256).lstrip()
        for known, reason in _STARTS:
            if start.startswith(known):
                return reason
        file.seek(0)
        return _sizes(file, size)


def _sizes(file: BinaryIO, size: int) -> str | None:
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
