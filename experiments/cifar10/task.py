"""Pretrained classifiers of photos: the images of a seed, networks, augmentation, scores."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from experiments.shared.calibration import fitted_temperature
from experiments.shared.studies import Settings
from softeq_jax import data, measures, models
from softeq_jax.data import IMAGENET_MEAN, IMAGENET_STD

Tree = Any
Split = tuple[np.ndarray, np.ndarray]
ANGLE = math.radians(30)
GRAY = (124, 116, 104)
"""The mean of the normalization as bytes: 0 for the network, as what rotated test images get."""

ARCHITECTURES = {
    **{f"ResNet-{depth}": f"cifar_resnet{depth}" for depth in (20, 32, 56)},
    "ViT-S/16": "vit_s16",
    "ViT-B/16": "vit_b16",
    "DINOv2-B": "dinov2_b14",
    "ResNet-50": "resnet50",
}
"""What ``models.create`` calls the networks of the study."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Some examples of a source, in this order."""

    source: data.Source
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> data.Example:
        return self.source[int(self.indices[index])]


@dataclasses.dataclass(frozen=True)
class Photos:
    """Images ``[n, side, side, 3]``, uint8, and labels.

    Attributes:
      train: source of training examples, before augmentation.
      held: temperatures are fitted on these, and settings were chosen by them; the same for all
        seeds. From the test part, as the networks were trained on the whole training part before.
      test: of the tables; never any of `held`.
    """

    train: data.Source
    held: Split
    test: Split


@functools.lru_cache(maxsize=2)
def photos(
    folder: Path | None, name: str, seed: int, counts: tuple[int, int, int], side: int | None
) -> Photos:
    """The images of a seed, the same for all rows.

    Args:
      folder: of TFDS; None: scikit-learn's digits, for tests.
      name: of the data set.
      seed: of the choice of images.
      counts: of training, held-out and test images.
      side: stored images are resized to this; None: they are left as they are.
    """
    train, held, test = counts
    inner, outer = _small_digits() if folder is None else _stored(name, folder)
    rng = np.random.default_rng(seed)
    order = np.random.default_rng(0).permutation(len(outer))
    scored = rng.permutation(order[held:])[:test]
    made = (data.Resize(side, "bicubic"), data.CenterCrop(side)) if side else ()
    return Photos(
        Chosen(inner, rng.permutation(len(inner))[:train]),
        _arrays(Chosen(outer, order[:held]), made),
        _arrays(Chosen(outer, scored), made),
    )


def _stored(name: str, folder: Path) -> tuple[data.Source, data.Source]:
    last = "validation" if name.startswith("imagenet") else "test"
    return data.open_source(name, "train", folder), data.open_source(name, last, folder)


def _small_digits() -> tuple[data.Source, data.Source]:
    """8 x 8 digits as gray photos."""
    arrays = data.digits()
    sources = []
    for images, labels in (arrays[:2], arrays[2:]):
        pixels = np.rint(255 * images).astype(np.uint8)
        sources.append(data.ArraySource(pixels.repeat(3, -1), labels))
    return sources[0], sources[1]


def _arrays(source: data.Source, transforms: Sequence[data.Transform]) -> Split:
    size = min(100, len(source))
    with data.eval_batches(source, size, transforms=transforms, num_threads=1) as batches:
        parts = [(b["image"], b["label"], b["weight"] > 0) for b in batches]
    images, labels, real = (np.concatenate(part) for part in zip(*parts, strict=True))
    return images[real], labels[real]


def augmentation(settings: Settings) -> tuple[data.Transform, ...]:
    """What is done to training images: crops and flips in all rows, rotations in all but "free"."""
    side = settings["side"]
    found: list[data.Transform] = []
    if side:
        found += [data.Resize(side, "bicubic"), data.CenterCrop(side)]
    found += [data.RandomCrop(settings["crop"], fill=GRAY), data.RandomFlip()]
    if settings["rotated"]:
        found.append(data.RandomRotation(math.degrees(ANGLE), fill=GRAY))
    return tuple(found)


def preprocess(images: Any) -> Any:
    """Bytes to the inputs of the networks."""
    mean, deviation = (np.array(x, np.float32) for x in (IMAGENET_MEAN, IMAGENET_STD))
    return (images / np.float32(255) - mean) / deviation


def network(weights: Path | None, classes: int, new_head: bool) -> tuple[nn.Module, dict[str, Any]]:
    """A pretrained network and its variables; without weights a small one that was not trained.

    Args:
      weights: file that ``models.load`` reads.
      classes: of the data.
      new_head: start the last layer anew (weights of another data set).
    """
    if weights is not None:
        found = models.load(weights, num_classes=classes, reset_head=new_head)
        return found.model, found.variables
    model = models.CifarResNet(depth=8, num_classes=classes, width=4)
    return model, dict(model.init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32)))


@dataclasses.dataclass(frozen=True)
class PhotoScores:
    """What a classifier is judged by.

    Attributes:
      accuracy: per cent of the test images.
      rotated_accuracy: per cent, mean over rotations by 30 and -30 degrees.
      combined: geometric mean of the two.
      kl: mean over both rotations of ``KL(softmax f(x) || softmax f(g x))`` after one temperature,
        fitted on the held-out images; nats.
      defect: mean of ``||f(g x) - f(x)|| / ||f(x)||`` of the logits over both rotations.
      feature_defect: the same of the features that the last layer reads.
      temperature: that was fitted.
    """

    accuracy: float
    rotated_accuracy: float
    combined: float
    kl: float
    defect: float
    feature_defect: float
    temperature: float


@functools.partial(jax.jit, static_argnums=0)
def _outputs(model: Any, variables: Tree, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits and features; what they have in common is computed once."""
    features: Any = model.clone(num_classes=0)
    return model.apply(variables, images), features.apply(variables, images)


def photo_scores(model: nn.Module, variables: Tree, images: Photos) -> PhotoScores:
    """Scores of a network, called in test mode, on normalized images turned by 30 degrees.

    Bilinear rotations, 0 outside.
    """

    def outputs(part: np.ndarray, angle: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        found = []
        for start in range(0, len(part), 250):
            x: Any = preprocess(part[start : start + 250])
            x = measures.rotate_bilinear(x, angle) if angle else x
            found.append([np.asarray(y, np.float64) for y in _outputs(model, variables, x)])
        logits, features = zip(*found, strict=True)
        return np.concatenate(logits), np.concatenate(features)

    pictures, labels = images.test
    upright, features = outputs(pictures)
    turned = [outputs(pictures, angle) for angle in (ANGLE, -ANGLE)]
    temperature = fitted_temperature(outputs(images.held[0])[0], images.held[1])
    right = [float(100 * np.mean(y.argmax(-1) == labels)) for y, _ in ((upright, None), *turned)]
    rotated = float(np.mean(right[1:]))

    def moved(before: np.ndarray, after: Sequence[np.ndarray]) -> float:
        size = np.linalg.norm(before, axis=-1)
        return float(np.mean([np.linalg.norm(y - before, axis=-1) / size for y in after]))

    divergences = [
        measures.kl_divergence(upright / temperature, y / temperature) for y, _ in turned
    ]
    return PhotoScores(
        accuracy=right[0],
        rotated_accuracy=rotated,
        combined=measures.combined(right[0], rotated),
        kl=float(np.mean(divergences)),
        defect=moved(upright, [y for y, _ in turned]),
        feature_defect=moved(features, [h for _, h in turned]),
        temperature=temperature,
    )
