"""The page and the figure of the averaged potentials."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared.figures import finish, plt
from experiments.shared.report import markdown_table, select, write_atomically

MESSAGE = (
    "Rotations of a polyhedron make an unconstrained potential symmetric faster than random ones"
)


def write(found: dict[str, Any], folder: Path) -> None:
    """``potentials.md``, ``.png`` and ``.json`` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "potentials.json", json.dumps(found, indent=2) + "\n")
    figure(found, folder / "potentials.png")
    write_atomically(folder / "potentials.md", text(found))


def figure(found: dict[str, Any], path: Path) -> None:
    """The spread of the forces over all rotations against how many were averaged."""
    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    free = select(found["lines"], potential="free")
    (as_trained,) = select(free, how="as trained")
    (strict,) = select(found["lines"], potential="strict")
    for how, color, marker in (("random", "#999999", "s"), ("polyhedron", "#0b62a4", "o")):
        rows = select(free, how=how)
        counts = sorted({row["rotations"] for row in rows})
        means = [np.mean([r["forces_spread"] for r in select(rows, rotations=n)]) for n in counts]
        values = [as_trained["forces_spread"], *means]
        axis.plot([1, *counts], values, marker=marker, color=color)
        label = "random rotations" if how == "random" else "half turns, cube, icosahedron"
        lift = 2.0 if how == "random" else 0.15
        axis.annotate(label, (counts[-2], values[-2] * lift), color=color, ha="center")
    axis.axhline(strict["forces_spread"], color="#b5432e", linestyle="--")
    axis.annotate(
        "strict potential, no averaging (rounding)",
        (1, strict["forces_spread"] * 1.5),
        color="#b5432e",
    )
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="rotations averaged over",
        ylabel="spread of the forces over all rotations\n(1 = size of the forces)",
    )
    axis.set_xticks([1, 4, 24, 60], ["1", "4", "24", "60"])
    axis.minorticks_off()
    finish(figure, path, MESSAGE)


def text(found: dict[str, Any]) -> str:
    """The page."""
    head = [
        "potential",
        "averaged over",
        "energy spread",
        "force spread",
        "energy error",
        "force error",
    ]
    keys = ("energy_spread", "forces_spread", "energy_error", "force_error")
    rows = []
    for line in _means(found["lines"]):
        over = "-" if line["how"] == "as trained" else f"{line['rotations']}, {line['how']}"
        rows.append([line["potential"], over, *(f"{line[key]:.2g}" for key in keys)])
    energies = found["irreps"]["free"]
    degrees = [name for name in energies["energy"] if name != "rest"]
    shares = []
    for name, one in energies.items():
        total = sum(one.values())
        shares.append(
            [name, *(f"{one[d] / total:.1%}" for d in degrees), f"{one['rest'] / total:.1%}"]
        )
    size = found["size"]
    return f"""# An unconstrained potential, averaged over rotations

Made by `python -m experiments.potentials --out experiments/potentials/results`.

Clusters of five atoms of two species in a Lennard-Jones potential (`lennard_jones.py`), drawn by
Langevin dynamics in any orientation: {size["train"]} to learn from, {size["test"]} to test. Two
potentials give an energy, and minus its gradient as forces: one of distances (strict), one of all
coordinates (free), both perceptrons of two layers of {size["width"]}, trained for {size["steps"]}
steps on energies and forces. The free one is then averaged, `orbits.average`, over the rotations of
a polyhedron or over random ones.

![{MESSAGE}](potentials.png)

*Spread*: root mean square over all rotations R of `R^-1 F(R x)` about its mean, by quadrature of
degree {size["degree"]} on {size["turned"]} test clusters (`orbits.variation`), in units of the
averaged forces (energies: of their deviation over clusters). *Error*: on test clusters, relative to
the deviation of the truth. Random rotations: means over {size["draws"]} draws.

{markdown_table(head, *rows)}

What varies of the free potential, by degree l of the irreducible representation of SO(3):

{markdown_table(["output", *(f"l = {d}" for d in degrees), "faster"], *shares)}

Half turns about three axes remove l = 1 and, of higher degrees, all but what they leave fixed; the
cube's rotations remove l up to 3, the icosahedron's l up to 5. What is left lies above. Averaged
forces are minus the gradient of the averaged energy, so energy is conserved as before.

`measures.doctor` says of the strict one: "{found["diagnoses"]["strict"]}" and of the free one:
"{found["diagnoses"]["free"]}"

One training run each. The free potential has to learn every orientation by itself, for which
{size["train"]} clusters are few; averaging makes it symmetric, not right.
"""


def _means(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Draws of the same kind as one line."""
    found: dict[tuple, list[dict[str, Any]]] = {}
    for line in lines:
        found.setdefault((line["potential"], line["how"], line["rotations"]), []).append(line)
    return [
        {
            k: v if isinstance(v, str) else float(np.mean([r[k] for r in rows]))
            for k, v in rows[0].items()
        }
        | {"rotations": rows[0]["rotations"]}
        for rows in found.values()
    ]
