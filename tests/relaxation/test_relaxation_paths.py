"""The two parametrizations move differently, and what keeps the stored residual in place."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from relaxation_cases import two_layer_outputs, two_layers

from softeq_jax import relaxation as rx

X = np.random.default_rng(1).standard_normal((16, 2)).astype(np.float32)
Y = (X @ np.array([[1.0, 0.4], [0.2, -0.7]])).astype(np.float32)


def loss(weights):
    return jnp.mean((two_layer_outputs(weights, X) - Y) ** 2)


def residual(plan, params):
    return plan.split(params)[1]


def distance(a, b):
    return float(optax.tree.norm(jax.tree.map(jnp.subtract, a, b)))


def descend(optimizer, plan, params, thetas):
    """Parameters after one step at each theta."""

    @jax.jit
    def step(params, state, theta):
        grads = jax.grad(lambda p: loss(rx.relax(plan, p, theta)))(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for theta in thetas:
        params, state = step(params, state, jnp.float32(theta))
    return params


@pytest.mark.slow
@pytest.mark.parametrize("theta", [0.0, 0.4, 1.0])
def test_gradients_of_the_two_forms(theta):
    params, plan = two_layers()
    pair = rx.branches(plan, params)
    raw = jax.grad(loss)(rx.relax(plan, params, theta))
    even, odd = plan.split(raw)

    one = jax.grad(lambda p: loss(rx.relax(plan, p, theta)))(params)
    expected = jax.tree.map(lambda e, o: e + theta * o, even, odd)
    chex.assert_trees_all_close(one, expected, atol=1e-5)

    two = jax.grad(lambda p: loss(rx.relax(plan, p, theta)))(pair)
    chex.assert_trees_all_close(two.equivariant, even, atol=1e-5)
    for name in ("first", "second"):
        np.testing.assert_allclose(two.free[name]["kernel"], theta * raw[name]["kernel"], atol=1e-5)

    # One small step of gradient descent moves the network's weights by
    # -(P + theta^2 N) g and by -(P + theta^2) g.
    rate = 1e-3
    before = rx.relax(plan, params, theta)
    for tree, grads, power in ((params, one, odd), (pair, two, raw)):
        moved = jax.tree.map(lambda p, g: p - rate * g, tree, grads)
        after = rx.relax(plan, moved, theta)
        for name in ("first", "second"):
            speed = (after[name]["kernel"] - before[name]["kernel"]) / -rate
            wanted = even[name]["kernel"] + theta**2 * power[name]["kernel"]
            np.testing.assert_allclose(speed, wanted, atol=3e-3)


@pytest.mark.slow
def test_at_zero_the_residual_is_frozen_not_gone():
    params, plan = two_layers()
    after = descend(optax.sgd(0.02), plan, params, [0.0] * 5)
    assert distance(residual(plan, after), residual(plan, params)) < 1e-6
    assert distance(plan.project(after), plan.project(params)) > 1e-2
    # It returns as theta rises, and finishing removes it.
    raised = residual(plan, rx.relax(plan, after, 1.0))
    assert distance(raised, residual(plan, params)) < 1e-6
    assert float(optax.tree.norm(residual(plan, rx.finish(plan, after)))) < 1e-6


THETAS = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def schedule(step):
    return jnp.where(step < 2, 1.0, 0.0)


def adam(*more):
    return optax.chain(optax.adamw(0.05, weight_decay=0.1), *more)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["one weight", "two branches"])
def test_adam_moves_the_frozen_residual_unless_masked(form):
    params, plan = two_layers()

    def stored(tree):
        return residual(plan, tree) if form == "one weight" else tree.free

    begin = params if form == "one weight" else rx.branches(plan, params)
    at_zero = descend(adam(), plan, begin, THETAS[:2])
    moved = descend(adam(), plan, begin, THETAS)
    held = descend(adam(rx.freeze_residual(plan, schedule)), plan, begin, THETAS)
    assert distance(stored(moved), stored(at_zero)) > 1e-2
    relaxed = descend(adam(rx.freeze_residual(plan, schedule)), plan, begin, THETAS[:2])
    assert distance(stored(held), stored(relaxed)) < 1e-5
    # While theta > 0 it changes nothing about one weight, nor about what the branches compute.
    assert distance(stored(relaxed), stored(begin)) > 1e-2
    if form == "one weight":
        assert distance(relaxed, at_zero) < 1e-6
    # The equivariant part goes on either way.
    first, last = (rx.finish(plan, tree) for tree in (relaxed, held))
    assert distance(first, last) > 1e-2


def test_frozen_throughout_trains_the_strict_network():
    params, plan = two_layers()
    strict = plan.project(params)
    optimizer = adam(rx.freeze_residual(plan))
    after = descend(optimizer, plan, strict, [1.0] * 4)
    assert float(optax.tree.norm(residual(plan, after))) < 1e-5
    assert distance(after, strict) > 1e-2


def test_freezing_reaches_into_a_controlled_tree():
    params, plan = two_layers()
    tree = rx.start(rx.ace(), plan, params)
    transform = rx.freeze_residual(plan)
    updates, _ = transform.update(tree, transform.init(tree))
    chex.assert_trees_all_equal(updates.params, plan.split(params)[0])
    chex.assert_trees_all_equal(updates.control, tree.control)
