"""``softeq inspect``: the network of a checkpoint, and its parameters that can be filtered."""

import argparse
import math
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softeq_jax._text import TextTable, plural, show, table
from softeq_jax.cli import _arguments
from softeq_jax.cli._output import card_path
from softeq_jax.cli._provenance import WEIGHTS, Provenance

if TYPE_CHECKING:
    from softeq_jax import Plan, Projector
    from softeq_jax.groups import Group
    from softeq_jax.models import ConvGeometry
    from softeq_jax.models.weights import Pretrained

_NEARLY_ONE = 0.999


def register(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "inspect",
        help="tell what a checkpoint is and what can be filtered in it",
        description="Tells what a checkpoint is, which of its parameters would be filtered, and "
        "which levels of softness there are, and which strided layers break the quarter turns and "
        "flips of the group whatever their weights are.",
    )
    _arguments.add_weights(parser)
    parser.add_argument("--group", default="c4", help=f"{_arguments.GROUPS} (default: c4)")
    parser.add_argument(
        "--image-size",
        metavar="PIXELS",
        type=_arguments.positive,
        help="side of the images (default: the network's own); with it all convolutions are "
        "listed, by whether they commute with the quarter turns and flips of the group",
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
    show(_filtered(network, plan))
    if left := _left_alone(network.model, group, plan, params):
        print(f"{plural(left, 'small window')} of these stay as they are near softness 1")
    by_action: dict[str, list[Projector]] = {}
    for _, projector, _ in plan.planned(params):
        by_action.setdefault(projector.space.describe(), []).append(projector)
    for action, projectors in by_action.items():
        print(f"\nlevels of {action} ({plural(len(projectors), 'parameter')})")
        show(levels_table(projectors[0]))
    size, lattice = arguments.image_size or network.preprocess.image_size, _on_lattice(group)
    layers = _geometry(network, size)
    show("", *_strided(network, layers, size, lattice))
    print("\nuntouched")
    show(_untouched(plan))
    if arguments.image_size is not None:
        print(f"\nconvolutions under {lattice!r}, which maps {size} x {size} pixels to pixels")
        show(_lattice(plan, layers, lattice))


def levels_table(projector: "Projector") -> TextTable:
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


def _filtered(network: "Pretrained", plan: "Plan") -> TextTable:
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


def _untouched(plan: "Plan") -> TextTable:
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


def _geometry(network: "Pretrained", size: int) -> "dict[str, ConvGeometry]":
    from softeq_jax import models

    shape = (1, size, size, len(network.preprocess.mean))
    return models.conv_geometry(network.model, network.variables, shape, train=False)


def _obstacle(layer: "ConvGeometry", lattice: "Group") -> str | None:
    from softeq_jax import certificates

    return certificates.lattice_obstacle(layer, list(lattice.elements()))


def _strided(
    network: "Pretrained", layers: "dict[str, ConvGeometry]", size: int, lattice: "Group"
) -> list[str]:
    """Which strided layers break the symmetry, and whether a pixel more would mend them."""
    strided = {path: layer for path, layer in layers.items() if max(layer.strides) > 1}
    broken = {path: _obstacle(layer, lattice) for path, layer in strided.items()}
    rows = [
        (path, f"{max(strided[path].strides)}", "x".join(map(str, strided[path].input_shape)), why)
        for path, why in broken.items()
        if why
    ]
    at = f"at {size} x {size} pixels"
    if not rows:
        which = f"none of the {plural(len(strided), 'strided layer')}" if strided else "no layer"
        return [f"{which} breaks {lattice!r} {at}"]
    text = [
        f"{len(rows)} of {plural(len(strided), 'strided layer')} break {lattice!r} {at}, whatever "
        "their kernels",
        table(("layer", "stride", "map", "why"), rows, right="-rr-"),
    ]
    try:
        more = _geometry(network, size + 1)
    except (ValueError, TypeError):  # the network takes one size
        return text
    if not any(_obstacle(layer, lattice) for layer in more.values()):
        text.append(f"at {size + 1} x {size + 1} pixels none does")
    return text


def _lattice(plan: "Plan", layers: "dict[str, ConvGeometry]", lattice: "Group") -> TextTable:
    chosen = dict(zip(plan.paths, plan.chosen, strict=True))
    rows = []
    for path, layer in layers.items():
        obstacle = _obstacle(layer, lattice)
        side = "x".join(map(str, layer.input_shape))
        kept = "filtered" if chosen.get(path, -1) >= 0 else "untouched"
        rows.append((path, side, kept, "breaks them: " + obstacle if obstacle else "respects them"))
    return table(("parameter", "map", "kernel", "the layer"), rows)
