"""Quadrature: exact up to its degree, and not beyond."""

import math

import numpy as np
import pytest

from softeq_jax import groups, orbits, reps

SO2, O2, SO3, O3 = groups.so(2), groups.o(2), groups.so(3), groups.o(3)
SO2_SO3 = groups.product(SO2, SO3)


def mean(rule, rep):
    matrices = np.stack([rep.matrix(g) for g in rule.elements])
    return np.tensordot(rule.weights, matrices, 1)


def upright(g):
    return np.pad(g, (0, 1)) + np.diag([0.0, 0.0, 1.0])


def size_of(mean):
    return np.abs(mean).max()


@pytest.mark.parametrize("group", [SO2, O2], ids=repr)
@pytest.mark.parametrize("degree", [0, 1, 2, 3, 6, 11])
def test_in_the_plane_it_is_exact_up_to_the_degree_and_not_beyond(group, degree):
    rule = orbits.quadrature(group, degree)
    assert len(rule.weights) == (degree + 1) * (2 if group.has_flip else 1)
    assert abs(rule.weights.sum() - 1.0) < 1e-14
    for m in range(1, degree + 1):
        assert size_of(mean(rule, reps.irrep(group, m))) < 1e-13
    beyond = mean(rule, reps.irrep(group, degree + 1))
    assert size_of(beyond) == pytest.approx(0.5 if group.has_flip else 1.0, abs=0.51)
    assert size_of(beyond) > 0.4
    if group.has_flip:
        assert size_of(mean(rule, reps.irrep(group, (0, -1)))) < 1e-14


@pytest.mark.slow
@pytest.mark.parametrize("group", [SO3, O3], ids=repr)
@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4, 5])
def test_in_space_it_is_exact_up_to_the_degree_and_not_beyond(group, degree):
    rule = orbits.quadrature(group, degree)
    rotations = (degree + 1) ** 2 * math.ceil((degree + 1) / 2)
    assert len(rule.weights) == rotations * (1 if group.special else 2)
    assert abs(rule.weights.sum() - 1.0) < 1e-14
    assert np.all(rule.weights > 0)
    parities = [None] if group.special else [1, -1]
    for l in range(degree + 1):
        for parity in parities:
            if l == 0 and parity in (None, 1):
                continue
            label = l if parity is None else (l, parity)
            assert size_of(mean(rule, reps.irrep(group, label))) < 1e-13
    label = degree + 1 if group.special else (degree + 1, (-1) ** (degree + 1))
    if group.special or degree % 2:  # even under the inversion, which integrates odd ones
        assert size_of(mean(rule, reps.irrep(group, label))) > 1e-2


def test_high_degree_keeps_its_accuracy():
    rule = orbits.quadrature(SO2, 2000)
    m = np.arange(1, 2001)
    angles = np.arctan2(rule.elements[:, 1, 0], rule.elements[:, 0, 0])
    assert np.abs(np.exp(1j * angles[:, None] * m).mean(axis=0)).max() < 1e-12
    rule = orbits.quadrature(SO3, 24)
    assert size_of(np.einsum("n,nij->ij", rule.weights, rule.elements)) < 1e-14
    zenith = rule.elements[:, 2, 2]
    for l in range(1, 25):
        assert abs(rule.weights @ np.polynomial.Legendre.basis(l)(zenith)) < 1e-13


def test_finite_groups_and_products():
    s4 = groups.symmetric(4)
    rule = orbits.quadrature(s4)
    np.testing.assert_array_equal(rule.elements, s4.elements())
    np.testing.assert_allclose(rule.weights, 1 / 24)
    both = groups.product(SO2, groups.cyclic(4))
    rule = orbits.quadrature(both, 2)
    assert rule.elements.shape == (12, 4, 4)
    assert len(orbits.quadrature(SO2_SO3, (3, 2)).weights) == 4 * 18
    rep = reps.factor(SO2_SO3, 0, reps.irrep(SO2, 2)) * reps.factor(SO2_SO3, 1, reps.vector(SO3))
    rep = rep * rep
    assert orbits.polynomial_degree(rep, reps.trivial(SO2_SO3)) == (4, 2)
    exact, few = (mean(orbits.quadrature(SO2_SO3, d), rep) for d in ((4, 2), (3, 2)))
    np.testing.assert_allclose(exact @ exact, exact, atol=1e-13)
    np.testing.assert_allclose(np.trace(exact), 2.0, atol=1e-12)
    assert size_of(few - exact) > 1e-2


@pytest.mark.parametrize(
    ("rep_in", "rep_out", "p", "degree"),
    [
        (reps.vector(SO2), reps.vector(SO2), 1, 2),
        (reps.image(SO2, (7, 7)), reps.irrep(SO2, 3), 2, None),
        (reps.tensor(O2, 3), reps.trivial(O2), 2, 6),
        (reps.vector(SO3), reps.irrep(SO3, 2), 3, 5),
        (reps.tensor(O3, 2) + reps.irrep(O3, "4e"), reps.vector(O3), 1, 5),
        (5 * reps.vector(SO3) + reps.trivial(SO3, 2), reps.tensor(SO3, 2) * reps.vector(SO3), 1, 4),
        ([reps.vector(SO3), None], {"a": reps.irrep(SO3, 3)}, 2, 5),
        (reps.vector(groups.cyclic(4)), reps.vector(groups.cyclic(4)), 3, 0),
        (reps.restrict(reps.irrep(SO3, 3), SO2, upright), reps.trivial(SO2), 1, 3),
    ],
)
def test_degree_of_a_polynomial(rep_in, rep_out, p, degree):
    if degree is None:
        degree = p * int(rep_in.frequencies().frequency.max()) + 3
    assert orbits.polynomial_degree(rep_in, rep_out, p) == degree


def test_what_has_no_rule_is_refused():
    for group in (groups.so(4), groups.su(2), groups.usp(1)):
        with pytest.raises(ValueError, match=r"no quadrature is available.*samples=.*unbiased"):
            orbits.quadrature(group, 2)
    with pytest.raises(ValueError, match=r"no quadrature is available for SO\(4\)"):
        orbits.quadrature(groups.product(SO2, groups.so(4)), 2)
    with pytest.raises(ValueError, match=r"no quadrature is available for SU\(2\)"):
        orbits.polynomial_degree(reps.vector(groups.su(2)), reps.trivial(groups.su(2)))
    for group in (groups.lorentz(), groups.sp(1), groups.product(SO2, groups.lorentz())):
        with pytest.raises(ValueError, match="not compact, so there is no Haar mean"):
            orbits.quadrature(group, 2)
    for bad in (-1, 1.5, True):
        with pytest.raises(ValueError, match="the degree must be an integer of at least 0"):
            orbits.quadrature(SO2, bad)
    with pytest.raises(ValueError, match="has 2 factors, got the degrees"):
        orbits.quadrature(SO2_SO3, (1, 2, 3))
    with pytest.raises(ValueError, match="more than the 50000"):
        orbits.quadrature(SO3, 60)
    with pytest.raises(TypeError, match="needs a group, got 'SO3'"):
        orbits.quadrature("SO3", 2)
