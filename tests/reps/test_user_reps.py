"""Representations given by matrices of the generators or by functions."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups, reps

NAMES = [
    "c4", "d5", "so2", "o2", "so3", "o3", "so4", "su2", "su3", "lorentz", "sp4", "s4", "s9",
]  # fmt: skip


def _group(name):
    if name == "sp4":
        return groups.sp(2)
    return groups.symmetric(9) if name == "s9" else groups.from_name(name)


def _change_of_basis(n, seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    return q @ np.diag(np.linspace(0.5, 2, n)) @ q.T


@pytest.mark.parametrize("name", NAMES)
def test_generators_of_a_known_representation_give_it_back(name, obeys, elements):
    group = _group(name)
    v = reps.vector(group)
    known = v if group.d > 6 else (v + v.dual if group.is_complex else v * v + v)
    if known.dim > 30:
        known = v
    s = _change_of_basis(known.dim, 1)
    lie, discrete = (
        s @ m @ np.linalg.inv(s) for m in (known.lie_matrices(), known.discrete_matrices())
    )
    rep = reps.from_generators(group, lie, discrete)
    obeys(rep, 1e-9)
    for g in elements(group, 3):
        expected = s @ known.matrix(g) @ np.linalg.inv(s)
        scale = max(1, np.abs(expected).max())
        np.testing.assert_allclose(rep.matrix(g), expected, atol=1e-10 * scale)
    assert rep.is_orthogonal is False
    assert repr(rep) == f"Rep[{known.dim}]({group})"
    again = reps.from_generators(group, lie.copy(), discrete.copy())
    assert rep == again
    assert hash(rep) == hash(again)
    if not group.is_finite or group.order > 2:
        assert rep != reps.from_generators(group, known.lie_matrices(), known.discrete_matrices())


def test_generators_may_be_left_out_where_there_are_none(obeys):
    so3, d3 = groups.so(3), groups.dihedral(3)
    obeys(reps.from_generators(so3, lie=reps.irrep(so3, 2).lie_matrices()))
    sign = reps.from_generators(d3, discrete=[[[1]], [[-1]]])
    obeys(sign)
    assert sign.is_orthogonal
    np.testing.assert_array_equal(sign.frequencies().odd, [True])
    with pytest.raises(ValueError, match=r"trivial\(group, n\)"):
        reps.from_generators(groups.trivial())


@given(m=st.integers(1, 6), seed=st.integers(0, 99))
@examples(fast=15)
def test_frequencies_of_rotations_in_any_basis(m, seed, obeys):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))
    o2 = groups.o(2)
    known = reps.irrep(o2, m) + reps.irrep(o2, (0, -1)) + reps.trivial(o2)
    lie, discrete = (q @ x @ q.T for x in (known.lie_matrices(), known.discrete_matrices()))
    rep = reps.from_generators(o2, lie, discrete)
    obeys(rep)
    assert sorted(rep.frequencies().frequency) == sorted([0, 0, m, m])
    n = 2 * m + 1
    turned = reps.from_generators(
        groups.cyclic(n), discrete=[rep.matrix(o2.element(2 * np.pi / n))]
    )
    obeys(turned)
    assert sorted(turned.frequencies().frequency) == sorted([0, 0, m, m])


SPIN = groups.su(2).lie_generators


def _spin_of_so3():
    """Skew 4 x 4 matrices of the spin 1/2 of SO(3)'s own generators."""
    return np.concatenate(
        [np.concatenate([SPIN.real, -SPIN.imag], 2), np.concatenate([SPIN.imag, SPIN.real], 2)], 1
    )


def test_spin_one_half():
    so3 = groups.so(3)
    ad = so3.lie_generators
    spin = _spin_of_so3()

    def bracket(a, i, j):
        return a[i] @ a[j] - a[j] @ a[i]

    # signs that give the spin matrices SO(3)'s structure constants
    sign = so3.coordinates(bracket(ad, 0, 1))[2] / groups.su(2).coordinates(bracket(SPIN, 0, 1))[2]
    for lie in (sign * SPIN, sign * spin):
        np.testing.assert_allclose(
            bracket(lie, 0, 1), so3.coordinates(bracket(ad, 0, 1))[2] * lie[2], atol=1e-14
        )
        with pytest.raises(ValueError, match=r"exp\(t A_0\) is 1 .* t = 2 pi, but not"):
            reps.from_generators(so3, lie=lie)
    assert reps.from_generators(groups.su(2), lie=SPIN).dim == 2


@pytest.mark.parametrize(
    ("name", "lie", "discrete", "message"),
    [
        ("so2", [[[0, -0.5], [0.5, 0]]], None, r"exp\(t A_0\) is 1"),
        ("so2", [[[1.0]]], None, r"exp\(t A_0\) is 1"),
        ("so3", np.zeros((3, 2, 2)) + np.eye(2), None, "commutator of Lie generators 0 and 1"),
        ("o2", [[[0, -1], [1, 0]]], [np.eye(2)], "conjugating Lie generator 0"),
        ("o2", [[[0.0]]], [[[2.0]]], "h0 has order 2 in the group"),
        ("o2", [[[0.0]]], [[[0.0]]], "generator 0 is singular"),
        ("c3", None, [[[-1.0]]], r"rho\(g h0\) differs .* for the element g = h0 h0"),
        ("d4", None, [[[-1.0]], [[1j]]], r"rho\(g h1\) differs"),
        ("s9", None, [[[1.0]], *([[[-1.0]]] * 7)], "h0 h1 has order 3"),
        ("so3", None, None, r"lie must be the matrices \[3, n, n\].*got none"),
        ("so3", np.zeros((2, 3, 3)), None, r"got shape \(2, 3, 3\)"),
        ("c4", None, np.zeros((1, 2, 3)), r"discrete must be .* got shape \(1, 2, 3\)"),
        ("c4", np.zeros((1, 2, 2)), [np.eye(2)], r"\[0, n, n\] of the 0 lie generators"),
        ("c4", None, [[[np.inf]]], "finite numbers"),
        ("o2", [[[0.0]]], [np.eye(2)], r"one size n, got n = \[1, 2\]"),
    ],
)
def test_matrices_that_are_no_representation(name, lie, discrete, message):
    with pytest.raises(ValueError, match=message):
        reps.from_generators(_group(name), lie, discrete)


@pytest.mark.parametrize("size", [1e-6, 1e-3])
@pytest.mark.parametrize("name", ["d5", "so3", "o3", "s4", "lorentz"])
def test_small_errors_are_found(name, size):
    rep = reps.vector(_group(name))
    rng = np.random.default_rng(0)
    lie, discrete = rep.lie_matrices(), rep.discrete_matrices()
    noise = [size * rng.normal(size=m.shape) for m in (lie, discrete)]
    with pytest.raises(ValueError, match="no representation"):
        reps.from_generators(rep.group, lie + noise[0], discrete + noise[1])


def test_generators_of_large_groups_without_short_words():
    cube = groups.rubiks_cube()
    stickers = reps.vector(cube).discrete_matrices()
    rep = reps.from_generators(cube, discrete=stickers)
    np.testing.assert_array_equal(rep.discrete_matrices(), stickers)
    stickers[0] = stickers[1]
    with pytest.raises(ValueError, match="has order"):
        reps.from_generators(cube, discrete=stickers)


@pytest.mark.slow
def test_groups_of_a_user(obeys):
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    lie = np.zeros((2, 4, 4))
    lie[0, :2, :2] = lie[1, 2:, 2:] = turn
    torus = groups.from_generators("T2", lie=lie)
    v = reps.vector(torus)
    obeys(reps.from_generators(torus, lie=(v * v).lie_matrices()))
    obeys(reps.restrict(reps.irrep(groups.so(2), 2), groups.so(2)))
    assert reps.restrict(reps.vector(groups.so(4)), torus) == v
    with pytest.raises(ValueError, match=r"exp\(t A_0\) is 1"):
        reps.from_generators(torus, lie=torus.lie_generators / 2)
    scalings = groups.from_generators("scale", lie=np.eye(2)[None])
    w = reps.vector(scalings)
    obeys(reps.from_generators(scalings, lie=-0.3 * w.lie_matrices()))
    assert (w * w.dual).is_trivial
    assert not (w * w).is_trivial
    shears = groups.from_generators("Z", discrete=np.array([[[1.0, 1.0], [0.0, 1.0]]]))
    powers = reps.from_generators(shears, discrete=[[[3.0]]])
    np.testing.assert_array_equal(powers.discrete_matrices(), [[[3.0]]])


def _determinant(g):
    return np.array([[np.linalg.det(g)]])


def _square(g):
    return np.kron(g, g)


def _contragredient(g):
    return np.linalg.inv(g).T


@pytest.mark.parametrize("name", ["d5", "so2", "o3", "su2", "lorentz", "sp4", "s4"])
def test_functions(name, obeys):
    group = _group(name)
    v = reps.vector(group)
    for function, known in (
        (_determinant, None), (_square, v * v), (_contragredient, v.dual)
    ):  # fmt: skip
        rep = reps.from_function(group, function, 1 if known is None else known.dim)
        obeys(rep)
        assert repr(rep) == f"{function.__name__}[{rep.dim}]({group})"
        assert rep == reps.from_function(group, function, rep.dim)
        if known is not None:
            np.testing.assert_allclose(rep.lie_matrices(), known.lie_matrices(), atol=1e-12)
            np.testing.assert_allclose(rep.discrete_matrices(), known.discrete_matrices())


@pytest.mark.parametrize("m", [44, 201])  # 201 is a whole turn within 1/32, up to 0.002
def test_functions_of_high_frequency_are_differentiated_exactly(m):
    so2 = groups.so(2)
    known = reps.irrep(so2, m)

    def turned(g):
        return known.matrix(g)

    lie = reps.from_function(so2, turned, 2).lie_matrices()
    np.testing.assert_allclose(lie, known.lie_matrices(), atol=1e-10)


@pytest.mark.parametrize(
    ("function", "dim", "message"),
    [
        (lambda g: 2 * g, 3, "its value at 1 differs from 1 by 1"),
        (lambda g: g @ g, 3, "its value at g h differs"),
        (lambda g: np.abs(g), 3, "its value at g h differs"),
        (lambda g: g.T, 3, "its value at g h differs"),
        (lambda g: g.astype(np.float32), 3, "single precision"),
        (lambda g: g, 4, r"\[4, 4\] matrices of numbers, got shape \(3, 3\)"),
        (lambda g: g * np.nan, 3, "finite"),
        (lambda g: np.array([["a"]]), 1, "matrices of numbers"),
    ],
)
def test_functions_that_are_no_representation(function, dim, message):
    with pytest.raises(ValueError, match=message):
        reps.from_function(groups.o(3), function, dim)


def test_things_that_are_no_functions():
    with pytest.raises(TypeError, match="function of matrices"):
        reps.from_function(groups.so(3), np.eye(3), 3)
    with pytest.raises(ValueError, match="dimension must be a positive integer"):
        reps.from_function(groups.so(3), _square, 0)
    for make in (reps.from_generators, lambda g: reps.from_function(g, _square, 9)):
        with pytest.raises(TypeError, match="needs a group"):
            make("so3")
