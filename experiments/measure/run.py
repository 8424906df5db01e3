"""The measurement study: stages that are kept once finished, for every pretrained network."""

import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict
from tqdm import tqdm

from experiments.measure import report
from experiments.shared.kept_runs import kept
from softeq_jax import data, measures, models

Row = dict[str, Any]
Stage = Callable[[ConfigDict, models.CifarResNet, Any, np.ndarray], list[Row]]


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


def generators(config: ConfigDict) -> list[measures.Generator]:
    """All flows and colors, the colors in the units of the normalized pixels."""
    colors = [
        measures.color(name, mean=config.data.mean, std=config.data.std)
        for name in ("brightness", "contrast", "saturation", "hue")
    ]
    flows = (
        *("translation_x", "translation_y", "rotation", "scale", "shear_x", "shear_y"),
        *("stretch_x", "stretch_y", "hyperbolic_rotation"),
    )
    return [measures.flow(name) for name in flows] + colors


def lie_rows(config: ConfigDict, model: Any, variables: Any, images: np.ndarray) -> list[Row]:
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


def layer_rows(config: ConfigDict, model: Any, variables: Any, images: np.ndarray) -> list[Row]:
    """Exact contributions of every layer by stencil, low-pass and generator."""
    return _attributed(config, config.attribution, network(model, variables), images, False)


def control_rows(config: ConfigDict, model: Any, variables: Any, images: np.ndarray) -> list[Row]:
    """The same with circular padding and periodic stencils."""
    return _attributed(config, config.control, circular_network(model, variables), images, True)


def _attributed(
    config: ConfigDict, setting: ConfigDict, f: Callable, images: np.ndarray, periodic: bool
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


def feature_rows(config: ConfigDict, model: Any, variables: Any, images: np.ndarray) -> list[Row]:
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


def finite_rows(config: ConfigDict, model: Any, variables: Any, images: np.ndarray) -> list[Row]:
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


def load_images(config: ConfigDict, data_dir: Path) -> np.ndarray:
    """Normalized test images in a fixed random order."""
    stored = config.data
    images, _ = data.load_arrays(
        data.open_source(stored.name, "test", data_dir / stored.folder),
        num_classes=stored.num_classes,
    )
    chosen = np.random.default_rng(stored.seed).permutation(len(images))[: stored.images]
    pixels = images[chosen].astype(np.float32) / np.float32(255)
    return (pixels - np.float32(stored.mean)) / np.float32(stored.std)


def decides(config: ConfigDict, stage: str, weights: Path, images: np.ndarray) -> dict[str, Any]:
    """Everything that decides a stage: its settings, the weights and the images."""
    return {
        "settings": [config.data.to_dict(), config.batch_size, config[stage].to_dict()],
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "images": hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest(),
    }


def run_stage(
    config: ConfigDict, name: str, stage: str, weights: Path, images: np.ndarray, workdir: Path
) -> list[Row]:
    """The rows of one stage for one network, from its file if it is finished.

    Raises:
      ValueError: the file was made with other settings, weights or images.
    """

    def make() -> dict[str, Any]:
        model, variables = models.load_cifar_resnet(weights)
        variables = jax.tree.map(jnp.asarray, variables)
        rows = STAGES[stage](config, model, variables, images)
        return {"rows": [{"network": name} | row for row in rows]}

    path = workdir / "stages" / f"{name}_{stage}.json"
    return kept(path, decides(config, stage, weights, images), make)["rows"]


def run(config: ConfigDict, data_dir: Path, workdir: Path) -> dict[str, list[Row]]:
    """All stages of all networks; writes the tables and figures.

    Returns:
      Stage to its rows.
    """
    images = load_images(config, data_dir)
    found: dict[str, list[Row]] = {stage: [] for stage in STAGES}
    for name, stage in _shown(config):
        weights = data_dir / config.networks[name]
        found[stage] += run_stage(config, name, stage, weights, images, workdir)
    report.write(found, config, workdir)
    return found


def _shown(config: ConfigDict) -> Iterator[tuple[str, str]]:
    jobs = [(name, stage) for name in config.networks for stage in STAGES]
    with tqdm(jobs, unit="stage") as bar:
        for name, stage in bar:
            bar.set_description(f"{name}: {stage}")
            yield name, stage
