"""Rotations of voxels: a representation of O(3) that is the permutation at the 48 symmetries."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples, sizes
from hypothesis import given
from hypothesis import strategies as st

from experiments.voxels import run as table
from softeq_jax import groups, reps

O3, SO3 = groups.o(3), groups.so(3)
OCTAHEDRAL, FULL = groups.octahedral(), groups.full_octahedral()
BOTH = pytest.mark.parametrize("group", [O3, SO3], ids=str)
CUBES = {O3: [1, 2, 3, 4], SO3: [1, 3, 4]}


def cube(group, k):
    return reps.voxels(group, (k, k, k))


@functools.cache
def symmetries(proper):
    """Axes' order and signs of each symmetry of a cube, and its matrix."""
    found = []
    for order, signs in itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    ):
        g = np.zeros((3, 3))
        g[range(3), order] = signs
        if not proper or np.linalg.det(g) > 0:
            found.append((order, signs, g))
    return found


def permuted(x, order, signs):
    """What a symmetry does to a volume: new axis i is the old axis ``order[i]``, or reversed."""
    x = np.transpose(x, order)
    return np.flip(x, [i for i in range(3) if signs[i] < 0])


def random(group, seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q)) if group == SO3 else q


@BOTH
def test_what_every_representation_obeys(group, obeys):
    for k in CUBES[group]:
        obeys(cube(group, k), tolerance=1e-12)


@pytest.mark.parametrize("group", [OCTAHEDRAL, FULL], ids=str)
def test_symmetries_of_the_cube_are_permutations(group, obeys):
    rep = cube(group, 3)
    assert rep.is_permutation
    obeys(rep)
    x = np.random.default_rng(0).integers(0, 9, (3, 3, 3))
    for order, signs, g in symmetries(group == OCTAHEDRAL):
        np.testing.assert_array_equal(rep.apply(g, x), permuted(x, order, signs))


def test_directions_are_those_of_numpy():
    x = np.arange(27.0).reshape(3, 3, 3)
    about_z = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # x -> y: axis 0 towards axis 1
    np.testing.assert_array_equal(cube(SO3, 3).apply(about_z, x), np.rot90(x, 1, (0, 1)))
    mirror = np.diag([1.0, 1, -1])
    np.testing.assert_array_equal(cube(O3, 3).apply(mirror, x), x[:, :, ::-1])


@BOTH
@pytest.mark.parametrize("k", sizes(fast=[3, 4, 5], sweep=range(3, 10)))
def test_all_symmetries_of_the_cube_off_the_unmatched(group, k):
    """Through the harmonics: a symmetry times a rotation is none, and rotated back it is one."""
    rep, g = cube(group, k), random(SO3, 1)
    x = np.random.default_rng(0).normal(size=(2, k**3))
    u = rep.unmatched
    x = (x - x @ u @ u.T).reshape(2, k, k, k)
    for order, signs, h in symmetries(group == SO3):
        found = rep.apply(g.T, rep.apply(g @ h, x))
        expected = np.stack([permuted(one, order, signs) for one in x])
        np.testing.assert_allclose(found, expected, atol=1e-12)


@BOTH
@given(k=st.sampled_from([3, 4, 5]), seeds=st.tuples(st.integers(0, 999), st.integers(0, 999)))
@examples(fast=15)
def test_homomorphism(group, k, seeds):
    rep, (g, h) = cube(group, k), (random(group, seed) for seed in seeds)
    np.testing.assert_allclose(rep.matrix(g @ h), rep.matrix(g) @ rep.matrix(h), atol=1e-12)
    np.testing.assert_allclose(rep.matrix(g).T, rep.matrix(g.T), atol=1e-12)


@BOTH
@pytest.mark.parametrize("k", [3, 4, 5])
def test_levels_are_those_of_harmonics(group, k):
    rep = cube(group, k)
    lie = rep.lie_matrices()
    values = np.linalg.eigvalsh(-np.einsum("kab,kbc->ac", lie, lie))
    l = np.rint((np.sqrt(1 + 4 * np.abs(values)) - 1) / 2)
    np.testing.assert_allclose(values, l * (l + 1), atol=1e-9)
    seen = np.bincount(l.astype(int)) / (2 * np.arange(l.max() + 1) + 1)
    copies = np.zeros(len(seen))
    for irrep, columns in rep.harmonics():
        copies[irrep.degree] = columns.shape[1]
    copies[0] += rep.unmatched.shape[1]  # rotations fix them
    np.testing.assert_array_equal(seen, copies)


@pytest.mark.parametrize(("k", "copies"), [(3, [4, 2, 2, 1]), (5, [7, 5, 5, 3, 2, 1, 1, 1])])
def test_multiplicities(k, copies):
    """As often as the energy of smooth volumes asks for; together they span the voxels."""
    found = cube(O3, k).harmonics()
    assert [columns.shape[1] for _, columns in found] == copies
    assert [irrep.degree for irrep, _ in found] == list(range(len(copies)))
    whole = np.concatenate([columns.reshape(k**3, -1) for _, columns in found], axis=1)
    np.testing.assert_allclose(whole.T @ whole, np.eye(k**3), atol=1e-12)


def test_parity_is_natural():
    """``(g f)(x) = f(-x)`` has the sign (-1)^l on harmonics."""
    for irrep, columns in cube(O3, 5).harmonics():
        volumes = np.moveaxis(columns.reshape(5, 5, 5, -1), -1, 0)
        np.testing.assert_allclose(volumes[:, ::-1, ::-1, ::-1], irrep.parity * volumes, atol=1e-12)


@pytest.mark.parametrize(("k", "unmatched"), [(2, 4), (4, 24), (6, 56)])
def test_even_sides(k, unmatched):
    """``k^2`` unmatched patterns at least; rotations fix them, the inversion does what it does."""
    rep = cube(O3, k)
    u = rep.unmatched
    assert u.shape == (k**3, unmatched)
    assert unmatched >= k**2
    np.testing.assert_allclose(u.T @ u, np.eye(unmatched), atol=1e-12)
    volumes = u.T.reshape(-1, k, k, k)
    np.testing.assert_allclose(rep.apply(random(SO3, 0), volumes), volumes, atol=1e-12)
    turned, inverted = random(SO3, 1), volumes[:, ::-1, ::-1, ::-1]
    np.testing.assert_allclose(rep.apply(-turned, volumes), inverted, atol=1e-12)
    np.testing.assert_array_equal(rep.apply(-np.eye(3), volumes), inverted)
    assert k == 2 or cube(SO3, k).unmatched.size == 0


def test_restrictions():
    """Odd sides: O(3) restricts to SO(3), and both to the permutations."""
    g = random(SO3, 4)
    np.testing.assert_array_equal(cube(O3, 3).matrix(g), cube(SO3, 3).matrix(g))
    for whole, part in ((O3, FULL), (O3, OCTAHEDRAL), (SO3, OCTAHEDRAL)):
        found = reps.restrict(cube(whole, 3), part)
        assert found.is_permutation
        for h in part.elements()[::5]:
            np.testing.assert_array_equal(found.matrix(h), cube(part, 3).matrix(h))


def test_other_groups_of_orthogonal_matrices(obeys):
    axis = groups.from_generators("axis", lie=SO3.lie_generators[:1])
    for group in (groups.icosahedral(), axis):
        obeys(cube(group, 3))
        g = group.elements()[7] if group.is_finite else group.exp(np.array([0.3]))
        np.testing.assert_allclose(cube(group, 3).matrix(g), cube(O3, 3).matrix(g), atol=1e-12)
        assert cube(group, 3).harmonics() is None


def test_boxes_under_what_maps_them_to_themselves(obeys):
    quarter = groups.from_generators("C4z", discrete=[[[0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    rep = reps.voxels(quarter, (2, 2, 3))
    obeys(rep)
    x = np.random.default_rng(0).normal(size=(2, 2, 3))
    g = quarter.discrete_generators[0]
    np.testing.assert_array_equal(rep.apply(g, x), np.rot90(x, 1, (0, 1)))
    assert reps.voxels(FULL, (12, 12, 12)).is_permutation  # no columns to build


@pytest.mark.parametrize("k", [3, 5, pytest.param(7, marks=pytest.mark.slow(3)),
                               pytest.param(9, marks=pytest.mark.slow(8))])  # fmt: skip
def test_accuracy(k):
    """Closer than both resamplings; the bounds of the table on its first two columns."""
    n = 100 if k < 7 else 60
    wide = table.errors(table.gaussian, k, "O(3)", n=n)
    narrow = table.errors(table.narrow, k, "O(3)", n=n)
    assert wide["ours"] < 0.006
    assert narrow["ours"] < 0.06
    for found in (wide, narrow):
        assert found["ours"] < found["cubic"] < found["trilinear"]


@pytest.mark.parametrize(("k", "group"), [(4, "O(3)"), (4, "SO(3)"), (6, "O(3)")])
def test_accuracy_on_even_sides(k, group):
    assert table.errors(table.gaussian, k, group, (table.ours,), n=60)["ours"] < 0.006
    assert table.errors(table.narrow, k, group, (table.ours,), n=60)["ours"] < 0.06


def test_dtypes_and_jit():
    rep, g = cube(O3, 3), random(O3, 2)
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype(np.float32)
    expected = rep.apply(g, x.astype(np.float64))
    found = jax.jit(lambda x: rep.apply(g, x))(x)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    half = rep.apply(g, jnp.asarray(x, jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), expected, atol=0.05)
    both = rep.apply(g, x + 1j * x)
    np.testing.assert_allclose(both, expected * (1 + 1j), atol=1e-5)
    with pytest.raises(TypeError, match="interpolates: the array must be floating, got int"):
        rep.apply(g, np.ones((3, 3, 3), int))


@pytest.mark.parametrize(
    ("group", "shape", "message"),
    [
        (SO3, (3, 3), "shape of three sides"),
        (SO3, (3, 3, 5), "3x3x5 voxels are none"),
        (OCTAHEDRAL, (3, 3, 5), "exchanges axes of different length"),
        (O3, (0, 3, 3), "each side of voxels must be a positive integer, got 0"),
        (O3, (10, 10, 10), "tried up to 9 voxels a side"),
        (SO3, (2, 2, 2), "take O(3), which leaves four patterns unmatched"),
        (groups.cyclic(4), (3, 3, 3), "needs a group of orthogonal 3 x 3 matrices"),
        (groups.su(3), (3, 3, 3), "needs a group of orthogonal 3 x 3 matrices"),
    ],
)
def test_volumes_that_are_refused(group, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        reps.voxels(group, shape)


def test_no_group():
    with pytest.raises(TypeError, match="voxels needs a group"):
        reps.voxels("so3", (3, 3, 3))
