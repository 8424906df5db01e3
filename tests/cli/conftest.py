"""A tiny checkpoint and images that it takes, for the tests of `measure`."""

import numpy as np
import pytest
from tiny_checkpoints import vit_folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return vit_folder(tmp_path_factory.mktemp("measured") / "vit")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
