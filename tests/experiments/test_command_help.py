"""What ``--help`` of the commands of ``experiments`` tells: needed flags, and an example."""

import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PEERS = {"benchmarks.networks_torch", "benchmarks.double_backward"}
"""Processes that a benchmark starts and talks to."""
BARE = {"smoke.against_phiflow"}
"""Takes no flags."""


def commands():
    """Every module that runs as ``python -m experiments.NAME``."""
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        if 'if __name__ == "__main__":' in path.read_text():
            name = ".".join(path.relative_to(ROOT / "experiments").with_suffix("").parts)
            yield name.removesuffix(".__main__")


COMMANDS = [name for name in commands() if name not in PEERS | BARE and "worker" not in name]


@pytest.mark.parametrize("name", COMMANDS)
def test_its_docstring_has_an_example_and_is_what_help_tells(name):
    folder = ROOT / "experiments" / name.replace(".", "/")
    path = folder / "__main__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = path.read_text()
    assert f"-m experiments.{name}" in text.split('"""')[1]
    told = "parser_of(__doc__" in text or "absl import app" in text.replace("flags, ", "")
    assert told, "absl tells the docstring of the main module; others hand it to parser_of"


@pytest.mark.parametrize("name", ["run", "measure"])
def test_needed_flags_are_said(name, capsys):
    home = importlib.import_module(f"experiments.{name}" + (".__main__" if name != "run" else ""))
    with pytest.raises(SystemExit) as end:
        home.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert re.search(rf"python -m experiments\.{name} ", text)
    assert ("--weights" if name == "measure" else "--preset") in text


@pytest.mark.slow(8)
def test_training_says_which_flags_it_needs():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.train", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        timeout=120,
        check=False,
    )
    assert "--config experiments/train/configs/digits.py" in done.stdout
    assert re.search(r"--config: Needed:", done.stdout)
    assert re.search(r"--workdir: Needed:", done.stdout)
    assert "backend" not in done.stderr
