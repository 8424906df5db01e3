"""One step: accumulation, precision, rematerialization, averages, methods, rollback."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax import training as tr
from softeq_jax.training import methods, objectives

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 3, 3, 1)).astype(np.float32)
Y = RNG.integers(0, 4, 12).astype(np.int32)
PARAMS = {
    "w": RNG.standard_normal((3, 3, 1, 4)).astype(np.float32),
    "b": RNG.standard_normal(4).astype(np.float32),
}
SGD = optax.sgd(0.5)


def apply_train(params, state, x):
    logits = jnp.einsum("nhwi,hwio->no", x, params["w"]) + params["b"]
    return logits, {"count": state["count"] + 1, "mean": 0.9 * state["mean"] + 0.1 * x.mean()}


LOSS = objectives.classification(apply_train)
STATE = {"count": np.int32(0), "mean": np.float32(2)}


def one(loss_fn=LOSS, *, extra=None, batch=None, steps=1, optimizer=SGD, **options):
    """(state, metrics) after steps on one batch."""
    average = options.get("average_decay") is not None
    step = tr.make_train_step(loss_fn, optimizer, **options)
    state = tr.replicate(tr.init_state(PARAMS, optimizer, STATE, average=average))
    vote = tr.shard(np.zeros(1, np.float32))
    batch = tr.shard({"image": X, "label": Y} if batch is None else batch)
    for _ in range(steps):
        state, metrics = step(state, batch, extra, vote)
    return tr.unreplicate(state), {k: float(v) for k, v in metrics.items()}


def plain_loss(params, x=X, y=Y):
    logits = apply_train(params, STATE, x)[0]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


@pytest.mark.slow
def test_a_step_is_gradient_descent():
    state, metrics = one()
    value, grads = jax.value_and_grad(plain_loss)(PARAMS)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, PARAMS, grads)
    chex.assert_trees_all_close(state.params, expected, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(grads), rtol=1e-5)
    assert (metrics["finite"], metrics["stop"]) == (1, 0)
    assert (int(state.step), int(state.model_state["count"])) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 3, 12])
def test_accumulation_is_the_same_step(parts):
    whole, by_parts = one(steps=3), one(steps=3, accumulate=parts)
    chex.assert_trees_all_close(by_parts[0].params, whole[0].params, atol=1e-5)
    assert int(by_parts[0].model_state["count"]) == 3 * parts
    for name in ("loss", "accuracy", "grad_norm"):
        np.testing.assert_allclose(by_parts[1][name], whole[1][name], rtol=1e-5)


def test_accumulation_needs_equal_parts():
    with pytest.raises(ValueError, match=r"\['image'\].*share of 12 examples.*5 equal parts"):
        one(accumulate=5)


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["full", "dots", "dots_no_batch"])
def test_rematerialization_changes_memory_only(remat):
    chex.assert_trees_all_close(one(remat=remat)[0].params, one()[0].params, atol=1e-6)


def test_full_rematerialization_stores_less():
    """The forward pass is computed again: more operations in the program."""

    def deep(params, state, batch, key, extra):
        x = batch["image"].reshape(len(batch["image"]), -1)
        for _ in range(5):
            x = jnp.tanh(x @ params["w"].reshape(9, 4) @ params["w"].reshape(9, 4).T)
        return jnp.mean(x**2), (state, {})

    def tanhs(remat):
        step = tr.make_train_step(deep, SGD, remat=remat)
        state = tr.replicate(tr.init_state(PARAMS, SGD, STATE))
        args = (state, tr.shard({"image": X, "label": Y}), None, tr.shard(np.zeros(1)))
        return str(jax.make_jaxpr(step)(*args)).count("tanh")

    assert tanhs("full") == tanhs(None) + 5


@pytest.mark.slow
def test_bfloat16_computes_and_float32_stores():
    seen = {}

    def loss_fn(params, state, batch, key, extra):
        seen.update(w=params["w"].dtype, image=batch["image"].dtype, label=batch["label"].dtype)
        seen["mean"] = state["mean"].dtype
        return LOSS(params, state, batch, key, extra)

    state, metrics = one(loss_fn, compute_dtype=jnp.bfloat16, optimizer=optax.adam(0.1))
    assert seen == {
        "w": jnp.bfloat16,
        "image": jnp.bfloat16,
        "label": jnp.int32,
        "mean": jnp.float32,
    }
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype("float32")}
    assert state.opt_state[0].mu["w"].dtype == np.float32
    exact, exact_metrics = one(optimizer=optax.adam(0.1))
    np.testing.assert_allclose(metrics["loss"], exact_metrics["loss"], rtol=0.02)
    assert metrics["loss"] != exact_metrics["loss"]
    assert exact.params["w"].dtype == np.float32


@pytest.mark.slow
@examples(fast=5)
@given(st.floats(0, 0.999), st.integers(1, 4))
def test_the_moving_average(decay, steps):
    averages = {"w": PARAMS["w"], "mean": np.float32(2)}
    for taken in range(1, steps + 1):
        state, _ = one(steps=taken)
        rate = 1 - min(decay, (1 + taken) / (10 + taken))
        averages["w"] = averages["w"] + rate * (state.params["w"] - averages["w"])
        mean = state.model_state["mean"]
        averages["mean"] = averages["mean"] + rate * (mean - averages["mean"])
    state, _ = one(steps=steps, average_decay=decay)
    np.testing.assert_allclose(state.average["params"]["w"], averages["w"], atol=1e-6)
    np.testing.assert_allclose(state.average["model_state"]["mean"], averages["mean"], rtol=1e-6)
    assert int(state.average["model_state"]["count"]) == steps
    params, model_state = tr.averaged(state)
    assert params["w"] is state.average["params"]["w"]
    assert model_state is state.average["model_state"]
    assert tr.averaged(state.replace(average=None))[0] is state.params


@pytest.mark.slow
def test_projection_pulls_the_gradient_back_once():
    plan = sq.plan(PARAMS, {"w": sq.convolution_rule(sq.groups.cyclic(4), cutoff=1.0)})
    state, metrics = one(method=methods.project(), extra=plan, accumulate=2)
    value, grads = jax.value_and_grad(lambda p: plain_loss(plan.project(p)))(PARAMS)
    chex.assert_trees_all_close(
        state.params, jax.tree.map(lambda p, g: p - 0.5 * g, PARAMS, grads), atol=1e-6
    )
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-6)
    moved = jax.tree.map(np.subtract, state.params, PARAMS)
    chex.assert_trees_all_close(plan.project(moved), moved, atol=1e-6)
    unprojected, _ = one(method=methods.project(), extra=None)
    chex.assert_trees_all_equal(unprojected.params, one()[0].params)
    with pytest.raises(TypeError, match="Plan or None, got dict"):
        one(method=methods.project(), extra={})


@pytest.mark.slow
def test_a_method_is_a_pair_of_functions():
    """Shrinking weights by a schedule, and a penalty with a coefficient that is data."""
    method = tr.Method(
        weights=lambda p, extra, step: jax.tree.map(lambda w: w / (1.0 + step), p),
        penalty=lambda p, extra, step: extra * jnp.sum(p["w"] ** 2),
    )
    _, metrics = one(method=method, extra=np.float32(0.1), accumulate=3)
    expected_loss = plain_loss(PARAMS)
    penalty = 0.1 * np.sum(PARAMS["w"] ** 2)
    np.testing.assert_allclose(metrics["penalty"], penalty, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], expected_loss + penalty, rtol=1e-5)
    grads = jax.grad(lambda p: plain_loss(p) + 0.1 * jnp.sum(p["w"] ** 2))(PARAMS)
    np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(grads), rtol=1e-5)
    second, _ = one(method=method, extra=np.float32(0.0), steps=2)
    halved = jax.grad(lambda p: plain_loss(jax.tree.map(lambda w: w / 2, p)))
    first, _ = one(method=method, extra=np.float32(0.0))
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, first.params, halved(first.params))
    chex.assert_trees_all_close(second.params, expected, atol=1e-5)
    assert "penalty" not in one()[1]
    np.testing.assert_allclose(methods.total_penalty(method, PARAMS, 0.1, 0), penalty, rtol=1e-5)
    assert methods.total_penalty(methods.plain(), PARAMS, None, 0) == 0


@pytest.mark.slow
def test_penalties_and_controls_are_methods():
    plan = sq.plan(PARAMS, {"w": sq.convolution_rule(sq.groups.cyclic(4))})
    penalized, metrics = one(
        method=methods.penalize(sq.regularizers.projection_penalty), extra=plan
    )
    odd = plan.split(PARAMS)[1]["w"]
    np.testing.assert_allclose(metrics["penalty"], np.sum(np.square(odd)), rtol=1e-5)
    plain, _ = one()
    np.testing.assert_allclose(penalized.params["w"], plain.params["w"] - odd, atol=1e-5)
    half = sq.relaxation.scheduled(sq.relaxation.constant(10, hold=0.0, theta=0.5))
    state, _ = one(method=methods.controlled(half), extra=plan)
    grads = jax.grad(lambda p: plain_loss(sq.relaxation.relax(plan, p, 0.5)))(PARAMS)
    np.testing.assert_allclose(state.params["w"], PARAMS["w"] - 0.5 * grads["w"], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_rolled_back(where):
    def loss_fn(params, state, batch, key, extra):
        loss, (state, metrics) = LOSS(params, state, batch, key, extra)
        if where == "loss":
            return loss * jnp.nan, (state, metrics)
        zero = jnp.sum(params["w"] * 0.0)
        return loss + jnp.sqrt(zero), (state, metrics)

    options = {"average_decay": 0.9, "optimizer": optax.adam(0.1)}
    state, metrics = one(loss_fn, skip_nonfinite=True, **options)
    assert metrics["finite"] == 0
    assert np.isfinite(metrics["loss"]) == (where == "gradient")
    start = tr.init_state(PARAMS, options["optimizer"], STATE, average=True)
    chex.assert_trees_all_equal(state.replace(step=np.int32(0)), jax.tree.map(np.asarray, start))
    assert int(state.step) == 1
    spoiled, _ = one(loss_fn, **options)
    assert not np.isfinite(spoiled.params["w"]).all()


@pytest.mark.slow
def test_keys_are_the_states():
    def loss_fn(params, state, batch, key, extra):
        return jnp.sum(params["b"]), (state, {"noise": jax.random.uniform(key)})

    def noise(seed, steps):
        step = tr.make_train_step(loss_fn, SGD)
        state = tr.replicate(tr.init_state(PARAMS, SGD, STATE, seed=seed))
        found = []
        for _ in range(steps):
            batch = tr.shard({"image": X})
            state, metrics = step(state, batch, None, tr.shard(np.zeros(1, np.float32)))
            found.append(float(metrics["noise"]))
        return found

    assert noise(0, 3) == noise(0, 3)
    assert len({*noise(0, 3), *noise(1, 3)}) == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"accumulate": 0}, "accumulate must be a positive integer"),
        ({"remat": "some"}, "remat must be None or one of"),
        ({"average_decay": 1.0}, r"average_decay must be in \[0, 1\)"),
    ],
)
def test_options_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        tr.make_train_step(LOSS, SGD, **options)


def test_an_average_needs_a_state_that_keeps_one():
    step = tr.make_train_step(LOSS, SGD, average_decay=0.9)
    state = tr.replicate(tr.init_state(PARAMS, SGD, STATE))
    with pytest.raises(ValueError, match="average=True"):
        step(state, tr.shard({"image": X, "label": Y}), None, tr.shard(np.zeros(1)))
