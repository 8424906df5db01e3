"""Sums and averages of 16-bit floats: kept in float32, where they would stand still in 16 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from softeq_jax import training as tr
from softeq_jax.training import optimizers, pmap

HALF = pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
N = 4


def _loss(params, model_state, batch, key, extra):
    """A gradient that is the mean of the batch in every entry; running averages of rate 0.001."""
    value = jnp.sum(params["w"].astype(jnp.float32)) * jnp.mean(batch["x"])
    return value, ({"seen": 0.999 * model_state["seen"] + 0.001}, {})


def _step(params, optimizer=None, x=1.0, steps=1, seen=0.0, parts=1, state=None, **options):
    optimizer = optax.sgd(0.0) if optimizer is None else optimizer
    stats = {"seen": np.asarray(seen, params["w"].dtype)}
    start = tr.init_state(params, optimizer, stats, average="average_decay" in options)
    start = start if state is None else state(start)
    step = tr.make_train_step(_loss, optimizer, accumulate=parts, **options)
    state = tr.replicate(start)
    batch = tr.shard({"x": np.broadcast_to(np.float32(x), (jax.device_count() * 512,)).copy()})
    for _ in range(steps):
        state, metrics = step(state, batch, None, np.zeros((jax.device_count(), 1), np.float32))
    return tr.unreplicate(state), jax.device_get(metrics)


def _params(dtype, value=1.0):
    return {"w": np.full(N, value, dtype)}


@pytest.mark.slow(4)
@HALF
def test_the_moving_average_moves(dtype):
    """Late in a run, at a rate of 0.001, from a start that is not where the weights are."""

    def late(state):
        average = {"params": _params(np.float32, 1.5), "model_state": state.model_state}
        return state.replace(step=np.int32(20_000), average=average)

    state, _ = _step(_params(dtype), steps=300, average_decay=0.999, state=late)
    average = state.average["params"]["w"]
    assert average.dtype == np.float32
    np.testing.assert_allclose(average, 1 + 0.5 * 0.999**300, atol=1e-4)
    assert tr.averaged(state)[0]["w"].dtype == dtype


@pytest.mark.slow(4)
@HALF
def test_running_averages_of_the_model_move(dtype):
    state, _ = _step(_params(dtype), steps=300, seen=0.5)
    np.testing.assert_allclose(state.model_state["seen"], 1 - 0.5 * 0.999**300, atol=1e-4)
    state, _ = _step(_params(dtype), steps=2, seen=0.5, parts=2)
    np.testing.assert_allclose(state.model_state["seen"], 1 - 0.5 * 0.999**4, atol=1e-6)


@pytest.mark.slow(3)
@HALF
def test_gradients_are_accumulated_in_float32(dtype):
    """512 parts of 1 + 1/128: in bfloat16 their sum stands still at 256."""
    state, _ = _step(_params(dtype, 0.0), optax.sgd(1.0), x=1 + 2**-7, parts=512)
    np.testing.assert_array_equal(state.params["w"].astype(np.float32), -(1 + 2**-7))


@pytest.mark.slow
def test_the_norm_of_the_gradient_does_not_overflow():
    _, metrics = _step(_params(jnp.float16), x=400.0)
    np.testing.assert_allclose(metrics["grad_norm"], 400 * np.sqrt(N), rtol=1e-3)
    assert metrics["finite"] == 1


@pytest.mark.slow(8)
@HALF
@pytest.mark.parametrize("algorithm", ["sgd", "adam", "adamw", "lamb"])
def test_moments_of_the_optimizer_move(dtype, algorithm):
    """Gradients of 1 become gradients of 2, and the second moment follows from 1 towards 4."""
    settings = optimizers.OptimizerSettings(algorithm, 1e-3, "constant", clip=1e3)
    params = _params(dtype)
    optimizer = settings.optimizer(params, 10)
    state = optimizer.init(params)
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert {x.dtype for x in floats} == {np.dtype(np.float32)}
    exact = settings.optimizer(_params(np.float32), 10)
    wide = exact.init(_params(np.float32))
    assert jax.tree.structure(state) == jax.tree.structure(wide)
    for gradient in (1.0, 2.0, 2.0):
        updates, state = optimizer.update(_params(dtype, gradient), state, params)
        expected, wide = exact.update(
            _params(np.float32, gradient), wide, _params(np.float32, params["w"][0])
        )
    assert updates["w"].dtype == np.float32
    np.testing.assert_allclose(updates["w"], expected["w"], rtol=1e-6)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(wide), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_widened_leaves_all_else_alone():
    tree = {"a": np.ones(2, np.float16), "b": np.ones(2), "c": np.int8(3), "d": jnp.ones(1, "c8")}
    wide = pmap.widened(tree)
    assert [x.dtype for x in wide.values()] == ["float32", "float64", "int8", "complex64"]
