"""Many directions from one evaluation: both ways agree, in memory that depth does not raise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax.measures.base import _pushes

WAYS = {"together": 10**9, "written out": 1}


def network(x: jax.Array, depth: int = 3) -> jax.Array:
    kernel = jnp.asarray(np.random.default_rng(0).standard_normal((3, 3, 3, 3)) / 5, x.dtype)
    for _ in range(depth):
        numbers = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
        x = jax.nn.relu(x + 0.1)
    return x.mean((1, 2))


def images(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).standard_normal(shape))


@pytest.mark.parametrize("count", [1, 3, _pushes.MOST + 1])
def test_both_ways_give_each_derivative(count, monkeypatch):
    with jax.enable_x64(True):
        x, directions = images(2, 6, 6, 3), images(count, 2, 6, 6, 3)
        y, one = jax.jvp(network, (x,), (directions[-1],))
        for size in WAYS.values():
            monkeypatch.setattr(_pushes, "WRITTEN_OUT", size)
            found = jax.jit(lambda x, d: _pushes.push_forward(network, x, d))(x, directions)
            np.testing.assert_allclose(found[0], y, atol=1e-14)
            np.testing.assert_allclose(found[1][-1], one, atol=1e-14)
            assert found[1].shape == (count, *y.shape)


@pytest.mark.slow(5)
def test_lie_errors_and_attributions_agree(monkeypatch):
    x = np.asarray(images(2, 8, 8, 3), np.float32)
    found = []
    for size in WAYS.values():
        monkeypatch.setattr(_pushes, "WRITTEN_OUT", size)
        errors = sq.measures.local_equivariance_error(network, x, ["rotation", "scale"])
        layers = sq.measures.layerwise(network, x, ["rotation", "scale"])
        found.append([*errors.values(), *layers.shares.values(), *layers.totals.values()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-6)


def test_memory_does_not_grow_with_depth(monkeypatch):
    monkeypatch.setattr(_pushes, "WRITTEN_OUT", 1)
    x, directions = images(4, 32, 32, 3), images(3, 4, 32, 32, 3)
    used = []
    for depth in (4, 16):
        run = jax.jit(
            lambda x, d, depth=depth: _pushes.push_forward(lambda x: network(x, depth), x, d)
        )
        program = run.lower(x, directions).compile()
        used.append(program.memory_analysis().temp_size_in_bytes)
    assert used[1] <= 1.5 * used[0]


@pytest.mark.parametrize("way", WAYS)
def test_a_rule_for_reverse_mode_only_is_refused_either_way(way, monkeypatch):
    monkeypatch.setattr(_pushes, "WRITTEN_OUT", WAYS[way])

    @jax.custom_vjp
    def f(x):
        return x.sum((1, 2))

    f.defvjp(lambda x: (f(x), x.shape), lambda shape, g: (jnp.zeros(shape),))
    with pytest.raises(TypeError, match="reverse mode only"):
        sq.measures.lie_derivative(f, np.asarray(images(2, 6, 6, 3), np.float32), "rotation")
