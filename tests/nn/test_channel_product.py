"""1x1 convolutions as products: numbers and gradients of the convolution, layers, bad kernels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import softeq_jax as sq
from softeq_jax.nn import channel_product


def conv(features: int, by=None, **options) -> linen.Conv:
    return linen.Conv(features, (1, 1), conv_general_dilated=by, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"strides": (2, 3)}, {"padding": ((1, 0), (2, 1))}, {"padding": "VALID", "strides": 2}],
)
def test_values_gradients_and_tangents_are_those_of_the_convolution(options):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, t = (jnp.asarray(rng.standard_normal((2, 5, 6, 3))) for _ in range(2))
        variables = conv(4, **options).init(jax.random.key(0), x)

        @functools.partial(jax.jit, static_argnums=0)
        def run(by, variables, x):
            layer = conv(4, by, **options)

            def loss(variables, x):
                return jnp.sum(jnp.sin(layer.apply(variables, x)))

            y, push = jax.linearize(lambda x: layer.apply(variables, x), x)
            grads = jax.grad(loss, argnums=(0, 1))(variables, x)
            return y, grads, push(t), jax.vmap(push)(jnp.stack([x, t]))

        results = [run(by, variables, x) for by in (None, channel_product)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-13), *results)


def test_volumes_have_them_too():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4, 5, 6)), "float32")
    kernel = jnp.ones((1, 1, 1, 6, 2)) / 6
    found = channel_product(x, kernel, (1, 2, 2))
    np.testing.assert_allclose(found[..., 0], x[:, :, ::2, ::2].mean(-1), atol=1e-6)


def test_an_attribution_follows_the_grid_through_it():
    x = np.random.default_rng(0).standard_normal((2, 9, 9, 3)).astype("float32")

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = conv(4, channel_product, strides=2, name="mix")(x)
            return linen.Conv(2, (3, 3), name="blur")(x).mean((1, 2))

    net = Net()
    f = sq.measures.linen(net, net.init(jax.random.key(0), x))
    found = sq.measures.layerwise(f, x)
    assert found.layers[:2] == ("mix", "blur")
    assert found.layouts[:2] == ("image, pitch 2", "image, pitch 2")


def test_other_windows_and_groups_are_refused():
    x = jnp.zeros((1, 4, 4, 6))
    with pytest.raises(ValueError, match="got \\(3, 3, 6, 2\\)"):
        channel_product(x, jnp.zeros((3, 3, 6, 2)), (1, 1))
    with pytest.raises(ValueError, match="got \\(1, 1, 2, 6\\)"):
        channel_product(x, jnp.zeros((1, 1, 2, 6)), (1, 1))
