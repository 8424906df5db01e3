"""Tables of the measurement study, and how far its conclusions depend on the stencil."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.measure import figures
from experiments.shared.figures import waiting
from experiments.shared.report import Row, markdown_table, select
from experiments.shared.studies import Line, Tables

KINDS = {
    "convolution, stride 1": r"conv\d(/conv)?$",
    "convolution, stride 2": r"stage[23]_block0/conv1(/conv)?$",
    "batch norm": r"bn\d$",
    "ReLU": r"relu(_\d+)?$",
    "pooling and head": r"(linear|mean|reduce_sum|div)",
}
"""Layer label to kind; the last pattern that matches counts, the rest is "shortcut and sum"."""
REST = "shortcut and sum"
NOTHING = 1e-4
"""Norms below this share of the largest are rounding: sums, batch norms, the linear head."""


def of_stages(tables: Tables) -> dict[str, list[Row]]:
    """Stages to their lines, each with the network of its row."""
    return {
        stage: [{**line, "network": line["row"].rpartition(", ")[0]} for line in lines]
        for stage, lines in tables.items()
    }


def values(rows: Sequence[Row], key: str) -> list[Any]:
    """The values of a column in order of appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


def sections(lines: list[Line], tables: Tables) -> list[str]:
    """A table for each part that is finished."""
    found = of_stages(tables)
    parts: list[tuple[str, str, Callable[[], str]]] = [
        (
            "lie",
            "Local equivariance error of the probabilities, mean square",
            lambda: lie_table(found["lie"]),
        ),
        ("lie", "Rank correlation with the central stencil", lambda: agreement_table(found)),
        (
            "attribution",
            "Share of the squared contributions by kind of layer",
            lambda: kind_table(found["attribution"]),
        ),
        ("control", "The same with circular padding", lambda: kind_table(found["control"])),
        (
            "attribution",
            "The layers that contribute most",
            lambda: layer_table(found["attribution"]),
        ),
        (
            "features",
            "Correlation of features over depth",
            lambda: feature_table(found["features"]),
        ),
        ("finite", "Finite transforms", lambda: finite_table(found["finite"])),
    ]
    return [
        text for stage, title, make in parts if stage in found for text in (f"## {title}", make())
    ]


def draw(lines: list[Line], tables: Tables, path: Path, title: str) -> None:
    """LEE by generator and stencil; beside it a figure of each other part that is finished."""
    found = of_stages(tables)

    def beside(name: str) -> Path:
        return path.with_name(f"{path.stem}_{name}.png")

    if "lie" in found:
        figures.lie(found["lie"], path, title)
    else:
        waiting(path, title, "the Lie derivatives are not finished")
    if "attribution" in found:
        figures.attribution(found["attribution"], beside("attribution"))
    if "features" in found:
        figures.feature(found["features"], beside("features"))
    if "finite" in found:
        figures.polar(found["finite"], beside("polar"))


def kind(layer: str) -> str:
    """The kind of a layer by its label."""
    found = [name for name, pattern in KINDS.items() if re.search(pattern, layer)]
    return found[-1] if found else REST


def lie_table(rows: Sequence[Row]) -> str:
    """Generators against networks and stencils; unfiltered images."""
    networks, stencils = values(rows, "network"), values(rows, "stencil")
    header = ["generator", *(f"{n}, {s}" for n in networks for s in stencils)]
    lines = []
    chosen = select(rows, head="probabilities", low_pass=1.0)
    for generator in dict.fromkeys(row["generator"] for row in chosen):
        cells = [generator]
        for network in networks:
            for stencil in stencils:
                (row,) = select(chosen, generator=generator, network=network, stencil=stencil)
                cells.append(f"{row['mean_sq']:.3g} ± {row['mean_sq_se']:.1g}")
        lines.append(cells)
    return markdown_table(header, *lines)


def agreement_table(found: Mapping[str, Sequence[Row]]) -> str:
    """Spearman's correlation of what each stencil says with what the central one says."""
    stencils = values(found["lie"], "stencil")
    layers = found.get("attribution", [])
    header = ["what is ranked", "network", *stencils[1:]]
    lines = []
    flows = [row for row in found["lie"] if row["generator"] not in _COLOR_NAMES]
    for network in values(flows, "network"):
        cells = ["generators by LEE of the probabilities", network]
        chosen = select(flows, network=network, head="probabilities", low_pass=1.0)
        base = [row["mean_sq"] for row in select(chosen, stencil="central")]
        for stencil in stencils[1:]:
            other = [row["mean_sq"] for row in select(chosen, stencil=stencil)]
            cells.append(f"{spearman(base, other):.2f}")
        lines.append(cells)
        for share in values(layers, "low_pass"):
            for generator in values(layers, "generator"):
                chosen = select(layers, network=network, generator=generator, low_pass=share)
                kept = "" if share == 1 else f", images to {share:g} Nyquist"
                cells = [f"layers by norm, {generator}{kept}", network]
                norms = {
                    stencil: np.array([row["norm"] for row in select(chosen, stencil=stencil)])
                    for stencil in stencils
                }
                base = norms["central"]
                moving = base > NOTHING * base.max()  # the others commute exactly
                for stencil in stencils[1:]:
                    other = norms[stencil]
                    cells.append(
                        f"{spearman(base[moving], other[moving]):.2f}" if other.size else ""
                    )
                lines.append(cells)
    return markdown_table(header, *lines)


def kind_table(rows: Sequence[Row]) -> str:
    """``sum over a kind of ||c_i||^2`` over the sum of all, percent; and its signed share."""
    kinds = [*KINDS, REST]
    header = ["network", "generator", "images to", "stencil", *kinds]
    lines = []
    for network in dict.fromkeys(row["network"] for row in rows):
        for generator in values(rows, "generator"):
            for share in values(rows, "low_pass"):
                for stencil in values(rows, "stencil"):
                    chosen = select(
                        rows,
                        network=network,
                        generator=generator,
                        stencil=stencil,
                        low_pass=share,
                    )
                    squares, signed = _by_kind(chosen)
                    cells = [f"{100 * squares[k]:.0f} ({100 * signed[k]:+.0f})" for k in kinds]
                    lines.append([network, generator, f"{share:g} Nyquist", stencil, *cells])
    text = "Percent of the squared contributions; in brackets the signed share of the derivative."
    return f"{text}\n\n{markdown_table(header, *lines)}"


def _by_kind(rows: Sequence[Row]) -> tuple[dict[str, float], dict[str, float]]:
    squares, signed = dict.fromkeys([*KINDS, REST], 0.0), dict.fromkeys([*KINDS, REST], 0.0)
    total = sum(row["norm"] ** 2 for row in rows)
    for row in rows:
        squares[kind(row["layer"])] += row["norm"] ** 2 / total
        signed[kind(row["layer"])] += row["share"]
    return squares, signed


def layer_table(rows: Sequence[Row], count: int = 6) -> str:
    """The layers with the largest norms, per network and stencil."""
    header = ["network", "generator", "stencil", "layers (norm in percent of the largest)"]
    lines = []
    for network in values(rows, "network"):
        for generator in values(rows, "generator"):
            for stencil in values(rows, "stencil"):
                chosen = select(
                    rows, network=network, generator=generator, stencil=stencil, low_pass=1.0
                )
                ranked = sorted(chosen, key=lambda row: -row["norm"])[:count]
                top = ranked[0]["norm"]
                named = ", ".join(f"{r['layer']} ({100 * r['norm'] / top:.0f})" for r in ranked)
                lines.append([network, generator, stencil, named])
    return markdown_table(header, *lines)


def feature_table(rows: Sequence[Row]) -> str:
    """Correlation of every layer."""
    header = ["network", "transform", "layer", "equivariance", "control", "ceiling"]
    header += ["invariance", "control", "relative error", "dead"]
    lines = []
    for row in rows:
        cells = [row["network"], row["transform"], row["layer"]]
        cells.append(_plus_minus(row["equivariance"], row["equivariance_se"]))
        cells += [_number(row[key]) for key in ("equivariance_control", "ceiling")]
        cells.append(_plus_minus(row["invariance"], row["invariance_se"]))
        cells += [_number(row[key]) for key in ("invariance_control", "error", "dead_fraction")]
        lines.append(cells)
    return markdown_table(header, *lines)


def finite_table(rows: Sequence[Row]) -> str:
    """What has no angle."""
    chosen = [row for row in rows if np.isnan(row["angle"])]
    networks = list(dict.fromkeys(row["network"] for row in rows))
    lines = []
    for measure in dict.fromkeys(row["measure"] for row in chosen):
        cells = [measure]
        for network in networks:
            (row,) = select(chosen, measure=measure, network=network)
            cells.append(f"{row['value']:.4f} ± {row['standard_error']:.4f}")
        lines.append(cells)
    return markdown_table(["measure", *networks], *lines)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation; NaN for lists of other lengths."""
    if len(a) != len(b) or len(a) < 2:
        return float("nan")
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


_COLOR_NAMES = ("brightness", "contrast", "saturation", "hue")


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _plus_minus(value: float, error: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f} ± {error:.3f}"
