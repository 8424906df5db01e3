"""Displacement errors of trajectories and errors of regressions, against direct implementations."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import data, groups, measures, reps

RNG = np.random.default_rng(0)
TRUE = RNG.standard_normal((3, 4, 5, 2))
PREDICTED = TRUE + RNG.standard_normal(TRUE.shape)


def _by_loops(mask, total=False):
    """ADE and FDE with a mask ``[n, people, steps]``."""
    each, last = [], []
    for n, person in np.ndindex(3, 4):
        steps = [t for t in range(5) if mask[n, person, t]]
        apart = [math.dist(PREDICTED[n, person, t], TRUE[n, person, t]) for t in steps]
        if steps:
            each.append(sum(apart) / (1 if total else len(steps)))
        if mask[n, person, 4]:
            last.append(apart[-1])
    return np.mean(each), np.mean(last)


@pytest.mark.slow
@pytest.mark.parametrize("total", [False, True])
def test_displacement_errors_are_those_of_loops(total):
    everyone = np.ones((3, 4, 5), bool)
    some = RNG.random((3, 4)) < 0.6
    moments = RNG.random((3, 4, 5)) < 0.6
    for given, mask in (
        (None, everyone),
        (some, np.broadcast_to(some[..., None], everyone.shape)),
        (moments, moments),
    ):
        expected = _by_loops(mask, total)
        hidden = np.where(mask[..., None], PREDICTED, np.nan)
        found = measures.ade(hidden, TRUE, given, total=total), measures.fde(hidden, TRUE, given)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_displacement_errors_under_jit_and_their_gradients():
    mask = np.ones((3, 4), bool)
    mask[0, 0] = False
    found = jax.jit(measures.ade)(PREDICTED, TRUE, mask)
    np.testing.assert_allclose(found, measures.ade(PREDICTED, TRUE, mask), rtol=1e-6)
    gradient = jax.grad(measures.ade)(jnp.asarray(TRUE), TRUE, mask)
    assert np.isfinite(gradient).all(), "at an error of 0"
    assert np.isnan(jax.jit(measures.fde)(PREDICTED, TRUE, np.zeros((3, 4))))
    with pytest.raises(ValueError, match="nobody counts"):
        measures.ade(PREDICTED, TRUE, np.zeros((3, 4)))


@pytest.mark.parametrize(
    ("true", "mask", "message"),
    [
        (TRUE[:2], None, "of one shape"),
        (TRUE, np.ones((3, 5)), "the mask must be \\[3, 4\\] or \\[3, 4, 5\\]"),
        (TRUE, np.ones((3, 4, 1)), "the mask must be"),
    ],
)
def test_tracks_that_do_not_fit_are_refused(true, mask, message):
    with pytest.raises(ValueError, match=message):
        measures.ade(PREDICTED, true, mask)


def constant_velocity(x, steps=5):
    """The last step again and again."""
    step = x[:, :, -1:] - x[:, :, -2:-1]
    return x[:, :, -1:] + step * np.arange(1, steps + 1)[None, None, :, None]


def eastward(x):
    """Everybody goes to the east."""
    return x[:, :, -1:] + np.arange(1, 6)[None, None, :, None] * np.array([1.0, 0.0])


def test_trajectories_under_turns_are_those_of_loops():
    observed = RNG.standard_normal((3, 4, 3, 2))
    mask = RNG.random((3, 4)) < 0.7
    elements = np.asarray(groups.so(2).sample(jax.random.key(0), 3), np.float64)
    found = measures.trajectories_under(eastward, observed, TRUE, elements, mask)
    assert found.ade.plain == pytest.approx(float(measures.ade(eastward(observed), TRUE, mask)))
    for k, g in enumerate(elements):
        moved, expected, apart = eastward(observed @ g.T), [], []
        for n, person in np.argwhere(mask):
            for t in range(5):
                expected.append(math.dist(moved[n, person, t], g @ TRUE[n, person, t]))
                rotated = g @ eastward(observed)[n, person, t]
                apart.append(math.dist(rotated, moved[n, person, t]))
        assert found.ade.moved[k] == pytest.approx(np.mean(expected), rel=1e-5)
        assert found.consistency[k] == pytest.approx(np.mean(apart), rel=1e-5)
        assert found.fde.moved[k] == pytest.approx(
            float(measures.fde(moved, TRUE @ g.T, mask)), rel=1e-5
        )
    assert found.ade.combined == pytest.approx((found.ade.plain + np.mean(found.ade.moved)) / 2)
    summed = measures.trajectories_under(eastward, observed, TRUE, elements, mask, total=True)
    assert summed.ade.plain == pytest.approx(5 * found.ade.plain)
    assert summed.fde.plain == found.fde.plain
    assert summed.consistency == found.consistency


def test_an_equivariant_predictor_is_consistent():
    observed = RNG.standard_normal((3, 4, 3, 2))
    found = measures.trajectories_under(constant_velocity, observed, TRUE, groups.cyclic(4))
    assert len(found.consistency) == 4
    assert max(found.consistency) < 1e-5
    np.testing.assert_allclose(found.ade.moved, found.ade.plain, rtol=1e-5)
    with pytest.raises(ValueError, match="is infinite"):
        measures.trajectories_under(constant_velocity, observed, TRUE, groups.so(2))
    with pytest.raises(ValueError, match=r"elements must be \[k, 2, 2\]"):
        measures.trajectories_under(constant_velocity, observed, TRUE, np.eye(3)[None])
    with pytest.raises(ValueError, match="NaN or infinite"):
        measures.trajectories_under(lambda x: TRUE * np.nan, observed, TRUE, np.eye(2)[None])


@pytest.mark.slow
@pytest.mark.parametrize(("scene", "ade", "fde"), [("eth", 0.830, 1.799), ("hotel", 0.265, 0.495)])
def test_constant_velocity_has_the_errors_of_the_specification(data_dir, scene, ade, fde):
    source = data.open_trajectories(
        data_dir / "eth_ucy", scene, "test", observed=10, predicted=10, min_people=2
    )
    windows = [source[i] for i in range(len(source))]
    observed, future, present = (
        np.stack([w[name] for w in windows]) for name in ("observed", "future", "present")
    )
    predicted = constant_velocity(observed, 10)
    assert float(measures.ade(predicted, future, present)) == pytest.approx(ade, abs=6e-4)
    assert float(measures.fde(predicted, future, present)) == pytest.approx(fde, abs=6e-4)


def test_relative_errors_are_symmetric_quotients():
    p, t = RNG.standard_normal((2, 7, 3))
    found = measures.symmetric_relative_error(p, t)
    for i in range(7):
        expected = math.dist(p[i], t[i]) / (math.hypot(*p[i]) + math.hypot(*t[i]) + 1e-6)
        assert found[i] == pytest.approx(expected)
    np.testing.assert_allclose(found, measures.symmetric_relative_error(t, p))
    assert measures.symmetric_relative_error(np.zeros((1, 2)), np.zeros((1, 2))) == 0
    with pytest.raises(ValueError, match="predictions have shape"):
        measures.symmetric_relative_error(p, t[:3])


@pytest.mark.parametrize("group", [groups.o(5), groups.lorentz()], ids=str)
def test_regressions_under_group_samples_are_those_of_loops(group):
    d = group.d
    pair, vector = 2 * reps.vector(group), reps.vector(group)
    x = RNG.standard_normal((6, 2 * d))
    if group.is_compact:
        elements = np.asarray(group.sample(jax.random.key(1), 6), np.float64)
    else:
        import scipy.linalg

        numbers = 0.3 * RNG.standard_normal((6, len(group.lie_generators)))
        elements = np.stack(
            [scipy.linalg.expm(np.einsum("k,kij->ij", c, group.lie_generators)) for c in numbers]
        )

    def linear(x):
        return np.asarray(x)[:, :d] - 2 * np.asarray(x)[:, d:]

    def bent(x):
        return linear(x) + np.abs(np.asarray(x)[:, :d])

    t = linear(x) + 0.1
    for f, consistent in ((linear, True), (bent, False)):
        found = measures.regression_under(f, x, t, elements, pair, vector)
        plain, moved, apart = [], [], []
        for i, g in enumerate(elements):
            turned = np.concatenate([g @ x[i, :d], g @ x[i, d:]])
            mine, other = f(x[i : i + 1])[0], f(turned[None])[0]
            for p, q, to in (
                (mine, t[i], plain),
                (other, g @ t[i], moved),
                (other, g @ mine, apart),
            ):
                norms = [np.linalg.norm(v) for v in (p - q, p, q)]
                to.append(norms[0] / (norms[1] + norms[2] + 1e-6))
        assert found.error.plain == pytest.approx(np.mean(plain), rel=1e-4)
        assert found.error.rotated == pytest.approx(np.mean(moved), rel=1e-4)
        assert found.consistency == pytest.approx(np.mean(apart), abs=1e-5)
        assert (found.consistency < 1e-5) == consistent
        assert found.error.combined == pytest.approx((found.error.plain + found.error.rotated) / 2)


def test_invariant_targets_stay_and_what_does_not_fit_is_refused():
    group = groups.o(5)
    vector = reps.vector(group)
    x = RNG.standard_normal((4, 5))
    elements = np.asarray(group.sample(jax.random.key(1), 4), np.float64)

    def norm(x):
        return np.linalg.norm(np.asarray(x, np.float64), axis=1, keepdims=True)

    found = measures.regression_under(norm, x, norm(x), elements, vector)
    assert found.error.rotated < 1e-6
    assert found.consistency < 1e-6
    with pytest.raises(ValueError, match="4 examples need one element each"):
        measures.regression_under(norm, x, norm(x), elements[:3], vector)
    with pytest.raises(ValueError, match=r"inputs must be \[n, 10\]"):
        measures.regression_under(norm, x, norm(x), elements, 2 * vector)
    with pytest.raises(ValueError, match="predictions have shape"):
        measures.regression_under(lambda x: x, x, norm(x), elements, vector)
    with pytest.raises(ValueError, match="acts on"):
        measures.regression_under(norm, x, norm(x), elements, vector, vector)
