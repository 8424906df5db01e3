"""Benchmarks: where results go is checked first; two revisions in turn; the accelerator, tiny."""

import contextlib
import importlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from experiments.benchmarks import accelerator, run


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("networks", "folder", "folder is a folder, expected a file"),
        ("plan_apply", "folder", "folder is a folder, expected a file"),
        ("regularizers", "file/x.json", "file is a file, expected a folder"),
        ("import_time", "file/a/x.json", "a file is in the way of this folder"),
        ("measures", "file", "file is a file, expected a folder"),
        ("projectors", "file/a", "a file is in the way of this folder"),
        ("step_causes", "file", "file is a file, expected a folder"),
        ("accelerator", "file", "file is a file, expected a folder"),
        ("run", "folder", "folder is a folder, expected a file"),
    ],
)
def test_where_results_go_is_checked_before_anything_is_measured(
    tmp_path, monkeypatch, capsys, name, given, words
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", [name, "--out", str(tmp_path / given)])
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(f"experiments.benchmarks.{name}").main()
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "argument --out: " in last
    assert words in last


def test_ratios_and_their_intervals():
    rng = np.random.default_rng(0)
    before = 1 + 0.05 * rng.standard_normal(15)
    now = 0.8 + 0.05 * rng.standard_normal(15)
    value, low, high = run.ratio(before, now)
    assert value == np.median(now) / np.median(before)
    assert 0.7 < low < value < high < 0.9
    _, low, high = run.ratio(before, before + 0.001 * rng.standard_normal(15))
    assert low < 1 < high


def test_intervals_of_ratios_hold_as_often_as_they_say_and_are_not_given_for_few_rounds():
    """A revision beside itself, with noise of long tails: at most one in twenty is told."""
    rng = np.random.default_rng(0)
    for rounds in (6, 7, 9, 15):
        times = np.exp(0.1 * rng.standard_t(2, (2000, 2, rounds)))
        found = [run.ratio(*both)[1:] for both in times]
        wrong = np.mean([not low <= 1 <= high for low, high in found])
        assert wrong < 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(times))
    assert run.ratio([1.0] * 5, [2.0] * 5) == [2.0]
    assert run.ratio([1.0] * 6, [2.0] * 6) == [2.0, 2.0, 2.0]


def _times(now):
    return {"times": {"before": [1.0, 1.1, 0.9], "now": now}}


def test_what_changed_is_told():
    found = {
        "a": _times([2.0, 2.2, 1.8]) | {"ratio": [2.0, 1.6, 2.4]},
        "b": _times([0.5, 0.5, 0.5]) | {"ratio": [0.5, 0.45, 0.55]},
        "c": _times([1.0, 1.1, 0.9]) | {"ratio": [1.0, 0.9, 1.1]},
        "d": {"failed": {"before": "AttributeError: no such function"}},
    }
    lines = run.page(found).splitlines()
    assert lines[1].split() == ["a", "1e+03", "2e+03", "2.00", "1.60", "to", "2.40", "slower"]
    assert lines[2].endswith("faster")
    assert lines[3].split()[-1] == "1.10"
    assert lines[4] == "d: not run, before: AttributeError: no such function"


@pytest.mark.slow(8)
def test_this_revision_beside_itself(tmp_path, monkeypatch, capsys):
    """Both sides run, one of them from a tree of its own."""

    @contextlib.contextmanager
    def copied(revision):
        shutil.copytree(run.ROOT / "softeq_jax", tmp_path / "softeq_jax")
        yield tmp_path, revision

    monkeypatch.setattr(run, "checked_out", copied)
    out = tmp_path / "times.json"
    name = "build SO(3) 16 -> 16"
    run.main(["--compare", "HEAD", "--rounds", "2", "--cases", name, "--out", str(out)])
    found = json.loads(out.read_text())
    times = found["cases"][name]["times"]
    assert set(times) == {"before", "now"}
    assert all(len(side) == 2 and min(side) > 0 for side in times.values())
    assert "ratio" in capsys.readouterr().out


def _git(folder, *arguments):
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def test_a_revision_is_checked_out_and_removed(tmp_path, monkeypatch):
    """In a repository of its own, so that no other one is touched."""
    _git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    _git(tmp_path, "add", "file")
    author = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    _git(tmp_path, *author, "commit", "-qm", "one")
    (tmp_path / "file").write_text("two")
    monkeypatch.setattr(run, "ROOT", tmp_path)
    with run.checked_out("HEAD") as (tree, commit):
        assert (tree / "file").read_text() == "one"
        assert len(commit) == 40
    assert not tree.exists()
    with pytest.raises(SystemExit, match="no such revision"), run.checked_out("v17"):
        pass


@pytest.mark.slow(10)
def test_the_accelerator_script_on_any_machine(tmp_path, capsys):
    accelerator.main(["--preset", "tiny", "--peak_tflops", "2", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "accelerator.json").read_text())
    assert found["left_out"] == []
    (training,) = (part for name, part in found["parts"].items() if name.startswith("training"))
    seconds = training["times"]["plain"]["median"]
    assert training["images_per_second"] == pytest.approx(4 / seconds)
    # Multiplications and additions: forward, and backward for weights and hidden activations.
    products = 2 * 4 * (2 * 192 * 16 + 3 * 16 * 8)
    assert products <= training["flops"] < 3 * products
    share = 100 * training["flops"] / seconds / 2e12
    page = (tmp_path / "accelerator.md").read_text()
    assert f"{share:.1f} % of the peak" in page
    for run_name in ("penalty", "prox", "plan alone", "LEE of 4", "shares of 4", "SO(3) 16->16"):
        assert f"| {run_name}" in page
    assert page in capsys.readouterr().out


def test_what_there_is_no_time_for_is_named():
    found = accelerator.measure(accelerator.PRESETS["tiny"], 0.0, print)
    assert found == {"left_out": ["training of two layers", "measures of two layers", "projectors"]}


def test_what_a_device_is_given():
    preset = accelerator.PRESETS["device"]
    made = {name: type(make()).__name__ for name, make in preset.networks.items()}
    assert made == {"ViT-B/16": "ViT", "ResNet-50": "ResNet"}
    assert preset.measured[1]().width == 384
    assert (preset.measured_batch, preset.side) == (256, 224)


def test_peaks_are_known_by_the_name_of_the_device():
    assert accelerator.peak_of("NVIDIA H200") == 989
    assert accelerator.peak_of("NVIDIA L40S") == 362
    assert accelerator.peak_of("cpu") is None
