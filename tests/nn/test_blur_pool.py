"""Blur-pooling: its filter, its symmetries, its norm, and the networks that use it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax import models
from softeq_jax.nn import BlurPool, blur_pool
from tests.examples import examples

PADDINGS = ("symmetric", "zeros", "circular")
BEYOND = {"symmetric": "symmetric", "zeros": "constant", "circular": "wrap"}


def _defined(x, taps, stride, padding):
    """Row by row from the definition, in float64."""
    weights = np.array([math.comb(taps - 1, k) for k in range(taps)]) / 2.0 ** (taps - 1)
    reach = (taps - 1) // 2
    for axis in (1, 2):
        pads = [(reach, reach) if i == axis else (0, 0) for i in range(4)]
        padded = np.moveaxis(np.pad(x, pads, mode=BEYOND[padding]), axis, 0)
        starts = range(0, len(padded) - taps + 1, stride)
        x = np.stack([np.tensordot(weights, padded[i : i + taps], 1) for i in starts])
        x = np.moveaxis(x, 0, axis)
    return x


def _matrix(n, taps, stride, padding):
    """The layer on a map of n x n as a matrix."""
    basis = np.eye(n * n).reshape(n * n, n, n, 1)
    return _defined(basis, taps, stride, padding).reshape(n * n, -1).T


@given(
    taps=st.integers(2, 7),
    stride=st.integers(1, 3),
    n=st.integers(3, 10),
    padding=st.sampled_from(PADDINGS),
)
@examples(fast=8, sweep=200)
@pytest.mark.slow(6)
def test_it_is_the_binomial_filter_exact_under_the_lattice_where_it_says_so(
    taps, stride, n, padding
):
    """Mirrors to the last bit where n - 1 (odd K) or n - 2 (even K) is a multiple of the stride."""
    x = np.random.default_rng(n).standard_normal((1, n, n, 2))
    moves = (lambda v: v, lambda v: v[:, ::-1], lambda v: np.rot90(v, axes=(1, 2)))
    with jax.enable_x64(True):
        each = [np.asarray(blur_pool(jnp.asarray(m(x)), taps, stride, padding)) for m in moves]
    np.testing.assert_allclose(each[0], _defined(x, taps, stride, padding), atol=1e-13)
    mirror, turn = (np.abs(y - m(each[0])).max() for y, m in zip(each[1:], moves[1:], strict=True))
    if (n - (1 if taps % 2 else 2)) % stride == 0:
        assert mirror == 0
        assert turn <= 1e-12
    else:
        assert min(mirror, turn) > 1e-6
    layer = models.ConvGeometry(
        (n, n), (taps,) * 2, (stride,) * 2, (((taps - 1) // 2,) * 2,) * 2, (1, 1), 2, padding
    )
    found = sq.certificates.averaging(layer, list(sq.groups.dihedral(4).elements()))
    assert (found.norm, found.certified) == (1.0, turn <= 1e-12)
    assert np.linalg.norm(_matrix(n, taps, stride, padding), 2) <= found.norm + 1e-12


def test_an_axis_of_its_own():
    x = np.random.default_rng(0).standard_normal((2, 2, 9, 3))
    y = blur_pool(jnp.asarray(x), 7, 2)  # more beyond the edge than there is inside
    np.testing.assert_allclose(y, _defined(x, 7, 2, "symmetric"), atol=1e-6)


@pytest.mark.parametrize("taps", [3, 5, 7])
def test_a_tone_above_the_new_nyquist_is_passed_on_by_cos_to_the_power(taps):
    """A wave of 3/8 of the sampling rate, 1.5 times the new Nyquist, is folded by the stride."""
    wave = np.cos(2 * np.pi * 3 / 8 * np.arange(32) + 0.3)
    x = jnp.asarray(np.broadcast_to(wave[None, :, None], (32, 32, 1)), jnp.float32)
    passed = jnp.sum(blur_pool(x, taps, 2, "circular") ** 2) / jnp.sum(x[::2, ::2] ** 2)
    np.testing.assert_allclose(passed, np.cos(np.pi * 3 / 8) ** (2 * taps - 2), rtol=1e-4)
    assert passed < 0.022
    slow = np.cos(2 * np.pi / 32 * np.arange(32))[:, None, None]
    slow = jnp.asarray(np.broadcast_to(slow, x.shape))
    kept = jnp.sum(blur_pool(slow, taps, 2, "circular") ** 2) / jnp.sum(slow[::2, ::2] ** 2)
    assert kept > 0.94


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_dtype_and_constants_are_kept(dtype):
    y = BlurPool(5).apply({}, jnp.full((2, 9, 7, 3), 3, dtype))
    assert (y.dtype, y.shape) == (dtype, (2, 5, 4, 3))
    assert (y == 3).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((jnp.ones((4, 4)), 3), ValueError, "channels"),
        ((jnp.ones((4, 4, 1)), 1), ValueError, "taps"),
        ((jnp.ones((4, 4, 1)), 3, 0), ValueError, "stride"),
        ((jnp.ones((4, 4, 1)), 3, 2, "reflect"), ValueError, "reflect"),
        ((jnp.ones((4, 4, 1), int), 3), TypeError, "int"),
        ((jnp.ones((1, 4, 1)), 2), ValueError, "1 pixels"),
        ((jnp.ones((0, 4, 1)), 3), ValueError, "0 pixels"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        blur_pool(*arguments)


def _symmetric(model, x):
    """Variables whose windows commute with turns and mirrors."""
    variables = jax.jit(lambda: model.init(jax.random.key(0), x))()

    def mean(w):
        if w.ndim != 4:
            return w
        return sum(np.rot90(v, i) for v in (w, w[:, ::-1]) for i in range(4)) / 8

    return jax.tree.map(lambda w: mean(np.asarray(w)), variables)


@pytest.mark.slow(10)
@pytest.mark.parametrize(
    ("model", "side", "invariant"),
    [
        (models.CifarResNet(8, 5, width=2, blur=4), 8, True),
        (models.CifarResNet(8, 5, width=2, blur=3), 8, False),
        (models.ResNet((1, 1), width=4, num_classes=5, blur=3), 17, True),
        (models.ResNet((1, 1), False, 4, 5, blur=4), 16, True),
    ],
)
def test_networks_with_symmetric_kernels_are_invariant_where_the_blur_is(model, side, invariant):
    """And their geometry says so; parameters have the names that they have without it."""
    x = jax.random.normal(jax.random.key(2), (2, side, side, 3))
    variables = _symmetric(model, x)
    plain = jax.eval_shape(lambda: model.clone(blur=0).init(jax.random.key(0), x))
    assert jax.tree.map(jnp.shape, plain) == jax.tree.map(jnp.shape, variables)
    f = jax.jit(lambda x: model.apply(variables, x))
    y, moved = f(x), f(jnp.rot90(x, axes=(1, 2)))
    defect = float(jnp.abs(moved - y).max() / jnp.abs(y).max())
    assert (defect < 1e-4) == invariant, defect
    geometry = models.conv_geometry(model, variables, x.shape)
    blurs = [layer for path, layer in geometry.items() if "blur" in path]
    assert len(blurs) == 4
    assert all(layer.strides == (1, 1) for path, layer in geometry.items() if "kernel" in path)
    known = [sq.certificates.averaging(layer) for layer in blurs]
    assert all(layer.certified for layer in known) == invariant
    free = [sq.certificates.lattice_obstacle(layer) is None for layer in geometry.values()]
    assert all(free) == invariant


class _Two(linen.Module):
    @linen.compact
    def __call__(self, x):
        return BlurPool(3)(linen.Conv(2, (3, 3), use_bias=False, name="conv")(x))


def test_defects_are_those_of_kernels():
    model, x = _Two(), jax.random.normal(jax.random.key(2), (1, 8, 8, 1))
    variables = _symmetric(model, x)
    geometry = models.conv_geometry(model, variables, x.shape)
    assert list(geometry) == ["conv/kernel", "BlurPool_0"]
    found = models.conv_defects(model, variables, geometry, x, np.pi / 2)
    assert list(found) == ["conv/kernel"]
    assert found["conv/kernel"].mean < 1e-5


def test_a_blur_composes_with_norm_one():
    layer = models.ConvGeometry((9, 9), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 4, "symmetric")
    pool = sq.certificates.averaging(layer, name="blur")
    before = sq.certificates.Linear(0.1, 2.0)
    found = sq.certificates.compose([before, pool, before], input_norm=3.0)
    assert found.lipschitz == 4.0
    assert found.bound == pytest.approx(0.1 * 2 * 3 + 0.1 * 2 * 3)
    reflected = models.ConvGeometry((9, 9), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 4, "reflect")
    refused = sq.certificates.averaging(reflected)
    assert not refused.certified
    assert "reflect" in refused.reason


def test_blur_must_be_a_number_of_taps():
    for model in (models.CifarResNet(8, width=4, blur=-1), models.ResNet((1,), width=4, blur=-1)):
        with pytest.raises(ValueError, match="blur"):
            model.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
