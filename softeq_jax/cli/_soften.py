"""``softeq soften``: filtered weights, with the names and the layout they came with."""

import argparse
import dataclasses
from typing import Any

from softeq_jax.cli import _arguments, _dials, _images, _output
from softeq_jax.cli._before_after import before_and_after
from softeq_jax.cli._card import card
from softeq_jax.cli._certified import certified
from softeq_jax.cli._provenance import Provenance, soft_entries


def register(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "soften",
        help="filter a checkpoint and write it again",
        description="Filters the weights of a checkpoint and writes them with the names, dtypes "
        "and layout that they came with, and says how far the group can still move them. What was "
        "done goes into the metadata of the file and onto a model card beside it.",
    )
    _arguments.add_weights(parser)
    _dials.add_options(parser, required=True)
    _output.add_options(parser)
    parser.add_argument(
        "--again", action="store_true", help="filter weights that are softened already once more"
    )
    parser.add_argument(
        "--no-bounds",
        action="store_true",
        help="do not certify how far the group can still move the weights, which for large "
        "networks takes longer than all else",
    )
    _images.add_options(
        parser.add_argument_group("a measured curve, before and after, on images"), required=False
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Writes the filtered weights with their card, and prints the plan.

    Raises:
      ValueError, FileNotFoundError, ImportError: see ``_arguments.load`` and ``_images.read_for``;
        ValueError for dials out of range, a group that does not act, weights that are softened
        already, or an output that would replace something.
    """
    import softeq_jax as sq
    from softeq_jax import models

    _output.check(arguments.weights, arguments.out, arguments.force)
    source = None if arguments.data is None else _images.opened(arguments)
    group = sq.groups.from_name(arguments.group)
    dials = _dials.given(arguments)
    network = _arguments.load(arguments)
    before = Provenance.of(network)
    if before is not None and before.is_soft and not arguments.again:
        raise ValueError(
            f"{arguments.weights}: softened already, {before.rows()[0][1]}; give the weights that "
            "it was made of, or --again to filter what is left once more"
        )
    params = network.variables["params"]
    plan = sq.plan(params, models.soft_rules(network.model, group, **dials))
    soft = {**network.variables, "params": plan.project(params)}
    found = certified(plan, group, network, soft["params"], bounds=not arguments.no_bounds)
    entries = soft_entries(arguments.group, dials, found)
    provenance = Provenance.made(arguments.weights, before, **entries)
    measured = None
    if source is not None:
        stored = {**network.variables, "params": found.params}
        after = dataclasses.replace(network, variables=stored)
        measured = before_and_after(arguments, source, network, after)
    text = card(arguments.out, network, provenance, found, measured)
    written = _output.write(arguments.out, network, soft, provenance, text)
    print(plan.describe())
    print(f"\nrealized softness: {found.softness()}\n")
    print(found.judged())
    if measured is not None:
        print(f"\n{measured.text()}")
    print(f"\n{written}")
