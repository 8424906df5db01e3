"""Labeled images of the command line: what is left out, held out, and called the same."""

import dataclasses

import numpy as np
import pytest

from softeq_jax import data
from softeq_jax.cli import _labeled
from softeq_jax.cli._image_sources import ImageSource, Record, open_images
from softeq_jax.cli._labeled import Labeled, readable, same_classes, split
from softeq_jax.models.weights import Preprocess

PLAIN = Preprocess((0.5,) * 3, (0.25,) * 3, 8, 8, True, "bilinear", "a test")


def source(bad=(), classes=("a", "b"), length=20):
    """Gray images by class in turn, some of which cannot be read."""

    def get(index):
        if index in bad:
            raise ValueError(f"{index}.png: not a readable image")
        return Record(f"{index}.png", np.full((8, 8, 3), index, np.uint8), index % len(classes))

    return ImageSource("photos", length, get, classes=classes, count=len(classes))


def test_unreadable_images_are_counted_and_five_are_named():
    with pytest.raises(ValueError, match="--data photos: 7 of 20 images cannot be read: ") as error:
        readable(source(bad=range(7)), "--data", skip=False)
    assert str(error.value).count(".png") == 5
    assert "; and 2 more. Repair or remove them" in str(error.value)
    indices, said = readable(source(bad=range(7)), "--data", skip=True)
    assert indices.tolist() == list(range(7, 20))
    assert "7 of 20 images cannot be read and are left out" in said
    with pytest.raises(ValueError, match="none is left of b"):
        readable(source(bad=range(1, 20, 2)), "--data", skip=True)
    assert readable(source(), "--data", skip=False)[1] == ""


def test_held_out_images_follow_the_seed_and_are_never_trained_on():
    train, test = split(np.arange(5, 25), 0.1, seed=0)
    assert (len(train), len(test)) == (18, 2)
    assert sorted([*train, *test]) == list(range(5, 25))
    np.testing.assert_array_equal(split(np.arange(5, 25), 0.1, seed=0)[1], test)
    assert any(split(np.arange(5, 25), 0.1, seed=1)[1] != test)
    assert [len(part) for part in split(np.arange(2), 0.01, 0)] == [1, 1]
    with pytest.raises(ValueError, match="1 image with 1 of them held out leave nothing"):
        split(np.arange(1), 0.1, 0)


def test_classes_of_test_images_are_found_by_name():
    train = source(classes=("a", "b", "c"))
    assert same_classes(train, source(classes=("c", "a"))).tolist() == [2, 0]
    unnamed = ImageSource("array", 4, train.get, count=3)
    assert same_classes(unnamed, ImageSource("array", 4, train.get, count=2)) is None
    for other in (source(classes=("a", "d")), unnamed):
        with pytest.raises(ValueError, match=r"expected those of --data, 3 \(a, b, c\)"):
            same_classes(train, other)


def test_examples_are_cropped_and_named_where_they_are_bad():
    labeled = Labeled(source(), np.array([3, 7]), np.array([4, 9]), PLAIN)
    example = labeled[1]
    np.testing.assert_allclose(example["image"], 7 / 255)
    assert example["label"] == 9
    wide = dataclasses.replace(PLAIN, image_size=9)
    with pytest.raises(ValueError, match=r"3.png: is resized to \(8, 8\), smaller than the crop"):
        Labeled(source(), np.array([3]), None, wide)[0]
    nameless = ImageSource("x", 1, lambda i: Record("x: 0", np.zeros((8, 8, 3)), None))
    with pytest.raises(data.BadExampleError, match="x: 0: has no label"):
        data.train_batches(Labeled(nameless, np.arange(1), None, PLAIN), 1, seed=0)


@pytest.mark.parametrize("name", ["cifar10:train[:20]", "cifar10:test[1%:2%]"])
def test_slices_of_tfds_splits_are_labeled(data_dir, name):
    found = open_images(name, str(data_dir / "tfds"))
    assert (found.length, found.count) == ((20 if "train" in name else 100), 10)
    _labeled.check_classes(found, "--data")
    example = Labeled(found, np.array([5]), None, dataclasses.replace(PLAIN, image_size=8))[0]
    assert example["image"].shape == (8, 8, 3)
    assert example["label"] == found.get(5).label
    with pytest.raises(ValueError, match=r"cifar10:train\[:x\]"):
        open_images("cifar10:train[:x]", str(data_dir / "tfds"))
