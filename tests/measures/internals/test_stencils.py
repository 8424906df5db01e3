"""Stencils against interpolants, symbols and boundaries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax.measures import Stencil
from softeq_jax.measures.base._actions import BOUNDARIES, GLOBAL, LOCAL, derivative

sizes = st.integers(5, 17)
every = pytest.mark.parametrize(
    "stencil",
    [Stencil(name, boundary) for name in LOCAL for boundary in BOUNDARIES]
    + [Stencil(name) for name in GLOBAL],
    ids=lambda s: f"{s.name}-{s.boundary}",
)


@pytest.mark.slow
@every
@pytest.mark.parametrize("n", [6, 7, 32])
def test_the_array_operation_is_the_matrix(stencil, n):
    x = np.random.default_rng(n).standard_normal((3, n, 4))
    with jax.enable_x64(True):
        got = np.asarray(derivative(jnp.asarray(x), 1, stencil))
    wanted = np.einsum("ij,njc->nic", stencil.matrix(n), x)
    np.testing.assert_allclose(got, wanted, atol=1e-12)


@every
@given(n=sizes)
@examples(fast=100)
def test_a_constant_has_no_slope(stencil, n):
    assert np.abs(stencil.matrix(n).sum(axis=1)).max() < 1e-12


@given(n=sizes, k=st.integers(0, 8), phase=st.floats(0, 6))
@examples(fast=100)
def test_spectral_is_exact_below_nyquist(n, k, phase):
    k = min(k, (n - 1) // 2)
    p = np.arange(n)
    wave = np.cos(2 * np.pi * k * p / n + phase)
    slope = -2 * np.pi * k / n * np.sin(2 * np.pi * k * p / n + phase)
    np.testing.assert_allclose(Stencil("spectral").matrix(n) @ wave, slope, atol=1e-12)


@pytest.mark.parametrize("n", [4, 10, 32])
def test_spectral_sees_no_slope_of_the_nyquist_wave(n):
    assert np.abs(Stencil("spectral").matrix(n) @ (-1.0) ** np.arange(n)).max() < 1e-12


@given(n=sizes, k=st.integers(0, 16))
@examples(fast=100)
def test_mirror_is_exact_on_cosines(n, k):
    k = min(k, n - 1)
    p = np.arange(n) + 0.5
    slope = -np.pi * k / n * np.sin(np.pi * k * p / n)
    got = Stencil("spectral_mirror").matrix(n) @ np.cos(np.pi * k * p / n)
    np.testing.assert_allclose(got, slope, atol=1e-12)


@given(w=st.floats(0.01, 3.1))
@examples(fast=100)
def test_symbols_of_the_local_stencils(w):
    n, at = 31, 15
    wave = np.exp(1j * w * (np.arange(n) - at))
    symbol = {name: (Stencil(name).matrix(n) @ wave)[at] for name in ("central", "forward")}
    assert symbol["central"] == pytest.approx(1j * np.sin(w))
    assert symbol["forward"] == pytest.approx(np.exp(1j * w) - 1)
    # Forward is central plus half a second difference, so it also measures sharpening.
    assert symbol["forward"] - symbol["central"] == pytest.approx(np.cos(w) - 1)


def test_catmull_rom_has_the_central_slope():
    """The cubic through p1, p2 with end slopes (p2 - p0)/2, (p3 - p1)/2 starts with the former."""
    np.testing.assert_array_equal(Stencil("cubic").matrix(9), Stencil("central").matrix(9))


@pytest.mark.parametrize("a", [2, 3, 5])
def test_lanczos_is_the_slope_of_its_kernel(a):
    def kernel(t):
        return np.where(np.abs(t) < a, np.sinc(t) * np.sinc(t / a), 0.0)

    x = np.random.default_rng(a).standard_normal(21)
    p, step = np.arange(21), 1e-5

    def interpolant(at):
        weights = kernel(at - p)
        return weights @ x / weights.sum()

    for at in (7, 10):
        slope = (interpolant(at + step) - interpolant(at - step)) / (2 * step)
        got = (Stencil("lanczos", support=a).matrix(21) @ x)[at]
        assert got == pytest.approx(slope, abs=1e-5)  # the kernel has a kink at |t| = a


def test_lanczos_attenuates_less_than_central():
    wave = np.exp(1j * 1.5 * (np.arange(41) - 20))
    error = {
        name: abs((Stencil(name).matrix(41) @ wave)[20] - 1.5j) for name in ("central", "lanczos")
    }
    assert error["lanczos"] < error["central"] / 2


def test_boundaries_are_what_they_say():
    x = np.array([1.0, 4.0, 9.0, 16.0])
    edges = {
        boundary: (Stencil("central", boundary).matrix(4) @ x)[[0, -1]] for boundary in BOUNDARIES
    }
    np.testing.assert_allclose(edges["reflect"], [0, 0])
    np.testing.assert_allclose(edges["symmetric"], [1.5, 3.5])
    np.testing.assert_allclose(edges["edge"], [1.5, 3.5])
    np.testing.assert_allclose(edges["wrap"], [-6, -4])


def test_one_sample_has_no_slope():
    assert not derivative(jnp.ones((2, 1, 3)), 1, Stencil()).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stencil("upwind"), "no stencil is called 'upwind'"),
        (lambda: Stencil("central", "zero"), "no boundary is called 'zero'"),
        (lambda: Stencil("lanczos", support=1), "support of at least 2"),
        (lambda: derivative(jnp.ones((1, 2, 1)), 1, Stencil("lanczos")), "at least 3, got 2"),
        (lambda: Stencil("spectral").weights, "no local stencil"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
