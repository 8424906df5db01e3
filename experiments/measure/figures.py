"""Figures of the measurement study."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.shared.figures import finish, plt, save
from experiments.shared.report import Row, select

COLORS = ("#1b6ca8", "#c1553b", "#3f8f4f", "#8a5aa8", "#b8860b", "#4c9a9a")
GRAY = "#777777"


UNITS = {
    "per pixel": ("translation_x", "translation_y"),
    "per radian": ("rotation", "hyperbolic_rotation", "hue"),
    "per unit of the logarithm or slope": (
        *("scale", "shear_x", "shear_y", "stretch_x", "stretch_y", "contrast", "saturation"),
    ),
    "per unit of brightness": ("brightness",),
}
"""Units to the generators that have them: each has an axis of its own."""


def lie(rows: Sequence[Row], path: Path, title: str) -> None:
    """LEE by generator: all networks, every stencil, an axis for every unit."""
    networks, stencils = (
        list(dict.fromkeys(r[key] for r in rows)) for key in ("network", "stencil")
    )
    names = list(dict.fromkeys(row["generator"] for row in rows))
    groups = {unit: [name for name in names if name in those] for unit, those in UNITS.items()}
    groups = {unit: those for unit, those in groups.items() if those}
    figure, axes = plt.subplots(
        len(networks),
        len(groups),
        figsize=(13, 3.4 * len(networks)),
        layout="constrained",
        squeeze=False,
        width_ratios=[1 + len(those) for those in groups.values()],
    )
    for line, network in zip(axes, networks, strict=True):
        chosen = select(rows, network=network, head="probabilities", low_pass=1.0)
        for axis, (unit, those) in zip(line, groups.items(), strict=True):
            width = 0.8 / len(stencils)
            for i, stencil in enumerate(stencils):
                part = {row["generator"]: row for row in select(chosen, stencil=stencil)}
                shown = [part[name] for name in those if name in part]
                at = np.arange(len(shown)) + (i - (len(stencils) - 1) / 2) * width
                axis.bar(
                    at,
                    [row["mean_sq"] for row in shown],
                    width,
                    yerr=[row["mean_sq_se"] for row in shown],
                    color=COLORS[i],
                    label=stencil.replace("_", " "),
                    error_kw={"linewidth": 0.7},
                )
            axis.set_yscale("log")
            labels = [name.replace("_", " ") for name in those]
            axis.set_xticks(range(len(those)), labels, rotation=30, ha="right", fontsize=8)
            axis.set_title(unit, fontsize=8)
        line[0].set_ylabel(f"{network}\nLEE of probabilities")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(stencils), frameon=False, fontsize=8
    )
    finish(figure, path, title)


def attribution(rows: Sequence[Row], path: Path) -> None:
    """Cumulative signed shares over depth, one panel per network and generator."""
    networks, generators, stencils = (
        list(dict.fromkeys(row[key] for row in rows)) for key in ("network", "generator", "stencil")
    )
    figure, axes = plt.subplots(
        len(networks),
        len(generators),
        figsize=(4.6 * len(generators), 3.6 * len(networks)),
        layout="constrained",
        squeeze=False,
    )
    for line, network in zip(axes, networks, strict=True):
        for axis, generator in zip(line, generators, strict=True):
            for i, stencil in enumerate(stencils):
                part = select(
                    rows, network=network, generator=generator, stencil=stencil, low_pass=1.0
                )
                axis.plot(
                    [row["cumulative_share"] for row in part],
                    color=COLORS[i],
                    linewidth=1.4,
                    label=stencil.replace("_", " "),
                )
            named = [
                i
                for i, row in enumerate(part)
                if row["layer"].endswith("block0/conv1") or i == len(part) - 1
            ]
            for depth in named:
                axis.axvline(depth, color=GRAY, linewidth=0.7, linestyle=":")
            names = [part[i]["layer"] for i in named]
            axis.set_xticks(named, names, rotation=30, ha="right", fontsize=7)
            axis.axhline(1, color=GRAY, linewidth=0.7)
            axis.set_title(f"{network}, {generator.replace('_', ' ')}", fontsize=9)
    axes[0, 0].set_ylabel("cumulative signed share")
    axes[0, 0].legend(frameon=False, fontsize=8)
    finish(figure, path)


def feature(rows: Sequence[Row], path: Path) -> None:
    """Equivariance, invariance and controls over depth, one panel per transform."""
    cases = list(dict.fromkeys(row["transform"] for row in rows))
    networks = list(dict.fromkeys(row["network"] for row in rows))
    figure, axes = plt.subplots(
        len(networks),
        len(cases),
        figsize=(4.6 * len(cases), 3.6 * len(networks)),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    styles = {
        "equivariance": (COLORS[0], "o-"),
        "equivariance_control": (COLORS[0], ":"),
        "invariance": (COLORS[1], "s-"),
        "invariance_control": (COLORS[1], ":"),
    }
    for line, network in zip(axes, networks, strict=True):
        for axis, case in zip(line, cases, strict=True):
            part = select(rows, network=network, transform=case)
            for statistic, (color, style) in styles.items():
                axis.plot(
                    [row[statistic] for row in part],
                    style,
                    color=color,
                    markersize=3.5,
                    linewidth=1.2,
                    label=statistic.replace("_", " "),
                )
            axis.set_xticks(range(len(part)), [r["layer"] for r in part], rotation=90, fontsize=6)
            axis.set_title(f"{network}, {case}", fontsize=9)
    axes[0, 0].set_ylabel("correlation")
    axes[0, 0].legend(frameon=False, fontsize=7)
    finish(figure, path)


def polar(rows: Sequence[Row], path: Path) -> None:
    """KL divergence against the angle."""
    figure = plt.figure(figsize=(5.2, 5), layout="constrained")
    axis = figure.add_subplot(projection="polar")
    for i, network in enumerate(dict.fromkeys(row["network"] for row in rows)):
        chosen = [row for row in select(rows, network=network) if not np.isnan(row["angle"])]
        for measure, style in zip(
            dict.fromkeys(row["measure"] for row in chosen), ("-", ":"), strict=True
        ):
            part = select(chosen, measure=measure)
            part = [*part, part[0]]
            axis.plot(
                np.radians([row["angle"] for row in part]),
                [row["value"] for row in part],
                style,
                color=COLORS[i],
                label=network if style == "-" else f"{network}, interpolation alone",
            )
    axis.set_title("KL(f(x) || f(Rx)) in nats against the angle", fontsize=9)
    axis.legend(frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(-0.1, -0.1))
    save(figure, path)
