"""The synthetic invariant tasks: formulas, exact symmetry, and the term that breaks it."""

import jax
import numpy as np
import pytest

from experiments.shared.invariant_tasks import lorentz_data, lorentz_targets, o5_data, o5_targets
from softeq_jax import groups


def test_o5_formula():
    x = np.zeros((1, 10))
    x[0, [0, 5, 6]] = 2.0, 3.0, 4.0
    y = np.sin(2.0) - 0.5 * 125 + 0.6
    np.testing.assert_allclose(o5_targets(x), [[y]])
    np.testing.assert_allclose(o5_targets(x, noise=0.5), [[y + 0.5 * 9.0]])
    x[0, 2] = 1e-9
    x[0, 7] = 2.0
    assert o5_targets(x, 1.0)[0, 0] - o5_targets(x)[0, 0] == pytest.approx(9.0 / 3.0)


def test_lorentz_formula_as_a_contraction_of_tensors():
    x, y = lorentz_data(20, seed=3)
    eta = np.diag([1.0, -1.0, -1.0, -1.0])
    p, q, p2, q2 = x.reshape(20, 4, 4).transpose(1, 0, 2)
    for i in range(20):
        a, b = p[i] @ eta @ (p2[i] - p[i]), q[i] @ eta @ (q2[i] - q[i])
        upper = np.outer(p[i], p2[i]) - a * eta
        lower = eta @ (np.outer(q[i], q2[i]) - b * eta) @ eta
        np.testing.assert_allclose(y[i, 0], 4 * np.sum(upper * lower), rtol=1e-10)
    broken = x.reshape(20, 4, 4)[:, :, 1] ** 2 / (
        x.reshape(20, 4, 4)[:, :, 2] ** 2 + x.reshape(20, 4, 4)[:, :, 3] ** 2 + 1
    )
    np.testing.assert_allclose(
        lorentz_targets(x, 0.3) - y, 0.3 * broken.sum(1, keepdims=True), atol=1e-12
    )


@pytest.mark.parametrize(
    ("group", "targets", "data"),
    [(groups.o(5), o5_targets, o5_data), (groups.lorentz(), lorentz_targets, lorentz_data)],
    ids=["O(5)", "O(1,3)"],
)
def test_invariant_unless_broken(group, targets, data):
    if group.is_compact:
        with jax.enable_x64(True):
            g = np.asarray(group.sample(jax.random.key(0), 1)[0])
    else:
        g = group.exp(0.5 * np.ones(6)) @ group.discrete_generators[1]
    x, y = data(50, seed=1)
    moved = (x.reshape(50, -1, group.d) @ g.T).reshape(x.shape)
    np.testing.assert_allclose(targets(moved), y, rtol=1e-9, atol=1e-9)
    assert np.abs(targets(moved, 0.4) - targets(x, 0.4)).max() > 1e-2


@pytest.mark.parametrize(
    ("data", "dim", "deviation"), [(o5_data, 10, 1.0), (lorentz_data, 16, 0.25)]
)
def test_data_are_reproducible_and_normal(data, dim, deviation):
    x, y = data(2000, seed=5, noise=0.3)
    again, _ = data(2000, seed=5)
    np.testing.assert_array_equal(x, again)
    assert (x.shape, y.shape) == ((2000, dim), (2000, 1))
    assert np.std(x) == pytest.approx(deviation, rel=0.03)
    assert np.abs(data(2000, seed=6)[0] - x).max() > 0.1


@pytest.mark.parametrize("targets", [o5_targets, lorentz_targets])
def test_other_shapes_are_refused(targets):
    with pytest.raises(ValueError, match=r"x must be \[n, 1[06]\].*got shape \(3, 7\)"):
        targets(np.zeros((3, 7)))
