"""The command `measure`: where images come from, what it prints, and what it refuses."""

import csv
import functools
import math
import types

import jax
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image
from tiny_checkpoints import cifar_file, vit_folder

from softeq_jax import measures
from softeq_jax.cli import _arguments, _images, _sources, main
from softeq_jax.models.weights import Preprocess, load

PLAIN = Preprocess((0.5,) * 3, (0.25,) * 3, 16, 16, True, "bilinear", "a test")


def run(capsys, *argv):
    status = main(["measure", *(str(argument) for argument in argv)])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def refused(capsys, *argv):
    assert main(["measure", *(str(argument) for argument in argv)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("softeq: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return vit_folder(tmp_path_factory.mktemp("measured") / "vit")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)


def rows_after(text, word):
    """The table that starts with a word, as lists of cells."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.split()[:1] == [word])
    table = lines[first + 1 :]
    end = next((i for i, line in enumerate(table) if not line), len(table))
    return [line.split() for line in table[:end]]


@pytest.mark.slow
def test_the_numbers_are_those_of_the_library(capsys, vit, pixels, tmp_path):
    labels = np.array([0, 1, 2, 3, 4, 0])
    np.savez(tmp_path / "data.npz", images=pixels, labels=labels)
    options = ("--angles", "0,-30,90", "--batch-size", "4", "--out", tmp_path / "out")
    text = run(capsys, vit, "--data", tmp_path / "data.npz", *options)
    network = load(vit)
    f = jax.jit(lambda x: network.model.apply(network.variables, x))
    images = ((pixels / np.float32(255) - 0.5) / 0.25).astype(np.float32)
    angles = np.radians([0, -30, 90])
    report = measures.rotation_report(f, images, labels, angles)
    rows = rows_after(text, "degrees")
    assert [row[0] for row in rows] == ["0", "-30", "90"]
    for i, row in enumerate(rows):
        assert float(row[1]) == pytest.approx(report.kl[i].mean(), abs=1e-3)
        assert float(row[3]) == pytest.approx(report.kl_floor[i].mean(), abs=1e-3)
        assert float(row[5]) == pytest.approx(report.correct_rotated[i].mean(), abs=1e-3)
    assert rows[0][4] == "1"
    assert f"accuracy upright: {report.correct.mean():.4g}" in text
    errors = measures.lie_errors(f, images, ["rotation"], head="probabilities")["rotation"]
    row = next(row for row in rows_after(text, "generator") if row[0] == "rotation")
    assert float(row[1]) == pytest.approx(errors.mean_sq.mean(), rel=2e-3)
    assert float(row[3]) == pytest.approx(errors.lipschitz.mean(), rel=2e-3)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"report.txt", "report.csv", "lie.png", "polar.png", "angles.csv"}
    with (tmp_path / "out" / "angles.csv").open() as file:
        table = list(csv.DictReader(file))
    assert float(table[1]["KL [nats]"]) == pytest.approx(report.kl[1].mean(), rel=1e-4, abs=1e-7)


@pytest.mark.slow
def test_softened_weights_are_consistent_under_quarter_turns(capsys, vit, pixels, tmp_path):
    np.save(tmp_path / "data.npy", pixels / 255)
    soft = tmp_path / "soft"
    dials = ("--group", "c4", "--softness", "0")
    assert main(["soften", str(vit), *dials, "--out", str(soft)]) == 0
    capsys.readouterr()
    kl = []
    for weights in (vit, soft):
        text = run(capsys, weights, "--data", tmp_path / "data.npy", "--angles", "90,180")
        assert "accuracy" not in text
        kl.append([float(row[1]) for row in rows_after(text, "degrees")])
    assert min(kl[0]) > 1e-4
    assert max(map(abs, kl[1])) < 1e-6


@pytest.mark.slow
def test_networks_without_classes_are_measured_by_their_outputs(capsys, pixels, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = vit_folder(tmp_path / "vit")
    tensors = load_file(folder / "model.safetensors")
    headless = {n.removeprefix("vit."): t for n, t in tensors.items() if "classifier" not in n}
    save_file(headless, folder / "model.safetensors")
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace("ForImageClassification", "Model"))
    np.save(tmp_path / "data.npy", pixels)
    text = run(capsys, folder, "--data", tmp_path / "data.npy", "--angles", "0,90")
    zero, quarter = rows_after(text, "degrees")
    assert float(zero[1]) < 1e-5
    assert float(quarter[1]) > 1e-3


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
    images = np.stack([_images.prepared(image, PLAIN) for image in pixels[:2]])
    turns = [measures.rotation(math.pi / 2)]
    f = functools.partial(model.apply, variables)
    expected = measures.relative_error(f, images, turns, output="image").value
    assert float(quarter[1]) == pytest.approx(expected, rel=1e-3)
    assert "relative" in next(line for line in text.splitlines() if line.startswith("generator"))
    assert (tmp_path / "out" / "polar.png").exists()


@pytest.mark.slow
def test_folders_of_images_are_read_in_any_depth_and_format(capsys, vit, pixels, tmp_path):
    (tmp_path / "images" / "deep").mkdir(parents=True)
    Image.fromarray(pixels[0]).save(tmp_path / "images" / "a.png")
    Image.fromarray(np.tile(pixels[1], (2, 3, 1))).save(tmp_path / "images" / "deep" / "b.JPG")
    Image.fromarray(pixels[2][..., 0]).save(tmp_path / "images" / "gray.png")
    (tmp_path / "images" / "notes.txt").write_text("none")
    text = run(capsys, vit, "--data", tmp_path / "images", "--angles", "45")
    assert "3 of 3 images" in text
    assert "passed over 1 file that is no image" in text
    (tmp_path / "images" / "broken.png").write_bytes(b"\x89PNG none")
    line = refused(capsys, vit, "--data", tmp_path / "images", "--angles", "45")
    assert "broken.png: not a readable image" in line


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
    source = _sources.open_images(data.format(root), str(root))
    assert source.length == (50000 if "train" in data else 10000)
    record = source.get(3)
    assert record.image.shape == (32, 32, 3)
    assert record.label in range(10)
    with pytest.raises(ValueError, match="no such split; it has test, train"):
        _sources.open_images("cifar10:dev", str(root))


def test_images_are_resized_cropped_and_normalized():
    image = np.zeros((40, 20, 3), np.uint8)
    image[20:] = 255
    p = Preprocess((0.5,) * 3, (0.5,) * 3, 8, 10, True, "bicubic", "a test")
    found = _images.prepared(image, p)  # to 20 x 10, then the middle
    assert found.shape == (8, 8, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], -1, atol=1e-6)
    np.testing.assert_allclose(found[-1], 1, atol=1e-6)
    squeezed = _images.prepared(image, Preprocess((0.5,) * 3, (0.5,) * 3, 8, 8, False, "box", ""))
    np.testing.assert_allclose(squeezed[:4], -1)
    np.testing.assert_allclose(squeezed[4:], 1)
    smooth = np.linspace(0, 1, 16 * 16 * 3).reshape(16, 16, 3)
    np.testing.assert_allclose(_images.prepared(smooth, PLAIN), (smooth - 0.5) / 0.25, atol=1e-6)
    half = Preprocess(PLAIN.mean, PLAIN.std, 8, 8, True, "box", "")
    blocks = smooth.reshape(8, 2, 8, 2, 3).mean((1, 3))
    np.testing.assert_allclose(_images.prepared(smooth, half), (blocks - 0.5) / 0.25, atol=1e-6)


def test_the_choice_of_images_follows_the_seed(pixels):
    source = _sources.Source("six", 6, lambda i: _sources.Record(f"{i}", pixels[i], i))
    first, again, other = (_images.read(source, 4, seed, PLAIN) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert len(set(first.labels)) == 4
    assert not np.array_equal(first.labels, other.labels)
    expected = [_images.prepared(pixels[i], PLAIN) for i in first.labels]
    np.testing.assert_array_equal(first.pixels, expected)


BAD_ARRAYS = {
    "values": (lambda x: x.astype(np.float32), "values in [0, 1]"),
    "nan": (lambda x: np.full(x.shape, np.nan), "values in [0, 1]"),
    "axes": (lambda x: x[0], "[n, h, w, c]"),
    "channels": (lambda x: x[..., :2], "has 2 channels"),
    "none": (lambda x: x[:0], "holds no images"),
    "type": (lambda x: x.astype(np.int32), "int32"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_arrays_that_are_no_images_are_told_in_one_line(capsys, vit, pixels, tmp_path, name):
    change, words = BAD_ARRAYS[name]
    np.save(tmp_path / "bad.npy", change(pixels))
    line = refused(capsys, vit, "--data", tmp_path / "bad.npy")
    assert words in line
    assert "bad.npy" in line


def test_other_mistakes_are_told_in_one_line(capsys, vit, pixels, tmp_path):
    good = tmp_path / "good.npz"
    np.savez(good, images=pixels, labels=np.arange(6))
    assert "has a label 5, the network has 5 classes" in refused(capsys, vit, "--data", good)
    np.savez(tmp_path / "odd.npz", images=pixels, labels=np.arange(5))
    assert "labels must be 6 integers" in refused(capsys, vit, "--data", tmp_path / "odd.npz")
    np.savez(tmp_path / "named.npz", x=pixels)
    assert "'images', it has x" in refused(capsys, vit, "--data", tmp_path / "named.npz")
    for name, whole in (("cut.npy", tmp_path / "whole.npy"), ("cut.npz", good)):
        np.save(tmp_path / "whole.npy", pixels)
        (tmp_path / name).write_bytes(whole.read_bytes()[:-100])
        assert f"{name}: not a readable" in refused(capsys, vit, "--data", tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert "holds no image files" in refused(capsys, vit, "--data", tmp_path / "empty")
    line = refused(capsys, vit, "--data", "no_such_set:test", "--data-dir", tmp_path)
    assert "no_such_set:test: no such file or folder" in line
    assert ".npy or .npz" in refused(capsys, vit, "--data", vit / "config.json")
    np.save(tmp_path / "images.npy", pixels)
    data = ("--data", tmp_path / "images.npy")
    assert "--mean needs 3 numbers, got 2" in refused(capsys, vit, *data, "--mean", "0.1,0.2")
    assert "--std must be positive" in refused(capsys, vit, *data, "--std", "0")
    assert "--angles" in refused(capsys, vit, *data, "--angles", "15;30")
    assert "at least 1, got '0'" in refused(capsys, vit, *data, "--limit", "0")
    assert "images must be [n, 16, 16, c]" in refused(capsys, vit, *data, "--size", "24")
    text = run(capsys, vit, *data, "--std", "1", "--angles", "90")
    assert math.isfinite(float(rows_after(text, "degrees")[0][1]))
