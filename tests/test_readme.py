"""What the README shows runs as pasted."""

import pathlib
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from softeq_jax.cli import make_parser

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
FOLDERS = (ROOT / name for name in ("experiments", "docs"))
PAGES = [*ROOT.glob("*.md"), *sorted(page for folder in FOLDERS for page in folder.rglob("*.md"))]


@pytest.mark.slow
def test_the_examples_run_as_pasted(capsys):
    softening, algebra, *_ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict = {}
    exec(compile(softening, "README.md", "exec"), names)
    np.testing.assert_array_equal(names["same"]["stem"]["kernel"], names["w"])
    expected = names["P"](names["w"])
    np.testing.assert_allclose(names["soft"]["stem"]["kernel"], expected, atol=1e-6)
    assert "1 filtered, 1 untouched" in capsys.readouterr().out

    names = {}
    with pytest.warns(UserWarning, match="no levels above 0"):
        exec(compile(algebra, "README.md", "exec"), names)
    assert names["cube"].order == 43252003274489856000
    assert names["H"].order == 24
    # V -> V once per pair of copies, and V (x) V holds V once: 16 * (4 + 8) maps
    assert names["P"].rank() == 16 * 12
    g = names["H"].elements()[7]
    x = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(names["f"](g @ x), g @ names["f"](x), atol=1e-5)


@pytest.mark.slow
def test_the_measures_run_as_pasted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _, _, measuring, *_ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict = {}
    exec(compile(measuring, "README.md", "exec"), names)
    assert set(names["error"]) == {"translation_x", "rotation"}
    for shares in names["shares"].shares.values():
        np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-3)
    assert max(values.max() for values in names["exact"].values()) < 1e-10
    assert (tmp_path / "outputs" / "report" / "lie.png").exists()
    assert "hyperbolic_rotation" in capsys.readouterr().out


@pytest.mark.slow
def test_the_training_runs_as_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, _, _, training, *_ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict = {}
    exec(compile(training, "README.md", "exec"), names)
    assert names["outcome"].step == 400
    assert names["outcome"].metrics["count"] == 360
    assert names["outcome"].metrics["accuracy"] > 0.5
    folded = load_file(tmp_path / "outputs" / "readme_run" / "folded.safetensors")
    tree = {**names["params"], "stem": {**names["params"]["stem"], "kernel": folded["stem/kernel"]}}
    kernel = names["plan"].project(tree)
    np.testing.assert_allclose(kernel["stem"]["kernel"], folded["stem/kernel"], atol=1e-6)


@pytest.mark.slow
def test_the_penalties_run_as_pasted(capsys):
    *_, penalizing, _ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict = {}
    exec(compile(penalizing, "README.md", "exec"), names)
    norms = names["sq"].regularizers.part_norms(names["plan"], names["params"])["dense/kernel"]
    assert norms.residual < 1e-5 * norms.equivariant
    assert "0.0 1.0 0.0" in capsys.readouterr().out
    assert names["relaxed"]["dense"]["kernel"].shape == (12, 12)


@pytest.mark.slow
def test_the_networks_run_as_pasted(capsys):
    *_, networks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(networks, "README.md", "exec"), {})
    *_, summary, raw, soft, strict = capsys.readouterr().out.splitlines()
    assert summary == "2 filtered, 69 untouched"
    assert float(raw) > 0.01
    assert max(float(soft), float(strict)) < 1e-5


def test_the_commands_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^make (\w+)", TEXT, re.MULTILINE)) <= set(targets)
    for module in re.findall(r"python -m (experiments[.\w]+)", TEXT):
        assert _is_program(module), module
    commands = re.findall(r"^\.venv/bin/softeq (.*)", TEXT, re.MULTILINE)
    assert len(commands) == 7
    for command in commands:
        make_parser().parse_args(command.split("#")[0].split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("folder", ["experiments", "notebooks", "docs"])
def test_the_commands_and_configs_of_studies_exist(folder):
    """Wherever a command line of a study is written down."""
    kinds = {".py", ".md", ".sh", ".sbatch", ".ipynb"}
    pages = [page for page in (ROOT / folder).rglob("*") if page.suffix in kinds]
    for page in pages:
        text = page.read_text()
        for module in re.findall(r"python -m (experiments[.\w]*\w)", text):
            assert _is_program(module), f"{page}: {module}"
        for path in re.findall(r"experiments/[\w/]+\.(?:py|md|sh|sbatch|png|csv)\b", text):
            assert (ROOT / path).exists(), f"{page}: {path}"


def _is_program(module):
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()
