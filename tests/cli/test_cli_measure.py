"""The command `measure`: where images come from, what it prints, and what it refuses."""

import csv
import math

import jax
import numpy as np
import pytest
from measure_command import refused, rows_after, run
from PIL import Image
from tiny_checkpoints import vit_folder

from softeq_jax import measures
from softeq_jax.cli import main
from softeq_jax.models.weights import load


def test_a_split_and_a_data_dir_are_for_tfds(capsys, vit, pixels, tmp_path):
    np.savez(tmp_path / "data.npz", images=pixels)
    words = refused(capsys, vit, "--data", f"{tmp_path / 'data.npz'}:train")
    assert "only TFDS data sets have splits, got 'train'" in words
    words = refused(capsys, vit, "--data", tmp_path / "data.npz", "--data-dir", tmp_path / "tfds")
    assert "no prepared TFDS data set" in words


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


BAD_ARRAYS = {
    "values": (lambda x: x.astype(np.float32), "values in [0, 1]"),
    "nan": (lambda x: np.full(x.shape, np.nan), "values in [0, 1]"),
    "axes": (lambda x: x[0], "[n, h, w, c]"),
    "channels": (lambda x: x[..., :2], "has 2 channels"),
    "none": (lambda x: x[:0], "holds no images"),
    "type": (lambda x: x.astype(np.int32), "int32"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_arrays_that_are_no_images_are_told_in_one_line(capsys, vit, pixels, tmp_path, name):
    change, words = BAD_ARRAYS[name]
    np.save(tmp_path / "bad.npy", change(pixels))
    line = refused(capsys, vit, "--data", tmp_path / "bad.npy")
    assert words in line
    assert "bad.npy" in line


@pytest.mark.slow
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
