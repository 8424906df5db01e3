"""Where a command writes weights, and the model card that goes beside them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softeq_jax._atomic import replacing

if TYPE_CHECKING:
    from softeq_jax.cli._provenance import Provenance
    from softeq_jax.models.weights import Pretrained


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say where weights are written."""
    parser.add_argument(
        "--out", required=True, type=Path, metavar="PATH", help="a .safetensors file, or a folder"
    )
    parser.add_argument("--force", action="store_true", help="replace what is at --out")


def card_path(out: Path) -> Path:
    """``README.md`` of a folder, or what a file is called with ``.md`` in place of its suffix."""
    return out.with_suffix(".md") if out.suffix == ".safetensors" else out / "README.md"


def check(source: str, out: Path, force: bool) -> None:
    """Checks that writing replaces nothing, or nothing but what it was told to replace.

    Raises:
      ValueError: it would.
    """
    given, target = Path(source).resolve(), out.resolve()
    folder = given if given.is_dir() else given.parent
    same = target == given or (target == folder and (target / given.name).exists())
    inside = given.is_dir() and target.parent == given and target.exists()
    if given.exists() and (same or inside):
        raise ValueError(f"--out {out} is the checkpoint that is read: choose another place")
    if force:
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} exists already: choose another place, or --force")
    if card_path(out).exists():
        raise ValueError(
            f"{card_path(out)}, the card of --out {out}, exists already: choose another place, "
            "or --force"
        )


def write(
    out: Path, network: "Pretrained", variables: Any, provenance: "Provenance", card: str
) -> str:
    """Writes weights with their provenance, then the card.

    Args:
      out: a ``.safetensors`` file, or a folder.
      network: whose form the weights are written in.
      variables: of the network.
      provenance: of the weights; metadata that were there are kept.
      card: in Markdown.

    Returns:
      What was written, in words.

    Raises:
      ValueError, FileNotFoundError, OSError: see ``softeq_jax.models.weights.save``.
    """
    import dataclasses

    from softeq_jax.models.weights import save

    metadata = provenance.metadata(network.origin.metadata)
    save(out, variables, dataclasses.replace(network.origin, metadata=metadata))
    with replacing(card_path(out)) as partial:
        partial.write_text(card, encoding="utf-8")
    said = f"written to {out}, with its card {card_path(out)}"
    if network.origin.config is not None and not out.is_dir():
        said += "\nnote: the config.json of the checkpoint goes with a folder only"
    return said
