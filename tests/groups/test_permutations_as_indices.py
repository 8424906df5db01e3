"""Permutations are index arrays: in generators, elements, actions, orbits and projectors."""

import math

import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import groups, orbits, reps


def _shift(n, *more):
    """The cyclic shift of n points, and the shift by any other amounts."""
    return groups.from_generators("Shift", discrete=np.stack([np.roll(np.arange(n), k)
                                                              for k in (1, *more)]))  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_matrices_of_neighbour_swaps_are_windows_of_one_matrix(n):
    group = groups.symmetric(n)
    swaps = group.discrete_generators
    assert swaps.shape == (n - 1, n, n)
    np.testing.assert_array_equal(swaps, group.dense(group.letters()))
    assert not swaps.flags.writeable
    assert n < 3 or np.may_share_memory(swaps[0], swaps[1])


def test_an_element_is_a_permutation_or_its_matrix():
    group, p = groups.symmetric(5), np.array([3, 0, 1, 4, 2])
    rng = np.random.default_rng(0)
    x, matrix = rng.normal(size=(2, 5)), group.dense(p)
    for rep in (reps.vector(group), reps.tensor(group, 2), reps.regular(group)):
        y = rng.normal(size=(2, rep.dim))
        np.testing.assert_array_equal(rep.apply(p, y), rep.apply(matrix, y))
        np.testing.assert_array_equal(rep.matrix(p), rep.matrix(matrix))
        np.testing.assert_array_equal(rep.apply(p, y), y @ rep.matrix(p).T)
    moved = reps.vector(group).apply(p, x)
    np.testing.assert_array_equal(moved[:, p], x)  # entry j goes to position p[j]
    V = reps.vector(group)
    P = sq.projector("i o", {"i": V, "o": V})
    w = rng.normal(size=(5, 5))
    np.testing.assert_array_equal(P.act(p, w), P.act(matrix, w))
    assert P.certificate(w, element=p) == P.certificate(w, element=matrix)
    assert group.contains(p)
    assert group.index(p) == group.index(matrix)


@pytest.mark.parametrize("p", [[0, 0, 1, 2, 3], [1, 2, 3, 4, 5], [-1, 0, 1, 2, 3], [1, 0, 2, 3, 4]])
def test_what_is_no_permutation_of_the_group_is_refused(p):
    with pytest.raises(ValueError, match="permutation"):
        reps.vector(_shift(5)).apply(np.array(p), np.zeros(5))


def test_regular_representation_of_permutations_is_that_of_their_matrices():
    by_index = groups.from_generators("Q", discrete=np.array([[1, 2, 0, 3], [1, 0, 3, 2]]))
    as_matrices = groups.from_name("octahedral")  # another group: only the definition is compared
    for group in (by_index, as_matrices):
        rep, elements = reps.regular(group), group.elements()
        for h in (1, 5):
            f = np.random.default_rng(h).normal(size=group.order)
            expected = [f[group.index(np.linalg.inv(elements[h]) @ g)] for g in elements]
            np.testing.assert_array_equal(rep.apply(elements[h], f), expected)


def test_orders_of_permutations_come_from_their_cycles():
    """Their powers would not return within a lifetime."""
    sizes = [2, 3, 5, 7, 11, 13, 17, 19, 23]
    starts = np.cumsum([0, *sizes])
    p = np.concatenate([start + np.roll(np.arange(k), 1) for start, k in zip(starts, sizes)])  # noqa: B905
    group = groups.from_generators("Cycles", discrete=p[None])
    assert group.order == math.prod(sizes)
    ((stage,),) = group.level_factors()
    assert stage.classes[0].weight == pytest.approx((math.prod(sizes) / (2 * math.pi)) ** 2)


def test_many_points_need_no_matrices():
    """5000 points: one generator as a matrix would be 190 MiB, all elements a terabyte."""
    before = sq.memory_limit(2**26)
    try:
        group = _shift(5000, 2, 3)
        V = reps.vector(group)
        P = sq.projector("i", {"i": V})
        w = np.random.default_rng(0).normal(size=5000)
        np.testing.assert_allclose(np.asarray(P(w)), w.mean(), atol=1e-6)
        assert (P.rank(), group.order, V.is_trivial) == (1, 5000, False)
        shift = np.roll(np.arange(5000), 7)
        np.testing.assert_array_equal(P.act(shift, w), np.roll(w, -7))
        assert P.certificate(w, element=shift).bound > 0
        with pytest.raises(sq.TooLargeError, match="matrices of .* permutations of 5000 points"):
            group.discrete_generators  # noqa: B018
        with pytest.raises(sq.TooLargeError):
            V.matrix(shift)
        with pytest.raises(sq.TooLargeError, match="all elements"):
            group.elements()
    finally:
        sq.memory_limit(before)


def test_maps_between_many_points_are_averaged_in_the_memory_of_the_kernel():
    """S_150 on 150 x 150 kernels has 149 generators, of 22 500 entries each."""
    group = groups.symmetric(150)
    V = reps.vector(group)
    P = sq.projector("i o", {"i": V, "o": V}, backend="orbits")
    w = np.random.default_rng(0).normal(size=(150, 150))
    found = np.asarray(P(w))
    assert P.rank() == 2
    np.testing.assert_allclose(np.diag(found), np.trace(w) / 150, atol=1e-6)
    off = (w.sum() - np.trace(w)) / (150 * 149)
    np.testing.assert_allclose(found[~np.eye(150, dtype=bool)], off, atol=1e-6)


def test_orbits_of_permutations_are_gathers_from_words():
    group = _shift(40)
    x = np.arange(40.0)
    found = orbits.orbit(reps.vector(group), x)
    assert sorted(map(tuple, found)) == sorted(tuple(np.roll(x, k)) for k in range(40))


def test_equivariance_of_a_product_with_many_points():
    group = groups.product(groups.symmetric(30), groups.so(3))
    V = reps.factor(group, 0, reps.vector(group.factors[0]))
    P = sq.projector("i o", {"i": V, "o": V})
    assert P.rank() == 2
