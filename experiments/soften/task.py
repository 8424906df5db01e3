"""The pretrained network of a study's config, and the data it is softened with."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.soften import softening
from softeq_jax import data, models, training


@dataclasses.dataclass(frozen=True)
class Data:
    """What rows are trained on, chosen by, and evaluated on.

    Attributes:
      source: the training images that are not held out.
      holdout: training images and labels that settings are chosen by.
      test: test images and labels, in a fixed random order: the subset comes first.
      subset: how many test images every row is evaluated on.
    """

    source: data.ArraySource
    holdout: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    subset: int


def load_network(config: ConfigDict, data_dir: Path) -> softening.Network:
    """The pretrained network of a config, with the geometry of its convolutions."""
    model, variables = models.load_cifar_resnet(data_dir / config.weights)
    model = dataclasses.replace(model, axis_name=training.AXIS)
    mean, std = np.float32(config.data.mean), np.float32(config.data.std)

    def preprocess(images: Any) -> Any:
        return (images / np.float32(255) - mean) / std

    geometry = models.conv_geometry(
        model.clone(axis_name=None), variables, (1, *config.data.image_shape), train=False
    )
    return softening.Network(model, variables, geometry, preprocess)


def load_data(config: ConfigDict, data_dir: Path) -> Data:
    """Reads the data set; the held-out training images are never trained on."""
    chosen = config.data
    folder = data_dir / chosen.folder
    source = data.open_source(chosen.name, "train", folder)
    order = np.random.default_rng(chosen.holdout_seed).permutation(len(source))
    holdout, kept = order[: chosen.holdout], np.sort(order[chosen.holdout :])
    train = data.ArraySource(*data.load_arrays(source, kept, num_classes=chosen.num_classes))
    held = data.load_arrays(source, holdout, num_classes=chosen.num_classes)
    images, labels = data.load_arrays(
        data.open_source(chosen.name, "test", folder), num_classes=chosen.num_classes
    )
    order = np.random.default_rng(chosen.subset_seed).permutation(len(images))
    return Data(train, held, (images[order], labels[order]), min(chosen.subset, len(images)))
