"""``softeq models``: the networks that are built in."""

import argparse
from typing import Any

from softeq_jax._text import table
from softeq_jax.cli._progress import shown


def register(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "models",
        help="list the networks that are built in",
        description="Lists the networks that are built in, with their size and the kinds of "
        "published weights that load into them.",
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
    from softeq_jax import models
    from softeq_jax._paths import first_matches, matches
    from softeq_jax.models.weights import FORMATS

    names = list(models.PRESETS)
    for pattern in arguments.patterns:
        if not any(matches(pattern, name) for name in names):
            raise ValueError(f"no model matches {pattern!r}; there are {', '.join(names)}")
    wanted = first_matches(arguments.patterns or ["*"], names)
    chosen = [name for name, pattern in zip(names, wanted, strict=True) if pattern]
    formats: dict[str, list[str]] = {}
    for kind in FORMATS:
        known = formats.setdefault(kind.family, [])
        if kind.name not in known:
            known.append(kind.name)
    rows = []
    for name in shown(chosen, "model"):
        model = models.create(name)
        family = type(model).__module__.rpartition(".")[2]
        size, patch = getattr(model, "image_size", None), getattr(model, "patch_size", None)
        rows.append(
            (
                name,
                family,
                f"{_parameters(model) / 1e6:.2f} M",
                "any" if size is None else f"{size}",
                "" if patch is None else f"{patch}",
                ", ".join(formats.get(family, ())) or "none",
            )
        )
    head = ("model", "family", "parameters", "image", "patch", "loads weights of")
    print(table(head, rows, right="--rrr-"))


def _parameters(model: Any) -> int:
    """How many numbers training changes, from an abstract initialization."""
    import jax
    import numpy as np

    from softeq_jax.models import VolumeResNet

    side = getattr(model, "image_size", 64)
    axes = 3 if isinstance(model, VolumeResNet) else 2
    images = jax.ShapeDtypeStruct((1, *(side,) * axes, 3), np.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
