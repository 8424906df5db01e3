"""Rotation of images, KL consistency, and the report over a grid of angles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import measures


def smooth(n, channels=2):
    grid = np.arange(n) - 0.5 * (n - 1)
    blob = np.exp(-((grid[:, None] - 2) ** 2 + (grid[None] + 1) ** 2) / (n / 2))
    return np.stack([blob * (c + 1) for c in range(channels)], -1).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 8])
@pytest.mark.parametrize("turns", [-1, 1, 2, 3])
def test_quarter_turns_are_exact(n, turns):
    x = np.random.default_rng(0).standard_normal((3, n, n, 2)).astype(np.float32)
    out = measures.rotate_bilinear(x, turns * np.pi / 2)
    np.testing.assert_allclose(out, np.rot90(x, turns, axes=(1, 2)), atol=2e-5)


@pytest.mark.slow(11)
@given(st.integers(4, 12), st.floats(-3, 3))
@examples(fast=30)
def test_agrees_with_scipy(n, angle):
    x = smooth(n)
    padded = np.pad(x, ((2, 2), (2, 2), (0, 0)))
    expected = scipy.ndimage.rotate(
        padded.astype(np.float64), np.degrees(angle), axes=(1, 0), reshape=False, order=1
    )
    out = measures.rotate_bilinear(padded, -angle if _clockwise() else angle)
    np.testing.assert_allclose(out[3:-3, 3:-3], expected[3:-3, 3:-3], atol=1e-5)


def _clockwise():
    probe = np.zeros((3, 3))
    probe[0, 1] = 1.0
    turned = scipy.ndimage.rotate(probe, 90, axes=(1, 0), reshape=False, order=1)
    return not np.allclose(turned, np.rot90(probe))


@pytest.mark.slow(3)
def test_batches_dtypes_and_transformations():
    x = jnp.asarray(smooth(6))[None]
    many = jnp.concatenate([x, 2 * x])
    once = measures.rotate_bilinear(x, 0.4)
    np.testing.assert_allclose(measures.rotate_bilinear(many, 0.4)[1:], 2 * once, atol=1e-6)
    assert measures.rotate_bilinear(x.astype(jnp.bfloat16), 0.4).dtype == jnp.bfloat16
    swept = jax.vmap(lambda t: measures.rotate_bilinear(x, t))(jnp.array([0.0, 0.4]))
    np.testing.assert_allclose(swept[0], x, atol=1e-6)
    np.testing.assert_allclose(swept[1], once, atol=1e-6)
    with pytest.raises(TypeError, match="floating"):
        measures.rotate_bilinear(np.zeros((4, 4, 1), int), 0.1)
    with pytest.raises(ValueError, match="axes"):
        measures.rotate_bilinear(np.zeros((4, 4)), 0.1)


def test_kl_is_in_nats():
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.6, 0.3])
    expected = np.sum(p * np.log(p / q))
    shifted = np.log(q) + 5
    np.testing.assert_allclose(measures.kl_divergence(np.log(p), shifted), expected, rtol=1e-5)
    assert measures.kl_divergence(np.log(p), np.log(p)) < 1e-6


def test_mean_and_standard_error():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    mean, error = measures.mean_and_error(values)
    assert mean == 4.0
    np.testing.assert_allclose(error, np.std(values, ddof=1) / 2)
    with pytest.raises(ValueError, match="no values"):
        measures.mean_and_error([])


def classifier(images):
    """Logits that see where the mass lies, but not under quarter turns: an honest test subject."""
    images = np.asarray(images, np.float64)
    left = images[:, :, :2].sum((1, 2, 3))
    top = images[:, :2].sum((1, 2, 3))
    return np.stack([left, top, 0 * top], -1)


def test_report_against_a_direct_computation():
    rng = np.random.default_rng(0)
    images = rng.random((6, 5, 5, 1)).astype(np.float32)
    labels = classifier(images).argmax(-1)
    angles = (-0.3, 0.3, np.pi / 2)
    report = measures.rotation_report(classifier, images, labels, angles)
    assert report.accuracy() == (1.0, 0.0)
    turned = np.asarray(measures.rotate_bilinear(images, 0.3))
    expected = np.asarray(measures.kl_divergence(classifier(images), classifier(turned)))
    np.testing.assert_allclose(report.kl[1], expected, rtol=1e-5)
    correct = classifier(turned).argmax(-1) == labels
    np.testing.assert_array_equal(report.correct_rotated[1], correct)
    mean, error = report.kl_at(0.3)
    both = report.kl[:2].mean(0)
    np.testing.assert_allclose([mean, error], [both.mean(), both.std(ddof=1) / np.sqrt(6)])
    np.testing.assert_allclose(report.kl_floor[2], 0, atol=1e-5)
    assert report.kl_floor_at(0.3)[0] > 0
    assert report.accuracy_rotated(0.5)[0] == report.correct_rotated[:2].mean()
    again = measures.rotation_report(classifier, images, labels, angles)
    np.testing.assert_array_equal(again.kl, report.kl)


def test_an_invariant_classifier_has_no_error_at_quarter_turns():
    images = np.random.default_rng(0).random((4, 6, 6, 1)).astype(np.float32)

    def invariant(x):
        total = np.asarray(x, np.float64).sum((1, 2, 3))
        return np.stack([total, -total], -1)

    report = measures.rotation_report(invariant, images, np.zeros(4, int), (np.pi / 2,))
    assert report.kl.max() < 1e-5


def test_bad_input():
    images, labels = np.zeros((2, 4, 4, 1), np.float32), np.zeros(2, int)
    with pytest.raises(ValueError, match="empty"):
        measures.rotation_report(classifier, images, labels, ())
    with pytest.raises(ValueError, match="as many labels"):
        measures.rotation_report(classifier, images, labels[:1], (0.1,))
    with pytest.raises(ValueError, match="NaN or infinite logits upright"):
        measures.rotation_report(lambda x: np.full((2, 3), np.nan), images, labels, (0.1,))
    report = measures.rotation_report(classifier, images, labels, (0.1,))
    with pytest.raises(ValueError, match="not in the grid"):
        report.kl_at(0.2)
    with pytest.raises(ValueError, match="no angle up to"):
        report.accuracy_rotated(0.05)
