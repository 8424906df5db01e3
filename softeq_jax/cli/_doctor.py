"""``softeq doctor``: whether a network is equivariant on a user's images, and why not."""

import argparse
from pathlib import Path
from typing import Any

from softeq_jax._atomic import replacing
from softeq_jax.cli import _arguments, _images
from softeq_jax.cli._subject import subject


def register(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "doctor",
        help="say why a checkpoint is not equivariant on images, and what to do",
        description="Examines a checkpoint under turns and flips that move pixels exactly: names "
        "the first layer that breaks them, whether its weights or its positions do, and sizes "
        "of images that work.",
    )
    _arguments.add_weights(parser)
    _images.add_source(parser, required=True)
    parser.add_argument("--group", required=True, help=_arguments.GROUPS)
    parser.add_argument(
        "--limit", type=_arguments.positive, default=4, help="images at most (default: 4)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="also write the diagnosis there (.json or .html)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Prints the diagnosis.

    Raises:
      ValueError, FileNotFoundError, ImportError: see ``_arguments.load``, ``_images.read_for`` and
        ``measures.doctor``; ValueError for another kind of file.
    """
    from softeq_jax import measures

    if arguments.out is not None and arguments.out.suffix not in (".json", ".html"):
        raise ValueError(f"--out must be a .json or .html file, got {arguments.out}")
    source = _images.opened(arguments)
    network = _arguments.load(arguments)
    images, heading = _images.read_for(network, source, arguments)
    chosen = subject(network.model, network.variables, images.pixels)
    found = measures.doctor(
        chosen.f, images.pixels, arguments.group, input="image", output=chosen.output
    )
    print(f"{heading}\n{found}")
    if arguments.out is not None:
        text = found.json() if arguments.out.suffix == ".json" else found._repr_html_()
        with replacing(arguments.out) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
        print(f"\nwritten: {arguments.out}")
