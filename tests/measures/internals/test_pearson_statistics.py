"""The correlation itself, and the merged moments."""

import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax.measures.features._moments import (
    centered,
    column_correlation,
    correlation,
    mean_over,
    moments,
)


def _correlate(a, b, weights=None):
    weights = jnp.ones(a.shape[0]) if weights is None else weights
    series = [centered(jnp.asarray(v), weights, 0) for v in (a, b)]
    return float(correlation(*series, axis=0)), bool(series[0].alive & series[1].alive)


@pytest.mark.slow
def test_unrelated_rectified_maps_score_zero_but_their_cosine_does_not():
    rng = np.random.default_rng(0)
    a, b = np.maximum(rng.normal(size=(2, 256, 500)), 0).astype(np.float32)
    series = [centered(jnp.asarray(v), jnp.ones((256, 1)), 0) for v in (a, b)]
    scores = np.asarray(correlation(*series, axis=0))
    assert abs(scores.mean()) < 4 / np.sqrt(256 * 500)
    cosine = (a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0))
    assert cosine.mean() == pytest.approx(1 / np.pi, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_magnitude_does_not_matter(scale):
    a, b = np.random.default_rng(1).normal(size=(2, 50)).astype(np.float32)
    found, alive = _correlate(a * np.float32(scale), b)
    assert alive
    assert found == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-6)


@pytest.mark.slow
def test_an_offset_costs_only_the_digits_that_the_data_lost():
    a, b = np.random.default_rng(2).normal(size=(2, 1000))
    a32, b32 = (a + 1000).astype(np.float32), (b - 1000).astype(np.float32)
    exact = np.corrcoef(a32.astype(np.float64), b32.astype(np.float64))[0, 1]
    assert _correlate(a32, b32)[0] == pytest.approx(exact, abs=1e-5)


@pytest.mark.slow
def test_weights_choose_samples():
    a, b = np.random.default_rng(3).normal(size=(2, 20)).astype(np.float32)
    weights = jnp.asarray(np.arange(20) < 12, jnp.float32)
    a[15], b[15] = np.inf, 1e30
    expected = np.corrcoef(a[:12], b[:12])[0, 1]
    assert _correlate(a, b, weights)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("constant", [0.0, 3.3, -1e-20])
def test_constant_series_are_dead(constant):
    b = np.random.default_rng(4).normal(size=4096).astype(np.float32)
    assert not _correlate(np.full(4096, constant, np.float32), b)[1]


def test_mean_over_nothing_is_undefined():
    values = jnp.array([[1.0, 5.0], [1.0, 5.0]])
    found = mean_over(values, jnp.array([[True, False], [False, False]]))
    np.testing.assert_array_equal(found, [1.0, np.nan])


@pytest.mark.parametrize("diagonal", [False, True])
def test_merged_moments_are_those_of_all_rows(diagonal):
    x, y = np.random.default_rng(5).normal(size=(2, 30, 4)) + 1e6
    parts = [moments(x[s], y[s], diagonal) for s in (slice(0, 7), slice(7, 8), slice(8, 30))]
    merged, whole = sum(parts[1:], parts[0]), moments(x, y, diagonal)
    for a, b in zip(vars(merged).values(), vars(whole).values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-8)
    expected = [np.corrcoef(x[:, i], y[:, i])[0, 1] for i in range(4)]
    np.testing.assert_allclose(column_correlation(merged, 1e-12), expected, atol=1e-8)


def test_constant_columns_have_no_correlation():
    x = np.random.default_rng(6).normal(size=(10, 2))
    x[:, 0] = 4.0
    found = column_correlation(moments(x, x), 1e-5)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(1)
