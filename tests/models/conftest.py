"""Golden checkpoints with something altered."""

import json
import pathlib
import shutil

import pytest
from safetensors.numpy import load_file, save_file

GOLDEN = pathlib.Path(__file__).parent / "golden"
WEIGHTS = "model.safetensors"


@pytest.fixture
def altered(tmp_path):
    """Copies a golden network; settings changed, None: removed; tensors renamed or added."""

    def copy(name, settings=None, part=None, tensors=None, beside=None):
        folder = tmp_path / "network"
        shutil.copytree(GOLDEN / name, folder, dirs_exist_ok=True)
        text = json.loads((folder / "config.json").read_text())
        place = text[part] if part else text
        for key, value in (settings or {}).items():
            place[key] = value
            if value is None:
                del place[key]
        (folder / "config.json").write_text(json.dumps(text))
        if beside is not None:
            (folder / "preprocessor_config.json").write_text(json.dumps(beside))
        if tensors is not None:
            found = load_file(folder / WEIGHTS)
            save_file(tensors(found), folder / WEIGHTS, {"format": "pt"})
        return folder

    return copy
