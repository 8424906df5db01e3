"""Published ImageNet classifiers on images upright and rotated, and their batch statistics."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from experiments.shared.batch_statistics import batch_moments, merged_moments
from experiments.shared.network_inputs import as_taken
from experiments.shared.studies import Settings
from softeq_jax import data, models
from softeq_jax.measures import rotate_bilinear

Tree = Any


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A network with its images, and its forward pass compiled once for all weights.

    Attributes:
      model: Linen module.
      variables: as published.
      upright: images, normalized, float16 ``[n, side, side, c]``.
      rotated: the same, each by an angle of its own within the tilt of the settings.
      labels: int ``[n]``.
      batch: images a call.
    """

    model: nn.Module
    variables: Mapping[str, Tree]
    upright: np.ndarray
    rotated: np.ndarray
    labels: np.ndarray
    batch: int

    @property
    def views(self) -> tuple[np.ndarray, np.ndarray]:
        """The images upright and rotated."""
        return self.upright, self.rotated

    @functools.cached_property
    def _forward(self) -> Any:
        return jax.jit(lambda v, x: self.model.apply(v, x.astype(jnp.float32), train=False))

    @functools.cached_property
    def _moments(self) -> Callable[[Tree, Any], Tree]:
        return jax.jit(lambda v, x: batch_moments(self.model, v, x.astype(jnp.float32)))

    def logits(self, variables: Tree, images: np.ndarray) -> np.ndarray:
        """float32 ``[n, classes]``; the last batch is filled up."""
        parts = []
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            filled = np.resize(part, (self.batch, *part.shape[1:]))
            parts.append(np.asarray(self._forward(variables, filled))[: len(part)])
        return np.concatenate(parts)

    def memory(self, images: np.ndarray) -> int:
        """Bytes that the compiled network holds for a batch: arguments, results, temporaries."""
        planned = self._forward.lower(self.variables, images).compile().memory_analysis()
        return (
            planned.argument_size_in_bytes
            + planned.output_size_in_bytes
            + planned.temp_size_in_bytes
        )

    def with_statistics_of(self, variables: Tree, images: np.ndarray, batch: int) -> Tree:
        """The variables with batch statistics of these images, in batches of one size.

        Means of the batches' means and variances, with the variance of the means, so that they are
        those of all images together but for what earlier layers saw of their own batch alone.

        Raises:
          ValueError: the batches do not divide the images.
        """
        if len(images) % batch:
            raise ValueError(f"{len(images)} images cannot be divided into batches of {batch}")
        found = [
            self._moments(variables, images[start : start + batch])
            for start in range(0, len(images), batch)
        ]
        return {**variables, "batch_stats": merged_moments(found)}


@functools.lru_cache(maxsize=1)
def pictures(
    folder: Path, name: str, split: str, preprocess: models.Preprocess
) -> tuple[np.ndarray, np.ndarray]:
    """All images of a TFDS split as a network takes them, and their labels.

    Returns:
      uint8 ``[n, side, side, 3]``, int ``[n]``.
    """
    source = data.open_source(name, split, folder)
    return as_taken(source, range(len(source)), preprocess)


def rotated_images(images: np.ndarray, tilt: float, seed: int = 0) -> np.ndarray:
    """Every image by an angle of its own, uniform in ``[-tilt, tilt]`` degrees, zero outside."""
    angles = np.radians(np.random.default_rng(seed).uniform(-tilt, tilt, len(images)))
    turn = jax.jit(rotate_bilinear)
    moved = np.empty_like(images)
    for i, (image, angle) in enumerate(zip(images, angles, strict=True)):
        moved[i] = turn(image.astype(np.float32), np.float32(angle))
    return moved


@functools.partial(jax.jit, static_argnums=0)
def drawn(model: nn.Module, key: jax.Array, images: np.ndarray) -> Tree:
    """The variables of a network that was not trained."""
    return model.init(key, images)


def load_classifier(settings: Settings, data_dir: Path | None) -> Classifier:
    """The network of a row; without weights a small one that was not trained, on noise."""
    weights: str = settings["networks"][settings["network"]]
    keys = ("data", "split", "tilt", "batch_size")
    return _load(data_dir, weights, *(settings[key] for key in keys))


@functools.lru_cache(maxsize=1)
def _load(
    data_dir: Path | None, weights: str, name: str, split: str, tilt: float, batch: int
) -> Classifier:
    if weights:
        assert data_dir is not None, "the study's needs were checked"
        found = models.load(data_dir / weights)
        model, variables = found.model, found.variables
        pixels, labels = pictures(data_dir / "tfds", name, split, found.preprocess)
        mean, std = (
            np.array(numbers, np.float32)
            for numbers in (found.preprocess.mean, found.preprocess.std)
        )
        images = np.empty(pixels.shape, np.float16)
        for i, image in enumerate(pixels):
            images[i] = (image / np.float32(255) - mean) / std
    else:
        model = models.EfficientNetLite((8,) * 7, (1,) * 7, stem=8, width=16, num_classes=4)
        rng = np.random.default_rng(0)
        images = rng.standard_normal((24, 33, 33, 3)).astype(np.float16)
        labels = rng.integers(0, 4, 24)
        variables = drawn(model, jax.random.key(0), images[:1].astype(np.float32))
    return Classifier(model, variables, images, rotated_images(images, tilt), labels, batch)


def split_of(count: int, held: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the held images and of those that are scored, a split of its own for each seed.

    Raises:
      ValueError: nothing would be left to score.
    """
    if not 0 < held < count:
        raise ValueError(f"{held} of {count} images cannot be held: some must be left to score")
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[:held]), np.sort(order[held:])
