"""Rotations and linear maps of the pixel grid: exact turns, interpolation, nearest pixels."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from softeq_jax.data._geometric import rotated
from softeq_jax.data._pixels import warp


def _image(height=9, width=7, dtype=np.uint8, channels=3):
    values = np.random.default_rng(0).integers(1, 255, (height, width, channels))
    return values.astype(dtype)


@pytest.mark.parametrize("side", [1, 6, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("quarters", [-1, 0, 1, 2, 3])
def test_quarter_turns_are_exact(side, dtype, quarters):
    image = _image(side, side, dtype)
    np.testing.assert_allclose(
        rotated(image, 90 * quarters, 0), np.rot90(image, quarters), rtol=1e-5
    )
    mask = image[..., 0].astype(np.int32)
    np.testing.assert_array_equal(
        rotated(mask, 90 * quarters, 255, nearest=True), np.rot90(mask, quarters)
    )


def test_integers_are_rounded():
    image = _image(8, 8)
    exact = rotated(image.astype(np.float32), 33, 11)
    np.testing.assert_array_equal(rotated(image, 33, 11), np.rint(exact).astype(np.uint8))
    assert np.abs(exact % 1 - 0.5).min() < 0.4


def test_half_turn_of_a_rectangle():
    image = _image(6, 9)
    np.testing.assert_array_equal(rotated(image, 180, 0), image[::-1, ::-1])


@examples(fast=25)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    entries=st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4),
    fill=st.floats(-3, 3, width=32),
)
def test_linear_interpolation_as_scipy_does(height, width, entries, fill):
    image = np.random.default_rng(height).standard_normal((height, width, 2), np.float32)
    matrix = np.reshape(entries, (2, 2))
    center = np.array([(height - 1) / 2, (width - 1) / 2])
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"))
    at = np.einsum("ab,bij->aij", matrix, grid - center[:, None, None]) + center[:, None, None]
    want = np.stack(
        [
            ndimage.map_coordinates(c, at, order=1, mode="grid-constant", cval=fill)
            for c in np.moveaxis(image, -1, 0).astype(np.float64)
        ],
        axis=-1,
    )
    got = warp(image, tuple(map(tuple, matrix.tolist())), fill)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("degrees", [7, 31.4, 45, 120])
def test_nearest_pixel_is_the_one_of_largest_weight(degrees):
    classes = np.arange(42).reshape(6, 7)
    weights = rotated(np.eye(42, dtype=np.float32)[classes], degrees, 0)
    mask = rotated(classes, degrees, 255, nearest=True)
    inside = mask != 255
    assert inside.sum() > 25
    np.testing.assert_array_equal(mask[inside], weights.argmax(axis=-1)[inside])
    assert weights[~inside].sum(axis=-1).max(initial=0) <= 0.5 + 1e-6
    assert weights[inside].sum(axis=-1).min() >= 0.25 - 1e-6


def test_turning_back_restores_a_smooth_image():
    y, x = np.mgrid[-1:1:41j, -1:1:41j].astype(np.float32)
    image = np.exp(-2 * ((x - 0.2) ** 2 + (y + 0.1) ** 2))[..., None]
    back = rotated(rotated(image, 25, 0), -25, 0)
    inside = (x**2 + y**2) < 0.8
    assert np.abs(rotated(image, 25, 0) - image)[inside].max() > 0.1
    assert np.abs(back - image)[inside].max() < 0.01
