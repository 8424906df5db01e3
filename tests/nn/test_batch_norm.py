"""Batch norm: Flax's numbers and variables, gradients, derivatives of derivatives, rounding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from softeq_jax.nn import BatchNorm
from tests.examples import sizes

OURS, FLAX = BatchNorm, linen.BatchNorm


def data(mean: float = 0.5, shape: tuple[int, ...] = (6, 5, 4, 3)) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape) + mean


def made(layer: type[linen.BatchNorm], x: np.ndarray, **options) -> tuple:
    """The layer and variables that are none of 0 and 1."""
    norm = layer(**options)
    variables = norm.init(jax.random.key(0), jnp.asarray(x), use_running_average=False)
    rng = np.random.default_rng(1)
    return norm, jax.tree.map(lambda v: jnp.asarray(rng.uniform(0.5, 1.5, v.shape)), variables)


def trained(layer: type[linen.BatchNorm], variables, x, g, **options):
    """Value, gradient in x and parameters, new statistics of a loss ``<g, y>``."""
    norm = layer(**options)

    def loss(params, x):
        y, new = norm.apply(
            {**variables, "params": params}, x, use_running_average=False, mutable=["batch_stats"]
        )
        return jnp.sum(g * y), (y, new)

    grads, (y, new) = jax.grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], x)
    return grads, y, new


@pytest.mark.parametrize("options", [{}, {"axis": -2}, {"axis": (1, 3)}, {"use_scale": False}])
def test_training_gives_values_gradients_and_statistics_of_flax(options):
    with jax.enable_x64(True):
        x, g = jnp.asarray(data()), jnp.asarray(data())
        _, variables = made(FLAX, x, **options)
        assert jax.tree.structure(made(OURS, x, **options)[1]) == jax.tree.structure(variables)
        ours, flax = (
            jax.jit(functools.partial(trained, layer, **options))(variables, x, g)
            for layer in (OURS, FLAX)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-13), ours, flax)


def test_running_statistics_give_the_bits_of_flax():
    x = data(mean=300.0).astype("float32")
    norm, variables = made(FLAX, x)
    variables = jax.tree.map(lambda v: v.astype(jnp.float32), variables)
    expected = norm.apply(variables, x, use_running_average=True)
    found = OURS(use_running_average=True).apply(variables, x)
    np.testing.assert_array_equal(found, expected)


def test_masks_dtypes_and_devices_are_as_in_flax():
    x = jnp.asarray(data().astype("float32"))
    mask = jnp.asarray(np.random.default_rng(2).random((6, 5, 4, 1)) > 0.4)
    for layer_input, options in ((x, {}), (x.astype(jnp.bfloat16), {"param_dtype": jnp.bfloat16})):
        results = []
        for layer in (OURS, FLAX):
            norm = layer(use_running_average=False, axis_name="device", **options)
            variables = norm.init(jax.random.key(0), layer_input)
            apply = functools.partial(norm.apply, variables, mutable=["batch_stats"])
            mapped = jax.vmap(lambda x, m, apply=apply: apply(x, mask=m), axis_name="device")
            halves = [z.reshape(2, 3, *z.shape[1:]) for z in (layer_input, mask)]
            results.append(jax.jit(mapped)(*halves))
        ours, flax = results
        assert jax.tree.map(jnp.dtype, ours) == jax.tree.map(jnp.dtype, flax)
        rounding = 2e-6 if layer_input.dtype == jnp.float32 else 1e-2
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(flax), strict=True):
            np.testing.assert_allclose(
                a.astype(jnp.float32), b.astype(jnp.float32), rtol=rounding, atol=rounding
            )


def test_forward_mode_and_second_derivatives_agree_with_flax():
    with jax.enable_x64(True):
        x, t = jnp.asarray(data()), jnp.asarray(data(mean=0.0))
        _, variables = made(FLAX, x)

        def loss(layer):
            def value(x):
                y, _ = layer(use_running_average=False).apply(variables, x, mutable=["batch_stats"])
                return jnp.sum(jnp.sin(y))

            return value

        @functools.partial(jax.jit, static_argnums=0)
        def run(layer, x, t):
            return (
                jax.jvp(loss(layer), (x,), (t,))[1],
                jax.jvp(jax.grad(loss(layer)), (x,), (t,))[1],
                jax.vmap(loss(layer))(jnp.stack([x, t])),
            )

        found = [run(layer, x, t) for layer in (OURS, FLAX)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), *found)


@pytest.mark.parametrize("mean", sizes(fast=[0, 3, 100], sweep=[0, 1, 3, 10, 30, 100, 300, 1000]))
def test_far_from_zero_it_rounds_at_most_twice_as_much_as_flax(mean):
    x = data(mean, (4096, 16)).astype("float32")
    g = data(0.0, (4096, 16)).astype("float32")
    with jax.enable_x64(True):
        _, variables = made(FLAX, x)
        exact = trained(linen.BatchNorm, variables, x.astype("float64"), g, use_fast_variance=False)
        half = jax.tree.map(lambda v: v.astype(jnp.float32), variables)
    errors = []
    for layer in (OURS, FLAX):
        found = jax.jit(trained, static_argnums=0)(layer, half, x, g)
        errors.append(
            jax.tree.map(
                lambda a, b: np.linalg.norm(np.float64(a) - np.float64(b)) / np.linalg.norm(b),
                found[:2],
                exact[:2],
            )
        )
    for ours, flax in zip(*map(jax.tree.leaves, errors), strict=True):
        assert ours <= 2 * flax + 1e-7
