"""How well smooth patterns are turned."""

import numpy as np
import pytest
import scipy.ndimage
from examples import sizes

from experiments.grids import run as table
from softeq_jax import groups, reps


@pytest.mark.parametrize("k", sizes(fast=[3, 4, 5, 7, 8, 14, 32], sweep=range(3, 33)))
def test_smooth_patterns_are_turned_better_than_by_bilinear_resampling(k):
    for degrees in table.DEGREES:
        ours = table.relative_error(table.smooth, table.ours, k, degrees)
        assert ours < table.relative_error(table.smooth, table.bilinear, k, degrees)


def test_directions_agree():
    x = np.arange(9.0).reshape(3, 3)
    np.testing.assert_allclose(scipy.ndimage.rotate(x, 90, order=1), np.rot90(x), atol=1e-12)
    np.testing.assert_allclose(table.ours(x, 90), np.rot90(x), atol=1e-12)
    pattern = table.smooth(8)
    np.testing.assert_allclose(table.smooth(8, np.pi / 2), np.rot90(pattern), atol=1e-12)


@pytest.mark.parametrize("k", [6, 8, 14, 16, 32])
def test_unmatched_patterns_hold_little_of_an_image(k):
    u = reps.image(groups.so(2), (k, k)).unmatched
    for pattern, most in ((table.smooth, 6e-3), (table.sharp, 8e-2)):
        x = pattern(k).ravel()
        assert np.linalg.norm(u.T @ x) < most * np.linalg.norm(x)


def test_resampling_is_no_representation():
    x = table.smooth(9)
    twice = table.ours(table.ours(x, 30), -30)
    np.testing.assert_allclose(twice, x, atol=1e-13)
    assert np.linalg.norm(table.bilinear(table.bilinear(x, 30), -30) - x) > 0.05 * np.linalg.norm(x)
