"""Tables and the figure of the rings study."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from experiments.rings import methods
from experiments.shared.figures import plt, save
from experiments.shared.report import Row, markdown_table, over_runs, write_atomically
from softeq_jax._text import table as text_table


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (Student's t over the runs)."""
    mean, error = over_runs(values)
    if math.isnan(error):
        return mean, error
    return mean, float(stats.t.ppf(0.975, len(values) - 1) * error)


def chosen(rows: list[Row]) -> dict[tuple[str, float], list[Row]]:
    """The runs of the best strength of every method at every noise, by held-out points.

    The best has the largest mean accuracy; where several are within a thousandth of it, the one
    with the smallest mean worst-case error is taken.
    """
    found: dict[tuple[str, float], dict[str, list[Row]]] = {}
    for row in rows:
        found.setdefault((row["method"], row["sigma"]), {}).setdefault(
            str(row["strength"]), []
        ).append(row)
    best = {}
    for key, strengths in found.items():
        means = {s: np.mean([r["held_accuracy"] for r in rs]) for s, rs in strengths.items()}
        close = [s for s in strengths if means[s] >= max(means.values()) - 1e-3]
        error = {s: np.mean([r["worst_error"] for r in strengths[s]]) for s in close}
        best[key] = strengths[min(close, key=error.__getitem__)]
    return best


def table(rows: list[Row], config: Any, name: str, scale: float, digits: int) -> list[list[str]]:
    """Method by noise: mean +- half-width of the 95 % interval."""
    best = chosen(rows)
    lines = [["method", *(f"{sigma:g}" for sigma in config.sigmas)]]
    for method in _methods(rows):
        cells = [method]
        for sigma in config.sigmas:
            mean, width = interval([scale * row[name] for row in best[method, sigma]])
            cells.append(f"{mean:.{digits}f} ± {width:.{digits}f}")
        lines.append(cells)
    return lines


def verdicts(rows: list[Row], config: Any, method: str) -> list[str]:
    """Where a method beats the compared ones, by paired runs; a sentence for each noise."""
    best, lines = chosen(rows), []
    for sigma in config.sigmas:
        mine = {row["seed"]: row for row in best[method, sigma]}
        parts = []
        for other in config.compared:
            theirs = {row["seed"]: row for row in best[other, sigma]}
            seeds = sorted(set(mine) & set(theirs))
            gain = interval([100 * (mine[s]["accuracy"] - theirs[s]["accuracy"]) for s in seeds])
            error = np.mean([mine[s]["worst_error"] for s in seeds])
            base = np.mean([theirs[s]["worst_error"] for s in seeds])
            sure = "" if abs(gain[0]) > gain[1] else " (not distinguishable)"
            parts.append(
                f"against {other} {gain[0]:+.2f} ± {gain[1]:.2f} points{sure}, worst-case error "
                f"{error:.2g} instead of {base:.2g}"
            )
        strength = best[method, sigma][0]["strength"]
        lines.append(f"sigma {sigma:g}, strength {strength}: {'; '.join(parts)}.")
    return lines


def markdown(rows: list[Row], config: Any) -> str:
    """The page of results."""

    count = len({row["seed"] for row in rows})
    lines = [
        f"# {config.title}",
        "",
        "    python -m experiments.rings --config experiments/rings/configs/paper.py "
        "--workdir outputs/rings",
        "",
        f"{len(rows)} runs, {count} seeds; mean and 95 % interval over seeds (Student's t). "
        "For every method and noise the strength with the best accuracy on held-out points is "
        "shown (within a thousandth: the one with the smallest error); all runs are in rings.csv. "
        "The amplitude of the waves breaks the symmetry: at 0 the label is invariant to "
        "rotations, above it to turns by 72 degrees only.",
        "",
        "Test accuracy in percent, against the amplitude of the waves:",
        "",
        markdown_table(*table(rows, config, "accuracy", 100.0, 1)),
        "",
        "Worst-case error, the largest change of the predicted probability over 4,000 test points "
        "and 36 random rotations:",
        "",
        markdown_table(*table(rows, config, "worst_error", 1.0, 3)),
        "",
        "Jump of the training loss (nats) where a method projects at the end:",
        "",
        markdown_table(
            *table(
                [row for row in rows if row["method"] in ("triangular", "ACE")],
                config,
                "jump",
                1.0,
                4,
            )
        ),
        "",
        "![Accuracy and worst-case error against the waves](rings.png)",
    ]
    for method in ("penalty, power 2", "penalty, power 1"):
        if any(row["method"] == method for row in rows):
            lines += ["", f"The {method}, by paired seeds:", ""]
            lines += [f"* {line}" for line in verdicts(rows, config, method)]
    return "\n".join(lines) + "\n"


def terminal(rows: list[Row], config: Any) -> str:
    """Accuracy and worst-case error as aligned text."""
    blocks = []
    for title, name, scale, digits in (
        ("accuracy (%)", "accuracy", 100.0, 1),
        ("worst-case error", "worst_error", 1.0, 3),
    ):
        head, *lines = table(rows, config, name, scale, digits)
        blocks.append(f"{title}\n{text_table(head, lines)}")
    return "\n\n".join(blocks)


def figure(rows: list[Row], config: Any, path: Path) -> None:
    """Accuracy and worst-case error against the waves, and one against the other."""
    best, there = chosen(rows), _methods(rows)
    colors = dict(zip(there, plt.get_cmap("tab20").colors, strict=False))
    fig, axes = plt.subplots(1, 3, figsize=(13.5, 4.4), layout="constrained")
    for name, axis in (("accuracy", axes[0]), ("worst_error", axes[1])):
        for number, method in enumerate(there):
            pairs = [interval([r[name] for r in best[method, s]]) for s in config.sigmas]
            means, widths = (np.array(x) for x in zip(*pairs, strict=True))
            thick = method in (*config.compared, "penalty, power 2", "penalty, power 1")
            style = "-" if thick else ("--", ":", "-.")[number % 3]
            axis.plot(
                config.sigmas,
                means,
                style,
                color=colors[method],
                lw=2.2 if thick else 1.2,
                label=method,
            )
            axis.fill_between(
                config.sigmas, means - widths, means + widths, color=colors[method], alpha=0.1, lw=0
            )
        axis.set_xlabel("amplitude of the waves")
    axes[0].set_ylabel("test accuracy")
    axes[1].set(ylabel="worst-case error (probability)", yscale="symlog", ylim=(0, 1.2))
    axes[1].set_yscale("symlog", linthresh=1e-3)
    middle = config.sigmas[len(config.sigmas) // 2]
    for method in there:
        groups: dict[str, list[Row]] = {}
        for row in rows:
            if row["method"] == method and row["sigma"] == middle:
                groups.setdefault(str(row["strength"]), []).append(row)
        x = [np.mean([r["worst_error"] for r in rs]) for rs in groups.values()]
        y = [np.mean([r["accuracy"] for r in rs]) for rs in groups.values()]
        axes[2].plot(x, y, "o", color=colors[method], ms=5, label=method)
    axes[2].set(
        xlabel="worst-case error (probability)",
        ylabel="test accuracy",
        title=f"amplitude {middle:g}, every strength",
    )
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    save(fig, path)


def write(rows: list[Row], config: Any, folder: Path) -> None:
    """``rings.md`` and ``rings.png``."""
    write_atomically(folder / "rings.md", markdown(rows, config))
    figure(rows, config, folder / "rings.png")


def _methods(rows: list[Row]) -> list[str]:
    there = {row["method"] for row in rows}
    return [name for name in methods.NAMES if name in there]
