"""Choice of strengths, tables and the figure of the rings study."""

from pathlib import Path

import numpy as np

from experiments.rings import methods
from experiments.shared.figures import plt, save
from experiments.shared.report import Row, markdown_table
from experiments.shared.statistics import mean_interval
from experiments.shared.studies import Line, Tables

THICK = ("strict", "unconstrained", "penalty, power 2", "penalty, power 1")


def chosen(lines: list[Line]) -> dict[tuple[str, float], list[Line]]:
    """The runs of the best strength of every method at every amplitude, by held-out points.

    The best has the largest mean accuracy; where several are within a thousandth of it, the one
    with the smallest mean worst-case error is taken.
    """
    found: dict[tuple[str, float], dict[str, list[Line]]] = {}
    for line in lines:
        if not line.get("floor"):
            key = line["method"], line["sigma"]
            found.setdefault(key, {}).setdefault(line["row"], []).append(line)
    best = {}
    for key, strengths in found.items():
        means = {s: np.mean([r["held_accuracy"] for r in rs]) for s, rs in strengths.items()}
        close = [s for s in strengths if means[s] >= max(means.values()) - 1e-3]
        error = {s: np.mean([r["worst_error"] for r in strengths[s]]) for s in close}
        best[key] = strengths[min(close, key=error.__getitem__)]
    return best


def chosen_lines(lines: list[Line]) -> list[Line]:
    """The chosen runs, named by method and amplitude; and the floors."""
    return [
        line | {"row": f"{method} at {sigma:g}"}
        for (method, sigma), those in chosen(lines).items()
        for line in those
    ] + [line for line in lines if line.get("floor")]


def table(lines: list[Line], name: str, scale: float, digits: int) -> list[list[str]]:
    """Method by amplitude: mean +- half-width of the 95 % interval."""
    best = chosen(lines)
    amplitudes = sorted({sigma for _, sigma in best})
    found = [["method", *(f"{sigma:g}" for sigma in amplitudes)]]
    for method in _methods(best):
        cells = [method]
        for sigma in amplitudes:
            mean, width = interval([scale * r[name] for r in best.get((method, sigma), [])])
            cells.append(f"{mean:.{digits}f} ± {width:.{digits}f}" if mean == mean else "-")
        found.append(cells)
    return found


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (Student's t over the runs)."""
    found = mean_interval(values)
    return found.value, (found.high - found.low) / 2


def sections(lines: list[Line], tables: Tables) -> list[str]:
    """Accuracy, error and jump against the amplitude; the strengths that were chosen."""
    jumps = [line for line in lines if line.get("method") in ("triangular", "ACE")]
    parts = [
        "## Against the amplitude of the waves",
        "The amplitude breaks the symmetry: at 0 the label is invariant to rotations, above it to "
        "turns by 72 degrees only. For every method and amplitude the strength with the best "
        "accuracy on held-out points is shown (within a thousandth: the one with the smallest "
        "error). Mean ± half of the 95 % interval over seeds (Student's t).",
        "Test accuracy in percent:",
        markdown_table(*table(lines, "accuracy", 100.0, 1)),
        "Worst-case error, the largest change of the predicted probability over the test points "
        "and 36 random rotations:",
        markdown_table(*table(lines, "worst_error", 1.0, 3)),
    ]
    if jumps:
        parts += [
            "Jump of the training loss (nats) where a method projects at the end:",
            markdown_table(*table(jumps, "jump", 1.0, 4)),
        ]
    strengths = {
        method: ", ".join(
            f"{those[0]['strength']} at {sigma:g}"
            for (name, sigma), those in chosen(lines).items()
            if name == method
        )
        for method in ("penalty, power 2", "penalty, power 1")
    }
    said = [f"* {method}: {which}" for method, which in strengths.items() if which]
    return [*parts, *(["Strengths chosen:", "\n".join(said)] if said else [])]


def draw(lines: list[Line], tables: Tables, path: Path, title: str) -> None:
    """Accuracy and worst-case error against the waves, and one against the other."""
    best = chosen(lines)
    there = _methods(best)
    amplitudes = sorted({sigma for _, sigma in best})
    colors = dict(zip(there, plt.get_cmap("tab20").colors, strict=False))  # pyright: ignore[reportAttributeAccessIssue]
    fig, axes = plt.subplots(1, 3, figsize=(13.5, 4.8), layout="constrained")
    for name, axis in (("accuracy", axes[0]), ("worst_error", axes[1])):
        for number, method in enumerate(there):
            at = [sigma for sigma in amplitudes if (method, sigma) in best]
            pairs = [interval([r[name] for r in best[method, sigma]]) for sigma in at]
            means, widths = (np.array(x) for x in zip(*pairs, strict=True))
            widths = np.nan_to_num(widths)
            thick = method in THICK
            axis.plot(
                at,
                means,
                "-" if thick else ("--", ":", "-.")[number % 3],
                color=colors[method],
                lw=2.2 if thick else 1.2,
                marker="." if len(at) == 1 else None,
                label=method,
            )
            axis.fill_between(
                at, means - widths, means + widths, color=colors[method], alpha=0.1, lw=0
            )
        axis.set_xlabel("amplitude of the waves")
    axes[0].set_ylabel("test accuracy")
    axes[1].set(ylabel="worst-case error (probability)", yscale="symlog", ylim=(0, 1.2))
    axes[1].set_yscale("symlog", linthresh=1e-3)
    middle = amplitudes[len(amplitudes) // 2] if amplitudes else 0.0
    for method in there:
        groups: dict[str, list[Row]] = {}
        for line in lines:
            if line.get("method") == method and line["sigma"] == middle:
                groups.setdefault(line["row"], []).append(line)
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
    save(fig, path, title)


def _methods(best: dict[tuple[str, float], list[Line]]) -> list[str]:
    there = {method for method, _ in best}
    return [name for name in methods.NAMES if name in there]
