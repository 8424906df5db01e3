"""Solids as volumes: sizes, exact turns, and the hands of helices."""

import itertools

import numpy as np
import pytest

from experiments.volumes import solids


def _made(name, seed=0):
    return solids.SOLIDS[name](np.random.default_rng(seed))


def _lattice(sign):
    """Matrices of the cube's symmetries with a determinant."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product([1, -1], repeat=3):
            g = np.diag(signs) @ np.eye(3)[list(order)]
            if round(np.linalg.det(g)) == sign:
                yield g


def _moved(x, g):
    """The volume whose value at ``g p`` is that of x at p, by indices."""
    side = x.shape[0]
    index = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1) - (side - 1) / 2
    source = np.rint(index @ g + (side - 1) / 2).astype(int)
    return x[tuple(np.moveaxis(source, -1, 0))]


@pytest.mark.parametrize("name", solids.SOLIDS)
def test_turned_solids_are_drawn_exactly(name):
    distance = _made(name)
    upright = solids.volume(distance, 15, np.eye(3))
    assert 0.02 < upright.mean() < 0.5
    assert upright.max() > 0.8
    for g in _lattice(1):
        np.testing.assert_allclose(solids.volume(distance, 15, g), _moved(upright, g), atol=1e-6)


def test_distances_are_right_where_they_are_known():
    x = np.random.default_rng(1).uniform(-1, 1, (500, 3))
    assert _made("torus")(np.zeros((1, 3)))[0] > 0  # the hole is outside
    for name in ("box", "torus", "cone", "left_helix"):  # distances grow by at most one a length
        f = _made(name)
        step = 1e-4 * np.random.default_rng(2).standard_normal(x.shape)
        slope = np.abs(f(x + step) - f(x)) / np.linalg.norm(step, axis=1)
        assert slope.max() < 1 + 1e-3


def test_a_mirror_makes_a_left_helix_of_a_right_one_and_no_rotation_does():
    left, right = (
        solids.volume(_made(f"{hand}_helix"), 15, np.eye(3)) for hand in ("left", "right")
    )
    mirror = np.diag([1, -1, 1])
    np.testing.assert_allclose(_moved(right, mirror), left, atol=1e-6)
    closest = min(np.abs(_moved(right, g) - left).mean() for g in _lattice(1))
    assert closest > 0.02


def test_data_have_classes_alike_views_and_parts():
    views, labels = solids.solids(0, 12, 7, 0.1, 3, turns=2)
    assert views.shape == (12, 2, 7, 7, 7, 1)
    assert list(labels) == [0, 1, 2, 3, 4, 5] * 2
    assert np.abs(views[:, 0] - views[:, 1]).mean() > 0.05
    upright, _ = solids.solids(0, 12, 7, 0.0, 3)
    noisy, _ = solids.solids(0, 12, 7, 0.1, 3)
    assert np.std(noisy - upright) == pytest.approx(0.1, rel=0.1)
    assert np.abs(solids.solids(1, 12, 7, 0.0, 3)[0] - upright).max() > 0.1


def test_the_ceiling_is_that_of_all_classes_but_one_helix():
    labels = solids.solids(2, 60, 5, 0.0, 1)[1]
    left = list(solids.SOLIDS).index("left_helix")
    assert solids.ceiling() == pytest.approx(np.mean(labels != left))
