"""The model card of written weights, in Markdown."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from softeq_jax.cli._provenance import WEIGHTS, Provenance

if TYPE_CHECKING:
    from softeq_jax.cli._before_after import BeforeAfter
    from softeq_jax.cli._certified import Certified
    from softeq_jax.models.weights import Pretrained

_LIBRARIES = {"hugging face": "transformers", "timm": "timm"}


def card(
    out: Path,
    network: "Pretrained",
    provenance: Provenance,
    certified: "Certified | None",
    measured: "BeforeAfter | None" = None,
) -> str:
    """What the file is, what was done to it, what is certified and measured, how to load it.

    Args:
      out: the file or folder that the card goes with.
      network: of the checkpoint that the weights are written in the form of.
      provenance: of the weights.
      certified: the weights, None if nothing is filtered.
      measured: what rotations of images do, if that was measured.
    """
    report = network.report
    library = _LIBRARIES.get(report.format)
    front = ["---", *([f"library_name: {library}"] if library else []), "tags:", "- softeq", "---"]
    classes = getattr(network.model, "num_classes", 0)
    facts = [
        ("network", f"{report.model} (family {report.family}, {report.format} names)"),
        ("classes", f"{classes}" if classes else "none (features)"),
        *provenance.rows(),
        *((key, text) for key, text in network.origin.metadata.items() if key == "license"),
    ]
    if provenance.classes:
        facts.append(("names of the classes", ", ".join(provenance.classes)))
    parts = ["\n".join(front), f"# {out.stem}: {report.model}, {provenance.what}"]
    parts.append(markdown(("", ""), facts))
    if certified is not None:
        parts.append(_filtered(network, certified))
    if certified is not None and certified.before:
        parts.append(_certificates(certified))
    if measured is not None:
        parts += ["## Measured under rotations of images", f"{measured.images}."]
        parts.append(markdown(measured.head, measured.rows))
    return "\n\n".join([*parts, _loading(out, network)]) + "\n"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _filtered(network: "Pretrained", certified: "Certified") -> str:
    plan = certified.plan
    tensors = {path: tensor.name for tensor in network.report.used for path in tensor.paths}
    rows = []
    for path, projector, w in plan.planned(certified.params):
        rank = f"{projector.rank():.4g} of {projector.dim}"
        action = (projector.space.describe(), projector.mask)
        dials = (f"{projector.cutoff:.4g}", f"{projector.softness:.4g}", rank)
        rows.append((tensors[f"params/{path}"], "x".join(map(str, w.shape)), *action, *dials))
    head = ("tensor", "shape here", "action", "mask", "level or width", "softness", "rank")
    left = [f"* `{path}` is left untouched: {reason}" for path, reason in plan.reasons]
    untouched = f"All other tensors ({plan.chosen.count(-1)} arrays) are not filtered."
    return "\n\n".join(["## What is filtered", markdown(head, rows), untouched, *left])


def _certificates(certified: "Certified") -> str:
    rows = [("all", *row) for row in certified.rows()]
    rows += [(f"`{path}`", *row) for path, *row in certified.parts()]
    head = ("weights", "moved", "before", "after", "after, own norm")
    note = (
        "Proven upper bounds of how far the group moves the weights, `||g w - w||`, as they are in "
        "the file: before and after in units of their norm before, then in that of their own norm."
    )
    return "\n\n".join(["## Certificates", note, markdown(head, rows)])


def _loading(out: Path, network: "Pretrained") -> str:
    kept = "Names, shapes and dtypes of the tensors are those of the source."
    if network.report.reset:
        kept = "Shapes and dtypes of all tensors but those of the new head are those of the source."
    return (
        f"## How to load it\n\nIn PyTorch:\n\n```python\n{_in_torch(out, network)}\n```\n\n"
        f"In JAX:\n\n```python\n{_in_jax(out)}\n```\n\n{kept}"
    )


def _in_torch(out: Path, network: "Pretrained") -> str:
    """Code that loads the file with the library whose names it has."""
    single = out.suffix == ".safetensors"
    path = out.name if single else f"{out.name}/{WEIGHTS}"
    config = {} if single or network.origin.config is None else json.loads(network.origin.config)
    library = _LIBRARIES.get(network.report.format)
    if library == "transformers" and (names := config.get("architectures")):
        load = f'model = {names[0]}.from_pretrained("{out.name}")'
        return f"from transformers import {names[0]}\n\n{load}"
    if library == "timm" and (name := config.get("architecture")):
        classes = getattr(network.model, "num_classes", 0)
        options = f'num_classes={classes}, checkpoint_path="{path}"'
        return f'import timm\n\nmodel = timm.create_model("{name}", {options})'
    return (
        "from safetensors.torch import load_file\n\n"
        f'model.load_state_dict(load_file("{path}"))  # the module that the source is loaded into'
    )


def _in_jax(out: Path) -> str:
    return (
        "from softeq_jax import models\n\n"
        f'network = models.load("{out.name}")  # network.preprocess says how images are made\n'
        "outputs = network.model.apply(network.variables, images, train=False)"
    )
