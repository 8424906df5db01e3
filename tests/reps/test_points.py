"""Clouds of points and functions on sets of points."""

import itertools

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups, reps

CUBE = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
GOLDEN = (1 + 5**0.5) / 2
ICOSAHEDRON = np.array(
    [np.roll((0, a, b * GOLDEN), k) for a in (-1, 1) for b in (-1, 1) for k in range(3)]
)


@pytest.mark.parametrize("name", ["c4", "so2", "o2", "so3", "o4", "su2", "lorentz", "s4"])
def test_every_point_of_a_cloud_is_moved(name, obeys, elements):
    group = groups.from_name(name)
    rep = reps.points(group, 5)
    obeys(rep)
    assert rep.shape == (5, group.d)
    assert repr(rep) == f"Points[5·V]({group})"
    cloud = np.random.default_rng(0).normal(size=(2, 5, group.d))
    cloud = cloud.astype(group.dtype)
    (g,) = elements(group, 1)
    moved = rep.apply(g, cloud)
    np.testing.assert_allclose(moved, np.einsum("ij,bnj->bni", g, cloud), atol=1e-12)
    np.testing.assert_allclose(rep.apply(g, np.moveaxis(cloud, 0, 2), axes=(0, 1)),
                               np.moveaxis(moved, 0, 2), atol=1e-12)  # fmt: skip
    ((term, index),) = rep.terms()
    assert (term.multiplicity, term.atoms) == (5, (reps.vector(group),))
    np.testing.assert_array_equal(index, np.arange(5 * group.d).reshape(5, group.d))


def test_clouds_are_values():
    so3, lorentz = groups.so(3), groups.lorentz()
    assert reps.points(so3, 4) == reps.points(so3, 4)
    assert reps.points(so3, 4) != 4 * reps.vector(so3)
    assert reps.points(so3, 4).dual == reps.points(so3, 4)
    dual = reps.points(lorentz, 4).dual
    assert dual.shape == (4, 4)
    assert repr(dual) == "Points[4·V*](O(1,3))"
    with pytest.raises(ValueError, match="number of points must be a positive integer"):
        reps.points(so3, 0)


@pytest.mark.parametrize(
    ("group", "points"),
    [
        (groups.octahedral(), CUBE),
        (groups.octahedral(), np.concatenate([np.eye(3), -np.eye(3), [[0, 0, 0]]])),
        (groups.icosahedral(), ICOSAHEDRON * 7.3),
        (groups.cyclic(4), np.array(list(itertools.product((-1, 0, 1), repeat=2)))),
        (groups.dihedral(6), [[np.cos(t), np.sin(t)] for t in np.arange(6) * np.pi / 3]),
        (groups.symmetric(3), list(itertools.permutations((1.0, 2.0, 5.0)))),
        (groups.so(3), np.zeros((1, 3))),
    ],
)
def test_functions_on_points(group, points, obeys, elements):
    rep, points = reps.permutation(group, points), np.asarray(points, float)
    obeys(rep)
    assert rep.is_permutation
    assert rep.dim == len(points)
    assert repr(rep) == f"Functions[{len(points)} points]({group})"
    weights = np.random.default_rng(1).normal(size=group.d)
    for g in elements(group, 3):
        # the function p -> (w, p)^3 moves to p -> (g w, p)^3 where g is orthogonal
        moved = rep.apply(g, (points @ weights) ** 3)
        np.testing.assert_allclose(moved, (points @ (g @ weights)) ** 3, atol=1e-9)
    assert rep == reps.permutation(group, points)
    assert len({rep, reps.permutation(group, points * 2)}) == (1 if not points.any() else 2)


def test_a_grid_is_a_set_of_points():
    group = groups.dihedral(4)
    col, row = np.meshgrid(np.arange(4) - 1.5, 1.5 - np.arange(4))
    rep = reps.permutation(group, np.stack([col.ravel(), row.ravel()], axis=1))
    for g in group.elements():
        np.testing.assert_array_equal(rep.matrix(g), reps.image(group, (4, 4)).matrix(g))


@given(scale=st.floats(1e-6, 1e6))
@examples(fast=10)
def test_the_scale_of_the_points_is_free(scale):
    assert reps.permutation(groups.octahedral(), CUBE * scale).dim == 8
    with pytest.raises(ValueError, match="does not map the points"):
        reps.permutation(groups.octahedral(), (CUBE + np.array([1e-4, 0, 0])) * scale)


def test_sets_that_are_not_mapped_to_themselves():
    c4 = groups.cyclic(4)
    with pytest.raises(ValueError, match=r"generator 0 moves point 0, .* which is 1\.41 from"):
        reps.permutation(c4, [[1, 0], [-1, 0]])
    with pytest.raises(ValueError, match=r"moves point 1 continuously \(with velocity 2\)"):
        reps.permutation(groups.so(2), [[0, 0], [2, 0]])
    with pytest.raises(ValueError, match="points 0 and 2 are 0 apart"):
        reps.permutation(c4, [[1, 0], [0, 1], [1, 0]])
    with pytest.raises(ValueError, match=r"array \[n, 2\], got shape \(3,\)"):
        reps.permutation(c4, [1, 2, 3])
    with pytest.raises(ValueError, match="finite real numbers"):
        reps.permutation(c4, [[np.nan, 0]])
    with pytest.raises(ValueError, match="finite real numbers, got complex128"):
        reps.permutation(c4, [[1j, 0]])
    with pytest.raises(TypeError, match="needs a group"):
        reps.permutation("c4", [[0, 0]])
