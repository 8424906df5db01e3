"""`finetune`: filters that hold in training, new heads, kills, and data that are refused."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from command import refused, run
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tiny_checkpoints import cifar_file, vit_folder

import softeq_jax as sq
from softeq_jax import models
from softeq_jax.cli import main
from softeq_jax.models.weights import load, sha256

HEAT = ("--group", "c4", "--softness", "0.3")


def folders(path, classes, each, seed=0):
    """A folder of noise for each class, brighter from class to class."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 128, (16, 16, 3)) + 120 * number // len(classes)
            Image.fromarray(pixels.astype(np.uint8)).save(path / name / f"{i}.png")
    return path


def metadata(path):
    with safe_open(path, "np") as file:
        return file.metadata()


@pytest.fixture
def resnet(tmp_path):
    return cifar_file(tmp_path / "net.safetensors")


@pytest.fixture
def data(tmp_path):
    return folders(tmp_path / "data", "abcde", 3)


@pytest.mark.slow(10)
def test_a_killed_run_ends_with_the_same_weights_and_its_filters_hold(capsys, data, tmp_path):
    soft, out, straight = tmp_path / "soft", tmp_path / "killed", tmp_path / "straight"
    hard = ("--group", "c4", "--softness", "0", "--position-softness", "1")
    run(capsys, "soften", vit_folder(tmp_path / "vit"), *hard, "--out", soft)
    options = ("--data", data, "--epochs", 6, "--batch-size", 4, "--learning-rate", 0.01)
    text = run(capsys, "finetune", soft, *options, "--out", straight)
    assert "the head for 5 classes is kept, in the order of the folders' names" in text
    assert "training on 13 images of 5 classes, testing on 2; 19 steps" in text
    argv = ["finetune", soft, *options, "--out", out]
    process = subprocess.Popen(
        [sys.executable, "-m", "softeq_jax.cli", *map(str, argv)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    saved = tmp_path / "killed.training" / "checkpoints"
    end = time.monotonic() + 120
    while time.monotonic() < end and len(list(saved.glob("[0-9]*"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert main([str(part) for part in (*argv, "--seed", 1)]) == 2
    words = capsys.readouterr().err
    assert "killed.training holds a run with another configuration (seed was 0, is 1)" in words
    run(capsys, *argv)
    weights = [folder / "model.safetensors" for folder in (straight, out)]
    assert weights[0].read_bytes() == weights[1].read_bytes()

    before, after = (load(folder).variables["params"] for folder in (soft, out))
    for part in ("patch_embed", "head", "norm"):
        for name, value in before[part].items():
            assert np.abs(after[part][name] - value).max() > 1e-4, (part, name)
    kernel = after["patch_embed"]["kernel"]
    np.testing.assert_allclose(kernel, np.rot90(kernel), atol=1e-6)  # the filter held
    found = metadata(weights[1])
    assert (found["softeq.group"], found["softeq.source_sha256"]) == ("c4", sha256(soft))
    assert json.loads(found["softeq.dials"]) == {"softness": 0, "position_softness": 1}
    assert json.loads(found["softeq.classes"]) == list("abcde")
    rules = models.soft_rules(load(out).model, sq.groups.cyclic(4), softness=0)
    true = sq.plan(after, rules).certificate(after).relative
    assert true <= float(found["softeq.bound"].split()[0]) <= 1.001 * true
    card = (out / "README.md").read_text()
    assert "# killed: ViT, softened and trained" in card
    text = run(capsys, "inspect", out)
    assert "names     a, b, c, d, e" in text
    assert "trained   on data (13 images), rules soft, epochs 6" in text


@pytest.mark.slow(6)
def test_frozen_filters_stay_and_a_new_head_learns(capsys, resnet, tmp_path):
    images = folders(tmp_path / "data", ("cat", "dog", "emu"), 4)
    (images / "emu" / "cut.png").write_bytes((images / "emu" / "0.png").read_bytes()[:60])
    out = tmp_path / "out.safetensors"
    test = folders(tmp_path / "test", ("emu", "cat"), 2, seed=1)
    options = ("--data", images, "--epochs", 2, "--batch-size", 6, "--learning-rate", 0.01)
    argv = ("finetune", resnet, *options, "--rules", "frozen", *HEAT, "--test", test, "--out", out)
    words = refused(capsys, *argv)
    assert "data: 1 of 13 images cannot be read: " in words
    assert f"{images / 'emu' / 'cut.png'}: not a readable image" in words
    assert main([str(part) for part in (*argv, "--skip-unreadable", "--flip")]) == 0
    said = capsys.readouterr()
    assert "a new head for 3 classes, in place of that for 5" in said.out
    assert "training on 12 images of 3 classes, testing on 4; 4 steps" in said.out
    assert "warning: --data" in said.err
    assert "cut.png" in said.err
    network, params = load(out), load(resnet).variables["params"]
    assert network.model.num_classes == 3
    rules = models.soft_rules(network.model, sq.groups.cyclic(4), softness=0.3)
    plan = sq.plan(params, rules)
    after = network.variables["params"]
    for (path, _, wanted), (_, _, found) in zip(
        plan.planned(plan.project(params)), sq.plan(after, rules).planned(after), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-7, err_msg=path)
    old, new = load(resnet).variables, network.variables
    assert np.abs(new["params"]["bn1"]["scale"] - old["params"]["bn1"]["scale"]).max() > 1e-3
    assert np.abs(new["batch_stats"]["bn1"]["mean"] - old["batch_stats"]["bn1"]["mean"]).max() > 0
    assert json.loads(metadata(out)["softeq.classes"]) == ["cat", "dog", "emu"]
    p, files = network.preprocess, sorted(test.rglob("*.png"))
    sides = (p.image_size, p.image_size)
    pixels = [Image.open(file).resize(sides, Image.Resampling.BILINEAR) for file in files]
    pixels = (np.stack(pixels) / np.float32(255) - np.array(p.mean)) / np.array(p.std)
    logits = network.model.apply(network.variables, pixels.astype(np.float32), train=False)
    right = np.asarray(logits).argmax(1) == [0, 0, 2, 2]  # cat, emu: matched by name
    assert f"accuracy {right.mean():.4g}, " in said.out


@pytest.mark.slow(3)
def test_without_filters_a_file_is_softened_no_more(capsys, tmp_path):
    soft, out = tmp_path / "soft", tmp_path / "out"
    run(capsys, "soften", vit_folder(tmp_path / "vit"), *HEAT, "--out", soft)
    images = folders(tmp_path / "data", ("cat", "dog"), 3)
    argv = ("finetune", soft, "--data", images, "--epochs", 1, "--rules", "none", "--out", out)
    assert main([str(part) for part in argv]) == 0
    said = capsys.readouterr()
    assert "warning: --rules none: the filters of the file are let go" in said.err
    found = metadata(out / "model.safetensors")
    assert "softeq.group" not in found
    assert json.loads(found["softeq.earlier"])[0]["group"] == "c4"
    assert json.loads((out / "config.json").read_text())["id2label"] == {"0": "cat", "1": "dog"}
    again = tmp_path / "again"
    run(capsys, "soften", out, *HEAT, "--out", again)  # so it may be softened
    assert json.loads(metadata(again / "model.safetensors")["softeq.classes"]) == ["cat", "dog"]


def test_images_without_classes_are_refused(capsys, resnet, tmp_path):
    argv = ("finetune", resnet, "--epochs", 1, *HEAT, "--out", tmp_path / "out.safetensors")
    one = folders(tmp_path / "one", ("cat",), 2)
    words = refused(capsys, *argv, "--data", one)
    assert "one: has one class only (cat); expected two at least" in words
    flat = folders(tmp_path / "flat", ("cat", "dog"), 1)
    Image.new("RGB", (16, 16)).save(flat / "stray.png")
    words = refused(capsys, *argv, "--data", flat)
    assert "flat: tells of no classes; expected a folder with a folder of images for each" in words
    (tmp_path / "empty").mkdir()
    assert "holds no image files" in refused(capsys, *argv, "--data", tmp_path / "empty")
    np.save(tmp_path / "data.npy", np.zeros((4, 16, 16, 3), np.uint8))
    assert "tells of no classes" in refused(capsys, *argv, "--data", tmp_path / "data.npy")
    two = folders(tmp_path / "two", ("cat", "dog"), 2)
    words = refused(capsys, *argv, "--data", two, "--test", one / "cat")
    assert "--test" in words
    words = refused(capsys, *argv, "--data", two, "--test", folders(tmp_path / "x", "ab", 1))
    assert "has 2 classes (a, b), expected those of --data, 2 (cat, dog)" in words
    for name in ("0", "1"):
        (two / "dog" / f"{name}.png").write_bytes(b"none")
    words = refused(capsys, *argv, "--data", two, "--skip-unreadable")
    assert "2 of 4 images cannot be read, none is left of dog" in words


def test_filters_are_asked_for_once(capsys, data, resnet, tmp_path):
    soft, out = tmp_path / "soft.safetensors", tmp_path / "out.safetensors"
    run(capsys, "soften", resnet, *HEAT, "--out", soft)
    options = ("--data", data, "--epochs", 1, "--out", out)
    assert "not softened yet, so --rules soft needs" in refused(
        capsys, "finetune", resnet, *options
    )
    words = refused(capsys, "finetune", soft, *options, *HEAT)
    assert "softened already, under c4: heat mask, softness 0.3" in words
    assert "leave --softness, --group out" in words
    words = refused(capsys, "finetune", soft, *options, "--rules", "none", "--group", "c4")
    assert "--rules none filters nothing: leave --group out" in words
    words = refused(capsys, "finetune", soft, *options, "--held-out", "1")
    assert "--held-out: expected a number between 0 and 1" in words
    words = refused(capsys, "finetune", soft, *options, "--learning-rate", "-1")
    assert "--learning-rate: expected a finite number" in words
    words = refused(capsys, "finetune", soft, *options[:-1], tmp_path / "folder")
    assert "needs a config.json" in words
    found = metadata(soft)
    for dials in ({}, {"softness": "x"}, {"strength": 1}):
        save_file(load_file(soft), soft, found | {"softeq.dials": json.dumps(dials)})
        words = refused(capsys, "finetune", soft, *options)
        assert f"metadata softeq.dials is {dials}, expected some of softness" in words
    out.write_bytes(b"mine")
    assert "exists already" in refused(capsys, "finetune", soft, *options)
