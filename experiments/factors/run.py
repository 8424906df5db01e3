"""A run of the study: correlation of a trained network's features with their transforms."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.shared.runs import data_digest
from experiments.shared.studies import Record, Run, Settings, StepCost
from experiments.zoo import networks
from softeq_jax import measures

Row = dict[str, Any]
TRANSFORMS = ("shift", "quarter turn")
PITCH = 4
"""Pixels of the input from an entry of the last maps to the next."""


def is_stage(name: str) -> bool:
    """Whether a module is a stage: the stem, a block, or the embedding of patches."""
    return "/" not in name and (
        name in ("bn1", "patch_embed") or name.startswith(("stage", "block"))
    )


def stages(features: Any, images: Any) -> dict[str, jax.Array]:
    """Of all features those of the stages, in the order of depth."""
    return {name: value for name, value in features(images).items() if is_stage(name)}


def layouts(side: int, centered: bool) -> dict[str, measures.Layout]:
    """Where the entries of stages lie.

    Args:
      side: of the images.
      centered: whether strided maps are taken as centered on the image, for turns: those of
        ResNets are not, by half a pitch.
    """
    corner = -(side - 1) / 2
    found: dict[str, measures.Layout] = {
        "bn1": measures.Image(),
        "patch_embed": measures.Image(),
        "block*": measures.Tokens(),
    }
    for stage in range(3):
        placed = measures.Image(pitch=2.0**stage, origin=(corner, corner))
        found[f"stage{stage + 1}_*"] = measures.Image() if centered else placed
    return found


def correlation_rows(
    model: Any, variables: Any, images: np.ndarray, batch_size: int, key: jax.Array | None = None
) -> list[Row]:
    """Correlation of every stage under shifts by one entry of the last map, and quarter turns."""
    every = measures.linen_features(model, variables, train=False)
    features = jax.tree_util.Partial(stages, every)
    names = list(jax.eval_shape(features, images[:1]))
    moves = {
        "shift": [measures.shift(0, PITCH), measures.shift(PITCH, 0)],
        "quarter turn": [measures.quarter_turn(1)],
    }
    rows = []
    for transform in TRANSFORMS:
        placed = layouts(images.shape[1], centered=transform == "quarter turn")
        used = {
            pattern: layout
            for pattern, layout in placed.items()
            if any(name.startswith(pattern.rstrip("*")) for name in names)
        }
        found = measures.feature_correlation(
            features, images, moves[transform], layouts=used, batch_size=batch_size, key=key
        )
        rows += [{"transform": transform} | row for row in found.rows()]
    return rows


def scores(rows: list[Row]) -> dict[str, float]:
    """Of the last stage: equivariance minus that of independent images, and as it is."""
    found = {}
    for transform, key in zip(TRANSFORMS, ("shift", "turn"), strict=True):
        last = [row for row in rows if row["transform"] == transform][-1]
        found[f"{key}_raw"] = last["equivariance"]
        found[key] = last["equivariance"] - last["equivariance_control"]
    return found


def do(run: Run) -> Record:
    """Correlations, accuracy and prediction consistency of a network at its checkpoint."""
    settings, checkpoint = run.settings, run.settings["checkpoint"]
    network = networks.network_of(run)
    model, variables = network.load(checkpoint)
    images = networks.normalized(networks.test_images(settings, run.data_dir)[0])
    size = {"batch_size": settings["measure_batch"]}
    rows = correlation_rows(model, variables, images[: settings["images"]], **size)
    classifier: Any = measures.linen(model, variables, train=False)
    same = measures.consistency(
        classifier,
        images[: settings["consistency_images"]],
        boundary="crop",
        max_shift=PITCH,
        **size,
    )
    assert same.crop is not None, "it was asked for"
    metrics = scores(rows) | {
        "accuracy": network.facts["checkpoints"][checkpoint]["accuracy"],
        "consistency": same.crop.value,
        "parameters": network.facts["parameters"],
    }
    return Record(metrics, {"stages": rows})


def floor(run: Run) -> dict[str, float]:
    """What independent images give: the control of one draw of partners minus that of another."""
    model, variables = networks.network_of(run).load("end")
    count = run.settings["images"]
    images = networks.normalized(networks.test_images(run.settings, run.data_dir)[0])[:count]
    batch = run.settings["measure_batch"]
    one, other = (
        correlation_rows(model, variables, images, batch, key)
        for key in (None, jax.random.key(run.seed))
    )
    swapped = [
        new | {"equivariance": old["equivariance_control"]}
        for old, new in zip(one, other, strict=True)
    ]
    return scores(swapped)


def inputs(settings: Settings, data_dir: Path | None) -> dict[str, str]:
    """Digest of the data."""
    if not settings["data"] or data_dir is None:
        return {}
    return {"data": data_digest(data_dir / "tfds" / settings["data"])}


def step_cost(run: Run) -> StepCost | None:
    """Time and memory of a training step of what is trained."""
    return networks.step_cost(run) if run.settings["checkpoint"] == "end" else None
