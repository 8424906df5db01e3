"""Worst cases and Lipschitz constants along one-parameter families."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, reps
from softeq_jax.measures import finite

KEY = jax.random.key(0)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


SO2 = groups.so(2)
VECTOR = reps.vector(SO2)


def test_the_ascent_reaches_the_supremum_of_a_known_curve():
    # f(x) = x_0 on the unit circle: |cos(a + t) - cos a| is largest at t = pi - a, or 2 pi - a
    angles = np.array([0.3, 1.2, 2.2, 2.9])
    x = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    ts = np.linspace(0, 2 * np.pi, 6)
    result = finite.worst_case_along(
        lambda x: x[:, :1], x, finite.rotation, ts, steps=40, input=VECTOR, batch_size=3
    )
    supremum = 1 + np.abs(np.cos(angles))
    np.testing.assert_allclose(result.ascended, supremum, rtol=1e-4)
    assert np.all(result.per_image >= result.errors.max(axis=0))
    assert np.all(result.per_image <= supremum * (1 + 1e-6))
    assert result.value > result.sampled
    reached = np.abs(np.cos(angles + result.ascended_at) - np.cos(angles))
    np.testing.assert_allclose(reached, result.ascended, rtol=1e-5)
    assert result.where.startswith("t = ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "output"),
    [
        (finite.rotation, "image"),
        (lambda t: finite.shift(t, 0.0, interpolation="lanczos"), "image"),
        (lambda t: finite.shift(0.0, t, "zero", "lanczos"), "invariant"),
    ],
)
def test_the_ascent_never_loses_and_stays_in_range(family, output):
    x = noise(3, 9, 9, 1)
    f = lambda x: jnp.tanh(3 * x)  # noqa: E731
    ts = np.linspace(-0.9, 0.9, 4)
    result = finite.worst_case_along(f, x, family, ts, steps=6, output=output, batch_size=2)
    assert np.all(result.ascended >= result.errors.max(axis=0))
    assert np.all(np.abs(result.ascended_at) <= 0.9)
    assert result.value > 0
    # the reported t is one where the error is what is reported
    for i, t in enumerate(result.ascended_at):
        again = finite.worst_case_error(f, x[i : i + 1], [family(float(t))], output=output)
        np.testing.assert_allclose(again.value, result.ascended[i], rtol=2e-3)


@pytest.mark.slow
def test_the_true_function_is_measured_beside():
    x = noise(4, 2)
    truth = lambda x: x * jnp.asarray([1.0, 1.1])  # noqa: E731
    options = {"input": VECTOR, "output": VECTOR, "key": KEY, "n": 8}
    result = finite.worst_case_error(lambda x: x, x, SO2, truth=truth, **options)
    assert result.value < 1e-6
    assert result.truth == finite.worst_case_error(truth, x, SO2, **options).value
    assert 0.01 < result.truth < 0.11 * np.linalg.norm(x, axis=1).max()
    assert "true function" in repr(result)
    assert finite.worst_case_error(truth, x, SO2, **options).truth is None


def test_more_elements_never_lower_the_worst_case():
    x = noise(4, 2)
    transforms = finite.haar_transforms(SO2, KEY, 12)
    values = [
        finite.worst_case_error(jnp.tanh, x, transforms[:n], input=VECTOR, output=VECTOR).value
        for n in (1, 4, 12)
    ]
    assert values == sorted(values)


@pytest.mark.slow
def test_lipschitz_curve_starts_at_the_lie_derivative():
    x = noise(5, 2)
    f = lambda x: jnp.stack([x[:, 0] ** 2, x[:, 0] * x[:, 1]], -1)  # noqa: E731
    with jax.enable_x64(True):
        x = x.astype(np.float64)
        turned = np.stack([-x[:, 1], x[:, 0]], 1)
        slope = jax.jvp(f, (x,), (turned,))[1]
        ts = [1.0, -1e-4, 0.1, -0.1, 2.0]
        result = finite.orbit_lipschitz(f, x, finite.rotation, ts, input=VECTOR, batch_size=2)
    np.testing.assert_allclose(result.radii, [1e-4, 0.1, 1.0, 2.0])
    np.testing.assert_allclose(result.ratios[0], np.linalg.norm(slope, axis=1), rtol=1e-3)
    assert np.all(np.diff(result.suprema, axis=0) >= 0)
    np.testing.assert_allclose(result.at(0.1)[0], result.ratios[:3].max(axis=0).mean())
    # by the plain definition, at t = 2
    c, s = np.cos(2.0), np.sin(2.0)
    moved = np.asarray(f(jnp.asarray(x @ np.array([[c, s], [-s, c]]))))
    expected = np.linalg.norm(moved - np.asarray(f(jnp.asarray(x))), axis=1) / 2
    np.testing.assert_allclose(result.ratios[-1], expected, rtol=1e-5)
    assert len(repr(result).splitlines()) == 4


def test_lipschitz_constant_of_an_equivariant_map_is_zero():
    x = noise(3, 2)
    f = lambda x: x * jnp.sum(x**2, -1, keepdims=True)  # noqa: E731
    result = finite.orbit_lipschitz(f, x, finite.rotation, [0.5, -1.0], input=VECTOR, output=VECTOR)
    assert result.suprema.max() < 1e-5


def test_orbit_measures_refuse():
    x = noise(3, 2)
    with pytest.raises(ValueError, match="different from 0"):
        finite.orbit_lipschitz(jnp.tanh, x, finite.rotation, [0.0, 1.0], input=VECTOR)
    with pytest.raises(ValueError, match="the smallest is"):
        finite.orbit_lipschitz(jnp.tanh, x, finite.rotation, [1.0], input=VECTOR).at(0.1)
    with pytest.raises(ValueError, match="two or more"):
        finite.worst_case_along(jnp.tanh, x, finite.rotation, [1.0], input=VECTOR)
    root = lambda x: jnp.sqrt(jnp.abs(x - x[:, :1]))  # noqa: E731
    with pytest.raises(ValueError, match="no finite derivative"):
        finite.worst_case_along(root, x, finite.rotation, [0.1, 1.0], input=VECTOR)
