"""Images for the command line: sources, preparation, and networks that are no checkpoint."""

import functools
import math
import types

import jax
import numpy as np
import pytest
from flax import linen as nn
from measure_command import refused, rows_after, run
from tiny_checkpoints import cifar_file

from softeq_jax import measures
from softeq_jax.cli import _arguments, _images
from softeq_jax.cli._image_sources import ImageSource, Record, open_images
from softeq_jax.cli._preparation import prepared
from softeq_jax.models.weights import Preprocess

PLAIN = Preprocess((0.5,) * 3, (0.25,) * 3, 16, 16, True, "bilinear", "a test")


class Segmenter(nn.Module):
    """Scores of 4 classes for each pixel."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Conv(4, (3, 3), name="scores")(x)


@pytest.mark.slow
def test_maps_are_measured_as_maps(capsys, pixels, tmp_path, monkeypatch):
    np.save(tmp_path / "data.npy", pixels[:2])
    model = Segmenter()
    variables = model.init(jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32))
    network = types.SimpleNamespace(model=model, variables=variables, preprocess=PLAIN)
    monkeypatch.setattr(_arguments, "load", lambda _: network)
    options = ("--angles", "0,90", "--out", tmp_path / "out")
    text = run(capsys, "segmenter", "--data", tmp_path / "data.npy", *options)
    zero, quarter = rows_after(text, "degrees")
    assert float(zero[1]) < 1e-5
    images = np.stack([prepared(image, PLAIN) for image in pixels[:2]])
    turns = [measures.rotation(math.pi / 2)]
    f = functools.partial(model.apply, variables)
    expected = measures.relative_error(f, images, turns, output="image").value
    assert float(quarter[1]) == pytest.approx(expected, rel=1e-3)
    assert "relative" in next(line for line in text.splitlines() if line.startswith("generator"))
    assert (tmp_path / "out" / "polar.png").exists()


@pytest.mark.parametrize(
    "data", ["cifar10:test", "cifar10", "{}/cifar10", "{}/cifar10/3.0.2:train"]
)
def test_prepared_tfds_data_by_name_and_by_folder(capsys, data_dir, tmp_path, data):
    weights = cifar_file(tmp_path / "net.safetensors")
    root = data_dir / "tfds"
    options = ("--data-dir", root, "--limit", 10, "--angles", "90", "--batch-size", "5")
    if "test" in data:
        line = refused(capsys, weights, "--data", data, *options)
        assert "has a label" in line  # the tiny network has 5 classes
    source = open_images(data.format(root), str(root))
    assert source.length == (50000 if "train" in data else 10000)
    record = source.get(3)
    assert record.image.shape == (32, 32, 3)
    assert record.label in range(10)
    with pytest.raises(ValueError, match="no such split; it has test, train"):
        open_images("cifar10:dev", str(root))


def test_images_are_resized_cropped_and_normalized():
    image = np.zeros((40, 20, 3), np.uint8)
    image[20:] = 255
    p = Preprocess((0.5,) * 3, (0.5,) * 3, 8, 10, True, "bicubic", "a test")
    found = prepared(image, p)  # to 20 x 10, then the middle
    assert found.shape == (8, 8, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], -1, atol=1e-6)
    np.testing.assert_allclose(found[-1], 1, atol=1e-6)
    squeezed = prepared(image, Preprocess((0.5,) * 3, (0.5,) * 3, 8, 8, False, "box", ""))
    np.testing.assert_allclose(squeezed[:4], -1)
    np.testing.assert_allclose(squeezed[4:], 1)
    smooth = np.linspace(0, 1, 16 * 16 * 3).reshape(16, 16, 3)
    np.testing.assert_allclose(prepared(smooth, PLAIN), (smooth - 0.5) / 0.25, atol=1e-6)
    half = Preprocess(PLAIN.mean, PLAIN.std, 8, 8, True, "box", "")
    blocks = smooth.reshape(8, 2, 8, 2, 3).mean((1, 3))
    np.testing.assert_allclose(prepared(smooth, half), (blocks - 0.5) / 0.25, atol=1e-6)


def test_the_choice_of_images_follows_the_seed(pixels):
    source = ImageSource("six", 6, lambda i: Record(f"{i}", pixels[i], i))
    first, again, other = (_images.read(source, 4, seed, PLAIN) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert len(set(first.labels)) == 4
    assert not np.array_equal(first.labels, other.labels)
    expected = [prepared(pixels[i], PLAIN) for i in first.labels]
    np.testing.assert_array_equal(first.pixels, expected)
