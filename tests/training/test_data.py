"""Reading data: prepared folders, exact resumption, augmentation, and errors with the index."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softeq_jax.training import (
    ArraySource,
    digits,
    load_arrays,
    normalize,
    open_source,
    random_crop_flip,
    train_batches,
)


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(0)
    return ArraySource(rng.integers(0, 256, (23, 6, 5, 3), np.uint8), np.arange(23) % 10)


def _equal(a, b):
    return len(a) == len(b) and all(
        x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) for k in x)
        for x, y in zip(a, b, strict=True)
    )


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 30),
    start=st.integers(0, 12),
    seed=st.integers(0, 2**32 - 1),
    threads=st.integers(0, 2),
)
def test_resumes_exactly(source, batch, start, seed, threads):
    kwargs = {"seed": seed, "augment": random_crop_flip, "steps": 13}
    whole = list(train_batches(source, batch, **kwargs))
    rest = list(train_batches(source, batch, start_step=start, num_threads=threads, **kwargs))
    assert len(whole) == 13
    assert _equal(whole[start:], rest)
    assert whole[0]["image"].shape == (batch, 6, 5, 3)
    assert whole[0]["label"].dtype == np.int32


def test_epochs_are_permutations_and_differ():
    identity = ArraySource(np.zeros((20, 2, 2, 1), np.uint8), np.arange(20))
    labels = [b["label"] for b in train_batches(identity, 5, seed=1, epochs=3)]
    passes = np.concatenate(labels).reshape(3, 20)
    assert all(sorted(p) == list(range(20)) for p in passes)
    assert len({tuple(p) for p in passes}) == 3
    other = [b["label"] for b in train_batches(identity, 5, seed=2, epochs=3)]
    assert not np.array_equal(labels, other)


def test_augmentation_is_drawn_anew_every_epoch(source):
    drawn = list(
        train_batches(source, 23, seed=0, steps=2, augment=lambda x, rng: rng.random((1, 1, 1)))
    )
    values = np.concatenate([b["image"].ravel() for b in drawn])
    assert len(np.unique(values)) == 46


def test_runs_forever_without_steps(source):
    assert len(list(itertools.islice(train_batches(source, 50, seed=0), 7))) == 7


def test_examples_out_of_range_are_named(source):
    labels = source.labels.copy()
    labels[17] = 12
    bad = ArraySource(source.images, labels)
    with pytest.raises(ValueError, match=r"example 17: label 12.*< 10"):
        list(train_batches(bad, 8, seed=0, epochs=1.5, num_classes=10))
    with pytest.raises(ValueError, match=r"example 17: label 12.*< 10"):
        load_arrays(bad, num_classes=10)

    class Ragged(ArraySource):
        def __getitem__(self, index):
            example = super().__getitem__(index)
            return {**example, "image": example["image"][:-1]} if index == 4 else example

    ragged = Ragged(source.images, source.labels)
    with pytest.raises(ValueError, match=r"example 4: image of shape \(5, 5, 3\), expected \(6,"):
        list(train_batches(ragged, 8, seed=0, epochs=1.5))
    with pytest.raises(ValueError, match=r"example 4"):
        load_arrays(ragged, [3, 4])


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"start_step": -1}, "start_step"),
        ({"seed": -1}, "seed"),
        ({"steps": 1, "epochs": 1}, "not both"),
    ],
)
def test_arguments_out_of_range(source, kwargs, words):
    with pytest.raises(ValueError, match=words):
        train_batches(source, **{"batch_size": 4, "seed": 0, **kwargs})


def test_array_source_errors():
    images = np.zeros((3, 2, 2, 1))
    for bad_images, labels, words in [
        (images[0], np.zeros(2, int), "n, h, w, c"),
        (images, np.zeros(2, int), r"\(3,\), got \(2,\)"),
        (images, np.zeros(3), "float64"),
    ]:
        with pytest.raises(ValueError, match=words):
            ArraySource(bad_images, labels)


def test_unprepared_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.*cifar10/<version>/dataset_info.json"):
        open_source("cifar10", "test", tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"cifar10.*dataset_info.json"):
        open_source("cifar10", "test", tmp_path)
    (tmp_path / "cifar10" / "3.0.2").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no prepared data set.*dataset_info.json"):
        open_source("cifar10", "test", tmp_path)


def test_cifar10(data_dir):
    source = open_source("cifar10", "test", data_dir / "tfds")
    assert len(source) == 10_000
    images, labels = load_arrays(source, [5, 3, 9_999])
    assert (images.shape, images.dtype, labels.dtype) == ((3, 32, 32, 3), np.uint8, np.int32)
    np.testing.assert_array_equal(images[1], source[3]["image"])
    kwargs = {"seed": 3, "augment": random_crop_flip, "steps": 4, "num_classes": 10}
    whole = list(train_batches(source, 32, **kwargs))
    assert _equal(whole[2:], list(train_batches(source, 32, start_step=2, **kwargs)))
    with pytest.raises(ValueError, match=r"no split 'validation'; it has test, train"):
        open_source("cifar10", "validation", data_dir / "tfds")


def test_empty_inputs(source):
    with pytest.raises(ValueError, match="no examples"):
        load_arrays(source, [])
    empty = ArraySource(np.zeros((0, 2, 2, 1)), np.zeros(0, int))
    with pytest.raises(ValueError, match="no examples"):
        train_batches(empty, 2, seed=0)


@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_crop_flip_moves_pixels_only(seed, pad):
    image = np.arange(1, 61, dtype=np.uint8).reshape(5, 4, 3)
    out = random_crop_flip(image, np.random.default_rng(seed), pad)
    assert (out.shape, out.dtype) == (image.shape, image.dtype)
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    crops = [padded[i : i + 5, j : j + 4] for i in range(2 * pad + 1) for j in range(2 * pad + 1)]
    assert any(np.array_equal(out, c) or np.array_equal(out[:, ::-1], c) for c in crops)


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


def test_digits():
    train_x, train_y, test_x, test_y = digits()
    assert (train_x.shape, test_x.shape) == ((1437, 8, 8, 1), (360, 8, 8, 1))
    assert (train_x.dtype, train_y.dtype) == (np.float32, np.int32)
    assert (train_x.min(), train_x.max()) == (0, 1)
    assert np.abs(np.bincount(test_y) - 0.25 * np.bincount(train_y)).max() < 1
    np.testing.assert_array_equal(digits()[2], test_x)
    assert not np.array_equal(digits(seed=1)[3], test_y)
