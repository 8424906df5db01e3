"""Choice of strengths, tables and the figure of the rings study."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from experiments.rings import methods
from experiments.shared.figures import finish, plt
from experiments.shared.report import Row, markdown_table
from experiments.shared.statistics import mean_interval
from experiments.shared.studies import Line, Tables

NAMED = {
    "strict": "#1b6ca8",
    "unconstrained": "#222222",
    "penalty, power 2": "#c1553b",
    "penalty, power 1": "#b8860b",
}
"""Methods of the figure that have a color."""
GRAY = "#b9b9b9"


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
    """Accuracy and worst-case error against the waves, and one against the other.

    Four methods have names and colors; the others, whose numbers are in the tables, are gray.
    """
    best = chosen(lines)
    there = _methods(best)
    amplitudes = sorted({sigma for _, sigma in best})
    figure, axes = plt.subplots(1, 3, figsize=(13.5, 4.8), layout="constrained")
    for method in sorted(there, key=lambda name: name in NAMED):
        color, named = NAMED.get(method, GRAY), method in NAMED
        style: dict[str, Any] = {"color": color, "lw": 2.4 if named else 0.9, "zorder": 2 + named}
        at = [sigma for sigma in amplitudes if (method, sigma) in best]
        for name, axis in (("accuracy", axes[0]), ("worst_error", axes[1])):
            pairs = [interval([r[name] for r in best[method, sigma]]) for sigma in at]
            means, widths = (np.array(x) for x in zip(*pairs, strict=True))
            axis.plot(at, means, marker="." if len(at) == 1 else None, **style)
            if named:
                widths = np.nan_to_num(widths)
                axis.fill_between(at, means - widths, means + widths, color=color, alpha=0.2, lw=0)
    middle = amplitudes[len(amplitudes) // 2] if amplitudes else 0.0
    for method in sorted(there, key=lambda name: name in NAMED):
        groups: dict[str, list[Row]] = {}
        for line in lines:
            if line.get("method") == method and line["sigma"] == middle:
                groups.setdefault(line["row"], []).append(line)
        x = [np.mean([r["worst_error"] for r in rs]) for rs in groups.values()]
        y = [np.mean([r["accuracy"] for r in rs]) for rs in groups.values()]
        named = method in NAMED
        axes[2].plot(
            x, y, "o", color=NAMED.get(method, GRAY), ms=8 if named else 5, zorder=2 + named
        )
    for axis in axes[:2]:
        axis.set_xlabel("amplitude of the waves, which break the symmetry")
    axes[0].set_ylabel("test accuracy")
    axes[0].set_title("Free and penalized networks stay accurate", fontsize=10)
    axes[1].set(ylabel="worst-case error (probability)", ylim=(0, 1.2))
    axes[1].set_yscale("symlog", linthresh=1e-3)
    axes[1].set_title("Where the waves are strong only strict ones are invariant", fontsize=10)
    axes[2].set(xlabel="worst-case error (probability)", ylabel="test accuracy")
    axes[2].set_title(f"Amplitude {middle:g}, all strengths: accurate or invariant", fontsize=10)
    handles = [Line2D([], [], color=color, lw=2.4, label=name) for name, color in NAMED.items()]
    others = sum(name not in NAMED for name in there)
    handles.append(Line2D([], [], color=GRAY, lw=0.9, label=f"{others} other methods"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    finish(figure, path, title)


def _methods(best: dict[tuple[str, float], list[Line]]) -> list[str]:
    there = {method for method, _ in best}
    return [name for name in methods.NAMES if name in there]
