"""The stored table of the built-in networks beside the networks themselves."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from softeq_jax import models
from softeq_jax.cli import _model_table
from softeq_jax.models.weights import FORMATS


def _parameters(model) -> int:
    """How many numbers training changes, from an abstract initialization."""
    side = getattr(model, "image_size", 64)
    axes = 3 if isinstance(model, models.VolumeResNet) else 2
    images = jax.ShapeDtypeStruct((1, *(side,) * axes, 3), np.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def _row(name: str) -> tuple:
    model = models.create(name)
    family = type(model).__module__.rpartition(".")[2]
    return (
        name,
        family,
        _parameters(model),
        getattr(model, "image_size", None),
        getattr(model, "patch_size", None),
        tuple(dict.fromkeys(kind.name for kind in FORMATS if kind.family == family)),
    )


@pytest.mark.slow(20)
def test_it_says_what_the_models_are():
    assert [tuple(row) for row in _model_table.TABLE] == list(map(_row, models.PRESETS))


def test_listing_imports_no_model():
    code = (
        "import sys; from softeq_jax.cli import main; main(['models', 'vit_*']);"
        "assert not {'flax', 'softeq_jax.models'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "vit_b16" in done.stdout
