"""The potentials of the experiment, its data, and its page at the size for tests."""

import json

import numpy as np
import pytest

from experiments.potentials import page
from experiments.potentials.lennard_jones import clusters, energy_and_forces
from experiments.potentials.run import TINY, results, subgroup


def test_forces_of_the_data_are_minus_the_gradient():
    data = clusters(3, 0, steps=200)
    turned = np.zeros_like(data.forces)
    for index in np.ndindex(*data.positions.shape[1:]):
        step = np.zeros(data.positions.shape)
        step[(slice(None), *index)] = 1e-5
        high, low = (energy_and_forces(data.positions + s * step)[0] for s in (1, -1))
        turned[(slice(None), *index)] = -(high - low) / 2e-5
    assert np.allclose(turned, data.forces, rtol=1e-4, atol=1e-4)
    assert np.allclose(data.forces.sum(1), 0, atol=1e-9)


def test_the_groups_have_as_many_rotations():
    assert [subgroup(n).order for n in (1, 4, 24, 60)] == [1, 4, 24, 60]


@pytest.mark.slow(10)
def test_the_page_is_written(tmp_path):
    found = results(TINY)
    page.write(found, tmp_path)
    told = (tmp_path / "potentials.md").read_text()
    assert "60, polyhedron" in told
    assert (tmp_path / "potentials.png").stat().st_size > 10_000
    lines = json.loads((tmp_path / "potentials.json").read_text())["lines"]
    (strict,) = (one for one in lines if one["potential"] == "strict")
    free = [one for one in lines if one["potential"] == "free" and one["how"] != "random"]
    assert strict["forces_spread"] < 1e-4
    assert free[0]["forces_spread"] > free[-1]["forces_spread"]
