"""`measure A B`: one table of two files of one network, and what is refused; `soften --data`."""

import csv

import jax
import numpy as np
import pytest
from command import refused, run
from PIL import Image
from safetensors.numpy import load_file, save_file
from tiny_checkpoints import cifar_file, random_variables, vit_folder

from softeq_jax import measures, models
from softeq_jax.cli import main
from softeq_jax.models.weights import load


def table_of(text):
    """From (measure, degrees or nothing) to the numbers of a table's row."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("measure "))
    where = lines[first].index("degrees")
    rows = {}
    for line in lines[first + 1 :]:
        if not line or line.startswith("("):
            break
        name = line[:where].strip()
        cells = line[where:].split()
        wide = not line[where : where + len("degrees")].strip()
        rows[(name, None if wide else float(cells[0]))] = [
            float(cell) for cell in (cells if wide else cells[1:])
        ]
    return rows


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    vit = vit_folder(folder / "vit")
    dials = ("--group", "c4", "--softness", "0")
    assert main(["soften", str(vit), *dials, "--out", str(folder / "soft")]) == 0
    return vit, folder / "soft"


def functions(folder, pixels):
    network = load(folder)
    images = ((pixels / np.float32(255) - 0.5) / 0.25).astype(np.float32)
    headless = network.model.clone(num_classes=0)
    return (
        images,
        jax.jit(lambda x: network.model.apply(network.variables, x)),
        jax.jit(lambda x: headless.apply(network.variables, x)),
    )


@pytest.mark.slow(6)
def test_both_columns_are_those_of_the_library(capsys, pair, pixels, tmp_path):
    labels = np.array([0, 1, 2, 3, 4, 0])
    data = tmp_path / "data.npz"
    np.savez(data, images=pixels, labels=labels)
    options = ("--data", data, "--angles", "90,30", "--batch-size", "4", "--out", tmp_path / "o")
    rows = table_of(run(capsys, "measure", *pair, *options))
    kl = []
    for column, folder in enumerate(pair):
        images, f, features = functions(folder, pixels)
        report = measures.rotation_report(f, images, labels, np.radians([90, 30]))
        kl.append(report.kl)
        assert rows["accuracy upright", None][column] == pytest.approx(
            report.correct.mean(), abs=1e-3
        )
        for i, angle in enumerate((90, 30)):
            turned = measures.rotate_bilinear(images, np.radians(angle))
            a, b = features(images), features(turned)
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            expected = {
                "KL [nats]": report.kl[i].mean(),
                "accuracy": report.correct_rotated[i].mean(),
                "agreement": (f(turned).argmax(1) == f(images).argmax(1)).mean(),
                "similarity": ((a * b).sum(1) / norms).mean(),
            }
            for name, value in expected.items():
                assert rows[name, angle][column] == pytest.approx(float(value), abs=2e-3)
        errors = measures.lie_errors(f, images, ["rotation"], head="probabilities")["rotation"]
        assert rows["LEE rotation", None][column] == pytest.approx(errors.mean_sq.mean(), rel=2e-3)
    paired = kl[1][1] - kl[0][1]
    expected = [paired.mean(), paired.std(ddof=1) / np.sqrt(len(paired))]
    np.testing.assert_allclose(rows["KL [nats]", 30][2:], expected, rtol=1e-2, atol=1e-5)
    first, second, change, _ = rows["KL [nats]", 90]
    assert change == pytest.approx(second - first, abs=1e-4)
    assert first > 1e-4 > 1e-5 > abs(second)  # the second is invariant to quarter turns
    assert rows["similarity", 90][1] == pytest.approx(1, abs=1e-5)
    written = {path.name for path in (tmp_path / "o").iterdir()}
    assert written == {"comparison.csv", "comparison.png"}
    with (tmp_path / "o" / "comparison.csv").open() as file:
        lines = {(row["measure"], row["degrees"]): row for row in csv.DictReader(file)}
    assert float(lines["KL [nats]", "90.0"]["A"]) == pytest.approx(first, rel=1e-3)


def other_networks(folder):
    """A file, and what the refusal says of it beside a ResNet-8 of 4 channels with 5 classes."""
    for depth, width, classes, words in (
        (14, 4, 5, "depth is 8 in the first, 14 in the second"),
        (8, 8, 5, "width is 4 in the first, 8 in the second"),
        (8, 4, 3, "num_classes is 5 in the first, 3 in the second"),
    ):
        path = folder / f"{depth}-{width}-{classes}.safetensors"
        model = models.CifarResNet(depth=depth, width=width, num_classes=classes)
        models.save_cifar_resnet(path, random_variables(model, 8))
        yield path, words
    yield vit_folder(folder / "vit"), "the family is cifar_resnet in the first, vit in the second"


def test_two_networks_that_are_not_one_are_refused(capsys, pixels, tmp_path):
    first = cifar_file(tmp_path / "net.safetensors")
    np.save(tmp_path / "data.npy", pixels)
    for other, words in other_networks(tmp_path):
        line = refused(capsys, "measure", first, other, "--data", tmp_path / "data.npy")
        assert f"{first} and {other} are not one network" in line
        assert words in line
    line = refused(capsys, "measure", first, tmp_path / "none", "--data", tmp_path / "data.npy")
    assert "none" in line


@pytest.mark.slow(3)
def test_images_of_another_scale_are_told(capsys, pair, pixels, tmp_path):
    np.save(tmp_path / "data.npy", pixels)
    lone = tmp_path / "lone.safetensors"
    save_file(load_file(pair[1] / "model.safetensors"), lone)
    argv = ("measure", pair[0], lone, "--heads", 3, "--data", tmp_path / "data.npy")
    options = ("--angles", "0", "--size", "16")
    assert main([str(part) for part in (*argv, *options)]) == 0
    assert "lone.safetensors normalizes images otherwise" in capsys.readouterr().err
    same = ("--mean", "0.5", "--std", "0.25")
    assert main([str(part) for part in (*argv, *options, *same)]) == 0
    assert "otherwise" not in capsys.readouterr().err


@pytest.mark.slow(3)
def test_folders_of_images_are_labels_where_they_are_the_classes(capsys, pair, pixels, tmp_path):
    for name, image in zip(("a", "b", "c", "d", "e", "a"), pixels, strict=True):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "data" / name / f"{image.sum()}.png")
    options = ("--data", tmp_path / "data", "--angles", "90")
    text = run(capsys, "measure", pair[0], *options)
    images, f, _ = functions(pair[0], pixels)
    right = (np.asarray(f(images)).argmax(1) == [0, 1, 2, 3, 4, 0]).mean()
    assert f"accuracy upright: {right:.4g}" in text
    (tmp_path / "data" / "e").rename(tmp_path / "data" / "d" / "e")
    text = run(capsys, "measure", pair[0], *options)
    assert "the folders are not the classes of the network" in text
    assert "accuracy" not in text


@pytest.mark.slow(4)
def test_a_softened_resnet20_is_measured_on_its_card(capsys, data_dir, tmp_path):
    source = data_dir / "pretrained" / "resnet20_cifar10.safetensors"
    out = tmp_path / "soft.safetensors"
    images = ("--data", "cifar10:test", "--data-dir", data_dir / "tfds", "--limit", "24")
    options = ("--group", "c4", "--softness", "0", "--out", out, *images, "--angles", "90")
    text = run(capsys, "soften", source, *options)
    rows = table_of(text)
    before, after, change, error = rows["KL [nats]", 90]
    assert before > 0.5
    assert 0.6 < rows["accuracy upright", None][0] <= 1
    assert rows["accuracy", 90][0] < rows["accuracy upright", None][0] - 0.2
    assert change == pytest.approx(after - before, abs=2e-3)
    card = out.with_suffix(".md").read_text()
    assert f"| KL [nats] | 90 | {before:.4g} | {after:.4g} | {change:.4g} | {error:.4g} |" in card
    assert "24 of 10,000 images of cifar10:test, 32 x 32 pixels" in card
    assert str(data_dir) not in card
