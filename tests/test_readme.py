"""What the README shows runs as pasted."""

import pathlib
import re

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def test_the_ten_lines_run_as_pasted(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    np.testing.assert_array_equal(names["same"]["stem"]["kernel"], names["w"])
    expected = names["P"](names["w"])
    np.testing.assert_allclose(names["soft"]["stem"]["kernel"], expected, atol=1e-6)
    assert "1 filtered, 1 untouched" in capsys.readouterr().out


def test_the_commands_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^make (\w+)", TEXT, re.MULTILINE)) <= set(targets)
    for module in re.findall(r"python -m (experiments[.\w]+)", TEXT):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists()


def test_the_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target
