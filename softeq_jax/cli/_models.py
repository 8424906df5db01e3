"""``softeq models``: the networks that are built in."""

import argparse
from typing import Any

from softeq_jax._text import show, table
from softeq_jax.cli._model_table import TABLE


def register(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "models",
        help="list the networks that are built in",
        description="Lists the networks that are built in, with their size and the kinds of "
        "published weights that load into them.",
        epilog="example: softeq models 'vit*' '*resnet50*'",
    )
    parser.add_argument(
        "patterns",
        metavar="PATTERN",
        nargs="*",
        help="names or globs such as 'vit_*' (default: all)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Prints a table.

    Raises:
      ValueError: a pattern that no name matches.
    """
    from softeq_jax._paths import first_matches, matches

    names = [entry.name for entry in TABLE]
    for pattern in arguments.patterns:
        if not any(matches(pattern, name) for name in names):
            near = [name for name in names if pattern.strip("*") in name]
            known = f"did you mean {f'*{pattern}*'!r}?" if near else f"there are {', '.join(names)}"
            raise ValueError(f"no model matches {pattern!r}; {known}")
    wanted = first_matches(arguments.patterns or ["*"], names)
    rows = [
        (
            entry.name,
            entry.family,
            f"{entry.parameters / 1e6:.2f} M",
            "any" if entry.image is None else f"{entry.image}",
            "" if entry.patch is None else f"{entry.patch}",
            ", ".join(entry.formats) or "none",
        )
        for entry, pattern in zip(TABLE, wanted, strict=True)
        if pattern
    ]
    head = ("model", "family", "parameters", "image", "patch", "loads weights of")
    show(table(head, rows, right="--rrr-"))
