"""The proximal step: what it minimizes, when it is exact, and as a transformation of optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from regularizer_cases import CASES, flat, params_of, parts, plan_of, projector

import softeq_jax as sq
from softeq_jax import regularizers as rg
from softeq_jax import training as tr

ANY = st.tuples(st.sampled_from(sorted(CASES)), st.integers(0, 2**20))


def norm(x):
    return np.linalg.norm(np.ravel(x))


def kernel(params):
    return params["layer"]["kernel"]


def outside(name, params):
    return norm(parts(name, kernel(params))[1])


@given(ANY, st.floats(0, 2), st.floats(0, 2), st.floats(0, 2))
@examples(fast=40)
def test_closed_forms(case, step_size, lambda_g, lambda_perp):
    name, seed = case
    params, plan = params_of(name, seed, np.float64), plan_of(name)
    kept, rest = parts(name, kernel(params))
    squared = rg.prox_step(plan, params, step_size, lambda_g, lambda_perp, power=2)
    expected = kept / (1 + 2 * step_size * lambda_g) + rest / (1 + 2 * step_size * lambda_perp)
    np.testing.assert_allclose(flat(name, kernel(squared)), expected, atol=1e-9)
    shrunk = rg.prox_step(plan, params, step_size, lambda_g, lambda_perp)
    expected = sum(
        max(0.0, 1 - step_size * weight / max(norm(part), 1e-9)) * part
        for weight, part in ((lambda_g, kept), (lambda_perp, rest))
    )
    np.testing.assert_allclose(flat(name, kernel(shrunk)), expected, atol=1e-9)
    assert shrunk["other"] is params["other"]


@given(ANY, st.sampled_from([1, 2]), st.sampled_from(["plain", "mean"]))
@examples(fast=25)
def test_it_minimizes_distance_plus_penalty(case, power, kind):
    name, seed = case
    params, plan = params_of(name, seed, np.float64), plan_of(name)
    options = {"power": power, "mean": kind == "mean", "weights": {"**/kernel": 0.7}}
    best = rg.prox_step(plan, params, 0.3, 0.4, 1.1, **options)

    def objective(candidate):
        distance = 0.5 * norm(kernel(candidate) - kernel(params)) ** 2
        return distance + 0.3 * rg.projection_penalty(plan, candidate, 0.4, 1.1, **options)

    rng = np.random.default_rng(seed)
    least = objective(best)
    for size in (1e-3, 1e-2, 1.0):
        for _ in range(5):
            step = size * rng.standard_normal(kernel(best).shape)
            moved = {**best, "layer": {"kernel": kernel(best) + step}}
            assert objective(moved) > least


def test_relative_uses_the_denominator_of_the_given_weights():
    params, plan = params_of("d4", 2, np.float64), plan_of("d4")
    whole = norm(kernel(params))
    for power in (1, 2):
        found = rg.prox_step(plan, params, 0.3, 0.2, 1.1, power=power, relative=True)
        expected = rg.prox_step(plan, params, 0.3 / whole**power, 0.2, 1.1, power=power)
        np.testing.assert_allclose(kernel(found), kernel(expected), rtol=1e-9)


def descent(lambda_perp, power=1, steps=60, eta=0.25):
    """Proximal gradient on ``||N w - 2 u||^2 / 2 + ||P w - v||^2 / 2`` with ``||u|| = 1``: at
    N w = 0 the gradient's part outside has norm 2. Returns ||N w|| after each step, and w."""
    plan, params = plan_of("d4"), params_of("d4", 3, np.float64)
    kept, rest = plan.split(params)
    target = kernel(kept) + 2.0 * kernel(rest) / norm(kernel(rest))
    norms = []
    for _ in range(steps):
        moved = kernel(params) - eta * (kernel(params) - target)
        params = rg.prox_step(
            plan, {**params, "layer": {"kernel": moved}}, eta, 0.0, lambda_perp, power=power
        )
        norms.append(outside("d4", params))
    return np.array(norms), params


def test_exactly_equivariant_in_finitely_many_steps_iff_lambda_exceeds_the_gradient():
    for lambda_perp in (2.2, 3.0):
        norms, params = descent(lambda_perp)
        first = int(np.argmax(norms < 1e-12))
        assert 0 < first < 60
        assert np.all(norms[first:] < 1e-12)
        assert np.all(norms[:first] > 1e-3)
        assert norm(kernel(params)) > 0.1
    for lambda_perp in (1.0, 1.5):
        norms, _ = descent(lambda_perp)
        np.testing.assert_allclose(norms[-1], 2.0 - lambda_perp, atol=1e-6)


def test_power_two_never_arrives():
    norms, _ = descent(20.0, power=2)
    np.testing.assert_allclose(norms[-1], 2.0 / (1 + 2 * 20.0), rtol=1e-6)


@pytest.mark.slow
def test_the_subgradient_of_the_norm_does_not_arrive_where_the_prox_does():
    plan, params = plan_of("d4"), params_of("d4", 3)
    slope = jax.jit(jax.grad(lambda p: rg.projection_penalty(plan, p, lambda_perp=3.0, power=1)))
    for _ in range(300):
        params = jax.tree.map(lambda w, g: w - 0.1 * g, params, slope(params))
    assert 0.01 < outside("d4", params) < 0.5
    assert outside("d4", rg.prox_step(plan, params, 0.1, lambda_perp=30.0)) < 1e-6


def test_a_vanishing_part_leaves_the_projection_to_the_bit():
    plan, params = plan_of("d4"), params_of("d4")
    found = jax.jit(rg.prox_step)(plan, params, 100.0)
    expected = jax.jit(lambda plan, params: plan.project(params))(plan, params)
    np.testing.assert_array_equal(kernel(found), kernel(expected))


def test_no_weight_no_change():
    plan, params = plan_of("d4"), params_of("d4")
    for found in (
        rg.prox_step(plan, params, 0.0, 1.0, 1.0),
        rg.prox_step(plan, params, 1.0, 0.0, 0.0),
        jax.jit(rg.prox_step)(plan, params, jnp.float32(0.0), 0.0, 1.0),
    ):
        np.testing.assert_array_equal(kernel(found), kernel(params))


def test_equivariant_weights_are_fixed():
    plan, params = plan_of("so3"), params_of("so3")
    params = plan.project(params)
    found = rg.prox_step(plan, params, 0.5, lambda_perp=2.0)
    np.testing.assert_allclose(kernel(found), kernel(params), atol=1e-6)


def test_a_group_vanishes_as_one():
    group = sq.groups.so(3)
    v = sq.reps.vector(group)
    rng = np.random.default_rng(0)
    params = {"kernel": rng.standard_normal((3, 3)), "bias": 0.1 * rng.standard_normal(3)}
    plan = sq.plan(
        params,
        {"kernel": sq.projector("i o", {"i": v, "o": v}), "bias": sq.projector("o", {"o": v})},
    )
    norms = rg.part_norms(plan, params)
    small, large = norms["bias"].residual, norms["kernel"].residual
    alone = rg.part_norms(plan, rg.prox_step(plan, params, 2 * small))
    assert alone["bias"].residual < 1e-12
    jointly = rg.part_norms(plan, rg.prox_step(plan, params, 2 * small, per="layer"))
    share = 1 - 2 * small / np.hypot(small, large)
    np.testing.assert_allclose(jointly["bias"].residual, share * small, rtol=1e-9)
    gone = rg.prox_step(plan, params, 1.01 * np.hypot(small, large), per="layer")
    assert max(n.residual for n in rg.part_norms(plan, gone).values()) < 1e-12


def test_half_precision_keeps_its_dtype():
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.bfloat16), params_of("d4"))
    found = rg.prox_step(plan_of("d4"), params, 0.1)
    assert kernel(found).dtype == jnp.bfloat16
    wide = rg.prox_step(plan_of("d4"), jax.tree.map(lambda w: w.astype(jnp.float32), params), 0.1)
    np.testing.assert_array_equal(kernel(found), kernel(wide).astype(jnp.bfloat16))


def gradient_of(params):
    return jax.tree.map(jnp.cos, params)


@pytest.mark.slow
@pytest.mark.parametrize("power", [1, 2])
def test_last_in_a_chain_it_is_the_prox_of_the_step(power):
    params, plan = params_of("so3"), plan_of("so3")
    schedule = optax.linear_schedule(0.2, 0.1, 2)
    optimizer = optax.chain(
        optax.adam(schedule), rg.add_equivariance_decay(plan, schedule, 0.1, 2.0, power=power)
    )
    reference, adam = params, optax.adam(schedule)
    state, plain_state = optimizer.init(params), adam.init(params)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(gradient_of(params), state, params)
        return optax.apply_updates(params, updates), state

    for i in range(3):
        updates, plain_state = adam.update(gradient_of(reference), plain_state, reference)
        moved = optax.apply_updates(reference, updates)
        reference = rg.prox_step(plan, moved, schedule(i), 0.1, 2.0, power=power)
        params, state = step(params, state)
        np.testing.assert_allclose(kernel(params), kernel(reference), atol=1e-5)
        np.testing.assert_allclose(params["other"], moved["other"], atol=1e-6)
        reference["other"] = params["other"]
    assert int(state[1].count) == 3


def test_another_plan_is_an_argument_that_does_not_compile_again():
    params, plan = params_of("d4"), plan_of("d4").at(cutoff=1.0)
    optimizer = optax.chain(optax.sgd(0.1), rg.add_equivariance_decay(plan, 0.1, 0.0, 1e6))
    traces = []

    @jax.jit
    def step(params, state, plan):
        traces.append(None)
        updates, state = optimizer.update(gradient_of(params), state, params, plan=plan)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for cutoff in (1.0, 0.0):
        params, state = step(params, state, plan.at(cutoff=cutoff))
        cut = projector("d4").at(cutoff=cutoff)
        assert norm(cut.residual(kernel(params))) < 1e-5
        if cutoff:
            assert outside("d4", params) > 0.1
    assert len(traces) == 1
    closed, _ = optimizer.update(gradient_of(params), state, params)
    argued, _ = optimizer.update(gradient_of(params), state, params, plan=plan)
    np.testing.assert_array_equal(kernel(closed), kernel(argued))


def test_leaves_that_are_not_planned_keep_their_updates():
    params, plan = params_of("d4"), plan_of("d4")
    decay = rg.add_equivariance_decay(plan, 1.0)
    updates = gradient_of(params)
    found, _ = decay.update(updates, decay.init(params), params)
    np.testing.assert_array_equal(found["other"], updates["other"])


def test_in_the_trainer_weights_become_equivariant_and_stay():
    params, plan = params_of("d4"), plan_of("d4")
    target = kernel(params)

    def loss(params, model_state, batch, key, extra):
        value = 0.5 * jnp.sum((kernel(params) - target) ** 2) + jnp.mean(batch["x"]) * 0.0
        return value, (model_state, {})

    def train(lambda_perp):
        optimizer = optax.chain(
            optax.sgd(0.25), rg.add_equivariance_decay(plan, 0.25, lambda_perp=lambda_perp)
        )
        step = tr.make_train_step(loss, optimizer)
        state = tr.replicate(tr.init_state(params, optimizer, {}))
        vote, batch = tr.shard(np.zeros(1, np.float32)), tr.shard({"x": np.zeros(2, np.float32)})
        for _ in range(30):
            state, _ = step(state, batch, None, vote)
        return outside("d4", tr.unreplicate(state).params)

    threshold = outside("d4", params)
    assert train(1.2 * threshold) < 1e-5
    np.testing.assert_allclose(train(0.5 * threshold), 0.5 * threshold, rtol=1e-3)
