"""Operations of RandAugment: the table of their strengths, and the way content moves."""

import numpy as np
import pytest
from scipy import ndimage

from softeq_jax.data._randaugment import GEOMETRIC, moved, parameter


@pytest.mark.parametrize(
    ("name", "increasing", "published"),
    [
        ("rotate", (15, 30), (15, 30)),
        ("shear_x", (0.15, 0.3), (0.15, 0.3)),
        ("translate_y", (0.225, 0.45), (0.225, 0.45)),
        ("color", (1.45, 1.9), (1, 1.9)),
        ("posterize", (6, 4), (6, 8)),
        ("solarize", (128, 0), (128, 256)),
        ("equalize", (None, None), (None, None)),
    ],
)
def test_parameters_at_half_and_full_magnitude(name, increasing, published):
    for grows, want in ((True, increasing), (False, published)):
        got = [parameter(name, magnitude, 1, increasing=grows) for magnitude in (5, 10)]
        assert got == [pytest.approx(w) for w in want]


@pytest.mark.parametrize("name", GEOMETRIC)
def test_content_moves_about_the_center_in_the_direction_said(name):
    """Points of a large image, by the center of mass of a blob."""
    strength = {"rotate": 20}.get(name, 0.2)
    y, x = 15, 9
    radians = np.deg2rad(20)
    want = {
        "rotate": (
            y * np.cos(radians) - x * np.sin(radians),
            y * np.sin(radians) + x * np.cos(radians),
        ),
        "shear_x": (y, x + 0.2 * y),
        "shear_y": (y + 0.2 * x, x),
        "translate_x": (y, x + 20),
        "translate_y": (y + 20, x),
    }[name]
    image = np.zeros((101, 101, 1), np.float32)
    image[50 + y - 1 : 50 + y + 2, 50 + x - 1 : 50 + x + 2] = 1
    got = np.array(ndimage.center_of_mass(moved(image, name, strength, 0)[..., 0])) - 50
    np.testing.assert_allclose(got, want, atol=0.1)
    mask = (image[..., 0] > 0).astype(np.int32)
    got = np.array(ndimage.center_of_mass(moved(mask, name, strength, 0, nearest=True))) - 50
    np.testing.assert_allclose(got, want, atol=0.6)
