"""Every notebook runs from top to bottom, and its committed copy holds the outputs of a run."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LIMIT = 400
"""Seconds for one notebook in its small form (about 30 on two idle cores)."""

_EXECUTE = """
import sys, nbclient, nbformat
source, target, folder = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
nbclient.NotebookClient(
    notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
).execute()
nbformat.write(notebook, target)
"""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == [
        "01_soften_a_network",
        "02_measure_a_network",
        "03_penalize_your_own_model",
        "04_train_through_relaxation",
        "08_why_is_my_network_not_equivariant",
    ]


@pytest.mark.slow(30)
@each_notebook
def test_runs_in_its_small_form(path, tmp_path):
    before = path.read_bytes()
    target = tmp_path / path.name
    working = tmp_path / "elsewhere"  # it must not depend on the working directory
    working.mkdir()
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
    environment = os.environ | {
        "SOFTEQ_NOTEBOOK_SMALL": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "XLA_FLAGS": flags.strip(),  # most of the time is compilation
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter"),
    }
    run = subprocess.run(
        [sys.executable, "-c", _EXECUTE, str(path), str(target), str(working)],
        env=environment,
        timeout=LIMIT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-5000:]
    assert path.read_bytes() == before
    assert not list(working.iterdir())
    _check_outputs(json.loads(target.read_text(encoding="utf-8")))


@each_notebook
def test_committed_outputs(path):
    text = path.read_text(encoding="utf-8")
    _check_outputs(json.loads(text))
    assert len(text) < 1_000_000
    for place in {str(ROOT), str(pathlib.Path.home()), "site-packages", "/tmp/"}:
        assert place not in text, f"the notebook names a place on somebody's machine: {place}"


def _check_outputs(notebook):
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    kinds = [output["output_type"] for output in outputs]
    assert "error" not in kinds
    noise = [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert not noise
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
