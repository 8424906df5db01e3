"""Permutation groups: stabilizer chains against brute force, and the cube."""

import itertools
import math

import jax
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups


@st.composite
def generator_sets(draw):
    n = draw(st.integers(1, 6))
    return [draw(st.permutations(range(n))) for _ in range(draw(st.integers(1, 3)))]


def _closure(generators):
    found = {tuple(range(len(generators[0])))}
    new = set(found)
    while new:
        new = {tuple(p[j] for j in g) for p in new for g in generators} - found
        found |= new
    return found


@examples(fast=60)
@given(generators=generator_sets())
def test_chain_agrees_with_brute_force(generators):
    group = groups.from_generators("G", discrete=np.array(generators))
    found = _closure(generators)
    n = len(generators[0])
    assert isinstance(group, groups.PermutationGroup)
    assert group.order == len(found)
    assert {tuple(group.permutation(g)) for g in group.elements()} == found
    for p in itertools.islice(itertools.permutations(range(n)), 0, None, max(1, n)):
        g = np.zeros((n, n))
        g[list(p), range(n)] = 1
        assert group.contains(g) == (p in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("generators", "order"),
    [
        ([[(i + 1) % 30 for i in range(30)], [1, 0, *range(2, 30)]], math.factorial(30)),
        ([[(i + 1) % 31 for i in range(31)], [1, 2, 0, *range(3, 31)]], math.factorial(31) // 2),
        (
            [  # the Mathieu group on 11 points
                [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0],
                [0, 1, 6, 9, 5, 3, 10, 2, 8, 4, 7],
            ],
            7920,
        ),
    ],
)
def test_orders(generators, order):
    group = groups.from_generators("G", discrete=np.array(generators))
    assert group.order == order


def test_an_entry_goes_where_its_permutation_says():
    group = groups.from_generators("C3", discrete=[[1, 2, 0]])
    x = np.array([10.0, 20.0, 30.0])
    np.testing.assert_array_equal(group.discrete_generators[0] @ x, [30, 10, 20])
    swaps = groups.symmetric(4).discrete_generators
    moved = swaps @ [1, 2, 3, 4]
    np.testing.assert_array_equal(moved, [[2, 1, 3, 4], [1, 3, 2, 4], [1, 2, 4, 3]])


SWAPS = [[1, 0, 2, 3, 4], [0, 2, 1, 3, 4], [0, 1, 3, 2, 4], [0, 1, 2, 4, 3]]


def test_matrices_of_permutations_are_recognised():
    matrices = groups.symmetric(5).discrete_generators
    group = groups.from_generators("S5", discrete=matrices)
    assert isinstance(group, groups.PermutationGroup)
    assert group == groups.from_generators("S5", discrete=SWAPS)
    assert not isinstance(groups.from_generators("-", discrete=-matrices), groups.PermutationGroup)


@pytest.mark.slow
def test_rubiks_cube():
    group = groups.rubiks_cube()
    assert group.d == 48
    assert group.order == 43_252_003_274_489_856_000
    turns = group.discrete_generators
    assert turns.shape == (6, 48, 48)
    for g in turns:
        assert np.trace(g) == 28  # a turn moves 20 stickers
        np.testing.assert_array_equal(np.linalg.matrix_power(g, 4), np.eye(48))
    # opposite faces commute, neighbours do not
    commute = [[np.array_equal(a @ b, b @ a) for b in turns] for a in turns]
    np.testing.assert_array_equal(commute, np.kron(np.eye(3), np.ones((2, 2))))
    sample = np.asarray(group.sample(jax.random.key(0), 10))
    assert all(group.contains(g) for g in sample)
    orbits = np.linalg.matrix_power(np.eye(48) + turns.sum(0), 12) > 0
    assert sorted(orbits.sum(0)) == [24] * 48  # corners and edges do not mix
    with pytest.raises(ValueError, match="43252003274489856000 elements"):
        group.elements()
    with pytest.raises(ValueError, match="43252003274489856000 elements"):
        group.factor(turns[0])


def test_a_twisted_corner_is_out_of_reach():
    """The twists of all corners add up to whole turns."""
    group = groups.rubiks_cube()
    stickers = [
        (cell, axis)
        for cell in itertools.product((-1, 0, 1), repeat=3)
        for axis in range(3)
        if cell[axis] != 0 and np.count_nonzero(cell) > 1
    ]

    def twist(*cells):
        p = np.arange(48)
        for cell, turn in cells:
            i = [stickers.index((cell, a)) for a in range(3)]
            p[i] = np.roll(i, turn)
        return np.eye(48)[:, p].T

    one, other = (1, 1, 1), (-1, -1, 1)
    assert not group.contains(twist((one, 1)))
    # these two corners have the same handedness
    assert group.contains(twist((one, 1), (other, -1)))
    assert not group.contains(twist((one, 1), (other, 1)))


def test_words_of_a_symmetric_group_too_large_to_list():
    group = groups.symmetric(11)
    rng = np.random.default_rng(0)
    for _ in range(20):
        g = np.eye(11)[rng.permutation(11)]
        tangents, word = group.factor(g)
        assert tangents == ()
        assert len(word) <= 11 * 12 + 55
        np.testing.assert_array_equal(group.compose(group.factor(g)), g)
    assert group.factor(np.eye(11)).word == ()
