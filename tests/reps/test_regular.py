"""Functions on a group, and signals on a circle."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups, reps

FINITE = ["1", "c2", "c5", "c8", "d1", "d2", "d3", "d4", "s3", "s4"]


def _finite():
    named = [groups.from_name(name) for name in FINITE]
    product = groups.product(groups.cyclic(2), groups.dihedral(3))
    return [*named, groups.octahedral(), groups.icosahedral(), product]


@pytest.mark.parametrize("group", _finite(), ids=str)
def test_functions_on_a_group(group, obeys):
    rep, elements = reps.regular(group), group.elements()
    obeys(rep, 1e-12)
    assert (rep.dim, rep.is_permutation, rep.is_orthogonal) == (group.order, True, True)
    f = np.random.default_rng(0).normal(size=group.order)
    for g in elements[:: max(1, len(elements) // 7)]:
        moved = rep.apply(g, f)
        for i, x in enumerate(elements):  # (g f)(x) = f(g^-1 x), found by comparing matrices
            j = np.argmin(np.abs(elements - np.linalg.solve(g, x)).max(axis=(1, 2)))
            assert moved[i] == f[j]
    trace = [np.trace(rep.matrix(g)) for g in elements]
    np.testing.assert_array_equal(trace, np.where(np.arange(len(trace)) == 0, group.order, 0))


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_regular_representation_of_a_cyclic_group_shifts(n):
    group = groups.cyclic(n)
    for rep in (reps.regular(group), reps.circle(group, n)):
        assert rep.is_cyclic_shift
        f = np.arange(n)
        np.testing.assert_array_equal(rep.apply(group.element(2 * math.pi / n), f), np.roll(f, 1))
        c = np.fft.rfft(np.eye(n), axis=0) / math.sqrt(n)  # the columns are those of the FFT
        basis, p = rep.frequencies().basis, (n - 1) // 2
        span = basis @ basis.T
        np.testing.assert_allclose(span, np.eye(n), atol=1e-14)
        for m in range(1, p + 1):
            pair = basis[:, rep.frequencies().frequency == m]
            pair = pair if n != 2 * m else pair[:, :1]
            shared = np.linalg.norm(pair.T @ c[m])
            np.testing.assert_allclose(shared, 1.0, atol=1e-13)
    assert not reps.regular(groups.dihedral(n)).is_cyclic_shift
    assert not reps.circle(groups.cyclic(n), 2 * n).is_cyclic_shift


def test_regular_needs_a_list_of_elements():
    with pytest.raises(ValueError, match=r"SO\(3\) has infinitely many"):
        reps.regular(groups.so(3))
    with pytest.raises(ValueError, match="at most 50000 elements, and S9 has 362880"):
        reps.regular(groups.symmetric(9))
    with pytest.raises(TypeError, match="needs a group"):
        reps.regular(4)


def _interpolated(f, angles):
    """The trigonometric interpolant without the last cosine, from the definition."""
    n = len(f)
    theta = 2 * np.pi * np.arange(n) / n
    total = np.full(len(angles), f.mean())
    for m in range(1, (n - 1) // 2 + 1):
        a, b = 2 / n * (f @ np.cos(m * theta)), 2 / n * (f @ np.sin(m * theta))
        total += a * np.cos(m * angles) + b * np.sin(m * angles)
    return total


@given(
    n=st.integers(1, 12),
    angle=st.floats(-6, 6),
    flip=st.booleans(),
    name=st.sampled_from(["so2", "o2"]),
)
@examples(fast=100)
def test_rotations_of_the_interpolant(n, angle, flip, name):
    rep = reps.circle(groups.from_name(name), n)
    flip = flip and name == "o2"
    f = np.random.default_rng(n).normal(size=n)
    alternating = np.where(np.arange(n) % 2, -1.0, 1.0) * (n % 2 == 0)
    last = f @ alternating / n * alternating
    moved = rep.apply(rep.group.element(angle, flip), f)
    theta = 2 * np.pi * np.arange(n) / n - angle
    theta = np.pi - theta if flip else theta
    fixed = last * (-1 if flip and n // 2 % 2 else 1)
    np.testing.assert_allclose(moved, _interpolated(f, theta) + fixed, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(moved), np.linalg.norm(f), rtol=1e-12)


@pytest.mark.parametrize(("name", "n"), [("c4", 8), ("c3", 9), ("c6", 6), ("d4", 8), ("d3", 12)])
def test_permutations_of_the_samples(name, n):
    group = groups.from_name(name)
    rep = reps.circle(group, n)
    assert rep.is_permutation
    f = np.arange(n)
    for g in group.elements():
        angle, flip = group.parameters(g)
        source = [
            np.argmin(np.abs(np.exp(1j * w) - np.exp(2j * np.pi * f / n)))
            for w in (
                np.pi - (2 * np.pi * j / n - angle) if flip else 2 * np.pi * j / n - angle
                for j in range(n)
            )
        ]
        np.testing.assert_array_equal(rep.apply(g, f), f[source])
        np.testing.assert_array_equal(rep.apply(g, jnp.asarray(f)), f[source])
    if not group.has_flip:
        shifted = rep.apply(group.discrete_generators[0], f)
        np.testing.assert_array_equal(shifted, np.roll(f, n // group.rotations))


@pytest.mark.parametrize("name", ["1", "c2", "c3", "c4", "c8", "d1", "d2", "d3", "d4", "so2", "o2"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 9])
def test_laws_of_circles(name, n, obeys):
    group = groups.from_name(name)
    rep = reps.circle(group, n)
    obeys(rep, 1e-12)
    m = group.rotations
    turns = m is not None and n % m == 0
    assert rep.is_permutation == (n == 1 or (turns and (not group.has_flip or n % 2 == 0)))
    assert rep.unmatched.shape == (n, 0 if turns or n % 2 else 1)
    assert repr(rep) == f"Circle[{n}]({group})"


def test_points_of_the_plane_move_like_the_circle(elements):
    """The signal ``f(theta) = <p, (cos theta, sin theta)>`` of a point p turns with it."""
    group = groups.o(2)
    theta = 2 * np.pi * np.arange(7) / 7
    directions = np.stack([np.cos(theta), np.sin(theta)])
    p = np.array([0.3, -1.2])
    for g in elements(group, 5):
        moved = reps.circle(group, 7).apply(g, p @ directions)
        np.testing.assert_allclose(moved, (g @ p) @ directions, atol=1e-13)


def test_circles_that_do_not_exist():
    for n in (0, -3, 2.0, True):
        with pytest.raises(ValueError, match="number of samples must be a positive integer"):
            reps.circle(groups.so(2), n)
    with pytest.raises(ValueError, match="group of the plane"):
        reps.circle(groups.so(3), 4)
    with pytest.raises(TypeError, match="must be floating"):
        reps.circle(groups.so(2), 5).apply(groups.so(2).element(0.3), np.arange(5))
