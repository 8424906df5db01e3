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
"""Seconds for one notebook (about 10 on an idle core)."""
WORDS = 1200
"""Of text and code together: what is read in one sitting."""

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
        "01_start_here",
        "02_groups_and_projectors",
        "03_soften_a_resnet",
        "04_soften_a_vit",
        "05_measure_a_network",
        "06_train_through_relaxation",
        "07_penalties_on_your_own_model",
        "08_why_is_my_network_not_equivariant",
    ]


@pytest.mark.slow(15)
@each_notebook
def test_runs_from_top_to_bottom(path, tmp_path):
    before = path.read_bytes()
    target = tmp_path / path.name
    working = tmp_path / "elsewhere"  # it must not depend on the working directory
    working.mkdir()
    environment = os.environ | {
        "SOFTEQ_NOTEBOOK_SMALL": "1",  # those that need it have a smaller form
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
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
    notebook = json.loads(text)
    _check_outputs(notebook)
    assert len(text) < 1_000_000
    assert sum(len("".join(cell["source"]).split()) for cell in notebook["cells"]) <= WORDS
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
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
