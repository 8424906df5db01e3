"""Max pooling: the maxima of Flax, a derivative that ties share, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax.nn import max_pool
from tests.examples import examples


def flax_pool(x, window=3, stride=2, padding=0):
    pads = ((padding, padding),) * 2
    return linen.max_pool(x, (window, window), strides=(stride, stride), padding=pads)


def images(n=2, h=9, w=8, c=3):
    return np.random.default_rng(0).standard_normal((n, h, w, c))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(4, 7))
@examples(fast=2, sweep=200)
def test_values_and_derivatives_without_ties_are_those_of_flax(window, stride, padding, h):
    padding = min(padding, window - 1)

    @functools.partial(jax.jit, static_argnums=0)
    def run(pool, x, moves):
        y, push = jax.linearize(lambda x: pool(x, window, stride, padding), x)
        back = jax.grad(lambda x: jnp.sum(jnp.sin(pool(x, window, stride, padding))))(x)
        return y, jax.vmap(push)(moves), back

    with jax.enable_x64(True):
        x = jnp.asarray(images(h=h))
        moves = jnp.asarray(np.random.default_rng(1).standard_normal((3, *x.shape)))
        ours, flax = run(max_pool, x, moves), run(flax_pool, x, moves)
        np.testing.assert_array_equal(max_pool(x, window, stride, padding), ours[0])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-14), ours, flax)


def test_ties_share_so_that_the_gradient_turns_with_the_map():
    x = jnp.asarray(np.random.default_rng(0).integers(0, 3, (4, 9, 9, 2)).astype("float32"))
    total = jax.jit(jax.grad(lambda x: (max_pool(x, 3, 2, 1) ** 2).sum()))
    for turn in (1, 2, 3):
        turned = jnp.rot90(total(x), turn, (1, 2))
        np.testing.assert_allclose(total(jnp.rot90(x, turn, (1, 2))), turned, atol=1e-6)
    first = jax.jit(jax.grad(lambda x: (flax_pool(x, 3, 2, 1) ** 2).sum()))
    assert float(jnp.abs(first(jnp.rot90(x, 2, (1, 2))) - jnp.rot90(first(x), 2, (1, 2))).max()) > 1


def test_it_is_one_layer_of_an_attribution_and_keeps_the_grid():
    x = images(2, 9, 9, 2).astype("float32")
    found = sq.measures.layerwise(lambda x: max_pool(x, 3, 2, 1)[:, 1:4, 1:4].mean((1, 2)), x)
    assert found.layers[0] == "max_pool"
    assert found.layouts[0] == "image, pitch 2"


def test_nan_spreads_and_a_map_of_minus_infinity_stays():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 1, 1, 0].set(jnp.nan)
    assert bool(jnp.isnan(max_pool(x, 2)[0, 0, 0, 0]))
    y, t = jax.jvp(max_pool, (jnp.full((1, 3, 3, 1), -jnp.inf),), (jnp.ones((1, 3, 3, 1)),))
    assert y.item() == -jnp.inf
    assert t.item() == 1


def test_bad_maps_and_windows_are_named():
    with pytest.raises(TypeError, match="floating point map, got int32"):
        max_pool(jnp.zeros((1, 4, 4, 1), int))
    with pytest.raises(ValueError, match="got shape \\(4, 4\\)"):
        max_pool(jnp.zeros((4, 4)))
    with pytest.raises(ValueError, match="a window of 3 with padding 3 does not fit"):
        max_pool(jnp.zeros((1, 4, 4, 1)), padding=3)
    with pytest.raises(ValueError, match="a window of 5"):
        max_pool(jnp.zeros((1, 4, 4, 1)), 5)
