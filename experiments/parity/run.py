"""The networks of ``parity.pytorch`` in JAX: outputs compared, softened, saved again."""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

import softeq_jax as sq
from experiments.shared.report import markdown_table, write_atomically
from softeq_jax import models

Row = dict[str, Any]
TOLERANCE = 1e-4


def images_and_outputs(folder: pathlib.Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images, and what PyTorch makes of them."""
    with np.load(folder / "io.npz") as arrays:
        count = sum(name.startswith("x") for name in arrays)
        return [
            (arrays[f"x{i}"].astype(np.float32), arrays[f"y{i}"].astype(np.float32))
            for i in range(count)
        ]


def load(folder: pathlib.Path) -> models.Pretrained:
    """A network; segmenters at their own resolution, as transformers has it."""
    found = models.load(folder)
    if not isinstance(found.model, models.Segmenter):
        return found
    return dataclasses.replace(found, model=found.model.clone(upsample=False))


def outputs(found: models.Pretrained, variables: Any, images: list[np.ndarray]) -> list[np.ndarray]:
    """What the model makes of images of several sizes."""
    apply = jax.jit(lambda v, x: found.model.apply(v, x, train=False))
    return [np.asarray(apply(variables, x)) for x in images]


def softened(found: models.Pretrained, softness: float) -> tuple[Any, int]:
    """Softened variables, and how many arrays changed."""
    rules = models.soft_rules(found.model, sq.groups.cyclic(4), softness=softness, mask="hard")
    params = found.variables["params"]
    soft = jax.tree.map(np.asarray, sq.plan(params, rules).project(params))
    changed = jax.tree.map(lambda a, b: int(not np.array_equal(a, b)), params, soft)
    return {**found.variables, "params": soft}, sum(jax.tree.leaves(changed))


def compare(folder: pathlib.Path, softness: float) -> Row:
    """One network: how far its outputs are from PyTorch's; writes its softened copy."""
    found = load(folder)
    pairs = images_and_outputs(folder)
    images = [x for x, _ in pairs]
    ours = outputs(found, found.variables, images)
    differences = [float(np.abs(a - b).max()) for a, (_, b) in zip(ours, pairs, strict=True)]
    soft, changed = softened(found, softness)
    models.save(folder / "softened", soft, found.origin)
    again = load(folder / "softened")
    made = outputs(again, again.variables, images)
    np.savez(folder / "softened.npz", **{f"y{i}": y for i, y in enumerate(made)})
    return {
        "network": folder.name,
        "model": found.report.model,
        "numbers": found.report.parameters,
        "sizes": [list(x.shape[1:3]) for x in images],
        "largest": max(float(np.abs(y).max()) for _, y in pairs),
        "difference": max(differences),
        "softened_arrays": changed,
        "softening": max(float(np.abs(a - b).max()) for a, b in zip(made, ours, strict=True)),
    }


def run(folder: pathlib.Path, softness: float, only: str) -> list[Row]:
    """All networks of a folder."""
    record = folder / "parity.json"
    rows = json.loads(record.read_text()) if record.exists() else []
    done = {row["network"] for row in rows}
    names = sorted(path.parent.name for path in folder.glob("*/io.npz"))
    with tqdm([n for n in names if only in n and n not in done], unit="network") as bar:
        for name in bar:
            bar.set_description(name)
            rows.append(compare(folder / name, softness))
            write_atomically(record, json.dumps(rows, indent=1) + "\n")
    return rows


def table(folder: pathlib.Path) -> str:
    """The results of both halves as Markdown."""
    rows = sorted(json.loads((folder / "parity.json").read_text()), key=lambda r: r["network"])
    back = json.loads((folder / "check.json").read_text())
    head = ("network", "model", "parameters", "images", "largest output", "difference")
    head += ("softened arrays", "softening changes", "softened, back in PyTorch")
    lines = []
    for row in rows:
        sizes = ", ".join("x".join(map(str, size)) for size in row["sizes"])
        lines.append(
            (
                row["network"],
                row["model"],
                f"{row['numbers'] / 1e6:.1f} M",
                sizes,
                f"{row['largest']:.2f}",
                f"{row['difference']:.1e}",
                str(row["softened_arrays"]),
                f"{row['softening']:.2g}",
                f"{back[row['network']]:.1e}",
            )
        )
    worst = max(max(row["difference"] for row in rows), max(back[r["network"]] for r in rows))
    verdict = "all within" if worst <= TOLERANCE else "NOT all within"
    counts = f"{len(rows)} networks, {verdict} {TOLERANCE:.0e}; largest difference {worst:.1e}"
    return f"{counts}\n\n{markdown_table(head, *lines)}\n"


HEADER = """# Networks loaded from PyTorch checkpoints, and back

```bash
python -m experiments.parity.pytorch --out DIR     # environment with torch, transformers, timm
python -m experiments.parity --torch DIR
python -m experiments.parity.pytorch --check DIR   # environment with torch, transformers, timm
python -m experiments.parity --torch DIR --table experiments/parity/results/parity.md
```

Networks of Hugging Face transformers 5.23 (`hf_`) and timm 1.0.31 (`timm_`) on torch 2.13, jax
0.10.2, both float32 on CPU. All weights are random (norms, biases, tokens and running statistics
too, with small variances where norms read, so that a wrong epsilon would show), no published ones.
`difference` is the largest absolute one between our outputs and PyTorch's over all images: logits,
logits of each pixel at a quarter of the resolution (`segmenter`), or the class token
(`hf_dinov2`, `timm_dinov2`). Then each network is softened (C4, softness 0.5) and saved as it came;
the last column is the difference between our outputs and those of PyTorch with that file, loaded
strictly.

"""
