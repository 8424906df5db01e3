"""The softening study: plans, rows that survive an interruption, tables, command line."""

import csv
import json
import math
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments.soften import report, run, softening
from experiments.soften.configs import cifar10_resnet20
from experiments.soften.task import Data, load_network
from softeq_jax import data, models

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = ROOT / "experiments" / "soften" / "configs" / "cifar10_resnet20.py"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of three rows on a small random network and random images."""
    config = cifar10_resnet20.get_config()
    model = models.CifarResNet(depth=8, width=4)
    variables = model.init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32), train=False)
    models.save_cifar_resnet(tmp_path / "net.safetensors", variables)
    config.weights = "net.safetensors"
    config.data.image_shape = (8, 8, 3)
    config.finetune.update(steps=3, batch_size=8)
    config.defect_images = 4
    every = "**/conv?/kernel"
    config.rows = [
        cifar10_resnet20.row("unfiltered", "so2", (every, {"softness": 1.0})),
        cifar10_resnet20.row("SO(2) 1", "so2", (every, {"cutoff": 1.0})),
        cifar10_resnet20.row(
            "C4 strict", "c4", ("stage1_*/conv1/kernel", None), (every, {"cutoff": 0.0})
        ),
    ]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, 40).astype(np.int32)
    parts = Data(
        data.ArraySource(images, labels),
        (images[30:], labels[30:]),
        (images[:24], labels[:24]),
        16,
    )
    monkeypatch.setattr(run, "load_data", lambda *_: parts)
    return config, tmp_path


@pytest.mark.slow(20)
def test_a_study_ends_with_tables_a_figure_and_weights(study):
    config, folder = study
    rows = run.run(config, folder, folder / "work")
    assert [row["name"] for row in rows] == ["unfiltered", "SO(2) 1", "C4 strict"]
    assert [row["images"] for row in rows] == [24, 24, 24]
    for row in rows:
        assert row["measured"] <= row["certified"] <= row["measured"] + 1e-2
        assert row["measured_group"] <= row["certified_group"] <= row["measured_group"] + 0.1
        assert row["kl_30"] >= 0
        assert math.isfinite(row["kl_30_change"])
    assert rows[0]["kl_30_change"] == 0
    assert rows[2]["certified_group"] < 1e-6
    assert rows[2]["layers"] == "4 of 6"
    np.testing.assert_allclose(rows[1]["kept"], 5 / 9)
    work = folder / "work"
    for name in ("table.md", "table.csv", "figure.png", "config.json"):
        assert (work / name).stat().st_size > 0
    table = list(csv.DictReader((work / "table.csv").open()))
    np.testing.assert_allclose(float(table[1]["accuracy"]), rows[1]["accuracy"])
    layers = list(csv.DictReader((work / "layers.csv").open()))
    layers = [layer for layer in layers if layer["row"] == "C4 strict"]
    assert {row["certified"] for row in layers} == {"True", "False"}
    for layer in layers:
        if layer["certified"] == "True":
            assert float(layer["operator_bound"]) < 1e-5
            assert float(layer["gain_90"]) <= float(layer["operator_bound"]) + 1e-5
            assert float(layer["defect_90"]) < 1e-5
        else:
            assert "stride 2" in layer["reason"]
    _, softened = models.load_cifar_resnet(work / "rows" / "C4_strict" / "softened.safetensors")
    kernel = softened["params"]["stage1_block0"]["conv2"]["kernel"]
    np.testing.assert_allclose(np.rot90(kernel), kernel, atol=1e-6)
    text = report.terminal_table(rows)
    assert len({len(line.rstrip()) for line in text.splitlines()[:2]}) == 1
    assert "24" in text
    assert "16" in text


@pytest.mark.slow(9)
def test_a_study_goes_on_after_an_interruption(study, monkeypatch):
    config, folder = study
    straight = run.run(config, folder, folder / "straight")

    tune, trained = softening.fine_tune, []

    def interrupted(*args, **kwargs):
        trained.append(kwargs["progress"])
        if trained.count("SO(2) 1") == 1 and kwargs["progress"] == "SO(2) 1":
            raise KeyboardInterrupt
        return tune(*args, **kwargs)

    monkeypatch.setattr(softening, "fine_tune", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.run(config, folder, folder / "work")
    assert not (folder / "work" / "rows" / "SO_2__1" / "row.json").exists()
    rows = run.run(config, folder, folder / "work")
    assert trained == ["unfiltered", "SO(2) 1", "SO(2) 1", "C4 strict"]
    timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    assert timeless == [{k: v for k, v in row.items() if k != "seconds"} for row in straight]


@pytest.mark.slow
def test_an_interrupted_evaluation_does_not_train_again(study, monkeypatch):
    config, folder = study
    evaluate = softening.evaluate

    def broken(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(softening, "evaluate", broken)
    with pytest.raises(KeyboardInterrupt):
        run.run(config, folder, folder / "work")
    monkeypatch.setattr(softening, "evaluate", evaluate)
    trained = []
    tune = softening.fine_tune
    monkeypatch.setattr(
        softening, "fine_tune", lambda *a, **k: trained.append(k["progress"]) or tune(*a, **k)
    )
    run.run(config, folder, folder / "work")
    assert trained == ["SO(2) 1", "C4 strict"]


@pytest.mark.slow
def test_rows_of_other_settings_are_not_mixed(study):
    config, folder = study
    config.rows = config.rows[:1]
    run.run(config, folder, folder / "work")
    config.finetune.steps = 4
    with pytest.raises(ValueError, match="other settings or weights"):
        run.run(config, folder, folder / "work")


@pytest.mark.slow
def test_bad_studies_are_refused(study):
    config, folder = study
    good = list(config.rows)
    for rows, message in [
        ([good[0], good[0]], "distinct names"),
        (good[1:], "'unfiltered' among them"),
        ([good[0], cifar10_resnet20.row("x", "so9", ("**", {"cutoff": 1.0}))], "row 'x'.*"),
        (
            [good[0], cifar10_resnet20.row("x", "c4", ("nowhere/*", {"cutoff": 1.0}))],
            "row 'x'.*nowhere",
        ),
        ([good[0], cifar10_resnet20.row("x", "c4", ("**", {"cutoff": -1.0}))], "row 'x'.*cutoff"),
    ]:
        config.rows = rows
        with pytest.raises(ValueError, match=message):
            run.run(config, folder, folder / "work")


@pytest.mark.slow
def test_the_measured_movement_is_the_certified_one(study):
    config, folder = study
    network = load_network(config, folder)
    params = network.variables["params"]
    for row in config.rows:
        plan = run.build_plan(params, row)
        rotations = run.build_plan(params, row, "so2")
        moved = softening.movement(plan, rotations, plan.project(params))
        assert moved.measured <= moved.certified <= moved.measured + 1e-2
        assert moved.measured_group <= moved.certified_group <= 2


def run_cli(*args, **env):
    command = [sys.executable, "-m", "experiments.soften", f"--config={CONFIG}", *args]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, timeout=240
    )


@pytest.mark.slow
def test_dry_run_prints_every_plan(data_dir):
    done = run_cli("--dry_run", f"--data_dir={data_dir}")
    assert done.returncode == 0, done.stderr[-2000:]
    config = cifar10_resnet20.get_config()
    for row in config.rows:
        assert f"== {row.name} " in done.stdout
    for part in ("stage3_block2/conv2/kernel", "rank", "certified", "not certified", "measured"):
        assert part in done.stdout


@pytest.mark.slow
def test_the_command_line_explains_what_is_wrong(tmp_path):
    done = run_cli("--dry_run", f"--data_dir={tmp_path}", "--config.finetune.stepz=3")
    assert done.returncode != 0
    assert "steps" in done.stderr
    done = run_cli("--dry_run", f"--data_dir={tmp_path}")
    assert done.returncode != 0
    assert "resnet20_cifar10.safetensors" in done.stderr
    done = run_cli(f"--data_dir={tmp_path}")
    assert "--workdir is needed" in done.stderr + done.stdout


def test_the_config_follows_its_own_limits():
    config = cifar10_resnet20.get_config()
    rows = list(config.rows)
    groups = [row.group for row in rows if row.name != config.reference]
    assert {group: groups.count(group) for group in set(groups)} == {"c4": 3, "d4": 3, "so2": 3}
    assert config.finetune.steps == 400
    json.loads(config.to_json_best_effort())


def test_the_best_setting_is_the_nearest_to_the_target():
    def row(name, accuracy, kl):
        return {"name": name, "holdout_accuracy": accuracy, "holdout_kl_30": kl}

    reference = row("unfiltered", 0.90, 2.0)
    reached = row("a", 0.896, 1.3)
    costly = row("b", 0.87, 0.8)
    harmless = row("c", 0.90, 1.9)
    assert report.nearest_to_target([costly, reached, harmless], reference) is reached
    assert report.nearest_to_target([costly, harmless], reference) is harmless
