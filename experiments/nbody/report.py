"""Table and figure of the N-body study."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.nbody import methods
from experiments.shared.figures import plt, save
from experiments.shared.report import Row, markdown_table, over_runs, write_atomically
from softeq_jax._text import table as text_table

HEADER = (
    "method",
    "strength",
    "test MSE",
    "equivariance error",
    "MSE before projection",
    "error before projection",
    "MSE if projected",
)


def chosen(rows: list[Row]) -> dict[str, list[Row]]:
    """The runs of every method at the strength with the smallest mean error on validation."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        found.setdefault(row["method"], {}).setdefault(str(row["strength"]), []).append(row)

    def error(runs: list[Row]) -> float:
        return float(np.mean([row["validation_mse"] for row in runs]))

    return {
        method: min(found[method].values(), key=error)
        for method in methods.NAMES
        if method in found
    }


def table(rows: list[Row]) -> list[list[str]]:
    """A line for every method: mean and standard error over seeds at the chosen strength."""
    lines = [list(HEADER)]
    for method, runs in chosen(rows).items():
        cells = [method, str(runs[0]["strength"])]
        for key, scale in (("mse", 1e3), ("equivariance_error", 0.0), ("mse_before", 1e3)):
            cells.append(_cell([row[key] for row in runs], scale))
        cells.append(_cell([row["error_before"] for row in runs], 0.0))
        cells.append(_cell([row["mse_projected"] for row in runs], 1e3))
        lines.append(cells)
    return lines


def strengths(rows: list[Row]) -> list[list[str]]:
    """A line for every strength of the methods that have several."""
    lines = [["method", "strength", "validation MSE", "test MSE", "equivariance error"]]
    for method in chosen(rows):
        tried = dict.fromkeys(str(row["strength"]) for row in rows if row["method"] == method)
        for strength in tried if len(tried) > 1 else ():
            runs = [r for r in rows if r["method"] == method and str(r["strength"]) == strength]
            cells = [method, strength]
            for key, scale in (("validation_mse", 1e3), ("mse", 1e3), ("equivariance_error", 0.0)):
                cells.append(_cell([row[key] for row in runs], scale))
            lines.append(cells)
    return lines


def verdicts(rows: list[Row], reference: str = "strict") -> list[str]:
    """Every method against the reference by runs of the same seed, a sentence each."""
    best = chosen(rows)
    if reference not in best:
        return []
    base = {row["seed"]: row["mse"] for row in best[reference]}
    lines = []
    for method, runs in best.items():
        seeds = sorted(set(base) & {row["seed"] for row in runs})
        if method == reference or not seeds:
            continue
        mine = {row["seed"]: row["mse"] for row in runs}
        gain = [100 * (mine[s] / base[s] - 1) for s in seeds]
        mean, error = over_runs(gain)
        lines.append(
            f"{method}: test MSE {mean:+.1f} ± {error:.1f} % of that of {reference}, smaller in "
            f"{sum(g < 0 for g in gain)} of {len(seeds)} seeds."
        )
    return lines


def markdown(rows: list[Row], baseline: float, config: Any) -> str:
    """The page of results."""

    count = len({row["seed"] for row in rows})
    systems = config.systems
    lines = [
        f"# {config.title}",
        "",
        f"    {config.command}",
        "",
        f"{len(rows)} runs, {count} seeds; mean ± standard error over seeds (initial weights, "
        "order of the data, rotations; the data are the same). 5 particles, charges +1 and -1, "
        f"{systems.train} training, {systems.validation} validation and {systems.test} test "
        "systems of an own simulator; from positions, velocities and charges, the positions 1,000 "
        f"steps of 0.001 later. Network: {config.layers} blocks of width {config.width}, whose two "
        "update layers each method governs in its own way; all other layers are equivariant in "
        f"all of them. {config.epochs} epochs, batches of {config.batch_size}, Adam with "
        f"{config.learning_rate:g} ({config.schedule}), weight decay {config.weight_decay:g}; "
        f"random rotations of the training systems: {'yes' if config.augment else 'no'}, for all "
        "methods alike. Where several strengths were tried, the best on the validation systems "
        "is shown.",
        "",
        f"MSE in 1e-3, mean over coordinates; a straight flight x + c v has {1e3 * baseline:.1f}.",
        "",
        markdown_table(*table(rows)),
        "",
        "Equivariance error: root mean square of f(Rx) - R f(x) over the test systems and "
        f"{config.rotations} random rotations of each, relative to the true displacement. "
        "test MSE and equivariance error are those of the network that the method ends with: "
        "projected for strict, relaxed and ACE, as trained for the others. Before projection: "
        "with the weights after the last step, as the method then mixes them. If projected: the "
        "same weights projected, whether or not the method does so.",
        "",
        *(f"* {line}" for line in verdicts(rows)),
        "",
    ]
    tried = strengths(rows)
    if len(tried) > 1:
        lines += ["All strengths of the methods that were tried with several:", ""]
        lines += [markdown_table(*tried), ""]
    lines += ["![Errors, equivariance errors and training curves](nbody.png)"]
    return "\n".join(lines) + "\n"


def terminal(rows: list[Row]) -> str:
    """The table as aligned text."""
    head, *lines = table(rows)
    return text_table(head, lines)


def figure(rows: list[Row], curves: list[list[float]], baseline: float, path: Path) -> None:
    """Test errors before and after projection, against the equivariance error, and training."""
    best = chosen(rows)
    colors = dict(zip(methods.NAMES, plt.get_cmap("tab10").colors, strict=False))
    fig, axes = plt.subplots(1, 3, figsize=(13.5, 4.2), layout="constrained")
    for number, (method, runs) in enumerate(best.items()):
        mean, error = over_runs([row["mse"] for row in runs])
        axes[0].errorbar(number, mean, _shown(error), fmt="o", color=colors[method], capsize=4)
        before, _ = over_runs([row["mse_before"] for row in runs])
        axes[0].plot(number, before, "_", color=colors[method], ms=16)
        x = [max(row["equivariance_error"], 1e-8) for row in runs]
        axes[1].plot(x, [row["mse"] for row in runs], "o", color=colors[method], label=method)
        strength = str(runs[0]["strength"])
        mine = [
            curve
            for row, curve in zip(rows, curves, strict=True)
            if row["method"] == method and str(row["strength"]) == strength
        ]
        axes[2].plot(np.mean(mine, axis=0), color=colors[method], label=method, lw=1.3)
    axes[0].set_xticks(range(len(best)), list(best), rotation=25, ha="right")
    title = "end of training (bar: before projection)"
    axes[0].set(ylabel="test MSE", title=title, yscale="log")
    axes[1].set(xlabel="equivariance error", ylabel="test MSE", xscale="log", yscale="log")
    axes[2].set(xlabel="epoch", ylabel="training MSE", yscale="log")
    axes[2].axhline(baseline, color="0.5", lw=0.8, ls=":")
    axes[1].legend(frameon=False, fontsize=8)
    save(fig, path)


def write(
    rows: list[Row], curves: list[list[float]], baseline: float, config: Any, folder: Path
) -> None:
    """``nbody.md`` and ``nbody.png``."""
    write_atomically(folder / "nbody.md", markdown(rows, baseline, config))
    figure(rows, curves, baseline, folder / "nbody.png")


def _cell(values: Sequence[float], scale: float) -> str:
    """Mean ± standard error in units of ``1 / scale``, or two digits of the mean for scale 0."""
    mean, error = over_runs(values)
    if not scale:
        return f"{mean:.1e}"
    return f"{scale * mean:.2f} ± {scale * error:.2f}"


def _shown(error: float) -> float:
    return 0.0 if math.isnan(error) else error
