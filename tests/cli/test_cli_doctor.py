"""The command `doctor`: what it names, writes and refuses."""

import command
import numpy as np
import pytest


@pytest.fixture
def data(pixels, tmp_path):
    np.savez(tmp_path / "data.npz", images=pixels)
    return tmp_path / "data.npz"


@pytest.mark.slow
def test_a_vision_transformer_breaks_at_its_patches(capsys, vit, data, tmp_path):
    out = tmp_path / "found.json"
    text = command.run(capsys, "doctor", vit, "--data", data, "--group", "c4", "--out", out)
    assert "f is not equivariant under C4 as declared: the network itself breaks it" in text
    assert "patch" in text
    assert '"kind": "model"' in out.read_text()


def test_mistakes_are_told_in_a_line(capsys, vit, data, tmp_path):
    words = command.refused(
        capsys, "doctor", vit, "--data", data, "--group", "c4", "--out", tmp_path / "found.txt"
    )
    assert "--out must be a .json or .html file" in words
    words = command.refused(capsys, "doctor", vit, "--data", data, "--group", "so3")
    assert "does not act on the pixels" in words
    words = command.refused(capsys, "doctor", vit, "--data", data, "--group", "c4", "--limit", "1")
    assert "one example only" in words
