"""The arguments that say how much is filtered, under which group."""

import argparse
from typing import Any

from softeq_jax.cli import _arguments

DIALS = ("softness", "cutoff", "position_softness", "position_cutoff", "mask")
_TYPES = ((int, float), (str,))
_MASKS = ("hard", "heat", "resolvent")


def add_options(parser: argparse.ArgumentParser, required: bool) -> None:
    """Adds the group and the dials."""
    parser.add_argument("--group", required=required, help=_arguments.GROUPS)
    weights = parser.add_mutually_exclusive_group(required=required)
    tables = parser.add_mutually_exclusive_group()
    softness = {"type": float, "metavar": "S"}
    cutoff = {"type": float, "metavar": "B"}
    weights.add_argument("--softness", help="from 0, strict, to 1, untouched", **softness)
    weights.add_argument("--cutoff", help="instead: the highest level kept, in 1/radian", **cutoff)
    tables.add_argument(
        "--position-softness", help="of position tables (default: as the weights)", **softness
    )
    tables.add_argument("--position-cutoff", help="of position tables", **cutoff)
    parser.add_argument(
        "--mask", choices=_MASKS, help="(default: heat for a softness, which it meets, else hard)"
    )


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The dials that were given."""
    values = {name: getattr(arguments, name) for name in DIALS}
    return {name: value for name, value in values.items() if value is not None}


def stored(dials: dict[str, Any], where: str) -> dict[str, Any]:
    """Dials as a file has them.

    Raises:
      ValueError: there are none, or others than those above, or of another type.
    """
    odd = [k for k, v in dials.items() if k not in DIALS or type(v) not in _TYPES[k == "mask"]]
    if odd or not dials:
        raise ValueError(
            f"{where} is {dials}, expected some of {', '.join(DIALS)} with their values"
        )
    return dials
