"""Vector neurons: equivariance, the directional ReLU, pooling, free kernels under a plan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equivariant_cases import G, element, start
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax.nn import equivariant as eq

RNG = np.random.default_rng(0)


def vectors(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


LAYERS = {
    "dense": eq.VectorDense(3),
    "free": eq.VectorDense(3, free=True),
    "relu": eq.VectorRelu(),
    "shared": eq.VectorRelu(share_direction=True),
    "free relu": eq.VectorRelu(free=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("d", [3, 5])
def test_layers_start_equivariant_under_rotations_and_reflections(layer, d):
    v, g = vectors(6, 4, d), np.float32(element(G.o(d), 1))
    variables = start(layer, v)
    moved = jax.jit(lambda v: layer.apply(variables, v))
    np.testing.assert_allclose(moved(v @ g.T), moved(v) @ g.T, atol=1e-5)


def test_strict_layers_are_equivariant_whatever_is_stored_and_free_ones_are_not():
    v, g = vectors(6, 4, 3), np.float32(element(G.so(3), 2))
    for layer, shape in ((eq.VectorDense(5), (4, 5)), (eq.VectorDense(5, free=True), (12, 15))):
        variables = {"params": {"kernel": vectors(*shape)}}
        moved, turned = layer.apply(variables, v @ g.T), layer.apply(variables, v) @ g.T
        if layer.free:
            assert np.abs(moved - turned).max() > 0.1
        else:
            np.testing.assert_allclose(moved, turned, atol=1e-5)


def test_vector_dense_mixes_channels():
    v = jnp.array([[[1.0, 2.0], [3.0, 4.0]]])
    variables = {"params": {"kernel": jnp.array([[1.0], [10.0]])}}
    np.testing.assert_allclose(eq.VectorDense(1).apply(variables, v), [[[31.0, 42.0]]])


@pytest.mark.slow
@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_vector_relu_scales_the_part_along_the_direction(slope):
    v, k = vectors(7, 4, 3), vectors(4, 4)
    layer = eq.VectorRelu(negative_slope=slope)
    y = layer.apply({"params": {"direction": {"kernel": k}}}, v)
    keys = np.einsum("ncd,cf->nfd", v, k)
    along = np.sum(v * keys, axis=-1, keepdims=True)
    kept = v - along / np.sum(keys**2, axis=-1, keepdims=True) * keys
    expected = np.where(along < 0, slope * v + (1 - slope) * kept, v)
    np.testing.assert_allclose(y, expected, atol=1e-4)
    assert np.any(along < 0)
    assert np.any(along > 0)


@pytest.mark.slow
def test_directions_from_a_source_and_shared_by_all_channels():
    v, source = vectors(7, 4, 3), vectors(7, 2, 3)
    layer = eq.VectorRelu(negative_slope=0.0, share_direction=True)
    variables = jax.jit(layer.init)(jax.random.key(0), v, source)
    assert variables["params"]["direction"]["kernel"].shape == (2, 1)
    k = np.einsum("ncd,cf->nfd", source, variables["params"]["direction"]["kernel"])
    y = layer.apply(variables, v, source)
    assert np.sum(y * k, axis=-1).min() > -1e-4
    assert np.sum(v * k, axis=-1).min() < -0.1


@pytest.mark.slow
@examples(fast=12)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(0, 99))
def test_the_strict_kernel_is_the_inverse_and_the_nearest(c, features, d, seed):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((c, features)).astype(np.float32)
    lifted = np.kron(w, np.eye(d, dtype=np.float32))
    np.testing.assert_allclose(eq.strict_kernel(lifted, d), w, atol=1e-6)
    free = rng.standard_normal((c * d, features * d)).astype(np.float32)
    residual = free - np.kron(eq.strict_kernel(free, d), np.eye(d))
    np.testing.assert_allclose(np.sum(residual * lifted), 0.0, atol=1e-4)


def test_free_kernel_acts_as_the_channel_kernel():
    w, v = vectors(4, 5), vectors(6, 4, 3)
    lifted = eq.free_kernel(jnp.asarray(w), 3)
    np.testing.assert_array_equal(lifted, np.kron(w, np.eye(3)))
    strict = eq.VectorDense(5).apply({"params": {"kernel": w}}, v)
    free = eq.VectorDense(5, free=True).apply({"params": {"kernel": lifted}}, v)
    np.testing.assert_allclose(free, strict, atol=1e-5)


@pytest.mark.parametrize("group", [G.so(3), G.o(3), G.so(5), G.o(2)], ids=str)
def test_the_plan_of_a_free_kernel_is_the_strict_kernel(group):
    d = group.d
    params = {"dense": {"kernel": RNG.standard_normal((4 * d, 2 * d))}}
    plan = sq.plan(params, eq.vector_rules("dense", group, 4, 2))
    projected = plan.project(params)["dense"]["kernel"]
    w = eq.strict_kernel(params["dense"]["kernel"], d)
    np.testing.assert_allclose(projected, np.kron(w, np.eye(d)), atol=1e-6)


def test_rotations_of_the_plane_keep_quarter_turns_too():
    group = G.so(2)
    assert eq.vector_rules("a", group, 1, 1)["a/kernel"].rank() == 2
    assert eq.vector_rules("a", G.so(3), 2, 4)["a/kernel"].rank() == 8
    assert eq.vector_rules("a", G.so(3), 1, 1, softness=1.0)["a/kernel"].rank() == 9


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_a_free_layer_starts_as_a_strict_one():
    v = vectors(6, 4, 3)
    key = jax.random.key(3)
    strict, free = eq.VectorDense(5), eq.VectorDense(5, free=True)
    w = jax.jit(strict.init)(key, v)["params"]["kernel"]
    full = jax.jit(free.init)(key, v)["params"]["kernel"]
    np.testing.assert_array_equal(full, np.kron(w, np.eye(3)))


@pytest.mark.slow
def test_max_pool_takes_the_vector_farthest_along_its_direction():
    v, k = vectors(2, 9, 4, 3), vectors(2, 9, 4, 3)
    y = eq.vector_max_pool(jnp.asarray(v), jnp.asarray(k))
    best = np.argmax(np.sum(v * k, axis=-1), axis=1)
    for n in range(2):
        for c in range(4):
            np.testing.assert_array_equal(y[n, c], v[n, best[n, c], c])
    g = np.float32(element(G.o(3), 4))
    np.testing.assert_allclose(
        eq.vector_max_pool(jnp.asarray(v @ g.T), jnp.asarray(k @ g.T)), y @ g.T, atol=1e-5
    )
    moved = eq.vector_max_pool(jnp.moveaxis(v, 1, 0), jnp.moveaxis(k, 1, 0), axis=0)
    np.testing.assert_array_equal(moved, y)
    with pytest.raises(ValueError, match="axis 3"):
        eq.vector_max_pool(jnp.asarray(v), jnp.asarray(k), axis=-1)
    with pytest.raises(ValueError, match="keys must be like the vectors"):
        eq.vector_max_pool(jnp.asarray(v), jnp.asarray(k)[:, :2])


def test_mean_pool_and_frame_coordinates():
    v, frame = vectors(2, 9, 4, 3), vectors(2, 9, 3, 3)
    np.testing.assert_allclose(eq.vector_mean_pool(v), v.mean(axis=1), atol=1e-6)
    y = eq.invariants(v, frame)
    np.testing.assert_allclose(y, v @ np.swapaxes(frame, -1, -2), atol=1e-5)
    g = np.float32(element(G.o(3), 5))
    np.testing.assert_allclose(eq.invariants(v @ g.T, frame @ g.T), y, atol=1e-4)


@pytest.mark.slow
def test_gradients_flow_through_a_stack():
    v = vectors(6, 4, 3)
    dense, relu = eq.VectorDense(5), eq.VectorRelu()
    params = {
        "dense": start(dense, v),
        "relu": start(relu, vectors(6, 5, 3), seed=1),
    }

    @jax.jit
    @jax.grad
    def gradient(params, v):
        y = relu.apply(params["relu"], dense.apply(params["dense"], v))
        return jnp.sum(jnp.sin(y))

    for grads, least in ((gradient(params, v), 1e-3), (gradient(params, 0 * v), 0.0)):
        for leaf in jax.tree.leaves(grads):
            assert np.all(np.isfinite(leaf))
            assert np.abs(leaf).max() >= least


@pytest.mark.parametrize("layer", [eq.VectorDense(3), eq.VectorRelu()])
def test_vectors_need_channels(layer):
    with pytest.raises(ValueError, match=r"\[\.\.\., channels, d\], got shape \(3,\)"):
        layer.init(jax.random.key(0), jnp.zeros(3))


def test_a_kernel_that_is_no_multiple_of_d_is_refused():
    with pytest.raises(ValueError, match=r"\[c \* 3, c' \* 3\], got \(6, 7\)"):
        eq.strict_kernel(jnp.zeros((6, 7)), 3)
