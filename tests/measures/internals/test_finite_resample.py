"""Interpolated shifts and band-limited rotations against plain definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import j1

from softeq_jax.measures import Image, finite
from softeq_jax.measures.finite._resample import shift_axis

IMAGE = Image()


def plain_lanczos(x, shift, circular):
    """The definition, entry by entry."""
    n, out = len(x), np.zeros(len(x))
    for i in range(n):
        source = i - shift
        taps = np.arange(int(np.floor(source)) - 2, int(np.floor(source)) + 4)
        d = source - taps
        weights = np.where(np.abs(d) < 3, np.sinc(d) * np.sinc(d / 3), 0)
        weights /= weights.sum()
        for tap, weight in zip(taps, weights, strict=True):
            if circular or 0 <= tap < n:
                out[i] += weight * x[tap % n]
    return out


@pytest.mark.slow
@given(st.floats(-6, 6), st.booleans())
@examples(fast=30)
def test_lanczos_shift_is_its_definition(shift, circular):
    x = np.random.default_rng(1).standard_normal(11)
    with jax.enable_x64(True):
        out = shift_axis(x, 0, shift, "lanczos", "circular" if circular else "zero")
    np.testing.assert_allclose(out, plain_lanczos(x, shift, circular), atol=1e-12)


@pytest.mark.slow
def test_lanczos_moves_low_frequencies_by_the_fraction():
    n, shift = 32, 1.37
    i = np.arange(n)
    for k in (1, 2, 3):
        wave = np.cos(2 * np.pi * k * i / n)[None, :, None, None] * np.ones((1, 1, n, 1))
        transform = finite.shift(shift, 0.0, interpolation="lanczos")
        out = transform(wave.astype(np.float32), IMAGE, (n, n))
        expected = np.cos(2 * np.pi * k * (i - shift) / n)
        np.testing.assert_allclose(out[0, :, 0, 0], expected, atol=0.012)


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "first", "last"), [(0.5, 3, 13), (2, 2, 15), (-1.25, 1, 11)])
def test_lanczos_mask_is_eroded_by_its_taps(shift, first, last):
    transform = finite.shift(shift, 0.0, "zero", "lanczos")
    mask = np.asarray(transform.mask((1, 16, 16, 1), IMAGE, (16, 16)))[0, :, 0, 0]
    np.testing.assert_array_equal(np.flatnonzero(mask), np.arange(first, last + 1))
    # what the mask keeps does not depend on the boundary
    x = np.random.default_rng(0).standard_normal((1, 16, 16, 1)).astype(np.float32)
    edge = finite.shift(shift, 0.0, "edge", "lanczos")(x, IMAGE, (16, 16))
    kept = mask == 1
    zero = transform(x, IMAGE, (16, 16))
    np.testing.assert_allclose(zero[:, kept], edge[:, kept], atol=1e-6)


def plain_bandlimited(x, angle):
    h, w = x.shape
    out = np.zeros_like(x)
    q = np.stack(np.meshgrid(np.arange(h), np.arange(w), indexing="ij"), -1).reshape(-1, 2)
    wide = np.stack(np.meshgrid(np.arange(-8, h + 8), np.arange(-8, w + 8), indexing="ij"), -1)

    def kernel(r):
        r = np.maximum(r, 1e-9)
        return np.where(r < 6, j1(np.pi * r) / (2 * r) * np.sinc(r / 6), 0)

    for i in range(h):
        for j in range(w):
            y, xx = (h - 1) / 2 - i, j - (w - 1) / 2  # y up
            sx, sy = np.cos(angle) * xx + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * xx
            at = np.array([(h - 1) / 2 - sy, sx + (w - 1) / 2])
            norm = kernel(np.linalg.norm(wide.reshape(-1, 2) - at, axis=1)).sum()
            weights = kernel(np.linalg.norm(q - at, axis=1))
            out[i, j] = weights @ x.ravel() / norm
    return out


@pytest.mark.slow
@pytest.mark.parametrize("angle", [0.0, 0.7, -2.0])
def test_bandlimited_rotation_is_its_definition(angle):
    x = np.random.default_rng(2).standard_normal((9, 9))
    with jax.enable_x64(True):
        out = finite.rotation(angle, "bandlimited")(x[None, :, :, None], IMAGE, (9, 9))
    np.testing.assert_allclose(out[0, :, :, 0], plain_bandlimited(x, angle), atol=3e-7)


@pytest.mark.slow
def test_pseudo_rotation_matches_quarter_turns_exactly():
    x = np.random.default_rng(0).standard_normal((1, 12, 12, 2)).astype(np.float32)
    for k in range(4):
        transform = finite.rotation(k * np.pi / 2, "bandlimited")
        turned = np.rot90(transform(x, IMAGE, (12, 12)), -k, (1, 2))
        np.testing.assert_allclose(turned, transform.match(x, IMAGE, (12, 12)), atol=1e-5)


def waves(n, angle, count=12):
    """A sum of plane waves inside the disc of frequencies, turned by an angle."""
    rng = np.random.default_rng(0)
    c = np.arange(n) - (n - 1) / 2
    y, x = -c[:, None], c[None, :]
    sx, sy = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    out = np.zeros((n, n))
    for _ in range(count):
        size, direction, phase = 0.33 * rng.random(), *(2 * np.pi * rng.random(2))
        out += np.cos(2 * np.pi * size * (np.cos(direction) * sx + np.sin(direction) * sy) + phase)
    return out[None, :, :, None].astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("angle", [0.3, 1.1, -2.5])
def test_bandlimited_rotation_is_better_than_bilinear(angle):
    n, before, after = 40, waves(40, 0.0), waves(40, angle)
    errors = {}
    for kind in ("bilinear", "bandlimited"):
        transform = finite.rotation(angle, kind)
        mask = finite.rotation(angle, "bandlimited").mask(before.shape, IMAGE, (n, n))
        expected = transform.match(after, IMAGE, (n, n))
        difference = mask * (transform(before, IMAGE, (n, n)) - expected)
        errors[kind] = float(jnp.linalg.norm(difference) / jnp.linalg.norm(mask * expected))
    assert errors["bandlimited"] < 0.01
    assert errors["bilinear"] > 0.1


@pytest.mark.slow
def test_interpolation_is_differentiable_where_samples_meet_entries():
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 1)).astype(np.float32)
    for family in (
        lambda t: finite.rotation(t, "bandlimited"),
        lambda t: finite.shift(t, 0.0, interpolation="lanczos"),
    ):
        value = jax.jit(lambda t, g=family: jnp.sum(g(t)(x, IMAGE, (8, 8))[0, 2, 3]))
        slope = jax.grad(value)(0.0)
        assert np.isfinite(slope)
        assert abs(slope) > 1e-3
