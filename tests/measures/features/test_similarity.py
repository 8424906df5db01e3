"""Similarity of features: against definitions in NumPy and SciPy, invariances, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.spatial.distance
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax.measures import distance_correlation, linear_cka, rsa, svcca
from tests.examples import examples

MEASURES = (linear_cka, svcca, rsa, distance_correlation)


def _cka(a, b):
    """HSIC of linear kernels, by centering matrices."""
    h = np.eye(len(a)) - 1 / len(a)
    hsic = [np.trace(x @ x.T @ h @ y @ y.T @ h) for x, y in ((a, b), (a, a), (b, b))]
    return hsic[0] / np.sqrt(hsic[1] * hsic[2])


def _svcca(a, b, variance=0.99):
    """Cosines of the principal angles between the kept subspaces, which are counted by loops."""
    spaces = []
    for x in (a - a.mean(0), b - b.mean(0)):
        u, s, _ = np.linalg.svd(x, full_matrices=False)
        k = 1
        while (s[:k] ** 2).sum() < (variance - 1e-12) * (s**2).sum():
            k += 1
        spaces.append(u[:, :k])
    return np.cos(scipy.linalg.subspace_angles(*spaces)).mean()


def _rsa(a, b, distance="euclidean", comparison="pearson"):
    name = {"squared_euclidean": "sqeuclidean"}.get(distance, distance)
    x, y = (scipy.spatial.distance.pdist(v, name) for v in (a, b))
    return getattr(scipy.stats, f"{comparison}r")(x, y)[0]


def _dcor(a, b):
    """Sums over all pairs, as Szekely, Rizzo and Bakirov define them."""
    centered = []
    for x in (a, b):
        d = scipy.spatial.distance.cdist(x, x)
        centered.append(d - d.mean(0) - d.mean(1, keepdims=True) + d.mean())
    x, y = centered
    return np.sqrt((x * y).mean() / np.sqrt((x * x).mean() * (y * y).mean()))


def _pair(seed, n=25, d=3, e=5):
    """Features with a part in common."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, min(d, e)))
    a = rng.standard_normal((n, d)) + np.pad(shared, ((0, 0), (0, d - shared.shape[1])))
    own = np.pad(shared, ((0, 0), (0, e - shared.shape[1])))
    b = np.exp(0.3 * rng.standard_normal((n, e)) - own)
    return a.astype(np.float32), b.astype(np.float32)


@pytest.mark.slow(6)
@pytest.mark.parametrize(("n", "d", "e"), [(25, 3, 5), (9, 30, 4)])
def test_they_are_what_their_definitions_say(n, d, e):
    a, b = _pair(n, n, d, e)
    wide = a.astype(float), b.astype(float)
    for measure, defined in zip(MEASURES, (_cka, _svcca, _rsa, _dcor), strict=True):
        assert float(measure(a, b)) == pytest.approx(defined(*wide), abs=2e-5), measure
        assert float(measure(b, a)) == pytest.approx(float(measure(a, b)), abs=2e-6)
    if d != 3:
        return
    assert float(svcca(a, b, 0.7)) == pytest.approx(_svcca(*wide, 0.7), abs=2e-5)
    for distance in ("squared_euclidean", "cosine", "correlation"):
        assert float(rsa(a, b, distance)) == pytest.approx(_rsa(*wide, distance), abs=2e-5)
    found = float(rsa(a, b, comparison="spearman"))
    assert found == pytest.approx(_rsa(*wide, comparison="spearman"), abs=1e-3)


@given(seed=st.integers(0, 10**6), scale=st.floats(1e-18, 1e12), shift=st.floats(-20, 20))
@examples(fast=10)
@pytest.mark.slow(4)
def test_orthogonal_maps_scales_and_shifts_change_nothing(seed, scale, shift):
    a, b = _pair(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((5, 5)))[0]
    moved = (scale * (b @ turn + shift)).astype(np.float32)
    for measure in MEASURES:
        value = float(measure(a, b))
        assert float(measure(a, moved)) == pytest.approx(value, abs=3e-4)
        assert float(measure(b, moved)) == pytest.approx(1, abs=3e-4)
        assert -1e-6 <= value <= 1 + 1e-6
    with_bias = np.pad(moved, ((0, 0), (0, 1)), constant_values=1e6 * abs(moved).max())
    assert float(linear_cka(b, with_bias)) == pytest.approx(1, abs=1e-2)
    assert float(svcca(b, b @ (turn + 0.3), 1.0)) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow(3)
def test_under_transformations_they_are_the_same_and_undefined_is_nan():
    a, b = _pair(0)
    many = jnp.stack([a, a[::-1], jnp.ones_like(a), a * jnp.nan])
    for measure in MEASURES:
        found = np.asarray(jax.jit(jax.vmap(measure, in_axes=(0, None)))(many, b))
        np.testing.assert_allclose(found[0], measure(a, b), atol=1e-5)
        np.testing.assert_allclose(found[1], measure(a[::-1], b), atol=1e-5)
        assert np.isnan(found[2:]).all()


def test_independent_features_and_dependence_that_correlation_misses():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 300, 2)).astype(np.float32)
    for measure in (linear_cka, distance_correlation):
        assert float(measure(a, b)) < 0.2
    x = np.linspace(-1, 1, 101)[:, None]
    assert float(linear_cka(x, x**2)) < 1e-6
    assert float(distance_correlation(x, x**2)) > 0.45


def test_dtypes():
    a, b = _pair(1)
    with jax.enable_x64(True):
        for measure in MEASURES:
            for dtype, wanted in (("bfloat16", "float32"), ("int32", "float32"), ("float64",) * 2):
                given = [jax.ShapeDtypeStruct(x.shape, dtype) for x in (a, b)]
                assert jax.eval_shape(measure, *given).dtype == wanted
    low = linear_cka(*(jnp.asarray(x, jnp.bfloat16) for x in (a, b)))
    assert float(low) == pytest.approx(float(linear_cka(a, b)), abs=0.02)


@pytest.mark.parametrize("measure", MEASURES)
def test_errors(measure):
    a, b = _pair(0)
    for x, y, message in (
        (a, b[:5], "25 and 5"),
        (a[:1], b[:1], "at least"),
        (a, np.full_like(b, 0.1), "b is constant"),
        (np.where(a > 0, a, np.nan), b, "a holds NaN"),
        (a[:, :, None], b, r"\[n, d\]"),
        (a[:, :0], b, r"\(25, 0\)"),
    ):
        with pytest.raises(ValueError, match=message):
            measure(x, y)
    with pytest.raises(TypeError, match="complex"):
        measure(a + 0j, b)
    with pytest.raises(TypeError, match="list"):
        measure(a.tolist(), b)


def test_errors_of_their_own():
    a, b = _pair(0)
    with pytest.raises(ValueError, match="variance"):
        svcca(a, b, 0)
    with pytest.raises(ValueError, match="no distance"):
        rsa(a, b, "manhattan")
    with pytest.raises(ValueError, match="no comparison"):
        rsa(a, b, comparison="kendall")
    with pytest.raises(ValueError, match="at least 3"):
        rsa(a[:2], b[:2])
    with pytest.raises(ValueError, match="simplex"):
        rsa(np.eye(25, dtype=np.float32), b)
    with pytest.raises(ValueError, match="direction"):
        rsa(np.where(np.arange(25)[:, None] == 2, 0, a), b, "cosine")
