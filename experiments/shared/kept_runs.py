"""Finished runs of a study, kept as one JSON file each, so that a study goes on where it was."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.shared.report import write_atomically


def as_name(text: str) -> str:
    """Text as the name of a file: letters, digits and points, an underscore for all else."""
    return "".join(c if c.isalnum() or c == "." else "_" for c in text)


def kept(
    path: Path, settings: Mapping[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The record of a run: from its file, or made and written there.

    Args:
      path: of the file.
      settings: all that decides what the record holds; JSON.
      make: makes the record; JSON.

    Raises:
      ValueError: the file was made with other settings.
    """
    text = json.dumps(settings, sort_keys=True, default=list)
    made_with = hashlib.sha256(text.encode()).hexdigest()[:16]
    if path.exists():
        found = json.loads(path.read_text())
        if found["made_with"] != made_with:
            raise ValueError(f"{path} was made with other settings: choose another --workdir")
        return found["record"]
    record = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"made_with": made_with, "record": record}, indent=1))
    return json.loads(json.dumps(record))
