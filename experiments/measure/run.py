"""The measurement study: stages, each one run, for every pretrained network."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from experiments.shared.runs import data_digest, file_digest
from experiments.shared.studies import Record, Run, Settings
from softeq_jax import data, measures, models

Row = dict[str, Any]
Stage = Callable[[Any, models.CifarResNet, Any, np.ndarray], list[Row]]


def network(model: models.CifarResNet, variables: Any) -> jax.tree_util.Partial:
    """The classifier as a pytree: normalized images to logits."""

    def apply(variables: Any, images: Any) -> jax.Array:
        return model.apply(variables, images, train=False)

    return jax.tree_util.Partial(apply, variables)


def circular_network(model: models.CifarResNet, variables: Any) -> jax.tree_util.Partial:
    """The same network with every convolution padded circularly."""

    def circular(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        conv = context.module
        if not isinstance(conv, nn.Conv) or context.method_name != "__call__":
            return call(*args, **kwargs)
        x = jnp.pad(args[0], ((0, 0), *conv.padding, (0, 0)), mode="wrap")
        return jax.lax.conv_general_dilated(
            x,
            conv.variables["params"]["kernel"],
            conv.strides,
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def apply(variables: Any, images: Any) -> jax.Array:
        with nn.intercept_methods(circular):
            return model.apply(variables, images, train=False)

    return jax.tree_util.Partial(apply, variables)


def low_passed(images: np.ndarray, share: float, periodic: bool = False) -> np.ndarray:
    """Images without the waves above ``share`` of the Nyquist frequency.

    The filter is the projection on the waves ``cos(pi k (p + 1/2) / n)`` with ``k < share n``, as
    of mirrored images, or for periodic ones on ``exp(2 pi i k p / n)`` with ``|k| < share n / 2``.
    """
    if share >= 1:
        return images
    for axis in (1, 2):
        n = images.shape[axis]
        if periodic:
            shape = [-1 if i == axis else 1 for i in range(images.ndim)]
            keep = (np.abs(np.fft.fftfreq(n)) < share / 2).reshape(shape)
            filtered = np.fft.ifft(np.fft.fft(images, axis=axis) * keep, axis=axis).real
            images = filtered.astype(images.dtype)
            continue
        k, p = np.arange(math.ceil(share * n)), np.arange(n) + 0.5
        waves = np.cos(np.pi * np.outer(p, k) / n) * np.sqrt(np.where(k == 0, 1, 2) / n)
        filtered = np.tensordot(images, waves @ waves.T, ((axis,), (0,)))
        images = np.moveaxis(filtered, -1, axis).astype(images.dtype)
    return images


def generators(config: Any) -> list[measures.Generator]:
    """All flows and colors, the colors in the units of the normalized pixels."""
    colors = [
        measures.color(name, mean=config.mean, std=config.std)
        for name in ("brightness", "contrast", "saturation", "hue")
    ]
    flows = (
        *("translation_x", "translation_y", "rotation", "scale", "shear_x", "shear_y"),
        *("stretch_x", "stretch_y", "hyperbolic_rotation"),
    )
    return [measures.flow(name) for name in flows] + colors


def lie_rows(config: Any, model: Any, variables: Any, images: np.ndarray) -> list[Row]:
    """LEE by stencil, head, low-pass and generator."""
    f, rows = network(model, variables), []
    for share in config.lie.low_pass:
        for head in config.lie.heads:
            for stencil in config.lie.stencils:
                found = measures.lie_errors(
                    f,
                    low_passed(images, share),
                    generators(config),
                    stencil=stencil,
                    head=head,
                    batch_size=config.batch_size,
                )
                for name, errors in found.items():
                    row = {"low_pass": share, "head": head, "stencil": stencil, "generator": name}
                    for metric in ("mean_sq", "mean_abs", "lipschitz", "fisher"):
                        values = getattr(errors, metric)
                        row[metric], row[f"{metric}_se"] = measures.mean_and_error(values)
                    rows.append(row)
    return rows


def layer_rows(config: Any, model: Any, variables: Any, images: np.ndarray) -> list[Row]:
    """Exact contributions of every layer by stencil, low-pass and generator."""
    return _attributed(config, config.attribution, network(model, variables), images, False)


def control_rows(config: Any, model: Any, variables: Any, images: np.ndarray) -> list[Row]:
    """The same with circular padding and periodic stencils."""
    return _attributed(config, config.control, circular_network(model, variables), images, True)


def _attributed(
    config: Any, setting: Any, f: Callable, images: np.ndarray, periodic: bool
) -> list[Row]:
    rows = []
    for share in setting.low_pass:
        for stencil in setting.stencils:
            boundary = "wrap" if periodic else "reflect"
            found = measures.layerwise(
                f,
                low_passed(images, share, periodic),
                list(setting.generators),
                stencil=measures.Stencil(stencil, boundary),
                head=setting.head,
                estimator="exact",
                batch_size=config.batch_size,
            )
            rows += [{"low_pass": share, "stencil": stencil} | row for row in found.rows()]
    return rows


def feature_rows(config: Any, model: Any, variables: Any, images: np.ndarray) -> list[Row]:
    """Correlation of the outputs of all blocks under shifts and quarter turns."""
    whole = measures.linen_features(model, variables, train=False)

    def blocks(whole: Any, images: Any) -> dict[str, jax.Array]:
        return {
            name: value
            for name, value in whole(images).items()
            if name == "bn1" or name.rpartition("/")[2].startswith("stage") or name == "linear"
        }

    features = jax.tree_util.Partial(blocks, whole)
    corner = -(images.shape[1] - 1) / 2
    placed = {
        "bn1": measures.Image(),
        **{
            f"stage{stage + 1}_*": measures.Image(pitch=2.0**stage, origin=(corner, corner))
            for stage in range(3)
        },
    }
    step = config.features.shift
    cases = {
        "shift": (placed, [measures.shift(0, step), measures.shift(step, 0)], "receptive"),
        "shift, whole map": (placed, [measures.shift(0, step), measures.shift(step, 0)], None),
        # Turns about the middle of each map: the strided maps of this network are not centered
        # on the image, which an input turned about its center then counts as an error.
        "quarter turn": (dict.fromkeys(placed, "image"), [measures.quarter_turn(1)], None),
    }
    rows = []
    for case, (layouts, moves, crop) in cases.items():
        found = measures.feature_correlation(
            features,
            images,
            moves,
            layouts=layouts,
            crop=crop,
            batch_size=config.batch_size,
        )
        rows += [{"transform": case} | row for row in found.rows()]
    return rows


def finite_rows(config: Any, model: Any, variables: Any, images: np.ndarray) -> list[Row]:
    """Consistency, one-pixel shifts, and KL divergence against the angle."""
    f, key = network(model, variables), jax.random.key(config.finite.seed)
    size = {"batch_size": config.batch_size}
    same = measures.consistency(f, images, max_shift=config.finite.max_shift, key=key, **size)
    one = measures.azulay_weiss(f, images, key=key, **size)
    rows = [
        {
            "measure": estimate.name,
            "angle": math.nan,
            "value": estimate.value,
            "standard_error": estimate.standard_error,
        }
        for estimate in (same.circular, same.crop, one.changes, one.mac)
    ]
    angles = range(-180 + config.finite.step, 181, config.finite.step)
    turns = [measures.rotation(math.radians(angle)) for angle in angles]
    found = measures.kl_consistency(f, images, turns, **size)
    for estimate in (found.kl, found.floor):
        for angle, values in zip(angles, estimate.numerators, strict=True):
            mean, error = measures.mean_and_error(values)
            rows.append(
                {
                    "measure": estimate.name,
                    "angle": angle,
                    "value": mean,
                    "standard_error": error,
                }
            )
    return rows


STAGES: dict[str, Stage] = {
    "lie": lie_rows,
    "attribution": layer_rows,
    "control": control_rows,
    "features": feature_rows,
    "finite": finite_rows,
}


def load_images(settings: Settings, data_dir: Path | None) -> np.ndarray:
    """Normalized test images in a fixed random order; noise where the settings name no data."""
    count = settings["images"]
    if not settings["data"]:
        shape = (count, *settings["image_shape"])
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert data_dir is not None, "the study's needs were checked"
    images, _ = data.load_arrays(
        data.open_source(settings["data"], "test", data_dir / "tfds"), num_classes=10
    )
    chosen = np.random.default_rng(0).permutation(len(images))[:count]
    pixels = images[chosen].astype(np.float32) / np.float32(255)
    return (pixels - np.float32(settings["mean"])) / np.float32(settings["std"])


def load_network(settings: Settings, data_dir: Path | None) -> tuple[models.CifarResNet, Any]:
    """The network of a row with its variables; without weights a small one, not trained."""
    if not settings["weights"]:
        model = models.CifarResNet(depth=8, width=4)
        shape = (1, *settings["image_shape"])
        return model, model.init(jax.random.key(0), np.zeros(shape, np.float32), train=False)
    assert data_dir is not None, "the study's needs were checked"
    model, variables = models.load_cifar_resnet(data_dir / settings["weights"])
    return model, jax.tree.map(jnp.asarray, variables)


def inputs(settings: Settings, data_dir: Path | None) -> dict[str, str]:
    """Digests of all weights and of the data."""
    if not settings["data"] or data_dir is None:
        return {}
    data_files = data_digest(data_dir / "tfds" / settings["data"])
    return {"data": data_files} | {
        network: file_digest(data_dir / weights)
        for network, weights in settings["networks"].items()
        if weights
    }


def do(run: Run) -> Record:
    """One stage of one network: its lines, and its headline."""
    stage = run.settings["stage"]
    images = load_images(run.settings, run.data_dir)
    model, variables = load_network(run.settings, run.data_dir)
    lines = STAGES[stage](ConfigDict(dict(run.settings)), model, variables, images)
    return Record(headline(stage, lines), {stage: lines})


def headline(stage: str, lines: list[Row]) -> dict[str, float]:
    """A few numbers of a stage, for the line of the run."""
    if stage == "lie":
        wanted = {"head": "probabilities", "stencil": "central", "low_pass": 1.0}
        chosen = [x for x in lines if all(x[key] == value for key, value in wanted.items())]
        return {
            f"lee_{x['generator']}": x["mean_sq"]
            for x in chosen
            if x["generator"] in ("translation_x", "rotation")
        }
    if stage == "finite":
        found = {"consistency_crop": "consistency (crop)", "consistency": "consistency (circular)"}
        return {
            key: x["value"] for key, name in found.items() for x in lines if x["measure"] == name
        }
    return {}
