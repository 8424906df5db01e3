"""Arguments that commands share: checkpoint, numbers, attention heads."""

import argparse
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softeq_jax.models.weights import Pretrained

GROUPS = "c4, c8, d4, d1 (the reflection), so2, o2, ..."


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a checkpoint."""
    parser.add_argument(
        "weights",
        metavar="WEIGHTS",
        help="a .safetensors file, a folder of one or of its shards, or a Hugging Face hub id",
    )
    parser.add_argument("--family", help="the family that is expected; an error if it is another")
    parser.add_argument(
        "--heads",
        type=heads,
        help="attention heads, where no file tells: a number, or one for each stage (1,2,5,8)",
    )


def load(arguments: argparse.Namespace, source: str | None = None, **options: Any) -> "Pretrained":
    """The network of ``WEIGHTS``.

    Args:
      arguments: of the command.
      source: another checkpoint instead.
      **options: others of ``softeq_jax.models.weights.load``.

    Raises:
      ValueError, FileNotFoundError, ImportError: see ``softeq_jax.models.weights.load``.
    """
    from softeq_jax.models.weights import load as load_weights

    changes: dict[str, Any] = {} if arguments.heads is None else {"heads": arguments.heads}
    try:
        return load_weights(
            source or arguments.weights, family=arguments.family, **options, **changes
        )
    except TypeError as error:
        if not changes:
            raise
        raise ValueError(f"--heads: {error}") from error


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected numbers with commas between them, got {text!r}"
        ) from None


def degrees(text: str) -> tuple[float, ...]:
    """Angles in degrees, of at most one whole turn, with commas between them."""
    found = numbers(text)
    if not all(abs(angle) <= 360.0 for angle in found):
        raise argparse.ArgumentTypeError(
            f"expected angles in degrees, from -360 to 360, got {text!r}"
        )
    return found


def heads(text: str) -> int | tuple[int, ...]:
    """A number of heads, or one for each stage."""
    found = tuple(positive(part) for part in text.split(","))
    return found[0] if len(found) == 1 else found


def positive(text: str) -> int:
    """An integer of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")
    return value


def amount(text: str) -> float:
    """A finite number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a finite number of at least 0, got {text!r}")
    return value


def share(text: str) -> float:
    """A number between 0 and 1."""
    value = amount(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return value
