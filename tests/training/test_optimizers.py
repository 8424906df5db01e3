"""Optimizers: rates by path, decay of layers, schedules, settings."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from softeq_jax.training import optimizers
from softeq_jax.training.optimizers import OptimizerSettings

PARAMS = {
    "embed": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
    "block0": {"kernel": jnp.ones((3, 3))},
    "block1": {"kernel": jnp.ones((3, 3))},
    "head": {"kernel": jnp.ones((3, 2))},
}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)


def _moved(optimizer):
    state = optimizer.init(PARAMS)
    updates, _ = optimizer.update(GRADS, state, PARAMS)
    return updates


def test_the_first_rule_counts():
    found = optimizers.factors(PARAMS, {"head/*": 2.0, "**/bias": 0.0}, default=0.5)
    assert found["embed"] == {"kernel": 0.5, "bias": 0.0}
    assert (found["block1"]["kernel"], found["head"]["kernel"]) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("rules", "default", "words"),
    [
        ({"haed/*": 1.0}, 1.0, r"match no parameter.*\['haed/\*'\]"),
        ({"**": 1.0, "head/*": 2.0}, None, r"match no parameter.*\['head/\*'\]"),
        ({"head/*": 1.0}, None, r"no rule matches \['block0/kernel'"),
        ({"**": -1.0}, None, "finite number >= 0, got -1"),
        ({"**": float("nan")}, None, "finite number"),
    ],
)
def test_rules_that_do_not_fit(rules, default, words):
    with pytest.raises(ValueError, match=words):
        optimizers.factors(PARAMS, rules, default)


@pytest.mark.slow
def test_rates_fall_from_the_output_to_the_input():
    layers = ("embed/**", "block0/*", "block1/*", "head/*")
    rates = optimizers.layer_decay(PARAMS, layers, 0.5)
    assert rates["embed"]["bias"] == 0.125
    assert [rates[f"block{i}"]["kernel"] for i in (0, 1)] == [0.25, 0.5]
    assert rates["head"]["kernel"] == 1.0
    settings = OptimizerSettings("sgd", 1.0, "constant", momentum=0.0)
    plain = _moved(settings.optimizer(PARAMS, 10))
    scaled = _moved(settings.optimizer(PARAMS, 10, rates))
    np.testing.assert_allclose(scaled["embed"]["kernel"], 0.125 * plain["embed"]["kernel"])
    np.testing.assert_allclose(scaled["head"]["kernel"], plain["head"]["kernel"])
    for decay in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"decay must be in \(0, 1\]"):
            optimizers.layer_decay(PARAMS, layers, decay)


def test_scaled_updates_keep_their_dtype():
    optimizer = optimizers.scale_by_factors({"w": 0.5})
    updates, _ = optimizer.update({"w": jnp.ones(2, jnp.bfloat16)}, optimizer.init(None))
    assert updates["w"].dtype == jnp.bfloat16


@pytest.mark.slow
def test_decay_spares_biases_and_clipping_bounds():
    settings = OptimizerSettings("adamw", 1.0, "constant", weight_decay=0.1)
    still = jax.tree.map(jnp.zeros_like, GRADS)
    optimizer = settings.optimizer(PARAMS, 10)
    updates, _ = optimizer.update(still, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["embed"]["kernel"], -0.1, rtol=1e-6)
    np.testing.assert_array_equal(updates["embed"]["bias"], 0)
    settings = OptimizerSettings("sgd", 1.0, "constant", momentum=0.0, clip=0.25)
    norm = optax.tree.norm(_moved(settings.optimizer(PARAMS, 10)))
    np.testing.assert_allclose(norm, 0.25, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["sgd", "adam", "adamw", "lamb"])
def test_every_algorithm_descends(algorithm):
    optimizer = OptimizerSettings(algorithm, 0.05, "cosine", warmup=2, clip=1.0).optimizer(
        PARAMS, 20
    )
    params, state = PARAMS, optimizer.init(PARAMS)
    loss = lambda p: sum(jnp.sum(w**2) for w in jax.tree.leaves(p))  # noqa: E731
    before = loss(params)
    for _ in range(20):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    assert loss(params) < before


@pytest.mark.parametrize(
    ("schedule", "warmup", "values"),
    [
        ("constant", 0, {0: 2.0, 50: 2.0, 100: 2.0}),
        ("constant", 10, {0: 0.0, 5: 1.0, 10: 2.0, 100: 2.0}),
        ("linear", 0.2, {0: 0.0, 20: 2.0, 60: 1.1, 100: 0.2}),
        ("cosine", 20, {10: 1.0, 20: 2.0, 60: 1.1, 100: 0.2}),
    ],
)
def test_schedules(schedule, warmup, values):
    rate = OptimizerSettings("sgd", 2.0, schedule, warmup=warmup, final=0.1).rate(100)
    for step, value in values.items():
        np.testing.assert_allclose(rate(step), value, atol=1e-6)


@pytest.mark.slow
def test_onecycle_is_that_of_optax():
    rate = OptimizerSettings("sgd", 2.0, "onecycle", warmup=0.15).rate(100)
    expected = optax.cosine_onecycle_schedule(100, 2.0, pct_start=0.15)
    for step in (0, 7, 15, 50, 100):
        np.testing.assert_allclose(rate(step), expected(step))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"algorithm": "sdg"}, "algorithm must be one of .*'sgd'.* got 'sdg'"),
        ({"schedule": "cosin"}, "schedule must be one of .*'cosine'"),
        ({"warmup": 101}, "warmup is 101 steps, expected 0 to 100"),
        ({"clip": 0.0}, "clip must be None or positive"),
        ({"weight_decay": -1.0}, "weight_decay must be a finite number >= 0, got -1"),
    ],
)
def test_settings_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        OptimizerSettings(**options).optimizer(PARAMS, 100)
