"""Checkpoints from the Hugging Face hub, where ``huggingface_hub`` is installed."""

import re
from pathlib import Path

_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")
_FILES = [
    "config.json",
    "preprocessor_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
]


def is_id(source: str) -> bool:
    """Whether a text has the form ``owner/name`` and does not end like a file of weights."""
    return bool(_ID.fullmatch(source)) and not source.endswith(".safetensors")


def fetch(source: str) -> Path:
    """Downloads the safetensors and configuration of a repository, or takes them from the cache.

    Returns:
      The folder of the snapshot.

    Raises:
      ImportError: ``huggingface_hub`` is not installed.
      FileNotFoundError: there is no such repository, or it cannot be reached and is not cached.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{source!r} is no file or folder here; to fetch it from the Hugging Face hub: "
            "pip install huggingface_hub"
        ) from error
    try:
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=_FILES))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{source!r} is no file or folder here, and could not be fetched from the Hugging Face "
            f"hub: {type(error).__name__}: {error}"
        ) from error
