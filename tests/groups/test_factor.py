"""Logarithms where they are delicate: eigenvalue -1, nearly so, and large boosts."""

import functools
import math

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups

group_of = functools.lru_cache(groups.from_name)


def _conjugate(group, g, seed):
    """``h g h^-1`` for a random ``h``."""
    h = group.exp(np.random.default_rng(seed).normal(size=len(group.lie_generators)))
    return h @ g @ np.linalg.inv(h)


def _length(group, g):
    (t,), _ = group.factor(g)
    return float(np.linalg.norm(t))


@pytest.mark.parametrize(
    ("name", "diagonal", "length"),
    [
        ("so3", [-1, -1, 1], math.pi),
        ("so4", [-1, -1, -1, -1], math.pi * math.sqrt(2)),
        ("so5", [-1, 1, -1, -1, -1], math.pi * math.sqrt(2)),
        ("so7", [-1] * 6 + [1], math.pi * math.sqrt(3)),
        ("su2", [-1, -1], 2 * math.pi),
        ("su3", [-1, -1, 1], 2 * math.pi),
        ("su3", [np.exp(2j * math.pi / 3)] * 3, math.pi * math.sqrt(2 * (3 - 1 / 3))),
        ("su4", [-1, -1, -1, -1], math.pi * math.sqrt(8)),
        ("su4", [1j, 1j, 1j, 1j], math.pi * math.sqrt(6)),
        ("usp1", [-1, -1], 2 * math.pi),
        ("usp2", [-1, -1, -1, -1], math.pi * math.sqrt(8)),
        ("usp2", [-1, 1, -1, 1], 2 * math.pi),
        ("usp3", [-1j, -1, -1, 1j, -1, -1], math.pi * math.sqrt(9)),
    ],
)
def test_eigenvalue_minus_one(name, diagonal, length):
    group = group_of(name)
    g = np.diag(np.array(diagonal, group.dtype))
    for seed in range(5):
        h = _conjugate(group, g, seed)
        np.testing.assert_allclose(group.compose(group.factor(h)), h, atol=1e-10)
        assert _length(group, h) == pytest.approx(length, abs=1e-6)


@pytest.mark.parametrize("name", ["so3", "so4", "so5", "su2", "su3", "usp2", "usp3"])
@examples(fast=25)
@given(exponent=st.floats(-17, -1), seed=st.integers(0, 10**6), twice=st.booleans())
def test_nearly_half_turns(name, exponent, seed, twice):
    group = group_of(name)
    rng = np.random.default_rng(seed)
    half = math.pi if name.startswith("so") else 2 * math.pi
    t = np.zeros(len(group.lie_generators))
    t[0] = half
    if twice:  # the last generator of so4 and so5 turns another plane
        t[-1] = half
    g = group.exp(t) @ group.exp(10.0**exponent * rng.normal(size=len(t)))
    g = _conjugate(group, g, seed)
    np.testing.assert_allclose(group.compose(group.factor(g)), g, atol=1e-10)


@given(seed=st.integers(0, 10**6))
@examples(fast=30)
def test_rotations_of_space_turn_by_at_most_pi(seed):
    group = group_of("so3")
    g = group.exp(3 * np.random.default_rng(seed).normal(size=3))
    angle = math.acos(np.clip((np.trace(g) - 1) / 2, -1, 1))
    assert _length(group, g) == pytest.approx(angle, abs=1e-6)


@pytest.mark.parametrize("name", ["o3", "o5", "o2"])
def test_inversion_and_reflections(name):
    group = group_of(name)
    for diagonal in ([-1] * group.d, [1] * (group.d - 1) + [-1], [-1] + [1] * (group.d - 1)):
        g = np.diag(np.array(diagonal, float))
        factorization = group.factor(g)
        np.testing.assert_allclose(group.compose(factorization), g, atol=1e-12)
        assert factorization.word == ((0,) if np.prod(diagonal) < 0 else ())


def test_single_precision_input_gives_a_nearby_element():
    for name in ("so3", "o5", "su3", "usp2", "o2", "so+13", "sp2"):
        group = group_of(name)
        g = group.exp(0.5 * np.random.default_rng(0).normal(size=len(group.lie_generators)))
        single = g.astype(np.complex64 if group.is_complex else np.float32)
        found = group.compose(group.factor(single))
        np.testing.assert_allclose(found, g, atol=2e-6)


@given(
    rapidity=st.floats(-3, 3),
    turn=st.floats(-3.1, 3.1),
    seed=st.integers(0, 10**6),
    word=st.sampled_from([(), (0,), (1,), (0, 1)]),
)
@examples(fast=60)
def test_lorentz_boosts(rapidity, turn, seed, word):
    group = group_of("o13")
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(2, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    rotation = np.concatenate([turn * axes[0], np.zeros(3)])
    boost = np.concatenate([np.zeros(3), rapidity * axes[1]])
    g = group.exp(rotation) @ group.exp(boost)
    for i in word:
        g = g @ group.discrete_generators[i]
    tangents, found = group.factor(g)
    assert found == word
    np.testing.assert_allclose(group.compose(group.factor(g)), g, atol=1e-10)
    np.testing.assert_allclose(tangents[0], rotation, atol=1e-9)
    np.testing.assert_allclose(tangents[1], boost, atol=1e-9)


def test_parity_and_time_reversal():
    for name, g, word in [
        ("o13", [1, -1, -1, -1], (0, 1)),
        ("o13", [-1, 1, 1, 1], (1,)),
        ("o13", [-1, -1, -1, -1], (0,)),
        ("so13", [-1, -1, 1, 1], None),
        ("o+13", [1, -1, 1, 1], (0,)),
    ]:
        group = group_of(name)
        factorization = group.factor(np.diag(np.array(g, float)))
        np.testing.assert_allclose(group.compose(factorization), np.diag(g), atol=1e-12)
        assert word is None or factorization.word == word


@pytest.mark.parametrize("n", [1, 2, 3])
@examples(fast=15)
@given(seed=st.integers(0, 10**6), size=st.sampled_from([1e-9, 0.1, 1.0, 4.0]))
def test_symplectic_matrices(n, seed, size):
    group = group_of(f"sp{n}")
    rng = np.random.default_rng(seed)
    skew = n * n  # the first generators are u(n)
    turn, stretch = np.zeros((2, len(group.lie_generators)))
    turn[:skew] = 3 * rng.normal(size=skew)
    stretch[skew:] = rng.normal(size=len(stretch) - skew)
    stretch *= size / np.linalg.norm(stretch)
    g = group.exp(turn) @ group.exp(stretch)
    (first, second), word = group.factor(g)
    assert word == ()
    np.testing.assert_allclose(group.compose(group.factor(g)), g, atol=1e-10)
    np.testing.assert_allclose(first[skew:], 0, atol=1e-12)
    np.testing.assert_allclose(second, stretch, atol=1e-9)


@pytest.mark.parametrize("diagonal", [[-1, -1], [-1, -1, -1, -1], [-1, 1, -1, 1]])
def test_symplectic_half_turns(diagonal):
    group = groups.sp(len(diagonal) // 2)
    g = np.diag(np.array(diagonal, float))
    np.testing.assert_allclose(group.compose(group.factor(g)), g, atol=1e-12)


@pytest.mark.parametrize(("n", "angle"), [(5, 2 * math.pi / 5), (None, -2.5)])
def test_planar_words_and_angles(n, angle):
    group = groups.so(2) if n is None else groups.cyclic(n)
    tangents, word = group.factor(group.element(angle))
    if n is None:
        assert word == ()
        np.testing.assert_allclose(tangents, [[angle]], atol=1e-14)
    else:
        assert (tangents, word) == ((), (0,))
    assert groups.dihedral(6).factor(groups.dihedral(6).element(math.pi, True)).word == (0, 0, 0, 1)
