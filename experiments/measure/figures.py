"""Figures of the measurement study."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.shared.figures import finish, plt, save
from experiments.shared.report import Row, select
from softeq_jax.measures.figures import by_unit

COLORS = ("#1b6ca8", "#c1553b", "#3f8f4f", "#8a5aa8", "#b8860b", "#4c9a9a")
GRAY = "#777777"


COLOR = ("hue", "contrast", "saturation", "brightness")
"""Changes of color, which no stencil enters: they are in the tables alone."""


def lie(rows: Sequence[Row], path: Path, title: str) -> None:
    """LEE by generator: all networks, every stencil, an axis for every unit."""
    networks, stencils = (
        list(dict.fromkeys(r[key] for r in rows)) for key in ("network", "stencil")
    )
    names = list(dict.fromkeys(row["generator"] for row in rows))
    groups = by_unit([name for name in names if name not in COLOR])
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
    ratio = _spread(select(rows, head="probabilities", low_pass=1.0))
    title = f"{title}: up to {ratio:.0f} times the error by another stencil alone"
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(stencils), frameon=False, fontsize=8
    )
    finish(figure, path, title)


def _spread(rows: Sequence[Row]) -> float:
    """The largest ratio of two stencils for one network and motion."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["generator"] not in COLOR:
            found.setdefault((row["network"], row["generator"]), []).append(row["mean_sq"])
    return max((max(values) / min(values) for values in found.values()), default=1.0)


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
    shares: list[float] = []
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
            first = next((row for row in part if row["layer"].startswith("stage2")), None)
            before = part[part.index(first) - 1]["cumulative_share"] if first else math.nan
            shares.append(before)
            said = f": {before:.0%} before stage 2" if first else ""
            axis.set_title(f"{network}, {generator.replace('_', ' ')}{said}", fontsize=10)
        line[0].set_ylabel("share of the error up to a layer")
    axes[0, 0].legend(frameon=False, title=f"stencil (title: {stencils[-1].replace('_', ' ')})")
    low, high = np.nanmin(shares), np.nanmax(shares)
    finish(figure, path, f"{low:.0%} to {high:.0%} of the error arises before the first stride")


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
    moved: dict[str, list[float]] = {case: [] for case in cases}
    others: list[float] = []
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
            axis.set_xticks(range(len(part)), [r["layer"] for r in part], rotation=90, fontsize=7)
            maps = [row for row in part if not np.isnan(row["equivariance"])]
            last = ""
            if maps:
                moved[case].append(maps[-1]["equivariance"])
                others.append(maps[-1]["equivariance_control"])
                last = f": {moved[case][-1]:.2f} in {maps[-1]['layer'].replace('_', ' ')}"
            axis.set_title(f"{network}, {case}{last}", fontsize=10)
        line[0].set_ylabel("correlation")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    said = ", ".join(f"{case}: {np.mean(v):.2f}" for case, v in moved.items() if v)
    most = max(others, default=0.0)
    title = f"The deepest maps correlate with the moved ones ({said}; other images: {most:.2f})"
    finish(figure, path, title)


def polar(rows: Sequence[Row], path: Path) -> None:
    """KL divergence against the angle."""
    figure = plt.figure(figsize=(6.4, 6), layout="constrained")
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
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    axis.set_title("KL(f(x) || f(Rx)) in nats, by angle", fontsize=9)
    save(figure, path, _worst(rows))


def _worst(rows: Sequence[Row]) -> str:
    """At which angle the prediction changes most, and how much of that interpolation would do."""
    chosen = [row for row in rows if not np.isnan(row["angle"])]
    moved, alone = dict.fromkeys(row["measure"] for row in chosen)
    worst = max(select(chosen, measure=moved), key=lambda row: row["value"])
    floor = max(row["value"] for row in select(chosen, measure=alone))
    return (
        f"Rotations change predictions most at {worst['angle']:.0f} degrees, by "
        f"{worst['value']:.1f} nats; interpolation alone by {floor:.1f} at most"
    )
