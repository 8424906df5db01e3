"""The pretrained network of a softening study, and the data it is softened with."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.shared.studies import Settings
from experiments.soften import softening
from softeq_jax import data, models, training


@dataclasses.dataclass(frozen=True)
class Data:
    """What rows are trained on, chosen by, and evaluated on.

    Attributes:
      source: the training images that are not held out.
      holdout: training images and labels that settings are chosen by.
      test: test images and labels, in a fixed random order: the subset comes first.
    """

    source: data.ArraySource
    holdout: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def load_network(settings: Settings, data_dir: Path | None) -> softening.Network:
    """The pretrained network, with the geometry of its convolutions.

    Without weights it is a small one that was not trained, for tests.
    """
    shape = (1, *settings["image_shape"])
    if settings["weights"]:
        assert data_dir is not None, "the study's needs were checked"
        model, variables = models.load_cifar_resnet(data_dir / settings["weights"])
    else:
        model = models.CifarResNet(depth=8, width=4)
        variables = model.init(jax.random.key(0), np.zeros(shape, np.float32), train=False)
    model = dataclasses.replace(model, axis_name=training.AXIS)
    mean, std = np.float32(settings["mean"]), np.float32(settings["std"])

    def preprocess(images: Any) -> Any:
        return (images / np.float32(255) - mean) / std

    geometry = models.conv_geometry(model.clone(axis_name=None), variables, shape, train=False)
    return softening.Network(model, variables, geometry, preprocess)


def load_data(settings: Settings, data_dir: Path | None) -> Data:
    """Reads the data set; the held-out training images are never trained on."""
    return _load(settings["data"], data_dir, settings["holdout"], settings["num_classes"])


@functools.lru_cache(maxsize=1)
def _load(name: str, data_dir: Path | None, held: int, num_classes: int) -> Data:
    if name == "digits":
        images, labels, *test = data.digits()
        images, test[0] = (
            np.rint(255 * x).astype(np.uint8).repeat(3, -1) for x in (images, test[0])
        )
    else:
        assert data_dir is not None, "the study's needs were checked"
        train, other = (data.open_source(name, s, data_dir / "tfds") for s in ("train", "test"))
        images, labels = data.load_arrays(train, num_classes=num_classes)
        test = data.load_arrays(other, num_classes=num_classes)
    order = np.random.default_rng(0).permutation(len(images))
    holdout, kept = order[:held], np.sort(order[held:])
    shuffled = np.random.default_rng(0).permutation(len(test[0]))
    return Data(
        data.ArraySource(images[kept], labels[kept]),
        (images[holdout], labels[holdout]),
        (test[0][shuffled], test[1][shuffled]),
    )
