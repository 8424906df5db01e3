"""The trivial and the defining representation."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, reps

NAMES = ["1", "c2", "c3", "c4", "d1", "d4", "d8", "so2", "o2"]


@pytest.mark.parametrize("name", NAMES)
def test_vectors_are_moved_by_the_group_itself(name):
    group = groups.from_name(name)
    rep = reps.vector(group)
    elements = group.elements() if group.is_finite else [group.element(t) for t in (0.0, 0.3, 4.0)]
    x = np.random.default_rng(0).normal(size=(5, 2))
    for g in elements:
        np.testing.assert_allclose(rep.matrix(g), g, atol=1e-15)
        np.testing.assert_allclose(rep.apply(g, x), x @ g.T, atol=1e-14)
        np.testing.assert_allclose(rep.apply(g, jnp.asarray(x)), x @ g.T, atol=1e-6)
    np.testing.assert_allclose(rep.lie_matrices(), group.lie_generators, atol=0)
    np.testing.assert_array_equal(rep.discrete_matrices(), group.discrete_generators)
    assert repr(rep) == f"V({group})"
    assert (rep.shape, rep.dim, rep.dual) == ((2,), 2, rep)
    assert rep.is_permutation == (name == "1")
    assert rep.unmatched.shape == (2, 0)


def test_frequencies_of_vectors():
    f = reps.vector(groups.o(2)).frequencies()
    a, b = f.basis[:, 0], f.basis[:, 1]
    np.testing.assert_array_equal(a, [0, 1])
    np.testing.assert_array_equal(b, groups.o(2).element(math.pi / 2) @ a)
    assert [column.tolist() for column in f.pairs()] == [[0], [1], [1]]
    np.testing.assert_array_equal(f.odd, [False, True])


def test_a_flip_of_vectors_keeps_the_dtype_and_needs_floats():
    rep = reps.vector(groups.o(2))
    x = jnp.array([[1.0, 2.0]] * 3, jnp.bfloat16)
    moved = rep.apply(rep.group.element(flip=True), x)
    assert moved.dtype == jnp.bfloat16
    np.testing.assert_array_equal(moved.astype(jnp.float32), [[-1.0, 2.0]] * 3)


@pytest.mark.parametrize("name", NAMES)
def test_trivial(name):
    group = groups.from_name(name)
    rep = reps.trivial(group, 3)
    x = np.arange(6).reshape(2, 3)
    for g in [np.eye(2), *group.discrete_generators]:
        np.testing.assert_array_equal(rep.matrix(g), np.eye(3))
        np.testing.assert_array_equal(rep.apply(g, x), x)
    assert rep.is_permutation
    np.testing.assert_array_equal(rep.lie_matrices(), np.zeros((len(group.lie_generators), 3, 3)))
    f = rep.frequencies()
    np.testing.assert_array_equal(f.basis, np.eye(3))
    np.testing.assert_array_equal(f.frequency, 0)
    np.testing.assert_array_equal(f.partner, -1)


def test_names_equality_and_errors():
    c4 = groups.cyclic(4)
    assert repr(reps.trivial(c4, 3)) == "3·1(C4)"
    assert repr(reps.trivial(c4)) == "1(C4)"
    assert reps.trivial(c4, 2) == reps.trivial(groups.from_name("c4"), 2)
    assert len({reps.trivial(c4, 2), reps.trivial(c4, 3), reps.vector(c4)}) == 3
    for dim in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="dimension must be a positive integer"):
            reps.trivial(c4, dim)
    for call in (reps.trivial, reps.vector):
        with pytest.raises(TypeError, match="needs a group"):
            call("c4")
    with pytest.raises(ValueError, match="got shape"):
        reps.vector(c4).apply(np.eye(2), np.zeros((2, 3)))
