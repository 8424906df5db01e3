"""Figures of the zoo, one message each."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import NullFormatter

from experiments.shared.figures import finish, plt, waiting
from experiments.shared.statistics import Interval
from experiments.shared.studies import Line

COLORS = {
    "ResNet": "#1b6ca8",
    "published ResNet": "#4c9a9a",
    "ViT": "#c1553b",
    "Mixer": "#3f8f4f",
    "EfficientNet-Lite": "#b8860b",
    "DINOv2": "#8a5aa8",
}
SETS = {"cifar10": "CIFAR-10", "imagenet_sample": "ImageNet sample", "": "digits"}


def _given(line: Mapping[str, Any], *keys: str) -> bool:
    return all(math.isfinite(line.get(key, math.nan)) for key in keys)


def accuracy(lines: Sequence[Line], path: Path, title: str) -> None:
    """Accuracy against LEE of translations, a panel a data set, whose LEE are no counterparts."""
    shown = [x for x in lines if x.get("final") and _given(x, "accuracy", "lee_translation")]
    if not shown:
        waiting(path, title, "no network is measured yet")
        return
    sets = list(dict.fromkeys(line["set"] for line in shown))
    figure, axes = plt.subplots(
        1, len(sets), figsize=(5.5 * len(sets) + 1, 4.5), layout="constrained", squeeze=False
    )
    for axis, name in zip(axes[0], sets, strict=True):
        _points(axis, [x for x in shown if x["set"] == name], "lee_translation")
        axis.set_title(SETS.get(name, name), fontsize=10)
        axis.set_xlabel("LEE of translations, probabilities (per pixel^2)")
    axes[0, 0].set_ylabel("accuracy (%)")
    finish(figure, path, title)


def _points(axis: Any, lines: Sequence[Line], key: str) -> None:
    for family in dict.fromkeys(line["family"] for line in lines):
        those = [line for line in lines if line["family"] == family]
        x, y = [line[key] for line in those], [line["accuracy"] for line in those]
        axis.plot(x, y, "o", color=COLORS.get(family), label=family, alpha=0.8)
    axis.set_xscale("log")
    axis.xaxis.set_minor_formatter(NullFormatter())
    if axis.lines:
        axis.legend(frameon=False, fontsize=8)


def generators(
    lines: Sequence[Line], values: Mapping[str, Mapping[tuple[str, int], float]], path: Path
) -> None:
    """Accuracy against LEE, a panel a generator, as each has units of its own; one data set."""
    shown = [line for line in lines if line.get("final") and _given(line, "accuracy")]
    if not shown or not values:
        return
    first = shown[0]["set"]
    columns = 4
    count = math.ceil(len(values) / columns)
    figure, axes = plt.subplots(
        count, columns, figsize=(13, 3 * count), layout="constrained", squeeze=False, sharey=True
    )
    for axis, (name, found) in zip(axes.flat, values.items(), strict=False):
        those = [
            line | {"value": found[line["row"], line["seed"]]}
            for line in shown
            if line["set"] == first and (line["row"], line["seed"]) in found
        ]
        _points(axis, those, "value")
        if name != next(iter(values)) and those:
            axis.get_legend().remove()
        axis.set_title(name.replace("_", " "), fontsize=10)
    for axis in axes[:, 0]:
        axis.set_ylabel("accuracy (%)")
    finish(figure, path, f"{SETS.get(first, first)}: accuracy against LEE, generator by generator")


def ranking(found: Mapping[str, Interval], path: Path) -> None:
    """Which measure ranks networks as prediction consistency does; the sign of errors is turned."""
    known = {name: one for name, one in found.items() if one.known}
    if not known:
        return
    signs = {name: -1 if name.startswith("LEE") else 1 for name in known}
    names = sorted(known, key=lambda name: signs[name] * known[name].value)
    figure, axis = plt.subplots(figsize=(9, 1 + 0.28 * len(names)), layout="constrained")
    for height, name in enumerate(names):
        one, sign = known[name], signs[name]
        axis.plot([sign * one.low, sign * one.high], [height] * 2, "-", color="#777777", lw=1)
        axis.plot(sign * one.value, height, "o", color="#1b6ca8")
    axis.axvline(0, color="#777777", lw=0.7)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set(xlabel="rank correlation with prediction consistency (of LEE: minus it)", xlim=(-1, 1))
    best = names[-1]
    ends = sorted(signs[best] * end for end in (known[best].low, known[best].high))
    said = f"Closest to how predictions rank networks: {best}"
    finish(figure, path, said if ends[0] > 0 else "No measure is told from chance as a ranking")


def kinds(found: Mapping[str, Mapping[str, Mapping[str, float]]], path: Path) -> None:
    """Shares of the squared contributions by kind of layer, stacked, a panel a stencil."""
    cases = {
        case: networks for case, networks in found.items() if networks and "low-passed" not in case
    }
    if not cases:
        return
    names = list(dict.fromkeys(name for networks in cases.values() for name in networks))[::-1]
    every = list(next(iter(next(iter(cases.values())).values())))
    figure, axes = plt.subplots(
        1,
        len(cases),
        figsize=(2.5 + 3 * len(cases), 1.6 + 0.3 * len(names)),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    colors = plt.get_cmap("tab20")
    for axis, (case, networks) in zip(axes[0], cases.items(), strict=True):
        start = dict.fromkeys(names, 0.0)
        for number, kind in enumerate(every):
            widths = [networks.get(name, {}).get(kind, 0.0) for name in names]
            lefts = [start[name] for name in names]
            axis.barh(names, widths, left=lefts, color=colors(number), label=kind)
            start = {n: a + w for n, a, w in zip(names, lefts, widths, strict=True)}
        axis.set_title(case, fontsize=9)
        axis.set_xlim(0, 1)
        axis.set_xlabel("share")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    case, networks = next(iter(cases.items()))
    largest = Counter(max(shares, key=lambda kind: shares[kind]) for shares in networks.values())
    first = ", ".join(f"{kind} in {count}" for kind, count in largest.most_common(3))
    finish(figure, path, f"Largest share of the error ({case}, {len(networks)} networks): {first}")


def training(lines: Sequence[Line], path: Path) -> None:
    """Equivariance relative to randomised phases, from initialization to the end."""
    order = ("init", "early", "end")
    shown = [x for x in lines if x.get("checkpoint") in order and _given(x, "phases")]
    if not shown:
        return
    figure, axis = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    marks = dict(zip(dict.fromkeys(line["network"] for line in shown), "os^DvP*X<>", strict=False))
    seen: set[str] = set()
    runs: dict[tuple[str, int], dict[str, Line]] = {}
    for line in shown:
        runs.setdefault((line["network"], line["seed"]), {})[line["checkpoint"]] = line
    for (network, _), found in runs.items():
        at = [i for i, name in enumerate(order) if name in found]
        axis.plot(
            at,
            [found[order[i]]["phases"] for i in at],
            marks.get(network, "o") + "-",
            color=COLORS.get(next(iter(found.values()))["family"]),
            label=None if network in seen else network,
            alpha=0.7,
            ms=5,
            lw=1,
        )
        seen.add(network)
    axis.set_xticks(range(3), ("initialization", "early", "end"))
    axis.set(yscale="log", ylabel="LEE of translations\nover randomised phases")
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    finish(figure, path, "What training does to equivariance, a line a network")
