"""Which positions count, against their definition spelled out position by position."""

import math

import numpy as np
import pytest

from softeq_jax.measures import Image, Invariant, Tokens, finite
from softeq_jax.measures.features._positions import Site, crops

SIDE = 13
CROPS = [(0, 0, 0, 0), (1, 1, 1, 1), (2, 1, 0, 3)]


def _spelled_out(source, crop, taps):
    """``source(i, j)`` is the pre-image in entries; ``taps(v)`` the entries that are read there."""
    top, bottom, left, right = crop

    def inside(i, j, margins):
        t, b, l, r = margins
        return t <= i <= SIDE - 1 - b and l <= j <= SIDE - 1 - r

    def read(i, j, margins):
        y, x = source(i, j)
        return all(inside(a, b, margins) for a in taps(y) for b in taps(x))

    valid = np.zeros((SIDE, SIDE), bool)
    for i in range(SIDE):
        for j in range(SIDE):
            around = [
                (a, b)
                for a in range(max(i - top, 0), min(i + bottom, SIDE - 1) + 1)
                for b in range(max(j - left, 0), min(j + right, SIDE - 1) + 1)
            ]
            valid[i, j] = (
                inside(i, j, crop)
                and read(i, j, crop)
                and all(read(a, b, (0, 0, 0, 0)) for a, b in around)
            )
    return valid


def _taps(value):
    if abs(value - round(value)) < 1e-4:
        return [round(value)]
    return [math.floor(value), math.floor(value) + 1]


@pytest.mark.slow
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("angle", [0.3, math.pi / 4, -1.2])
def test_rotations(crop, angle):
    site = Site("map", Image(), (1, SIDE, SIDE, 2), (SIDE, SIDE), crop)
    middle = (SIDE - 1) / 2

    def source(i, j):
        y, x = i - middle, j - middle
        cos, sin = math.cos(angle), math.sin(angle)
        return cos * y + sin * x + middle, cos * x - sin * y + middle

    found = np.asarray(site.valid(finite.rotation(angle))).reshape(SIDE, SIDE) > 0
    np.testing.assert_array_equal(found, _spelled_out(source, crop, _taps))
    assert 0 < found.sum() < SIDE**2


@pytest.mark.slow
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("interpolation", ["exact", "bilinear"])
def test_shifts_with_content_lost(crop, interpolation):
    dy, dx = (4.0, -2.0) if interpolation == "exact" else (3.0, -1.5)
    site = Site("map", Image(), (1, SIDE, SIDE, 2), (26, 26), crop)
    move = finite.shift(dy, dx, "zero", interpolation)
    found = np.asarray(site.valid(move)).reshape(SIDE, SIDE) > 0
    expected = _spelled_out(lambda i, j: (i - dy / 2, j - dx / 2), crop, _taps)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_periodic_shifts_lose_only_the_crop():
    site = Site("map", Image(), (1, SIDE, SIDE, 2), (SIDE, SIDE), (1, 1, 1, 1))
    found = np.asarray(site.valid(finite.shift(3, 0))).reshape(SIDE, SIDE) > 0
    rows = np.array([1 <= i < SIDE - 1 and 1 <= (i - 3) % SIDE < SIDE - 1 for i in range(SIDE)])
    cols = np.array([1 <= j < SIDE - 1 for j in range(SIDE)])
    np.testing.assert_array_equal(found, rows[:, None] & cols)


@pytest.mark.slow
def test_tokens_have_the_positions_of_their_grid():
    image = Site("map", Image(), (1, SIDE, SIDE, 2), (SIDE, SIDE), (1, 1, 1, 1))
    tokens = Site("t", Tokens(prefix=2), (1, SIDE**2 + 2, 2), (SIDE, SIDE), (1, 1, 1, 1))
    for move in (finite.rotation(0.4), finite.shift(2, 1, "zero")):
        np.testing.assert_array_equal(image.valid(move), tokens.valid(move))
        a, b = (site.valid_round_trip(move) for site in (image, tokens))
        np.testing.assert_array_equal(a, b)
        assert 0 < np.asarray(a).sum() < SIDE**2


def test_crops_are_read_by_name():
    sites = {
        "a": (Image(), (1, 8, 8, 3)),
        "b": (Image(), (1, 4, 4, 1)),
        "vector": (Invariant(), (1, 8)),
    }
    found = crops(sites, {"a": (1, 2, 3, 4)}, None)
    assert found == {"a": (1, 2, 3, 4), "b": (0, 0, 0, 0), "vector": (0, 0, 0, 0)}
    assert crops(sites, np.int64(2), None)["b"] == (2, 2, 2, 2)
    with pytest.raises(ValueError, match="was not measured"):
        crops(sites, "receptive", {})
