"""Image data: prepared TFDS folders, arrays in memory, and batches that can be resumed exactly."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, SupportsIndex

import grain
import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Batch = dict[str, np.ndarray]


class Source(Protocol):
    """Random access to examples, `{"image": [h, w, c], "label": integer, ...}` each."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]: ...


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


def open_source(name: str, split: str, data_dir: str | os.PathLike[str]) -> Source:
    """Opens a prepared TFDS data set for random access, without TensorFlow.

    Args:
      name: the data set's name, such as "cifar10".
      split: "train", "test", ... or a TFDS slice such as "test[:256]".
      data_dir: the folder that holds `name/<version>/`.

    Returns:
      A source with `len`, indexing and `__getitems__` for many indices at once.

    Raises:
      FileNotFoundError: the folder is missing or holds no prepared data set of this name.
      ValueError: the data set has no such split.
    """
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
    return tfds.data_source(name, split=split, data_dir=data_dir, download=False)


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
      ValueError: nothing to read, a label out of range, or an image of another shape than the
        first one's; the message gives the example's index.
    """
    indices = range(len(source)) if indices is None else [int(i) for i in indices]
    if not len(indices):
        raise ValueError("no examples to read: the source or the list of indices is empty")
    checked = _Checked(source, num_classes)
    read_many = getattr(source, "__getitems__", None)
    images, labels = None, np.empty(len(indices), np.int32)
    with tqdm(total=len(indices), desc="reading", unit="image", delay=3, leave=False) as bar:
        for start in range(0, len(indices), 1000):
            chunk = list(indices[start : start + 1000])
            records = read_many(chunk) if read_many else [source[i] for i in chunk]
            for offset, (index, record) in enumerate(zip(chunk, records, strict=True), start):
                example = checked.check(index, record)
                if images is None:
                    shape = (len(indices), *example["image"].shape)
                    images = np.empty(shape, example["image"].dtype)
                images[offset], labels[offset] = example["image"], example["label"]
            bar.update(len(chunk))
    return images, labels


class _Checked:
    """A source reduced to image and label, with every example checked as it is read."""

    def __init__(self, source: Source, num_classes: int | None):
        self._source = source
        self._num_classes = num_classes
        self._shape = np.shape(source[0]["image"])

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: SupportsIndex) -> Batch:
        return self.check(index, self._source[index])

    def check(self, index: SupportsIndex, record: dict[str, Any]) -> Batch:
        """The example with an int32 label, or a ValueError that gives its index."""
        image, label = np.asarray(record["image"]), np.asarray(record["label"])
        if image.ndim != 3 or image.shape != self._shape:
            raise ValueError(
                f"example {index}: image of shape {image.shape}, expected {self._shape} [h, w, c]"
            )
        if label.ndim or not np.issubdtype(label.dtype, np.integer):
            raise ValueError(f"example {index}: label {label!r}, expected one integer")
        if label < 0 or (self._num_classes is not None and label >= self._num_classes):
            most = "" if self._num_classes is None else f" < {self._num_classes}"
            raise ValueError(f"example {index}: label {label}, expected 0 <= label{most}")
        return {"image": image, "label": label.astype(np.int32)}


def train_batches(
    source: Source,
    batch_size: int,
    *,
    seed: int,
    augment: Augment | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    start_step: int = 0,
    num_classes: int | None = None,
    num_threads: int = 2,
) -> Iterator[Batch]:
    """Shuffled training batches; batch i depends on the seed and i only.

    Examples are reshuffled every epoch and drawn anew by `augment` every time. Batches run on
    across the ends of epochs, so that none is short and every example is used equally often.

    Args:
      source: a TFDS data source, an `ArraySource`, or anything of that kind.
      batch_size: examples in a (global) batch.
      seed: of the order and of the augmentation, 0 <= seed < 2**32.
      augment: from an image `[h, w, c]` and a NumPy generator to an image; all of one shape.
      steps: number of the step to stop before; None runs forever (or `epochs`).
      epochs: stop after this many passes; give this or `steps`, not both.
      start_step: number of the first batch to deliver. A run resumed at step k sees the very
        batches that an unbroken run would have seen from there on.
      num_classes: labels must be below this number, if given.
      num_threads: threads that read ahead; 0 reads in the caller's thread.

    Returns:
      An iterator of `{"image": [batch_size, h, w, c], "label": int32 [batch_size]}`.

    Raises:
      ValueError: at once for arguments out of range; while iterating for a label out of range or
        an image of another shape than example 0, with the example's index.
    """
    if batch_size < 1 or start_step < 0:
        raise ValueError(
            f"expected batch_size >= 1 and start_step >= 0, got {batch_size} and {start_step}"
        )
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in [0, 2**32), got {seed}")
    if len(source) < 1:
        raise ValueError("the source has no examples")
    if steps is not None and epochs is not None:
        raise ValueError(f"give steps or epochs, not both; got {steps} and {epochs}")
    if epochs is not None:
        steps = int(epochs * len(source)) // batch_size
    examples = grain.MapDataset.source(_Checked(source, num_classes)).seed(seed).shuffle().repeat()
    if augment is not None:

        def augmented(example: Batch, rng: np.random.Generator) -> Batch:
            return {**example, "image": augment(example["image"], rng)}

        examples = examples.random_map(augmented)
    batches = examples.batch(batch_size, drop_remainder=True)
    stop = len(batches) if steps is None else steps
    reading = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    return iter(batches[start_step:stop].to_iter_dataset(reading))


def random_crop_flip(image: np.ndarray, rng: np.random.Generator, pad: int = 4) -> np.ndarray:
    """Shifts an image by up to `pad` pixels along both axes, zeros coming in, and maybe mirrors it.

    Args:
      image: `[h, w, c]`, any dtype.
      rng: source of the shift (uniform) and of the mirroring (left-right, probability 1/2).
      pad: largest shift, in pixels.

    Returns:
      An image of the same shape and dtype.
    """
    height, width, _ = image.shape
    top, left = rng.integers(0, 2 * pad + 1, size=2)
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    crop = padded[top : top + height, left : left + width]
    return crop[:, ::-1] if rng.integers(2) else crop


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
