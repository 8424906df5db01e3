"""The command that measures published files: table, resumption, further files, bad input."""

import csv
import json

import jax
import numpy as np
import pytest

from experiments.measure import __main__ as command
from experiments.measure import files
from experiments.shared.studies import StudyError
from softeq_jax import models

FEW = (
    *("--images", "4", "--consistency_images", "4", "--accuracy_images", "16"),
    *("--batch_size", "4"),
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two small networks in files of published form."""
    folder = tmp_path_factory.mktemp("weights")
    model = models.CifarResNet(depth=8, width=2)
    for seed, name in enumerate(("one", "two")):
        shape = np.zeros((1, 32, 32, 3), np.float32)
        variables = jax.jit(model.init)(jax.random.key(seed), shape)
        variables = jax.tree.map(np.asarray, dict(variables))
        models.save_cifar_resnet(folder / f"{name}.safetensors", variables)
    return folder


def _table(folder):
    with (folder / "files.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow(20)
def test_files_become_rows_and_further_ones_join_them(
    saved, data_dir, tmp_path, monkeypatch, capsys
):
    workdir, cifar = tmp_path / "w", str(data_dir / "tfds" / "cifar10")
    shared = ["--data", cifar, "--workdir", str(workdir), *FEW]
    one, two = (str(saved / f"{name}.safetensors") for name in ("one", "two"))
    assert command.main(["--weights", one, *shared]) == 0
    first = (workdir / "runs" / "one" / "0.json").stat().st_mtime_ns
    assert [line["row"] for line in _table(workdir)] == ["one"]
    assert command.main(["--weights", two, *shared]) == 0
    lines = _table(workdir)
    assert [line["row"] for line in lines] == ["one", "two"]
    assert (workdir / "runs" / "one" / "0.json").stat().st_mtime_ns == first, "not done again"
    for line in lines:
        assert 0 <= float(line["accuracy"]) <= 100
        assert float(line["lee_translation"]) > 0
        assert int(line["images"]) == 16
    assert lines[0]["lee_rotation"] != lines[1]["lee_rotation"]
    text = (workdir / "files.md").read_text()
    assert "python -m experiments.measure --weights" in text
    assert "| two | " in text
    assert (workdir / "files.png").stat().st_size > 5_000
    capsys.readouterr()
    assert command.main(["--weights", one, *shared, "--images", "3"]) == 2
    assert "settings.images: 4, now 3" in capsys.readouterr().err


def test_bad_input_is_told_in_one_line(saved, tmp_path, capsys):
    one = str(saved / "one.safetensors")
    workdir = ["--workdir", str(tmp_path / "w")]
    cases = (
        (["--weights", "nowhere", "--data", str(tmp_path)], "is no prepared data set"),
        (
            ["--weights", one, "--data", str(tmp_path), "--images", "0"],
            "--images must be at least 1",
        ),
    )
    for arguments, said in cases:
        assert command.main([*arguments, *workdir]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "w").exists()
    with pytest.raises(StudyError, match="nowhere is not there"):
        files.names_of([saved / "nowhere"])
    with pytest.raises(StudyError, match="is given twice"):
        files.names_of([saved / "one.safetensors"] * 2)


def test_names_are_those_of_files_or_of_their_folders(saved, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").touch()
        (tmp_path / name / "one.safetensors").touch()
    paths = [tmp_path / "a", tmp_path / "b" / "model.safetensors"]
    paths += [tmp_path / name / "one.safetensors" for name in ("a", "b")]
    found = files.names_of(paths)
    assert list(found.values()) == paths
    assert list(found) == ["a", "b", "one", str(paths[3])]


def test_a_spoiled_record_is_named(tmp_path):
    path = tmp_path / "runs" / "x" / "0.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({}))
    with pytest.raises(StudyError, match="is no record of a run"):
        files.earlier(tmp_path)
