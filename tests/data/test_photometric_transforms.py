"""Normalization, by hand; random erasing."""

import numpy as np
import pytest

from softeq_jax.data import Normalize, RandomErasing, normalize


def test_normalize_by_hand():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5, 6, 3), np.uint8)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.7)
    out = Normalize(mean, std)({"image": image, "label": 3}, rng)
    assert out["label"] == 3
    assert out["image"].dtype == np.float32
    want = (image / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(out["image"], want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out["image"], normalize(image, mean, std), rtol=1e-5, atol=1e-6)
    unit = Normalize(0.5, 0.25, scale=1)({"image": np.full((2, 3, 4), 0.75, np.float32)}, rng)
    np.testing.assert_array_equal(unit["image"], np.ones((2, 3, 4)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.5, 0), "std and scale must be positive"),
        ((0.5, 1, 0), "std and scale must be positive"),
        ((np.nan, 1), "mean must be finite"),
        (((0.1, 0.2), (0.1, 0.2, 0.3)), "mean has 2 channels, std has 3"),
    ],
)
def test_normalize_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Normalize(*arguments)


def test_normalize_refuses_other_channels():
    with pytest.raises(ValueError, match="std has 3 channels, the image 1"):
        Normalize(0.5, (1, 2, 3))({"image": np.zeros((2, 2, 1), np.uint8)}, None)


def test_erasing_covers_its_share_with_a_rectangle():
    image = np.zeros((60, 50, 2), np.float32)
    rng, shares, aspects = np.random.default_rng(0), [], []
    for _ in range(300):
        out = RandomErasing(1, area=(0.05, 0.2), aspect=(0.5, 2))({"image": image}, rng)["image"]
        changed = (out != 0).any(axis=-1)
        rows, cols = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        height, width = np.ptp(rows) + 1, np.ptp(cols) + 1
        assert changed.sum() == height * width
        shares.append(height * width / 3000)
        aspects.append(height / width)
    assert 0.045 < min(shares) < 0.07
    assert 0.18 < max(shares) < 0.21
    assert abs(np.mean(shares) - 0.125) < 0.01
    assert 0.45 < min(aspects) < 0.6
    assert 1.7 < max(aspects) < 2.2
    assert abs(np.mean(np.log(aspects))) < 0.1


def test_erasing_values():
    rng = np.random.default_rng(0)
    everything = {"area": (1, 1), "aspect": (1, 1)}
    noise = RandomErasing(1, **everything)({"image": np.zeros((80, 80, 3), np.float32)}, rng)
    assert noise["image"].dtype == np.float32
    assert abs(noise["image"].mean()) < 0.03
    assert abs(noise["image"].std() - 1) < 0.03
    gray = np.full((80, 80, 3), 9, np.uint8)
    noise = RandomErasing(1, **everything)({"image": gray}, rng)["image"]
    assert noise.dtype == np.uint8
    assert (noise.min(), noise.max()) == (0, 255)
    assert abs(noise.mean() - 127.5) < 3
    plain = RandomErasing(1, value=(1, 2, 3), **everything)({"image": gray}, rng)["image"]
    np.testing.assert_array_equal(plain, np.broadcast_to((1, 2, 3), gray.shape))
    assert np.all(gray == 9)


def test_erasing_probability_and_what_cannot_fit():
    image, rng = np.zeros((8, 8, 1), np.float32), np.random.default_rng(0)
    changed = [RandomErasing(0.25)({"image": image}, rng)["image"].any() for _ in range(400)]
    assert 0.18 < np.mean(changed) < 0.32
    mask = np.arange(64).reshape(8, 8)
    out = RandomErasing(1, area=(1, 1), aspect=(3, 3))({"image": image, "mask": mask}, rng)
    assert not out["image"].any()
    assert out["mask"] is mask


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"probability": -0.1}, "probability"),
        ({"area": (0.5, 1.2)}, "area"),
        ({"area": (0.5, 0.2)}, "area"),
        ({"aspect": (0, 1)}, "aspect"),
        ({"value": "random"}, "value.*'random'"),
    ],
)
def test_erasing_refuses(fields, name):
    with pytest.raises(ValueError, match=name):
        RandomErasing(**fields)
