"""Where examples come from: prepared TFDS folders, arrays in memory, scikit-learn's digits."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from tqdm import tqdm

from softeq_jax.training.data._assembly import Maker
from softeq_jax.training.data._checks import classification
from softeq_jax.training.data._examples import read_records
from softeq_jax.training.data._types import Source


class ArraySource:
    """Examples held in memory.

    Attributes:
      images: `[n, h, w, c]`, any dtype.
      labels: `[n]`, integers.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        """Wraps the arrays without copying.

        Raises:
          ValueError: shapes or dtype other than described.
        """
        self.images = np.asarray(images)
        self.labels = np.asarray(labels)
        if self.images.ndim != 4:
            raise ValueError(f"images must be [n, h, w, c], got shape {self.images.shape}")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must have shape {self.images.shape[:1]}, got {self.labels.shape}"
            )
        if not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(f"labels must be integers, got dtype {self.labels.dtype}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        return {"image": self.images[index], "label": self.labels[index]}


def open_source(
    name: str, split: str, data_dir: str | os.PathLike[str], *, decode: bool = True
) -> Source:
    """Opens a prepared TFDS data set for random access, without TensorFlow.

    The folder is enough: the data set need not be one that TFDS knows.

    Args:
      name: the data set's name, such as "cifar10".
      split: "train", "test", ... or a TFDS slice such as "test[:256]".
      data_dir: the folder that holds `name/<version>/`.
      decode: whether images come as arrays; if not, as the bytes that encode them, for transforms
        that decode what they need.

    Returns:
      A source with `len`, indexing and `__getitems__` for many indices at once.

    Raises:
      FileNotFoundError: the folder is missing or holds no prepared data set of this name.
      ValueError: the data set has no such split.
    """
    import tensorflow_datasets as tfds

    data_dir = Path(data_dir)
    wanted = f"{data_dir}/{name}/<version>/dataset_info.json"
    for folder in (data_dir, data_dir / name):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; expected {wanted}")
    if not any((data_dir / name).glob("*/dataset_info.json")):
        raise FileNotFoundError(f"{data_dir / name}: holds no prepared data set; expected {wanted}")
    builder = tfds.builder(name, data_dir=data_dir)
    base = split.split("[")[0]
    if base not in builder.info.splits and base != "all":
        have = ", ".join(sorted(builder.info.splits)) or "none"
        raise ValueError(f"{builder.data_path}: no split {split!r}; it has {have}")
    encoded = {
        field: tfds.decode.SkipDecoding()
        for field, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    }
    return builder.as_data_source(split, decoders=None if decode else encoded)


def load_arrays(
    source: Source, indices: Sequence[int] | None = None, *, num_classes: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads examples into memory.

    Args:
      source: where from.
      indices: which examples, in this order; all of them if None.
      num_classes: labels must be below this number, if given.

    Returns:
      Images `[n, h, w, c]` in the source's dtype (uint8 for TFDS images), and labels `[n]`, int32.

    Raises:
      ValueError: there is nothing to read.
      BadExampleError: naming the example: it cannot be read, its label is out of range, its image
        has another shape or dtype than example 0 or holds NaN or infinite values.
    """
    indices = range(len(source)) if indices is None else [int(i) for i in indices]
    if not len(indices):
        raise ValueError("no examples to read: the source or the list of indices is empty")
    maker = Maker(source, classification(num_classes), transforms=(), skip=False)
    layout, _ = maker.find_layout(0)
    maker = dataclasses.replace(maker, layout=layout)
    shape, dtype = layout["image"]
    images, labels = np.empty((len(indices), *shape), dtype), np.empty(len(indices), np.int32)
    with tqdm(total=len(indices), desc="reading", unit="image", delay=3, leave=False) as bar:
        for start in range(0, len(indices), 1000):
            chunk = indices[start : start + 1000]
            for row, (index, record) in enumerate(
                zip(chunk, read_records(source, chunk), strict=True), start
            ):
                example = maker.make(index, record, None)
                images[row], labels[row] = example["image"], example["label"]
            bar.update(len(chunk))
    return images, labels


def normalize(images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """`(images / 255 - mean) / std`, channel by channel.

    Args:
      images: `[..., c]`, uint8.
      mean: `[c]` or one number, in units of the largest value.
      std: as `mean`; positive.

    Returns:
      Array of the images' shape, float32.

    Raises:
      ValueError: the images are not uint8, the channels do not match or a `std` is not positive.
    """
    images = np.asarray(images)
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, got {images.dtype}")
    for field, value in (("mean", mean), ("std", std)):
        if value.shape not in ((), (1,), images.shape[-1:]):
            raise ValueError(
                f"{field} has shape {value.shape}, expected {images.shape[-1:]} for images of "
                f"shape {images.shape}"
            )
    if not np.all(std > 0):
        raise ValueError(f"std must be positive, got {std}")
    return (images.astype(np.float32) / np.float32(255) - mean) / std


def digits(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits, upright, one fifth of every class held out for testing.

    Args:
      seed: of the split.

    Returns:
      Train images `[1437, 8, 8, 1]`, float32 in [0, 1]; train labels `[1437]`, int32; test images
      `[360, 8, 8, 1]` and test labels `[360]`.

    Raises:
      ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError("digits needs scikit-learn: pip install scikit-learn") from error
    bunch = load_digits()
    images = (bunch.images[..., None] / 16).astype(np.float32)
    labels = bunch.target.astype(np.int32)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=0.2, random_state=seed, stratify=labels
    )
    return train_x, train_y, test_x, test_y
