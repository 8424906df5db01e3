"""Choice of strengths, further tables and the figure of the N-body study."""

import math
from pathlib import Path

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from experiments.nbody import methods
from experiments.shared import strengths
from experiments.shared.figures import plt, save
from experiments.shared.report import over_runs
from experiments.shared.studies import Line, Metric, Tables

VALIDATION = Metric("validation_mse", "validation MSE (1e-3)", "lower", log=True, scale=1e3)
MSE = Metric("mse", "test MSE (1e-3)", "lower", log=True, scale=1e3)
ERROR = Metric("equivariance_error", "equivariance error", "lower", log=True, least=1e-8)


def chosen_lines(lines: list[Line]) -> list[Line]:
    """The runs of every method at the strength that is best on validation, and the floor."""
    return strengths.at_the_best(_of_families(lines), VALIDATION)


def _chosen(lines: list[Line]) -> dict[str, list[Line]]:
    """The chosen runs by method."""
    found: dict[str, list[Line]] = {}
    for line in chosen_lines(lines):
        if not line.get("floor"):
            found.setdefault(line["method"], []).append(line)
    return found


def _of_families(lines: list[Line]) -> list[Line]:
    return [
        line if line.get("floor") else line | {"family": line["method"], "tried": line["row"]}
        for line in lines
    ]


def sections(lines: list[Line], tables: Tables) -> list[str]:
    """What the columns are, and all strengths of the methods that were tried with several."""
    parts = [
        "Equivariance error: root mean square of f(Rx) - R f(x) over the test systems and random "
        "rotations of each, relative to the true displacement. Test MSE and equivariance error are "
        "those of the network that the method ends with: projected for strict, relaxed and ACE, as "
        "trained for the others. Before projection: with the weights after the last step, as the "
        "method then mixes them. If projected: the same weights projected, whether or not the "
        "method does so. Where several strengths were tried, the best on the validation systems is "
        "compared. Seeds are of initial weights, order of the data and rotations; the data are the "
        "same.",
    ]
    return parts + strengths.table(_of_families(lines), (VALIDATION, MSE, ERROR))


def draw(lines: list[Line], tables: Tables, path: Path, title: str) -> None:
    """Test errors before and after projection, against the equivariance error, and training."""
    best = _chosen(lines)
    curves = tables.get("curves", [])
    floor = next((1e3 * line["mse"] for line in lines if line.get("floor")), math.nan)
    colors = dict(zip(methods.NAMES, plt.get_cmap("tab10").colors, strict=False))  # pyright: ignore[reportAttributeAccessIssue]
    panels = 3 if curves else 2
    fig, axes = plt.subplots(1, panels, figsize=(4.5 * panels, 4.4), layout="constrained")
    for number, (method, runs) in enumerate(best.items()):
        mean, error = over_runs([1e3 * line["mse"] for line in runs])
        axes[0].errorbar(
            mean, number, xerr=np.nan_to_num(error), fmt="o", color=colors[method], capsize=4
        )
        before, _ = over_runs([1e3 * line["mse_before"] for line in runs])
        axes[0].plot(before, number, "|", color=colors[method], ms=16)
        x = [max(line["equivariance_error"], 1e-8) for line in runs]
        y = [1e3 * line["mse"] for line in runs]
        axes[1].plot(x, y, "o", color=colors[method], label=method)
        mine = [line for line in curves if line["row"] == runs[0]["tried"]]
        if mine:
            epochs = sorted({line["epoch"] for line in mine})
            means = [np.mean([1e3 * x["mse"] for x in mine if x["epoch"] == e]) for e in epochs]
            axes[2].plot(epochs, means, color=colors[method], lw=1.3)
    axes[0].set_yticks(range(len(best)), list(best))
    axes[0].set(xlabel=MSE.title, xscale="log")
    axes[0].invert_yaxis()
    axes[0].axvline(floor, color="0.5", lw=0.8, ls=":")
    axes[0].set_title("end of training (upright bar: before projection)", fontsize=9)
    axes[1].set(xlabel=ERROR.title, ylabel=MSE.title, xscale="log", yscale="log")
    axes[1].set_title("dotted: straight flight", fontsize=9)
    axes[1].legend(frameon=False, fontsize=8)
    if curves:
        axes[2].set(xlabel="epoch", ylabel="training MSE (1e-3)", yscale="log")
    for axis in axes[1:]:
        axis.axhline(floor, color="0.5", lw=0.8, ls=":")
    for axis in (axes[0].xaxis, *(each.yaxis for each in axes[1:])):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    save(fig, path, title)
