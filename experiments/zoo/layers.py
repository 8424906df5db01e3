"""What every kind of layer contributes to the Lie derivative of a network."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.measure.subject import Subject
from experiments.shared.studies import Settings
from softeq_jax import measures

Row = dict[str, Any]

NONLINEARITY = "nonlinearity"
KINDS = {
    NONLINEARITY: r"(relu6?|erf|tanh|gelu)(_\d+)?$",
    "attention": r"attention$",
    "token mixing": r"^block\d+$",
    "normalization": r"(^|/)(norm\d?|bn\d?|\w+_bn)$",
    "patch embedding": r"^patch_embed$",
    "positions": r"^(add|concatenate)$",
    "blur-pool": r"blur$",
    "strided convolution": r"$^",
    "convolution": r"(conv\d?|depthwise|expand|project)$",
    "pooling and head": r"^(sum|div|mean|reduce_sum|linear|head|slice)$",
}
"""Kind to pattern of the layer's label; the first that matches counts, the rest is `REST`.

A Mixer's token mixing holds its own GELU: what lies between its two layers has no layout.
A convolution is strided if its pitch is larger than that of the layer before.
"""
REST = "sum, shortcut, scale"


def kinds(labels: Sequence[str], layouts: Sequence[str]) -> list[str]:
    """The kind of every layer, in order of execution.

    Args:
      labels: of the layers, by their modules.
      layouts: of what each hands on, in words, such as "image, pitch 2".
    """
    found, before = [], 1.0
    for label, layout in zip(labels, layouts, strict=True):
        kind = next((name for name, match in KINDS.items() if re.search(match, label)), REST)
        said = re.search(r"pitch ([\d.]+)", layout)
        pitch = float(said[1]) if said else before
        if kind == "convolution" and pitch > before:
            kind = "strided convolution"
        found.append(kind)
        before = pitch
    return found


def layer_rows(subject: Subject, settings: Settings) -> list[Row]:
    """Contributions of all layers by stencil, share of the Nyquist frequency and generator.

    Args:
      subject: the network; of an EfficientNet-Lite windows are taken as one operation each.
      settings: `images`, `batch_size`, `stencils`, `low_pass`, `generators`, and `probes`, 0 for
        exact norms.
    """
    model: Any = subject.model
    if hasattr(model, "shifts"):
        model = model.clone(shifts=False)
    f: Any = measures.linen(model, subject.variables, train=False)
    x, rows = subject.inputs(0, settings["images"]), []
    probes = settings["probes"]
    for share in settings["low_pass"]:
        seen = x if share == 1 else measures.low_pass(x, share, boundary="symmetric")
        for stencil in settings["stencils"]:
            found = measures.layerwise(
                f,
                np.asarray(seen),
                list(settings["generators"]),
                stencil=stencil,
                batch_size=settings["batch_size"],
                estimator="hutchinson" if probes else "exact",
                probes=probes or 2,
            )
            kind_of = dict(zip(found.layers, kinds(found.layers, found.layouts), strict=True))
            rows += [
                {"low_pass": share, "stencil": stencil, "kind": kind_of[row["layer"]]} | row
                for row in found.rows()
            ]
    return rows


def share_of(rows: Sequence[Row], kind: str, **values: Any) -> float:
    """Share of the squared contributions that a kind has, mean over generators; NaN without rows.

    Contributions may cancel: the shares are of ``sum_i ||c_i||^2``, not of ``||L||^2``.
    """
    shares = []
    for generator in dict.fromkeys(row["generator"] for row in rows):
        chosen = [
            row
            for row in rows
            if row["generator"] == generator and all(row[k] == v for k, v in values.items())
        ]
        total = sum(row["norm"] ** 2 for row in chosen)
        if total:
            shares.append(sum(row["norm"] ** 2 for row in chosen if row["kind"] == kind) / total)
    return float(np.mean(shares)) if shares else float("nan")
