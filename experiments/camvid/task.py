"""Road scenes in classes: images and masks, networks, augmentation, scores.

Images are square, so that rotations act on the maps. Test images are frames of two drives, one a
second; neighbors are alike, so that stretches of ten are what is independent at best.
"""

import dataclasses
import functools
import math
import re
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
Maps = tuple[np.ndarray, np.ndarray]
DEGREES = 30.0
VOID = 255
GRAY = (124, 116, 104)
"""The mean of the normalization as bytes: 0 for the network, as what rotated test images get."""
SPLITS = {"camvid": ("train", "validation", "test")}
"""To train on, to hold out, to judge by; others are judged by what is held out, as published."""
STRETCH = 300
"""Frames of the video in a block: ten of those that have masks."""


@dataclasses.dataclass(frozen=True)
class Scenes:
    """What networks are trained on and judged by.

    Attributes:
      train: source of examples with ``image`` and ``mask`` as they are stored.
      held: images ``[n, side, side, 3]`` uint8 and masks ``[n, side, side]``, for temperatures.
      test: those of the tables.
      blocks: name of the stretch that each test image is from.
    """

    train: data.Source
    held: Maps
    test: Maps
    blocks: tuple[str, ...]


@functools.lru_cache(maxsize=1)
def scenes(folder: Path | None, name: str, side: int, void: int | None, every: int) -> Scenes:
    """The images of a data set.

    Args:
      folder: of TFDS; None: a few drawn ones, for tests.
      name: of the data set.
      side: of the squares that are judged.
      void: class of the pixels that belong to none, or None.
      every: one held-out image of so many is kept.
    """
    if folder is None:
        parts: list[Any] = [_Drawn(12, seed) for seed in range(3)]
    else:
        splits = SPLITS.get(name, ("train", "validation", "validation"))
        parts = [data.open_source(name, split, folder) for split in splits]
    train, held, test = parts
    chosen = [held[i] for i in range(0, len(held), every)]
    records = [test[i] for i in range(len(test))]
    blocks = tuple(block(text(record.get("id", ""))) for record in records)
    held, test = (_squares(those, side, void) for those in (chosen, records))
    return Scenes(train, held, test, blocks)


def text(name: Any) -> str:
    """A name as text."""
    return name.decode() if isinstance(name, bytes) else str(name)


def block(name: str) -> str:
    """The stretch of a frame, from its name: ``Seq05VD_f02550`` is in stretch 8 of ``Seq05VD``.

    A name without a number at its end is a stretch of its own.
    """
    found = re.fullmatch(r"(.*?)_f?(\d+)", name)
    return f"{found[1]} {int(found[2]) // STRETCH}" if found else name


class _Drawn:
    """Scenes of 16 x 16 pixels: a class is a brightness, the sky is above."""

    def __init__(self, count: int, seed: int):
        rng = np.random.default_rng(seed)
        split = rng.integers(5, 11, (count, 1, 1))
        below = np.arange(16)[None, :, None] >= split
        self.masks = np.broadcast_to(below, (count, 16, 16)).astype(np.uint8)
        noise = rng.integers(0, 40, (count, 16, 16, 3))
        self.images = (200 - 150 * self.masks[..., None] + noise).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> data.Example:
        return {
            "image": self.images[index],
            "segmentation_mask": self.masks[index],
            "id": f"drive_{40 * int(index):05d}",
        }


def _squares(records: Sequence[data.Example], side: int, void: int | None) -> Maps:
    """The middles of images and masks, resized."""
    rng = np.random.default_rng(0)  # nothing is drawn
    found = []
    for record in records:
        example = data.segmentation_pairs(void=void)(record, rng)
        short = min(example["image"].shape[:2])
        for transform in (data.CenterCrop(short), data.Resize((side, side))):
            example = transform(example, rng)
        found.append((example["image"], example["mask"]))
    images, masks = (np.stack(part) for part in zip(*found, strict=True))
    return images, masks


def augmentation(settings: Settings) -> tuple[data.Transform, ...]:
    """What is done to training images: scaled crops and flips, and rotations where asked for."""
    crop = data.RandomScaleCrop(settings["side"], tuple(settings["scale"]), GRAY, VOID)
    found = [data.segmentation_pairs(void=settings["void"]), crop, data.RandomFlip()]
    if settings["rotated"]:
        found.append(data.RandomRotation(DEGREES, GRAY, VOID))
    return tuple(found)


def preprocess(images: Any) -> Any:
    """Bytes to the inputs of the networks."""
    mean, deviation = (np.array(x, np.float32) for x in (IMAGENET_MEAN, IMAGENET_STD))
    return (images / np.float32(255) - mean) / deviation


ARCHITECTURES = {
    "DINOv2-S": "dinov2_s14",
    "DINOv2-B": "dinov2_b14",
    "ViT-B/16": "vit_b16",
    "SegFormer-B0": "segformer_b0",
}
"""What ``models.create`` calls the backbones whose weights are published."""


def network(settings: Settings, data_dir: Path | None) -> tuple[nn.Module, Tree | None]:
    """A segmenter, and the published parameters of its backbone or None.

    Args:
      settings: as of ``unloaded``; the backbone is read from ``weights``.
      data_dir: holds the weights.
    """
    if not settings["weights"]:
        return unloaded(settings), None
    found = models.load(Path(data_dir or ".") / settings["weights"], num_classes=0)
    return _segmenter(found.model, settings), found.variables["params"]


def unloaded(settings: Settings) -> nn.Module:
    """A segmenter, whatever its weights.

    Args:
      settings: ``backbone``, ``"segformer"`` for its own head and any other for a linear one; of
        which ``network``, if it has ``weights``; otherwise the ``widths`` and the ``depth`` of the
        stages of a SegFormer that starts from noise (of any other a small DINOv2, for tests).
    """
    if settings["weights"]:
        backbone = models.create(ARCHITECTURES[settings["network"]], num_classes=0)
    elif settings["backbone"] == "segformer":
        depths = (settings["depth"],) * 4
        widths = tuple(settings["widths"])
        backbone = models.SegFormer(
            widths=widths, depths=depths, heads=(1, 2, 4, 8), shifts=True, num_classes=0
        )
    else:
        backbone = models.DINOv2(width=16, depth=1, heads=2, image_size=12, patch_size=4)
    return _segmenter(backbone, settings)


def _segmenter(backbone: nn.Module, settings: Settings) -> nn.Module:
    if settings["backbone"] == "segformer":
        head = models.SegFormerHead(settings["classes"], settings["head_width"])
        return models.Segmenter(backbone, head)
    return models.segmenter(backbone, settings["classes"])


def start(model: nn.Module, published: Tree | None, side: int, seed: int) -> Tree:
    """Variables before training: noise of a seed, and the published backbone."""
    variables: Any = model.init(jax.random.key(seed), np.zeros((1, side, side, 3), np.float32))
    variables = jax.tree.map(np.asarray, variables)
    if published is not None:
        whole = jax.tree.map(lambda w: np.asarray(w, np.float32), published)
        variables = {**variables, "params": {**variables["params"], "backbone": whole}}
    return variables


@functools.partial(jax.jit, static_argnums=0)
def _logits(model: Any, variables: Tree, images: jax.Array) -> jax.Array:
    return model.apply(variables, images)


@dataclasses.dataclass(frozen=True)
class SceneScores:
    """What a segmenter is judged by.

    Attributes:
      iou: mean IoU of the test images, per cent.
      rotated_iou: mean over rotations by 30 and -30 degrees.
      combined: geometric mean of the two.
      consistency: ``KL(g softmax f(x) || softmax f(g x))`` over the pixels that stay inside, mean
        over both rotations and every sixth image, after one temperature, fitted on held-out
        images; nats.
      floor: what resampling alone does to it (twice the resampling of ``consistency``).
      agreement: per cent of those pixels with the same class.
      temperature: that was fitted.
    """

    iou: float
    rotated_iou: float
    combined: float
    consistency: float
    floor: float
    agreement: float
    temperature: float


def scene_scores(
    model: nn.Module, variables: Tree, found: Scenes, classes: int
) -> tuple[SceneScores, np.ndarray]:
    """Scores of a segmenter, called in test mode, and the counts ``[image, class, class]``.

    Counts are of pixels labeled as the first class and taken for the second.
    """

    def logits(images: np.ndarray) -> np.ndarray:
        parts = [images[i : i + 16] for i in range(0, len(images), 16)]
        return np.concatenate(
            [np.asarray(_logits(model, variables, preprocess(part))) for part in parts]
        )

    images, masks = found.test
    inputs = np.asarray(preprocess(images))
    turns = [measures.rotation(math.radians(s * DEGREES)) for s in (1, -1)]
    options: dict[str, Any] = {"batch_size": 16}
    f = jax.tree_util.Partial(functools.partial(_logits, model), variables)
    iou = measures.iou_under(f, inputs, masks, turns, classes=classes, ignore=VOID, **options)
    # A pixel of every 8 x 8: neighbors are alike.
    held = logits(found.held[0])[:, 4::8, 4::8].reshape(-1, classes)
    labels = found.held[1][:, 4::8, 4::8].ravel()
    temperature = fitted_temperature(held[labels != VOID], labels[labels != VOID])
    cooled = jax.tree_util.Partial(functools.partial(_cooled, model), variables, temperature)
    moved = measures.kl_consistency(cooled, inputs[::6], turns, output="image", **options)
    scores = SceneScores(
        iou=100 * iou.plain,
        rotated_iou=100 * iou.rotated,
        combined=100 * iou.combined,
        consistency=float(moved.kl.value),
        floor=float(moved.floor.value),
        agreement=100 * float(moved.agreement.value),
        temperature=temperature,
    )
    return scores, image_counts(logits(images).argmax(-1), masks, classes)


def _cooled(model: Any, variables: Tree, temperature: Any, images: jax.Array) -> jax.Array:
    return model.apply(variables, images) / temperature


def image_counts(predicted: np.ndarray, masks: np.ndarray, classes: int) -> np.ndarray:
    """How often each class was taken for each, image by image, ``[n, classes, classes]``."""
    counts = []
    for guess, mask in zip(predicted, masks, strict=True):
        pairs = classes * mask[mask != VOID].astype(int) + guess[mask != VOID]
        counts.append(np.bincount(pairs, minlength=classes**2).reshape(classes, classes))
    return np.stack(counts)
