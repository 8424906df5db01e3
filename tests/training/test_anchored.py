"""Training through a projection from weights that are filtered already."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import softeq_jax as sq
from softeq_jax import training as tr
from softeq_jax.training import methods


@pytest.fixture
def unfiltered():
    rng = np.random.default_rng(0)
    return {
        "conv": {"kernel": rng.standard_normal((3, 3, 2, 4)).astype(np.float32)},
        "head": {"kernel": rng.standard_normal((4, 2)).astype(np.float32)},
    }


@pytest.fixture
def plan(unfiltered):
    rule = sq.convolution_rule(sq.groups.so(2), softness=0.4, mask="heat")
    return sq.plan(unfiltered, {"conv/kernel": rule})


def test_it_starts_at_the_weights_given(plan, unfiltered):
    start = plan.project(unfiltered)
    found = methods.anchored().weights(start, methods.Anchored(plan, start), np.int32(0))
    jax.tree.map(np.testing.assert_array_equal, found, start)
    twice = plan.project(start)["conv"]["kernel"]  # which a heat mask changes
    assert np.abs(twice - start["conv"]["kernel"]).max() > 0.05


def test_sgd_steps_are_those_of_training_through_the_projection_from_the_start(plan, unfiltered):
    def loss(weights, state, batch, key, extra):
        y = jnp.tanh(jnp.einsum("nhwi,hwio->no", batch["x"], weights["conv"]["kernel"]))
        return jnp.mean((y @ weights["head"]["kernel"] - batch["y"]) ** 2), (state, {})

    rng = np.random.default_rng(1)
    batch = {
        "x": rng.standard_normal((8, 3, 3, 2)).astype(np.float32),
        "y": rng.standard_normal((8, 2)).astype(np.float32),
    }
    optimizer = optax.sgd(0.1)
    start = plan.project(unfiltered)
    ends = []
    for method, first, extra in (
        (methods.project(), unfiltered, plan),
        (methods.anchored(), start, methods.Anchored(plan, start)),
    ):
        step = tr.make_train_step(loss, optimizer, method=method)
        state, _ = tr.fit(step, tr.init_state(first, optimizer), [batch] * 5, 5, extra=extra)
        ends.append(method.weights(state.params, extra, state.step))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), *ends)
    assert np.abs(ends[0]["conv"]["kernel"] - start["conv"]["kernel"]).max() > 1e-3
