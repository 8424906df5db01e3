"""Data sets: prepared TFDS folders, and scikit-learn's digits."""

import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from softeq_jax.data._assembly import Maker
from softeq_jax.data._examples import Source, classification, read_records


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
      ValueError: the data set has no such split, or its description is damaged.

    Example:
      >>> import softeq_jax as sq
      >>> sq.data.open_source("cifar10", "test[:256]", "nowhere")
      Traceback (most recent call last):
      FileNotFoundError: ...
    """
    import tensorflow_datasets as tfds

    data_dir = Path(data_dir)
    wanted = f"{data_dir}/{name}/<version>/dataset_info.json"
    for folder in (data_dir, data_dir / name):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; expected {wanted}")
    if not any((data_dir / name).glob("*/dataset_info.json")):
        raise FileNotFoundError(f"{data_dir / name}: holds no prepared data set; expected {wanted}")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        splits = builder.info.splits
    except ImportError:
        raise
    except Exception as error:  # whatever TFDS makes of damaged files
        raise ValueError(
            f"{data_dir / name}: no prepared data set that can be read ({type(error).__name__}: "
            f"{error})"
        ) from error
    base = split.split("[")[0]
    if base not in splits and base != "all":
        have = ", ".join(sorted(splits)) or "none"
        raise ValueError(f"{builder.data_path}: no split {split!r}; it has {have}")
    features: Any = builder.info.features
    encoded = {
        field: tfds.decode.SkipDecoding()
        for field, feature in features.items()
        if isinstance(feature, tfds.features.Image)
    }
    open_split: Any = builder.as_data_source
    return open_split(split, decoders=None if decode else encoded)


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

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> source = sq.data.ArraySource(np.zeros((3, 8, 8, 1), np.uint8), np.array([5, 6, 7]))
      >>> images, labels = sq.data.load_arrays(source, [2, 0])
      >>> images.shape, labels
      ((2, 8, 8, 1), array([7, 5], dtype=int32))
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


def digits(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits, upright, one fifth of every class held out for testing.

    Args:
      seed: of the split.

    Returns:
      Train images `[1437, 8, 8, 1]`, float32 in [0, 1]; train labels `[1437]`, int32; test images
      `[360, 8, 8, 1]` and test labels `[360]`.

    Raises:
      ImportError: scikit-learn is not installed.

    Example:
      >>> import softeq_jax as sq
      >>> images, labels, test_images, test_labels = sq.data.digits()
      >>> images.shape, labels.dtype, test_images.shape
      ((1437, 8, 8, 1), dtype('int32'), (360, 8, 8, 1))
    """
    rows = np.loadtxt(_digits_file(), delimiter=",", dtype=np.float32)
    images, labels = rows[:, :-1].reshape(-1, 8, 8, 1) / 16, rows[:, -1].astype(np.int32)
    train, test = _stratified(labels, seed)
    return images[train], labels[train], images[test], labels[test]


def _digits_file() -> Path:
    """Where scikit-learn keeps its digits; importing it for them would take a second."""
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise ImportError("digits needs scikit-learn: pip install scikit-learn")
    return Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _stratified(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(training, test) indices, a fifth of every class for testing.

    They are those of scikit-learn's `train_test_split(test_size=0.2, stratify=labels)`: the
    classes share the seats by largest remainders, and members are drawn class by class.
    """
    random = np.random.RandomState(seed)
    counts = np.bincount(labels)
    tests = -(-len(labels) // 5)
    in_train = _seats(counts, len(labels) - tests, random)
    in_test = _seats(counts - in_train, tests, random)
    train, test = [], []
    for label, count in enumerate(counts):
        drawn = np.flatnonzero(labels == label)[random.permutation(count)]
        train.append(drawn[: in_train[label]])
        test.append(drawn[in_train[label] :][: in_test[label]])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))


def _seats(counts: np.ndarray, seats: int, random: np.random.RandomState) -> np.ndarray:
    """Seats of each class in proportion to the counts: largest remainders, ties by lot."""
    share = counts / counts.sum() * seats
    given = np.floor(share)
    rest, left = share - given, int(seats - given.sum())
    for value in np.unique(rest)[::-1]:
        if left <= 0:
            break
        tied = np.flatnonzero(rest == value)
        chosen = random.choice(tied, size=min(len(tied), left), replace=False)
        given[chosen] += 1
        left -= len(chosen)
    return given.astype(int)
