"""Irreducible representations of planar groups, SO(3) and O(3), against independent definitions."""

import functools
import math

import jax
import numpy as np
import pytest
import scipy.spatial.transform
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups, reps


@functools.lru_cache(maxsize=1)
def _so3():
    return groups.so(3)


def _labels(group):
    """All names up to frequency 5, from the textbook list."""
    n = group.rotations
    highest = 5 if n is None else (n - 1) // 2
    pairs = list(range(1, highest + 1))
    half = n is not None and n % 2 == 0
    if not group.has_flip:
        return [0, *pairs, *([n // 2] if half else [])]
    singles = [(0, 1), (0, -1)] + ([(n // 2, 1), (n // 2, -1)] if half else [])
    return singles + pairs


@pytest.mark.parametrize(
    "name", ["c1", "c2", "c3", "c4", "c7", "c8", "d1", "d2", "d3", "d4", "d5", "d6", "so2", "o2"]
)
def test_planar_irreps(name, obeys):
    group = groups.from_name(name)
    found = [reps.irrep(group, label) for label in _labels(group)]
    for rep in found:
        obeys(rep, 1e-12)
        assert rep.dual == rep
    assert len(set(found)) == len(found)
    if group.is_finite:
        # over the real numbers, pairs of C_n are two complex irreps and count once with |chi|^2 = 2
        characters = np.array([[np.trace(r.matrix(g)) for g in group.elements()] for r in found])
        gram = characters @ characters.T / group.order
        norms = [2 if r.dim == 2 and not group.has_flip else 1 for r in found]
        np.testing.assert_allclose(gram, np.diag(norms), atol=1e-12)
        total = sum(r.dim**2 / norm for r, norm in zip(found, norms, strict=True))
        assert total == group.order


@given(m=st.integers(1, 9), angle=st.floats(-6, 6), flip=st.booleans())
@examples(fast=100)
def test_planar_irreps_turn_m_times(m, angle, flip):
    o2 = groups.o(2)
    expected = np.array(
        [[math.cos(m * angle), -math.sin(m * angle)], [math.sin(m * angle), math.cos(m * angle)]]
    ) @ np.diag([-1.0 if flip else 1.0, 1.0])
    found = reps.irrep(o2, m).matrix(o2.element(angle, flip))
    np.testing.assert_allclose(found, expected, atol=1e-12 * m)


def test_values_of_one_dimensional_irreps():
    d4 = groups.dihedral(4)
    quarter, flip = d4.element(math.pi / 2), d4.element(flip=True)
    for label in [(0, 1), (0, -1), (2, 1), (2, -1)]:
        rep = reps.irrep(d4, label)
        assert rep.matrix(quarter) == (1 if label[0] == 0 else -1)
        assert rep.matrix(flip) == label[1]
        assert rep.apply(flip, np.array([3])) == 3 * label[1]
    assert reps.irrep(groups.cyclic(6), 3).matrix(groups.cyclic(6).element(math.pi)) == -1
    assert reps.irrep(d4, 0) == reps.irrep(d4, (0, 1))


@pytest.mark.parametrize("name", ["c3", "c4", "d3", "d8", "so2", "o2"])
def test_the_first_irrep_is_that_of_vectors(name):
    group = groups.from_name(name)
    rep, v = reps.irrep(group, 1), reps.vector(group)
    for g in group.sample(jax.random.key(0), 5):
        np.testing.assert_array_equal(rep.matrix(g), v.matrix(g))
    np.testing.assert_array_equal(rep.frequencies().basis, v.frequencies().basis)
    np.testing.assert_array_equal(rep.lie_matrices(), v.lie_matrices())


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("c4", 3), ("c4", -1), ("c4", (1, 1)), ("c4", 1.0), ("c4", True), ("c4", "1"), ("c4", None),
        ("d4", 2), ("d4", (1, 1)), ("d4", (0, 0)), ("d4", (0, 2)), ("d4", (2,)), ("d5", (2, 1)),
        ("d2", 1), ("so2", -1), ("so2", (0, -1)), ("o2", (1, -1)), ("o2", "1o"),
        ("so3", -1), ("so3", (1, 1)), ("so3", "1o"), ("so3", 0.5), ("o3", 1), ("o3", (1, 0)),
        ("o3", (-1, 1)), ("o3", "1"), ("o3", "o1"), ("o3", (1, 1, 1)),
    ],
)  # fmt: skip
def test_names_that_do_not_exist(name, label):
    with pytest.raises(ValueError, match="no irreducible representation .*; its names are"):
        reps.irrep(groups.from_name(name), label)


def test_groups_without_names():
    for group in (groups.so(4), groups.su(2), groups.symmetric(3), groups.lorentz()):
        with pytest.raises(ValueError, match=r"only those of C_n.*isotypic"):
            reps.irrep(group, 1)
    with pytest.raises(TypeError, match="needs a group"):
        reps.irrep("so3", 1)


def _turn(axis, angle):
    return scipy.spatial.transform.Rotation.from_rotvec(
        angle * np.asarray(axis) / np.linalg.norm(axis)
    ).as_matrix()


AXIS = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1)
ANGLE = st.one_of(st.floats(0.01, math.pi), st.just(math.pi), st.floats(3.14159, math.pi))


@given(l=st.integers(0, 8), axis=AXIS, angle=ANGLE)
@examples(fast=100)
def test_characters(l, axis, angle):
    found = np.trace(reps.irrep(_so3(), l).matrix(_turn(axis, angle)))
    expected = math.sin((2 * l + 1) * angle / 2) / math.sin(angle / 2)
    np.testing.assert_allclose(found, expected, atol=1e-10 if angle > 0.05 else 1e-8)


@given(l=st.integers(0, 8), s=AXIS, t=AXIS, a=ANGLE, b=ANGLE)
@examples(fast=100)
def test_homomorphism_to_twelve_digits(l, s, t, a, b):
    rep = reps.irrep(_so3(), l)
    g, h = _turn(s, a), _turn(t, b)
    x, y = rep.matrix(g), rep.matrix(h)
    np.testing.assert_allclose(x @ x.T, np.eye(rep.dim), atol=1e-13)
    np.testing.assert_allclose(rep.matrix(g @ h), x @ y, atol=1e-12)
    np.testing.assert_allclose(rep.matrix(g.T), x.T, atol=1e-12)


@pytest.mark.parametrize("l", range(9))
def test_laws_and_casimir(l, obeys):
    rep = reps.irrep(_so3(), l)
    obeys(rep, 1e-12)
    lie = rep.lie_matrices()
    np.testing.assert_array_equal(lie, -np.swapaxes(lie, 1, 2))
    casimir = -np.einsum("kij,kjl->il", lie, lie)
    np.testing.assert_allclose(casimir, l * (l + 1) * np.eye(2 * l + 1), atol=1e-11)
    assert repr(rep) == f"irrep[{l}](SO(3))"
    assert (rep.dim, rep.is_trivial) == (2 * l + 1, l == 0)


@pytest.mark.parametrize("l", [1, 4, 8])
def test_half_turns(l):
    rep, rng = reps.irrep(_so3(), l), np.random.default_rng(l)
    for axis in [*np.eye(3), *rng.normal(size=(5, 3)), [1, 1, 0], [1, -1, 1e-9]]:
        n = np.asarray(axis) / np.linalg.norm(axis)
        matrix = rep.matrix(2 * np.outer(n, n) - np.eye(3))
        np.testing.assert_allclose(matrix @ matrix, np.eye(rep.dim), atol=1e-12)
        np.testing.assert_allclose(np.trace(matrix), (-1) ** l, atol=1e-12)
        near = rep.matrix(_turn(n, math.pi - 1e-9))
        np.testing.assert_allclose(near, matrix, atol=1e-8 * l)


def test_degree_one_is_y_z_x(elements):
    rep, swap = reps.irrep(_so3(), 1), np.eye(3)[[1, 2, 0]]
    for g in elements(_so3(), 5):
        np.testing.assert_allclose(rep.matrix(g), swap @ g @ swap.T, atol=1e-14)


def _harmonics(p):
    """Explicit real harmonics of degree 2 and 3 with a common norm on the sphere, m = -l .. l."""
    x, y, z = p.T
    root = math.sqrt
    second = [root(3) * x * y, root(3) * y * z, z**2 - (x**2 + y**2) / 2, root(3) * x * z]
    second.append(root(3) / 2 * (x**2 - y**2))
    third = [
        root(5 / 8) * y * (3 * x**2 - y**2),
        root(15) * x * y * z,
        root(3 / 8) * y * (4 * z**2 - x**2 - y**2),
        z * (2 * z**2 - 3 * x**2 - 3 * y**2) / 2,
        root(3 / 8) * x * (4 * z**2 - x**2 - y**2),
        root(15) / 2 * z * (x**2 - y**2),
        root(5 / 8) * x * (x**2 - 3 * y**2),
    ]
    return {2: np.stack(second, axis=1), 3: np.stack(third, axis=1)}


@pytest.mark.parametrize("l", [2, 3])
def test_polynomials_on_rotated_points(l, elements):
    p = np.random.default_rng(0).normal(size=(20, 3))
    for g in elements(_so3(), 5):
        found = _harmonics(p)[l] @ reps.irrep(_so3(), l).matrix(g).T
        np.testing.assert_allclose(found, _harmonics(p @ g.T)[l], atol=1e-12)


def test_inversions(elements, obeys):
    o3 = groups.o(3)
    for l in range(4):
        for parity, letter in ((1, "e"), (-1, "o")):
            rep = reps.irrep(o3, (l, parity))
            assert rep == reps.irrep(o3, f"{l}{letter}")
            assert repr(rep) == f"irrep[{l}{letter}](O(3))"
            obeys(rep, 1e-12)
            np.testing.assert_array_equal(rep.matrix(-np.eye(3)), parity * np.eye(2 * l + 1))
    swap = np.eye(3)[[1, 2, 0]]
    for g in elements(o3, 4):
        polar, axial = reps.irrep(o3, "1o").matrix(g), reps.irrep(o3, "1e").matrix(g)
        np.testing.assert_allclose(polar, swap @ g @ swap.T, atol=1e-14)
        np.testing.assert_allclose(axial, np.linalg.det(g) * polar, atol=1e-14)
