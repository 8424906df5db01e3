"""What the page of the zoo shows beside its claims: which measure ranks, and which layers."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.measure.subject import TRANSLATIONS
from experiments.shared.correlations import rank_correlation, said
from experiments.shared.report import markdown_table
from experiments.shared.statistics import Interval
from experiments.shared.studies import Line, Tables
from experiments.zoo import figures, layers

Key = tuple[str, int]
"""Row and seed."""


def sections(lines: list[Line], tables: Tables) -> list[str]:
    """A table for each part that is there."""
    parts: list[tuple[str, str, Callable[[], str]]] = [
        (
            "lie",
            "Which measure ranks networks as their predictions do",
            lambda: agreement(lines, tables),
        ),
        ("lie", "Accuracy against LEE, by generator", lambda: by_generator(lines, tables)),
        ("layers", "Contributions by kind of layer", lambda: by_kind(lines, tables)),
        ("protocol", "The published protocol", lambda: protocol(tables)),
        ("weights", "Weights", lambda: weights(lines, tables)),
    ]
    return [
        text for name, title, make in parts if tables.get(name) for text in (f"## {title}", make())
    ]


def draw(lines: list[Line], tables: Tables, path: Path, title: str) -> None:
    """Accuracy against LEE; beside it a figure of each other part that is there."""

    def beside(name: str) -> Path:
        return path.with_name(f"{path.stem}_{name}.png")

    figures.accuracy(lines, path, title)
    if tables.get("lie"):
        values = generator_values(tables)
        figures.generators(lines, values, beside("generators"))
        figures.ranking(agreements(lines, tables), beside("ranking"))
    if tables.get("layers"):
        figures.kinds(kind_shares(lines, tables), beside("layers"))
    figures.training(lines, beside("training"))


def final(lines: Sequence[Line]) -> list[Line]:
    """The networks that correlations run over: trained to the end, or published."""
    return [line for line in lines if line.get("final") and line["part"] == "measured"]


def key_of(line: Mapping[str, Any]) -> Key:
    """Row and seed of a line of any table."""
    return line["row"], line["seed"]


def _averaged(
    rows: Sequence[Line], value: str, named: Callable[[Line], str]
) -> dict[str, dict[Key, float]]:
    """Means of a column over translations: name of the measure to network to value."""
    found: dict[str, dict[Key, list[float]]] = {}
    for row in rows:
        if row.get("generator", TRANSLATIONS[0]) in TRANSLATIONS and value in row:
            found.setdefault(named(row), {}).setdefault(key_of(row), []).append(row[value])
    return {
        name: {key: float(np.mean(values)) for key, values in those.items()}
        for name, those in found.items()
    }


def measured_values(tables: Tables) -> dict[str, dict[Key, float]]:
    """Every measure of equivariance to shifts, by name, of every network."""

    def lie(row: Line) -> str:
        passed = "" if row["low_pass"] == 1 else f", low-passed at {row['low_pass']:g}"
        return f"LEE, {row['head']}, {row['stencil'].replace('_', ' ')}{passed}"

    def control(row: Line) -> str:
        return f"LEE over {row['control']}"

    def similarity(row: Line) -> str:
        return f"{row['measure']}, {row['transform']}"

    moved = [row for row in tables.get("similarity", []) if row["transform"] == "shift"]
    return {
        **_averaged(tables.get("lie", []), "mean_sq", lie),
        **_averaged(tables.get("controls", []), "ratio", control),
        **_averaged(moved, "value", similarity),
    }


def agreements(lines: Sequence[Line], tables: Tables) -> dict[str, Interval]:
    """Rank correlation of every measure with prediction consistency, within family and data."""
    networks = [line for line in final(lines) if "consistency" in line]
    strata = [(line["family"], line["set"]) for line in networks]
    truth = [line["consistency"] for line in networks]
    return {
        name: rank_correlation(
            [values.get(key_of(line), math.nan) for line in networks], truth, strata
        )
        for name, values in measured_values(tables).items()
    }


def agreement(lines: Sequence[Line], tables: Tables) -> str:
    """The correlations as a table."""
    cells = [
        (name, said(found), "-" if math.isnan(found.p) else f"{found.p:.2g}", str(found.runs))
        for name, found in agreements(lines, tables).items()
    ]
    text = (
        "Rank correlation with prediction consistency (shares of pairs of shifted crops that are "
        "classified alike) over final networks, within family and data set: an error should be "
        "near -1, a similarity near 1. Translations along x and y averaged. An untrained network's "
        "probabilities are of arbitrary scale (without batch statistics of its own they may hardly "
        "move at all): the randomised phases are the control that has none."
    )
    head = ("measure", "correlation", "p", "networks")
    return f"{text}\n\n{markdown_table(head, *cells)}"


def generator_values(tables: Tables) -> dict[str, dict[Key, float]]:
    """LEE of probabilities by generator: central stencil, images as they are."""
    wanted = {"stencil": "central", "low_pass": 1.0, "head": "probabilities"}
    found: dict[str, dict[Key, float]] = {}
    for row in tables["lie"]:
        if all(row[key] == value for key, value in wanted.items()):
            found.setdefault(row["generator"], {})[key_of(row)] = row["mean_sq"]
    return found


def by_generator(lines: Sequence[Line], tables: Tables) -> str:
    """Rank correlation of accuracy and LEE for every generator; over seeds' means, too."""
    networks = [line for line in final(lines) if "accuracy" in line]
    strata = [(line["family"], line["set"]) for line in networks]
    cells = []
    for name, values in generator_values(tables).items():
        mine = [values.get(key_of(line), math.nan) for line in networks]
        each = rank_correlation(mine, [line["accuracy"] for line in networks], strata)
        rows = list(dict.fromkeys(line["row"] for line in networks))
        averaged = {
            row: [(x, line) for x, line in zip(mine, networks, strict=True) if line["row"] == row]
            for row in rows
        }
        means = rank_correlation(
            [float(np.mean([x for x, _ in those])) for those in averaged.values()],
            [
                float(np.mean([line["accuracy"] for _, line in those]))
                for those in averaged.values()
            ],
            [(those[0][1]["family"], those[0][1]["set"]) for those in averaged.values()],
        )
        cells.append(
            (name.replace("_", " "), said(each), str(each.runs), said(means), str(means.runs))
        )
    head = ("generator", "correlation", "networks", "over means of seeds", "networks")
    text = (
        "Rank correlation of accuracy with LEE of probabilities within family and data set. Seeds "
        "of one network count as networks; the last columns take their means first, which leaves "
        "families with three or more."
    )
    return f"{text}\n\n{markdown_table(head, *cells)}"


def kind_shares(lines: Sequence[Line], tables: Tables) -> dict[str, dict[str, dict[str, float]]]:
    """Case (stencil, low-pass) to final network to kind to its share, means over seeds."""
    known = {key_of(line): line["network"] for line in final(lines)}
    cases: dict[tuple[str, float], dict[Key, list[Line]]] = {}
    for row in tables["layers"]:
        if key_of(row) in known:
            case = cases.setdefault((row["stencil"], row["low_pass"]), {})
            case.setdefault(key_of(row), []).append(row)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (stencil, share), networks in cases.items():
        passed = "" if share == 1 else f", low-passed at {share:g}"
        name = stencil.replace("_", " ") + passed
        by_network: dict[str, list[dict[str, float]]] = {}
        for key, rows in networks.items():
            shares = {kind: layers.share_of(rows, kind) for kind in (*layers.KINDS, layers.REST)}
            by_network.setdefault(known[key], []).append(shares)
        found[name] = {
            network: {kind: float(np.mean([x[kind] for x in those])) for kind in those[0]}
            for network, those in by_network.items()
        }
    return found


def by_kind(lines: Sequence[Line], tables: Tables) -> str:
    """Shares of the squared contributions, per cent."""
    found, parts = kind_shares(lines, tables), []
    for case, networks in found.items():
        used = [
            kind
            for kind in (*layers.KINDS, layers.REST)
            if any(shares[kind] >= 5e-4 for shares in networks.values())
        ]
        cells = [
            (network, *(f"{100 * shares[kind]:.1f}" for kind in used))
            for network, shares in networks.items()
        ]
        parts.append(f"{case[0].upper()}{case[1:]}:")
        parts.append(markdown_table(("network", *used), *cells))
    text = (
        "Per cent of the sum over layers of the squared contribution to the Lie derivative of the "
        "outputs, mean over generators and seeds. Contributions cancel in part."
    )
    parts += ["The layers that contribute most, images as they are:", largest(lines, tables)]
    return "\n\n".join((text, *parts))


def largest(lines: Sequence[Line], tables: Tables, count: int = 3) -> str:
    """The layers with the largest shares along x, by module; central stencil, seed 0."""
    known = {line["row"]: line["network"] for line in final(lines)}
    wanted = {"stencil": "central", "low_pass": 1.0, "generator": "translation_x", "seed": 0}
    by_network: dict[str, list[Line]] = {}
    for row in tables["layers"]:
        if row["row"] in known and all(row[k] == value for k, value in wanted.items()):
            by_network.setdefault(known[row["row"]], []).append(row)
    cells = []
    for network, rows in by_network.items():
        total = sum(row["norm"] ** 2 for row in rows)
        most = sorted(rows, key=lambda row: -row["norm"])[:count]
        cells.append(
            (network, *(f"{x['layer']} ({100 * x['norm'] ** 2 / total:.0f} %)" for x in most))
        )
    return markdown_table(("network", "first", "second", "third"), *cells)


def protocol(tables: Tables) -> str:
    """LEE by the published protocol beside ours, a generator a line."""
    cells = [
        (
            row["generator"].replace("_", " "),
            *(f"{row[key]:.3g} ± {row[f'{key}_se']:.1g}" for key in ("published", *_OURS)),
        )
        for row in tables["protocol"]
    ]
    ranks = [
        said(rank_correlation(*([row[key] for row in tables["protocol"]] for key in pair)))
        for pair in (("published", name) for name in _OURS)
    ]
    text = (
        f"Of {tables['protocol'][0]['row']}: softmax, one image at a time, forward differences, "
        "mean of absolute values, translations per half the image; ours: mean squares, central "
        "differences, per pixel. They rank the generators alike by "
        f"{ranks[0]} (probabilities) and {ranks[1]} (scores)."
    )
    head = ("generator", "published protocol", "ours, probabilities", "ours, scores")
    return f"{text}\n\n{markdown_table(head, *cells)}"


_OURS = ("probabilities", "logits")


def weights(lines: Sequence[Line], tables: Tables) -> str:
    """Digests of the trained networks, which are kept outside the repository."""
    network = {key_of(line): line["network"] for line in lines}
    cells = [
        (
            network.get(key_of(row), row["row"]),
            str(row["seed"]),
            row["checkpoint"],
            str(row["step"]),
            f"{row['accuracy']:.1f}",
            f"`{str(row['sha256'])[:16]}`",
        )
        for row in tables["weights"]
    ]
    text = (
        "Kept outside the repository (`outputs/shared/networks`); the first letters of the SHA-256 "
        "of every file, which the CSV has in full."
    )
    head = ("network", "seed", "checkpoint", "step", "accuracy (%)", "SHA-256")
    return f"{text}\n\n{markdown_table(head, *cells)}"
