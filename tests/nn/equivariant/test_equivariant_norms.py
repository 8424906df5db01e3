"""Vector norm, layer norm of fields and batch norm of vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equivariant_cases import G, R, defect, element, inputs, run, start

from softeq_jax.nn import equivariant as eq

SO3 = G.so(3)
V = R.vector(SO3)
REP = R.trivial(SO3, 4) + 3 * V + R.tensor(SO3, 2) + 2 * V
RNG = np.random.default_rng(0)


def vectors(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_vector_norm_divides_by_the_norm():
    rep = R.trivial(SO3, 1) + 2 * V
    x = jnp.array([[-7.0, 3.0, 0.0, 4.0, 0.0, 0.0, 0.0]])
    y = run(eq.VectorNorm(rep, epsilon=1.0), {}, x)
    np.testing.assert_allclose(y, [[-7.0, 0.5, 0.0, 4 / 6, 0.0, 0.0, 0.0]], rtol=1e-6)
    assert eq.VectorNorm(rep).epsilon == 1e-5
    gradient = jax.jit(jax.grad(lambda x: eq.VectorNorm(rep).apply({}, x).sum()))
    assert np.all(np.isfinite(gradient(0 * x)))


@pytest.mark.parametrize("layer", [eq.VectorNorm(REP), eq.FieldLayerNorm(REP)])
@pytest.mark.parametrize("seed", [0, 1])
def test_norms_are_equivariant(layer, seed):
    x, g = inputs(REP, seed=seed), element(SO3, seed)
    rng = np.random.default_rng(seed)
    variables = jax.tree.map(
        lambda leaf: leaf + rng.standard_normal(leaf.shape).astype(np.float32), start(layer, x)
    )
    assert defect(lambda x: layer.apply(variables, x), REP, REP, g, x) < 1e-5


@pytest.mark.slow
def test_field_layer_norm_makes_components_and_scalars_of_mean_square_one():
    x = 5.0 * inputs(REP, n=50) + 2.0
    layer = eq.FieldLayerNorm(REP)
    variables = start(layer, x)
    assert {k: v.shape for k, v in variables["params"].items()} == {"scale": (10,), "bias": (4,)}
    scalars, moved = eq.split(REP, run(layer, variables, x))
    np.testing.assert_allclose(scalars.mean(axis=-1), 0.0, atol=1e-5)
    np.testing.assert_allclose((scalars**2).mean(axis=-1), 1.0, rtol=1e-3)
    for v in moved:
        np.testing.assert_allclose((v**2).mean(axis=(-2, -1)), 1.0, rtol=1e-3)
    x_moved = eq.split(REP, x)[1]
    sizes = np.linalg.norm(x_moved[0], axis=-1)
    kept = np.linalg.norm(moved[0], axis=-1)
    np.testing.assert_allclose(kept / kept[:, :1], sizes / sizes[:, :1], rtol=1e-4)


def test_field_layer_norm_has_one_gain_per_copy():
    x = inputs(REP)
    layer = eq.FieldLayerNorm(REP)
    plain = {"scale": jnp.ones(10), "bias": jnp.zeros(4)}
    gains = {"scale": jnp.arange(1.0, 11.0), "bias": jnp.arange(4.0)}
    before = eq.split(REP, run(layer, {"params": plain}, x))
    after = eq.split(REP, run(layer, {"params": gains}, x))
    np.testing.assert_allclose(
        after[0], before[0] * np.arange(1, 5) + np.arange(4), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(after[1][0], before[1][0] * np.arange(5, 10)[:, None], rtol=1e-5)
    np.testing.assert_allclose(after[1][1], before[1][1] * 10, rtol=1e-5)


@pytest.mark.parametrize("layer", [eq.VectorNorm, eq.FieldLayerNorm])
def test_indefinite_norms_are_refused(layer):
    rep = R.trivial(G.lorentz()) + R.vector(G.lorentz())
    with pytest.raises(ValueError, match=rf"{layer.__name__} divides by norms.*V\(O\(1,3\)\)"):
        start(layer(rep), inputs(rep))
    with pytest.raises(ValueError, match=r"must be \[\.\.\., 28\], got shape \(2, 5\)"):
        start(layer(REP), jnp.zeros((2, 5)))


def test_batch_norm_normalizes_norms_and_keeps_directions():
    v = 3.0 * vectors(64, 5, 3)
    layer = eq.VectorBatchNorm()
    variables = start(layer, v, False)
    y, updates = run(layer, variables, v, True, mutable=["batch_stats"])
    sizes = np.linalg.norm(v, axis=-1)
    signed = np.sum(y * v, axis=-1) / sizes
    np.testing.assert_allclose(np.cross(y, v), 0.0, atol=1e-4)
    np.testing.assert_allclose(signed.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(signed.var(axis=0), 1.0, rtol=1e-4)
    running = updates["batch_stats"]["norm"]
    np.testing.assert_allclose(running["mean"], 0.1 * sizes.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * sizes.var(axis=0), rtol=1e-4)


def test_batch_norm_in_evaluation_uses_the_running_statistics():
    v = vectors(8, 4, 3)
    layer = eq.VectorBatchNorm(epsilon=0.0)
    stats = {"norm": {"mean": jnp.full(4, 0.5), "var": jnp.full(4, 4.0)}}
    params = {"norm": {"scale": jnp.full(4, 3.0), "bias": jnp.full(4, 1.0)}}
    y = run(layer, {"params": params, "batch_stats": stats}, v, False)
    size = np.sqrt(np.sum(v**2, axis=-1) + 1e-6)
    expected = v * ((3.0 * (size - 0.5) / 2.0 + 1.0) / size)[..., None]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    alone = run(layer, {"params": params, "batch_stats": stats}, v[:1], False)
    np.testing.assert_allclose(alone, y[:1], rtol=1e-6)


@pytest.mark.parametrize("train", [False, True])
def test_batch_norm_commutes_with_rotations_and_reflections(train):
    v, g = vectors(8, 4, 5), np.float32(element(G.o(5), 3))
    layer = eq.VectorBatchNorm()
    variables = start(layer, v, False)

    (y, stats), (moved, same) = (
        run(layer, variables, x, train, mutable=["batch_stats"]) for x in (v, v @ g.T)
    )
    np.testing.assert_allclose(moved, y @ g.T, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), stats, same)


def test_batch_norm_averages_statistics_over_a_mapped_axis():
    v = vectors(2, 8, 4, 3)
    layer = eq.VectorBatchNorm(axis_name="device")
    variables = start(eq.VectorBatchNorm(), v[0], False)
    mapped = jax.vmap(
        lambda v: layer.apply(variables, v, True, mutable=["batch_stats"]), axis_name="device"
    )
    y, _ = jax.jit(mapped)(v)
    together = v.reshape(16, 4, 3)
    whole, _ = run(eq.VectorBatchNorm(), variables, together, True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.reshape(16, 4, 3), whole, atol=1e-5)


def test_batch_norm_has_bounded_gradients_at_zero_and_needs_a_batch():
    layer = eq.VectorBatchNorm()
    v = jnp.zeros((2, 4, 3))
    variables = start(layer, v, False)
    grad = jax.jit(jax.grad(lambda v: layer.apply(variables, v, False).sum()))(v)
    assert np.all(np.isfinite(grad))
    assert np.abs(grad).max() < 1e4
    with pytest.raises(ValueError, match=r"\[\.\.\., channels, d\], got shape \(4, 3\)"):
        start(layer, v[0], False)
