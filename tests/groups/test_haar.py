"""Uniform samples: moments that are known from the representation theory."""

import functools

import jax
import numpy as np
import pytest

from softeq_jax import groups

group_of = functools.lru_cache(groups.from_name)
N = 4000


def _agrees(values, expected):
    """Within five standard errors."""
    values = np.asarray(values, np.float64)
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - expected) < 5 * error, (values.mean(), expected, error)


@pytest.mark.slow(6)
@pytest.mark.parametrize(
    ("name", "fourth"),
    [("so3", 3), ("so4", 4), ("o3", 3), ("o5", 3), ("su2", 2), ("su3", 2), ("usp1", 2),
     ("usp2", 3), ("icosahedral", 3), ("octahedral", 4)],
)  # fmt: skip
def test_moments_of_irreducible_defining_representations(name, fourth):
    group = group_of(name)
    g = np.asarray(group.sample(jax.random.key(3), N))
    # E |g_ij|^2 = 1/d, so the means of the entries have deviations 1 / sqrt(d N)
    assert np.abs(g.mean(axis=0)).max() < 5 / np.sqrt(group.d * N)
    trace = np.trace(g, axis1=1, axis2=2)
    _agrees(np.abs(trace) ** 2, 1)
    _agrees(np.abs(trace) ** 4, fourth)
    # the mean of g (x) conj(g) projects on the identity
    second = np.einsum("nij,nkl->ikjl", g, g.conj()).reshape(group.d**2, -1) / N
    expected = np.outer(np.eye(group.d), np.eye(group.d)) / group.d
    assert np.abs(second - expected).max() < 6 / np.sqrt(N) / group.d**0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        lambda: groups.symmetric(5),
        lambda: groups.from_generators("S5", discrete=[[1, 2, 3, 4, 0], [1, 0, 2, 3, 4]]),
    ],
)
def test_standard_representation_of_the_symmetric_group(build):
    g = np.asarray(build().sample(jax.random.key(4), N))
    assert np.abs(g.mean(axis=0) - 0.2).max() < 5 * 0.4 / np.sqrt(N)
    trace = np.trace(g, axis1=1, axis2=2) - 1
    _agrees(trace, 0)
    _agrees(trace**2, 1)
    _agrees(trace**3, 1)
    _agrees(trace**4, 4)


def test_chain_samples_every_element_equally_often():
    group = groups.from_generators("D6", discrete=[[1, 2, 3, 4, 5, 0], [5, 4, 3, 2, 1, 0]])
    assert group.order == 12
    counts = np.bincount(group.indices(group.sample(jax.random.key(5), N)), minlength=12)
    chi_squared = np.sum((counts - N / 12) ** 2) / (N / 12)
    assert chi_squared < 11 + 5 * np.sqrt(22)


def test_factors_of_a_product_are_independent():
    group = group_of("so3 x so3")
    g = np.asarray(group.sample(jax.random.key(6), N))
    first, second = g[:, :3, :3], g[:, 3:, 3:]
    correlation = np.einsum("nij,nij->n", first, second)
    _agrees(correlation, 0)
    np.testing.assert_array_equal(g[:, :3, 3:], 0)
