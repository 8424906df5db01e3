"""``softeq inspect``: the network of a checkpoint, and its parameters that can be filtered."""

import argparse
import math
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softeq_jax._text import plural, table
from softeq_jax.cli import _arguments
from softeq_jax.cli._output import card_path
from softeq_jax.cli._provenance import WEIGHTS, Provenance

if TYPE_CHECKING:
    from softeq_jax import Plan, Projector
    from softeq_jax.groups import Group
    from softeq_jax.models.weights import Pretrained

_NEARLY_ONE = 0.999


def register(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "inspect",
        help="tell what a checkpoint is and what can be filtered in it",
        description="Tells what a checkpoint is, which of its parameters would be filtered, and "
        "which levels of softness there are.",
    )
    _arguments.add_weights(parser)
    parser.add_argument("--group", default="c4", help=f"{_arguments.GROUPS} (default: c4)")
    parser.add_argument(
        "--image-size",
        metavar="PIXELS",
        type=_arguments.positive,
        help="also tell which convolutions commute with the quarter turns and flips of the group "
        "on images of this size",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Prints the network, its filtered parameters with their levels, and the untouched ones.

    Raises:
      ValueError, FileNotFoundError, ImportError: see ``_arguments.load``; ValueError for a group
        that does not act on this network, or images that it does not take.
    """
    import softeq_jax as sq
    from softeq_jax import models

    group = sq.groups.from_name(arguments.group)
    network = _arguments.load(arguments)
    params = network.variables["params"]
    plan = sq.plan(params, models.soft_rules(network.model, group, softness=0.0))
    print(_identity(network))
    print(f"\nfiltered under {group!r}")
    print(_filtered(network, plan))
    if left := _left_alone(network.model, group, plan, params):
        print(f"{plural(left, 'small window')} of these stay as they are near softness 1")
    by_action: dict[str, list[Projector]] = {}
    for _, projector, _ in plan.planned(params):
        by_action.setdefault(projector.space.describe(), []).append(projector)
    for action, projectors in by_action.items():
        print(f"\nlevels of {action} ({plural(len(projectors), 'parameter')})")
        print(levels_table(projectors[0]))
    print("\nuntouched")
    print(_untouched(plan))
    if arguments.image_size is not None:
        size = arguments.image_size
        lattice = _on_lattice(group)
        print(f"\nconvolutions under {lattice!r}, which maps {size} x {size} pixels to pixels")
        print(_lattice(network, plan, size, lattice))


def levels_table(projector: "Projector") -> str:
    """The settings that a hard mask has: cutoff, rank and softness of each level."""
    ranks = projector.dimensions().cumsum()
    rows = []
    for level, rank in zip(projector.levels(), ranks, strict=True):
        softness = projector.at(cutoff=float(level)).softness
        rows.append((f"{level:.4g}", f"{rank} of {projector.dim}", f"{softness:.4g}"))
    if ranks[-1] < projector.dim:
        rest = projector.dim - int(ranks[-1])
        rows.append(("inf", f"{projector.dim} of {projector.dim}", f"1 (with {rest} unmatched)"))
    return table(("  cutoff", "rank", "softness"), [(f"  {a}", b, c) for a, b, c in rows])


def _identity(network: "Pretrained") -> str:
    import jax

    report, images = network.report, network.preprocess
    parameters = sum(w.size for w in jax.tree.leaves(network.variables["params"]))
    tensors = plural(len(report.used), "tensor")
    dtypes = ", ".join(dict.fromkeys(tensor.dtype for tensor in report.used))
    classes = getattr(network.model, "num_classes", None)
    if classes is None:
        classes = network.model.head.num_classes
    mean, std = (",".join(f"{v:.4g}" for v in values) for values in (images.mean, images.std))
    rows = [
        ("source", report.source),
        ("network", f"{report.model} (family {report.family}, {report.format} names)"),
        ("size", f"{parameters:,} parameters, in {tensors}, {dtypes}"),
        ("classes", f"{classes}" if classes else "none (features)"),
        (
            "images",
            f"{images.image_size} x {images.image_size} from {images.resize}, "
            f"{images.interpolation}, mean {mean}, std {std} ({images.source})",
        ),
    ]
    rows += [("not used", f"{row.name}: {row.reason}") for row in report.carried]
    if made := Provenance.of(network):
        rows += [*made.rows(), *(("card", f"{path}") for path in _cards(Path(report.source)))]
        rows += [("names", ", ".join(names)) for names in [made.classes] if names]
    return "\n".join(f"{name:<10}{value}" for name, value in rows)


def _cards(source: Path) -> list[Path]:
    """The model card beside a checkpoint, if there is one."""
    places = [source, *([source.parent] if source.name == WEIGHTS else [])]
    return [path for path in map(card_path, places) if path.is_file()]


def _filtered(network: "Pretrained", plan: "Plan") -> str:
    names = {path: tensor.name for tensor in network.report.used for path in tensor.paths}
    rows = [
        (
            path,
            names[f"params/{path}"],
            "x".join(map(str, shape)),
            plan.projectors[index].space.describe(),
        )
        for path, shape, index in zip(plan.paths, plan.shapes, plan.chosen, strict=True)
        if index >= 0
    ]
    return table(("parameter", "tensor", "shape", "action"), rows)


def _left_alone(model: Any, group: Any, plan: "Plan", params: Any) -> int:
    """How many of the planned parameters the rules leave alone at a softness near 1."""
    import softeq_jax as sq
    from softeq_jax import models

    planned = sum(index >= 0 for index in plan.chosen)
    try:
        rules = models.soft_rules(model, group, softness=_NEARLY_ONE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            soft = sq.plan(params, rules)
    except ValueError:  # then no rule matches anything
        return planned
    return planned - sum(index >= 0 for index in soft.chosen)


def _untouched(plan: "Plan") -> str:
    counts: dict[str, list[int]] = {}
    for path, shape, index in zip(plan.paths, plan.shapes, plan.chosen, strict=True):
        if index < 0:
            counts.setdefault(re.sub(r"\d+", "*", path), []).append(math.prod(shape))
    rows = [(kind, f"{len(sizes)}", f"{sum(sizes):,}") for kind, sizes in counts.items()]
    total = [number for sizes in counts.values() for number in sizes]
    rows.append(("all", f"{len(total)}", f"{sum(total):,}"))
    return table(("parameters", "arrays", "numbers"), rows, right="-rr")


def _on_lattice(group: Any) -> "Group":
    """The elements of a group of the plane that permute pixels: in D4."""
    import softeq_jax as sq

    turns = 4 if group.rotations is None else math.gcd(group.rotations, 4)
    return sq.groups.dihedral(turns) if group.has_flip else sq.groups.cyclic(turns)


def _lattice(network: "Pretrained", plan: "Plan", size: int, lattice: "Group") -> str:
    from softeq_jax import certificates, models

    channels = len(network.preprocess.mean)
    shape = (1, size, size, channels)
    geometry = models.conv_geometry(network.model, network.variables, shape, train=False)
    chosen = dict(zip(plan.paths, plan.chosen, strict=True))
    rows = []
    for path, layer in geometry.items():
        obstacle = certificates.lattice_obstacle(layer, list(lattice.elements()))
        side = "x".join(map(str, layer.input_shape))
        kept = "filtered" if chosen.get(path, -1) >= 0 else "untouched"
        rows.append((path, side, kept, "breaks them: " + obstacle if obstacle else "respects them"))
    return table(("parameter", "map", "kernel", "the layer"), rows)
