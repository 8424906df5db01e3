"""P w + theta N w and P W_e + theta B: the formulas, the way back, what is refused.

That P and N are orthogonal projectors (theorem 1) is tested under tests/projections.
"""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from relaxation_cases import CASES, random_weight, two_layers

import softeq_jax as sq
from softeq_jax import relaxation as rx

SEEDS = st.integers(0, 2**31 - 1)
THETAS = st.floats(0, 1)


def single(name, seed):
    """(projector, params, plan) in float64 NumPy."""
    projector = CASES[name]()
    params = {"w": random_weight(projector, np.random.default_rng(seed)), "other": np.ones(3)}
    return projector, params, sq.plan(params, {"w": projector})


def norm(x):
    return float(np.linalg.norm(np.asarray(x)))


@pytest.mark.parametrize("name", CASES)
@given(seed=SEEDS, theta=THETAS)
@examples(fast=5)
def test_one_weight_is_the_mixture(name, seed, theta):
    projector, params, plan = single(name, seed)
    w, out = params["w"], rx.relax(plan, params, theta)
    expected = (1 - theta) * projector(w) + theta * w
    np.testing.assert_allclose(out["w"], expected, atol=1e-12)
    np.testing.assert_array_equal(out["other"], params["other"])


@pytest.mark.parametrize("name", CASES)
@given(seed=SEEDS, theta=THETAS)
@examples(fast=5)
def test_two_branches_start_as_the_same_function(name, seed, theta):
    _, params, plan = single(name, seed)
    pair = rx.branches(plan, params)
    one, two = rx.relax(plan, params, theta), rx.relax(plan, pair, theta)
    # The lone difference: P is applied twice to W_e.
    chex.assert_trees_all_close(one, two, atol=1e-5)
    assert pair.free["other"] is None


def test_the_ends_of_the_dial():
    params, plan = two_layers()
    chex.assert_trees_all_equal(rx.relax(plan, params, 0.0), plan.project(params))
    chex.assert_trees_all_close(rx.relax(plan, params, 1.0), params, atol=1e-6)
    broken = jax.tree.map(lambda b: jnp.full_like(b, jnp.nan), rx.branches(plan, params).free)
    pair = rx.branches(plan, params)._replace(free=broken)
    chex.assert_tree_all_finite(rx.relax(plan, pair, 0.0))


@pytest.mark.slow
@pytest.mark.parametrize("pair", [False, True])
def test_transformations_take_the_plan_as_an_argument(pair):
    params, plan = two_layers()
    params = rx.branches(plan, params) if pair else params
    expected = rx.relax(plan, params, 0.3)
    chex.assert_trees_all_close(jax.jit(rx.relax)(plan, params, 0.3), expected, atol=1e-6)
    several = jax.vmap(rx.relax, (None, None, 0))(plan, params, jnp.array([0.3, 0.3]))
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[1], several), expected, atol=1e-6)
    stacked = jax.tree.map(lambda x: jnp.asarray(x)[None], params)
    mapped = jax.pmap(rx.relax, in_axes=(None, 0, None))(plan, stacked, 0.3)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[0], mapped), expected, atol=1e-6)


def test_one_level_compiles_once():
    params, plan = two_layers()
    relax = jax.jit(chex.assert_max_traces(rx.relax, n=1))
    for theta in (0.0, 0.2, 1.0):
        relax(plan, params, jnp.float32(theta))


def test_a_theta_per_group():
    params, plan = two_layers()
    assert rx.factor_names(plan) == ("first", "second")
    out = rx.relax(plan, params, np.array([0.0, 1.0]))
    strict = plan.project(params)
    chex.assert_trees_all_equal(out["first"], strict["first"])
    chex.assert_trees_all_close(out["second"], params["second"], atol=1e-6)
    assert len(rx.factor_names(plan, "parameter")) == 3
    assert len(rx.factor_names(plan, "all")) == 1
    with pytest.raises(ValueError, match=r"theta .* 2 factors .*shape \(3,\)"):
        rx.relax(plan, params, np.zeros(3))
    with pytest.raises(ValueError, match="per must be"):
        rx.factor_names(plan, "model")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes_are_kept(dtype):
    params, plan = two_layers()
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
    for tree in (params, rx.branches(plan, params)):
        for theta in (0.3, jnp.float32(0.3)):
            out = jax.jit(rx.relax)(plan, tree, theta)
            assert {x.dtype for x in jax.tree.leaves(out)} == {jnp.dtype(dtype)}
            assert {x.dtype for x in jax.tree.leaves(rx.finish(plan, tree, 0.3))} == {
                jnp.dtype(dtype)
            }


def test_a_soft_plan_relaxes_what_is_above_its_level():
    projector = CASES["so2 on a grid"]().at(cutoff=1.0)
    w = {"w": random_weight(projector, np.random.default_rng(0))}
    plan = sq.plan(w, {"w": projector})
    out = rx.relax(plan, w, 0.25)["w"]
    np.testing.assert_allclose(projector(out), projector(w["w"]), atol=1e-12)
    np.testing.assert_allclose(projector.residual(out), 0.25 * projector.residual(w["w"]))


# Theorem 9: the best projection at the end.


@pytest.mark.parametrize("name", CASES)
@given(seed=SEEDS, theta=st.floats(0.05, 1))
@examples(fast=5)
def test_finishing_is_never_further_than_dropping(name, seed, theta):
    projector, params, plan = single(name, seed)
    rng = np.random.default_rng(seed + 1)
    pair = rx.branches(plan, params)
    pair = pair._replace(free={"w": random_weight(projector, rng), "other": None})
    even, b = projector(params["w"]), pair.free["w"]
    relaxed, kept = even + theta * b, np.asarray(rx.finish(plan, pair, theta)["w"])
    np.testing.assert_allclose(kept, even + theta * projector(b), atol=1e-5)
    distance = norm(relaxed - kept)
    np.testing.assert_allclose(distance, theta * norm(b - projector(b)), rtol=1e-4, atol=1e-5)
    assert distance <= norm(relaxed - even) * (1 + 1e-5)
    # No other equivariant weight is nearer.
    for _ in range(3):
        other = kept + 0.1 * projector(random_weight(projector, rng))
        assert norm(relaxed - other) >= distance * (1 - 1e-6)


@given(seed=SEEDS)
@examples(fast=15)
def test_the_same_weight_is_nearest_on_data_whose_second_moment_commutes(seed):
    rng = np.random.default_rng(seed)
    v = sq.reps.vector(sq.groups.so(3))
    rep_in, rep_out = 2 * v, v
    projector = sq.projector("i o", {"i": rep_in.dual, "o": rep_out})
    w, b = rng.standard_normal((2, 6, 3))
    a = rng.standard_normal((2, 2))
    moment = np.kron(a @ a.T + 0.1 * np.eye(2), np.eye(3))
    plan = sq.plan({"w": w}, {"w": projector})
    even = projector(w)
    kept = rx.finish(plan, rx.Branches({"w": even}, {"w": b}), 0.7)["w"]

    def loss(weight):
        difference = np.asarray(weight) - (even + 0.7 * b)
        return float(np.trace(difference.T @ moment @ difference))

    assert loss(kept) <= loss(even) * (1 + 1e-6)
    for scale in (1e-2, 1.0):
        other = np.asarray(kept) + scale * projector(rng.standard_normal((6, 3)))
        assert loss(other) >= loss(kept) * (1 - 1e-6)
    # A moment that does not commute may have another minimizer: the condition is needed.
    rng = np.random.default_rng(0)
    moment = np.diag(np.array([10.0, 1, 1, 1, 1, 1]))
    slopes = [
        (loss(kept + 1e-4 * d) - loss(kept - 1e-4 * d)) / 2e-4
        for d in [projector(rng.standard_normal((6, 3))) for _ in range(4)]
    ]
    assert max(map(abs, slopes)) > 1e-3


def test_finishing_leaves_no_residual():
    params, plan = two_layers()
    for tree in (params, rx.branches(plan, params)):
        done = rx.finish(plan, tree, 0.4)
        _, residual = plan.split(done)
        assert max(norm(x) for x in jax.tree.leaves(residual)) < 1e-6
        chex.assert_trees_all_close(rx.relax(plan, done, 1.0), done, atol=1e-6)
        empty = rx.branches(plan, done).free
        assert max(norm(x) for x in jax.tree.leaves(empty)) < 1e-6
    chex.assert_trees_all_equal(rx.finish(plan, params, 0.9), plan.project(params))


def test_the_jump_in_loss():
    params, plan = two_layers()
    relaxed, done = rx.relax(plan, params, 0.5), rx.finish(plan, params)

    def loss(weights):
        return jnp.sum(weights["first"]["kernel"] ** 2)

    report = rx.jump(loss, relaxed, done)
    residual = plan.split(params)[1]["first"]["kernel"]
    np.testing.assert_allclose(report.change, -0.25 * norm(residual) ** 2, rtol=1e-5)
    assert report.before == float(loss(relaxed))
    total = math.sqrt(sum(norm(x) ** 2 for x in jax.tree.leaves(relaxed)))
    parts = math.sqrt(sum(norm(x) ** 2 for x in jax.tree.leaves(plan.split(params)[1])))
    np.testing.assert_allclose(report.moved, 0.5 * parts / total, rtol=1e-5)
    held = rx.jump(loss, rx.relax(plan, params, 0.0), done)
    assert (held.change, held.moved) == (0.0, 0.0)


def test_bad_input():
    params, plan = two_layers()
    for theta in (-0.1, 1.1, float("nan"), np.array([0.5, 2.0])):
        with pytest.raises(ValueError, match=r"theta must be in \[0, 1\]"):
            rx.relax(plan, params, theta)
    with pytest.raises(ValueError, match="not the parameters that the plan was built for"):
        rx.relax(plan, {"first": params["first"]}, 0.5)
    with pytest.raises(TypeError, match="plan must be a Plan, got dict"):
        rx.relax({}, params, 0.5)
    with pytest.raises(ValueError, match="scale must be a finite number >= 0, got -1"):
        rx.branches(plan, params, scale=-1)
    with pytest.raises(ValueError, match="the free branch"):
        rx.relax(plan, rx.Branches(params, {"first": params["first"]}), 0.5)
    pair = rx.branches(plan, params)
    for value in (None, np.zeros(3)):
        pair.free["second"]["kernel"] = value
        with pytest.raises(ValueError, match=r"free branch at 'second/kernel' has shape"):
            rx.relax(plan, pair, 0.5)
    wrong = jax.tree.map(lambda x: x[..., :1], params)
    with pytest.raises(ValueError, match="parameter 'first/bias'"):
        rx.relax(plan, wrong, 0.5)
    with pytest.raises(ValueError, match="differ in structure"):
        rx.jump(lambda w: 0.0, params, {"first": params["first"]})
    with pytest.raises(ValueError, match="differ in shapes"):
        rx.jump(lambda w: 0.0, params, wrong)
    with pytest.raises(ValueError, match="must return a scalar"):
        rx.jump(lambda w: np.zeros(2), params, params)


@pytest.mark.parametrize("mask", ["heat", "resolvent"])
def test_smooth_masks_are_refused(mask):
    projector = CASES["so2 on a grid"]().at(cutoff=1.0, mask=mask)
    params = {"w": random_weight(projector, np.random.default_rng(0))}
    plan = sq.plan(params, {"w": projector})
    for call in (
        lambda: rx.relax(plan, params, 0.5),
        lambda: rx.branches(plan, params),
        lambda: rx.finish(plan, params),
    ):
        with pytest.raises(ValueError, match=f"parameter 'w'.*smooth mask '{mask}'"):
            call()
