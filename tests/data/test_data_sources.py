"""Where examples come from: prepared folders, arrays, digits, and errors that say what is wrong."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets, model_selection

from softeq_jax.data import (
    ArraySource,
    BadExampleError,
    digits,
    load_arrays,
    normalize,
    open_source,
)


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(0)
    return ArraySource(rng.integers(0, 256, (23, 6, 5, 3), np.uint8), np.arange(23) % 10)


def test_array_source_errors():
    images = np.zeros((3, 2, 2, 1))
    for bad_images, labels, words in [
        (images[0], np.zeros(2, int), "n, h, w, c"),
        (images, np.zeros(2, int), r"\(3,\), got \(2,\)"),
        (images, np.zeros(3), "float64"),
    ]:
        with pytest.raises(ValueError, match=words):
            ArraySource(bad_images, labels)


def test_load_arrays(source):
    images, labels = load_arrays(source)
    np.testing.assert_array_equal(images, source.images)
    np.testing.assert_array_equal(labels, source.labels)
    images, labels = load_arrays(source, [4, 2, 4])
    np.testing.assert_array_equal(images, source.images[[4, 2, 4]])
    assert labels.dtype == np.int32
    with pytest.raises(ValueError, match="no examples"):
        load_arrays(source, [])


def test_load_arrays_names_bad_examples(source):
    labels = source.labels.copy()
    labels[17] = 12
    with pytest.raises(BadExampleError, match=r"example 17: label 12.*< 10"):
        load_arrays(ArraySource(source.images, labels), num_classes=10)

    class Ragged(ArraySource):
        def __getitem__(self, index):
            example = super().__getitem__(index)
            return {**example, "image": example["image"][:-1]} if index == 4 else example

    with pytest.raises(BadExampleError, match=r"example 4: image of shape \(5, 5, 3\).*\(6,"):
        load_arrays(Ragged(source.images, source.labels), [3, 4])


def test_unprepared_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.*cifar10/<version>/dataset_info.json"):
        open_source("cifar10", "test", tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"cifar10.*dataset_info.json"):
        open_source("cifar10", "test", tmp_path)
    (tmp_path / "cifar10" / "3.0.2").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no prepared data set.*dataset_info.json"):
        open_source("cifar10", "test", tmp_path)


@pytest.mark.parametrize(
    ("name", "split", "count", "shape", "others"),
    [
        ("cifar10", "test", 10_000, (32, 32, 3), {"id", "label"}),
        ("mnist", "train", 60_000, (28, 28, 1), {"label"}),
        ("camvid", "validation", 101, (180, 240, 3), {"id", "segmentation_mask"}),
        ("imagenet_sample", "validation", 1_000, (256, 341, 3), {"file_name", "label"}),
    ],
)
def test_prepared_folders(data_dir, name, split, count, shape, others):
    source = open_source(name, split, data_dir / "tfds")
    assert len(source) == count
    record = source[0]
    assert record.keys() == {"image"} | others
    assert (record["image"].shape, record["image"].dtype) == (shape, np.uint8)
    encoded = open_source(name, f"{split}[:2]", data_dir / "tfds", decode=False)
    assert len(encoded) == 2
    (first, _) = encoded.__getitems__([0, 1])
    for field in {"image", "segmentation_mask"} & record.keys():
        decoded = np.asarray(Image.open(io.BytesIO(first[field])))
        np.testing.assert_array_equal(decoded, record[field].squeeze())
    for field in others - {"segmentation_mask"}:
        assert first[field] == record[field]
    with pytest.raises(ValueError, match=rf"{name}.*no split 'absent'; it has .*{split}"):
        open_source(name, "absent", data_dir / "tfds")


def test_cifar10_arrays(data_dir):
    source = open_source("cifar10", "test", data_dir / "tfds")
    images, labels = load_arrays(source, [5, 3, 9_999])
    assert (images.shape, images.dtype, labels.dtype) == ((3, 32, 32, 3), np.uint8, np.int32)
    np.testing.assert_array_equal(images[1], source[3]["image"])
    encoded = open_source("cifar10", "test", data_dir / "tfds", decode=False)
    with pytest.raises(BadExampleError, match=r"example 0 \(id test_.*encoded images need"):
        load_arrays(encoded, [1])


def test_normalize():
    images = np.array([[[[0, 255, 51]]]], np.uint8)
    out = normalize(images, (0.0, 0.5, 0.2), (1.0, 0.25, 0.5))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, [[[[0, 2, 0]]]], atol=1e-6)
    for args, words in [
        ((images.astype(np.float32), 0.5, 1.0), "uint8"),
        ((images, (0.5, 0.5), 1.0), r"mean.*\(2,\).*\(3,\)"),
        ((images, 0.5, (1.0, 0.0, 1.0)), "positive"),
    ]:
        with pytest.raises(ValueError, match=words):
            normalize(*args)


@pytest.mark.slow
def test_digits():
    train_x, train_y, test_x, test_y = digits()
    assert (train_x.shape, test_x.shape) == ((1437, 8, 8, 1), (360, 8, 8, 1))
    assert (train_x.dtype, train_y.dtype) == (np.float32, np.int32)
    assert (train_x.min(), train_x.max()) == (0, 1)
    assert np.abs(np.bincount(test_y) - 0.25 * np.bincount(train_y)).max() < 1
    np.testing.assert_array_equal(digits()[2], test_x)
    assert not np.array_equal(digits(seed=1)[3], test_y)


@pytest.mark.slow(3)
@pytest.mark.parametrize("seed", [0, 1, 2, 2**32 - 1])
def test_digits_are_split_as_scikit_learn_splits_them(seed):
    bunch = datasets.load_digits()
    images, labels = bunch.images[..., None] / 16, bunch.target
    parts = model_selection.train_test_split(
        images, labels, test_size=0.2, random_state=seed, stratify=labels
    )
    train_x, train_y, test_x, test_y = digits(seed)
    for found, expected in zip((train_x, test_x, train_y, test_y), parts, strict=True):
        np.testing.assert_array_equal(found, expected)
