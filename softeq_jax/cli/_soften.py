"""``softeq soften``: filtered weights, with the names and the layout they came with."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softeq_jax._text import table
from softeq_jax.cli import _arguments

if TYPE_CHECKING:
    from softeq_jax import Certificate, Plan
    from softeq_jax.groups import Group
    from softeq_jax.models.weights import Pretrained

_MASKS = ("hard", "heat", "resolvent")
_WITHIN = 15.0


def register(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "soften",
        help="filter a checkpoint and write it again",
        description="Filters the weights of a checkpoint and writes them with the names, dtypes "
        "and layout that they came with, and says how far the group can still move them.",
    )
    _arguments.add_weights(parser)
    parser.add_argument("--group", required=True, help=_arguments.GROUPS)
    weights = parser.add_mutually_exclusive_group(required=True)
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
    parser.add_argument(
        "--out", required=True, type=Path, metavar="PATH", help="a .safetensors file, or a folder"
    )
    parser.add_argument("--force", action="store_true", help="replace what is at --out")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Writes the filtered weights and prints the plan.

    Raises:
      ValueError, FileNotFoundError, ImportError: see ``_arguments.load``; ValueError for dials out
        of range, a group that does not act, or an output that would replace something.
    """
    import softeq_jax as sq
    from softeq_jax import models
    from softeq_jax.models.weights import save

    check_output(arguments.weights, arguments.out, arguments.force)
    group = sq.groups.from_name(arguments.group)
    dials = {
        name: getattr(arguments, name)
        for name in ("softness", "cutoff", "position_softness", "position_cutoff", "mask")
    }
    network = _arguments.load(arguments)
    params = network.variables["params"]
    plan = sq.plan(params, models.soft_rules(network.model, group, **dials))
    before = movements(plan, group, params)
    soft = {**network.variables, "params": plan.project(params)}
    save(arguments.out, soft, network.origin)
    after = movements(plan, group, rounded(soft["params"], network))
    print(plan.describe())
    print(f"\n{realized(plan)}\n")
    rows, stuck = [], {}
    for what, old in before.items():
        new = after[what]
        shown = (old.relative, new.bound / (old.weight_norm or 1.0), new.relative)
        still = sq.projections.unmoved(old, new)
        some = f"but of {len(still)}" if len(still) < len(old.parts) else "no"
        said = some if still else "yes"
        rows.append((what, *(f"{value:.4g}" for value in shown), said))
        stuck |= dict.fromkeys(still)
    head = ("movement of the filtered weights, at most", "before", "after", "after, own norm")
    print(table((*head, "fell"), rows, right="-rrr-"))
    print("(in units of the norm of these weights before, in the last column of that after)")
    if stuck:
        print(f"\nthe bound did not fall of {', '.join(stuck)}")
    print(f"\nwritten to {arguments.out}")
    if network.origin.config is not None and not arguments.out.is_dir():
        print("note: the config.json of the checkpoint goes with a folder only")


def check_output(source: str, out: Path, force: bool) -> None:
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
    if force or not out.exists():
        return
    if not out.is_dir() or any(out.iterdir()):
        raise ValueError(f"--out {out} exists already: choose another place, or --force")


def movements(plan: "Plan", group: "Group", params: Any) -> dict[str, "Certificate"]:
    """Bounds of ``||g w - w||`` for all planned weights w as one vector."""
    found = {f"by any element of {group!r}": plan.certificate(params)}
    if not group.is_finite:
        near = plan.certificate(params, within=math.radians(_WITHIN))
        found[f"by rotations up to {_WITHIN:g} degrees"] = near
    return found


def rounded(params: Any, network: "Pretrained") -> Any:
    """The parameters as they are in the file: in the dtypes of its tensors."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from softeq_jax._paths import leaf_paths

    paths, leaves, structure = leaf_paths({"params": params})
    flat = dict(zip(paths, leaves, strict=True))
    for tensor in network.report.used:
        for path in flat.keys() & set(tensor.paths):
            stored = np.asarray(flat[path]).astype(jnp.dtype(tensor.dtype))
            flat[path] = stored.astype(np.float32)
    return jax.tree.unflatten(structure, [flat[path] for path in paths])["params"]


def realized(plan: "Plan") -> str:
    """The range of the softness that the filters have."""
    values = [plan.projectors[index].softness for index in plan.chosen if index >= 0]
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return f"realized softness: {low}" + (f" to {high}" if low != high else "")
