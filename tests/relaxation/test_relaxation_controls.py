"""What decides the relaxation: dual ascent, priors, candidate groups, recurrent levels."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from relaxation_cases import CASES, random_weight, two_layer_outputs, two_layers

import softeq_jax as sq
from softeq_jax import relaxation as rx

CONTROLS = {
    "scheduled": lambda: rx.scheduled(rx.triangular(10)),
    "ace": lambda: rx.ace(),
    "resilient ace": lambda: rx.ace(rho=1.0),
    "recurrent": lambda: rx.recurrent(),
}


def run(control, plan, params, loss, steps, rate=0.05):
    """(params, state) of the loop in the docstring of `_control.py`, with gradient descent."""

    def one(step, stored):
        params, state = stored

        def objective(params, state):
            value = loss(control.weights(plan, params, state, step))
            if control.penalty is not None:
                value = value + control.penalty(plan, params, state, step)
            return value

        gradient, signal = jax.grad(objective, argnums=(0, 1))(params, state)
        state = control.update(plan, params, state, signal)
        return rx.Controlled(jax.tree.map(lambda p, g: p - rate * g, params, gradient), state)

    begin = jax.tree.map(jnp.asarray, rx.start(control, plan, params))
    return jax.jit(lambda stored: jax.lax.fori_loop(0, steps, one, stored))(begin)


def norm(x):
    return float(jnp.linalg.norm(jnp.asarray(x)))


# Dual ascent. On L = a (gamma - 1)^2 / 2 both forms have closed solutions.


def settle(a, rho, steps=6000):
    state = rx.AceState(jnp.ones(1), jnp.zeros(1), jnp.zeros(1))

    def body(_, state):
        gradient = a * (state.gamma - 1.0)
        return rx.ace_update(state, gradient, primal_rate=0.05, dual_rate=0.02, rho=rho)

    return jax.lax.fori_loop(0, steps, body, state)


@pytest.mark.parametrize("a", [0.2, 1.0, 3.0])
def test_the_equality_form_ends_at_zero_and_prices_the_constraint(a):
    state = settle(a, None)
    np.testing.assert_allclose(state.gamma, 0.0, atol=1e-4)
    np.testing.assert_allclose(state.dual, a, rtol=1e-3)
    assert state.slack == 0


def test_the_augmented_term_damps_what_swings_in_a_flat_loss():
    primal, dual, steps = 0.05, 0.002, 2000
    start = rx.AceState(*(jnp.full(1, x) for x in (1.0, 0.0, 0.0)))

    def swings(augmentation):
        def body(state, _):
            state = rx.ace_update(
                state,
                jnp.zeros(1),
                primal_rate=primal,
                dual_rate=dual,
                augmentation=augmentation,
            )
            return state, state.gamma[0]

        return np.abs(jax.lax.scan(body, start, length=steps)[1])

    plain, damped = swings(0.0), swings(2 * np.sqrt(dual / primal))
    assert plain[-700:].max() > 0.9
    assert damped[-700:].max() < 1e-4
    rate = 1 - np.sqrt(primal * dual)
    assert np.all(damped <= (1 + 0.02 * np.arange(1, steps + 1)) * rate ** np.arange(steps) + 1e-6)


def test_the_augmented_term_moves_no_solution():
    state = rx.AceState(*(jnp.full(1, x) for x in (0.0, 1.3, 0.0)))
    still = rx.ace_update(state, -state.dual, primal_rate=0.05, dual_rate=0.02, augmentation=0.7)
    np.testing.assert_array_equal(still.gamma, state.gamma)
    np.testing.assert_array_equal(still.dual, state.dual)
    with pytest.raises(ValueError, match=r"augmentation=0.5 is for the equality form, got rho=2"):
        rx.ace(rho=2.0, augmentation=0.5)
    with pytest.raises(ValueError, match="augmentation"):
        rx.ace(augmentation=-1.0)


@pytest.mark.parametrize("a", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("rho", [0.5, 2.0])
def test_the_resilient_form_ends_where_slack_is_worth_it(a, rho):
    state = settle(a, rho)
    np.testing.assert_allclose(state.gamma, a / (a + rho), rtol=1e-2)
    np.testing.assert_allclose(state.slack, state.gamma, rtol=1e-2)
    np.testing.assert_allclose(state.dual, rho * state.slack, rtol=1e-2)


@given(
    st.floats(-2, 2, allow_subnormal=False),
    st.floats(0, 2, allow_subnormal=False),
    st.floats(0, 2, allow_subnormal=False),
    st.floats(-2, 2, allow_subnormal=False),
)
@examples(fast=20)
def test_one_dual_step_by_hand(gamma, dual, slack, gradient):
    state = rx.AceState(*(jnp.array([x], jnp.float32) for x in (gamma, dual, slack)))
    new = rx.ace_update(state, jnp.array([gradient]), primal_rate=0.1, dual_rate=0.3, rho=2.0)
    wanted = np.float32(gamma) - 0.1 * (gradient + dual * np.sign(np.float32(gamma)))
    np.testing.assert_allclose(new.gamma[0], wanted, atol=1e-5)
    wanted = max(slack + 0.1 * (dual - 2.0 * slack), 0.0)
    np.testing.assert_allclose(new.slack[0], wanted, atol=1e-5)
    wanted = max(dual + 0.3 * (abs(float(new.gamma[0])) - float(new.slack[0])), 0.0)
    np.testing.assert_allclose(new.dual[0], wanted, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("form", ["one weight", "two branches"])
def test_ace_makes_a_layer_equivariant(form):
    params, plan = two_layers()
    x = np.random.default_rng(0).standard_normal((32, 2)).astype(np.float32)
    params = params if form == "one weight" else rx.branches(plan, params)
    target = two_layer_outputs(plan.project(two_layers(5)[0]), x)

    def loss(weights):
        return jnp.mean((two_layer_outputs(weights, x) - target) ** 2)

    def end(control):
        stored, state = run(control, plan, params, loss, 4000)
        weights = control.weights(plan, stored, state, 4000)
        return rx.jump(loss, weights, rx.finish(plan, weights)), state

    report, state = end(rx.ace(primal_rate=0.05, dual_rate=0.02))
    free, _ = end(rx.scheduled(rx.constant(4000, 0.0, 1.0)))
    assert state.gamma.shape == (2,)
    assert report.before < 1e-3
    assert abs(report.change) < 2e-3
    assert report.moved < 0.1
    # Training at gamma = 1 fits as well, by weights that are far from equivariant.
    assert free.moved > 3 * report.moved


@pytest.mark.slow
def test_the_gradient_of_gamma_is_the_residual_against_the_raw_gradient():
    params, plan = two_layers()
    control = rx.ace(gamma=0.7)
    state = control.init(plan, params)
    raw = jax.tree.map(lambda w: jnp.ones_like(w), params)

    def linear(state):
        weights = control.weights(plan, params, state, 0)
        return sum(
            jnp.vdot(w, g) for w, g in zip(*map(jax.tree.leaves, (weights, raw)), strict=True)
        )

    found = jax.grad(linear)(state).gamma
    odd = plan.split(params)[1]
    wanted = [odd["first"]["kernel"].sum() + odd["first"]["bias"].sum()]
    wanted += [odd["second"]["kernel"].sum()]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


# Residual pathway priors: theorem 8 for the penalty of the control.


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_rpp_prices_the_branches_as_the_projection_penalty_prices_the_sum(name):
    projector = CASES[name]()
    rng = np.random.default_rng(0)
    a, b = 0.3, 2.0
    control = rx.rpp(equivariant_weight=a, free_weight=b)
    with jax.enable_x64(True):
        w = random_weight(projector, rng)
        plan = sq.plan({"w": w}, {"w": projector})
        even, odd = projector.split(w)
        best = rx.Branches({"w": b / (a + b) * even}, {"w": odd + a / (a + b) * even})
        np.testing.assert_allclose(control.weights(plan, best, (), 0)["w"], w, atol=1e-10)
        lowest = float(control.penalty(plan, best, (), 0))
        wanted = a * b / (a + b) * np.sum(np.abs(even) ** 2) + b * np.sum(np.abs(odd) ** 2)
        np.testing.assert_allclose(lowest, wanted, rtol=1e-9)
        for scale in (1e-3, 1.0):
            shift = scale * projector(random_weight(projector, rng))
            other = rx.Branches({"w": best.equivariant["w"] + shift}, {"w": best.free["w"] - shift})
            assert float(control.penalty(plan, other, (), 0)) > lowest * (1 - 1e-12)


def test_rpp_needs_branches_and_weights():
    params, plan = two_layers()
    control = rx.rpp(equivariant_weight=0.1, free_weight=1.0)
    for call in (control.weights, control.penalty):
        with pytest.raises(TypeError, match="rpp needs Branches, got dict"):
            call(plan, params, (), 0)
    for field in ("equivariant_weight", "free_weight"):
        for value in (-1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=f"{field} must be a finite number >= 0"):
                rx.rpp(**({"equivariant_weight": 1.0, "free_weight": 1.0} | {field: value}))


# Candidate groups.


def candidates(params, **names):
    """A plan per planar group, for kernels [3, 3, 1, 1]."""
    plans = {}
    for name, group in names.items():
        image = sq.reps.image(group, (3, 3))
        plans[name] = sq.plan(params, {"w": sq.projector("h w i o", {"h w": image})})
    return plans


def two_candidates(params):
    return candidates(params, turns=sq.groups.cyclic(2), flip=sq.groups.dihedral(1))


@pytest.mark.slow
def test_violations_are_one_for_random_weights_whatever_the_group():
    w = np.random.default_rng(0).standard_normal((3, 3, 40, 40)).astype(np.float32)
    plans = candidates(
        {"w": w}, a=sq.groups.cyclic(2), b=sq.groups.dihedral(4), c=sq.groups.dihedral(1)
    )
    np.testing.assert_allclose(rx.violations(plans, {"w": w}), 1.0, atol=0.05)
    strict = plans["b"].project({"w": w})
    np.testing.assert_allclose(rx.violations(plans, strict), 0.0, atol=1e-10)
    np.testing.assert_array_equal(rx.violations(plans, {"w": 0 * w}), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("holds", ["turns", "flip"])
def test_per_finds_the_symmetry_that_holds(holds):
    rng = np.random.default_rng(3)
    params = {"w": rng.standard_normal((3, 3, 1, 1)).astype(np.float32)}
    plans = two_candidates(params)
    names = sorted(plans)
    target = plans[holds].project({"w": 2 * rng.standard_normal((3, 3, 1, 1)).astype(np.float32)})[
        "w"
    ]
    wrong = next(name for name in names if name != holds)
    assert rx.violations(plans, {"w": target})[names.index(wrong)] > 0.2

    def loss(weights):
        return jnp.sum((weights["w"] - target) ** 2)

    control = rx.per(strength=0.2, rate=0.05)
    found, state = run(control, plans, params, loss, 200)
    strengths = dict(zip(names, np.asarray(state.strengths), strict=True))
    assert strengths[holds] > 10 * strengths[wrong]
    np.testing.assert_allclose(sum(strengths.values()), 0.4, rtol=1e-5)
    assert norm(found["w"] - target) < 0.1 * norm(target)
    # With fixed strengths the wrong symmetry is paid for.
    fixed, _ = run(rx.per(strength=0.2, rate=0.0), plans, params, loss, 200)
    assert norm(fixed["w"] - target) > 3 * norm(found["w"] - target)


def test_the_penalty_of_per():
    params = {"w": np.random.default_rng(0).standard_normal((3, 3, 1, 1)).astype(np.float32)}
    plans = two_candidates(params)
    control = rx.per(strength=0.5)
    state = rx.PerState(jnp.array([0.5, 2.0]))
    parts = [norm(plans[name].split(params)[1]["w"]) ** 2 for name in ("flip", "turns")]
    value, grads = jax.value_and_grad(lambda p: control.penalty(plans, p, state, 0))(params)
    np.testing.assert_allclose(value, 0.5 * parts[0] + 2.0 * parts[1], rtol=1e-5)
    odd = [plans[name].split(params)[1]["w"] for name in ("flip", "turns")]
    np.testing.assert_allclose(grads["w"], 2 * (0.5 * odd[0] + 2.0 * odd[1]), atol=1e-5)
    assert control.weights(plans, params, state, 0) is params


def test_what_per_refuses():
    params = {"w": np.ones((3, 3, 1, 1), np.float32)}
    plans = two_candidates(params)
    with pytest.raises(ValueError, match="strength must be a finite number >= 0, got -1"):
        rx.per(strength=-1)
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\], got 2"):
        rx.per(strength=1, rate=2)
    with pytest.raises(ValueError, match="floor must be a finite number > 0, got 0"):
        rx.per(strength=1, floor=0)
    for wrong in ({}, plans["flip"]):
        with pytest.raises(ValueError, match="per needs a mapping from names to plans"):
            rx.per(strength=1).init(wrong, params)
    free = {"all": plans["flip"].at(softness=1.0)}
    for control in (rx.ace(), rx.recurrent(), rx.scheduled(rx.triangular(9))):
        with pytest.raises(ValueError, match="leaves every weight as it is"):
            rx.start(control, free["all"], params)
    with pytest.raises(ValueError, match="plan 'all' leaves every weight as it is"):
        rx.per(strength=1).init(free, params)
    smooth = {"soft": plans["flip"].at(cutoff=1.0, mask="heat")}
    with pytest.raises(ValueError, match="smooth mask 'heat'"):
        rx.per(strength=1).init(smooth, params)


# Recurrent levels.


@pytest.mark.slow
def test_the_probe_is_the_raw_gradient_and_changes_nothing():
    params, plan = two_layers()
    x = np.random.default_rng(0).standard_normal((8, 2)).astype(np.float32)
    control = rx.recurrent(theta=0.0)
    state = control.init(plan, params)
    state = state._replace(gradient=jax.tree.map(lambda m: m + 3.3, state.gradient))
    weights = control.weights(plan, params, state, 0)
    chex.assert_trees_all_equal(weights, rx.relax(plan, params, 0.0))

    def loss(weights):
        return jnp.sum(jnp.sin(two_layer_outputs(weights, x)))

    signal = jax.grad(lambda s: loss(control.weights(plan, params, s, 0)))(state)
    raw = jax.grad(loss)(weights)
    for name, leaf in (("first", "kernel"), ("first", "bias"), ("second", "kernel")):
        np.testing.assert_allclose(signal.gradient[name][leaf], raw[name][leaf], rtol=1e-5)
    assert signal.gradient["second"]["scale"] is None
    np.testing.assert_array_equal(signal.theta, 0)


@pytest.mark.slow
def test_one_recurrent_step_by_hand():
    params, plan = two_layers()
    control = rx.recurrent(rate=0.25, memory=0.5, theta=0.8)
    state = control.init(plan, params)
    signal = state._replace(gradient=jax.tree.map(lambda m: m + 1.0, state.gradient))
    new = control.update(plan, params, state, signal)
    chex.assert_trees_all_close(new.gradient, jax.tree.map(lambda m: 0.5 * m, signal.gradient))
    ones = jax.tree.map(jnp.ones_like, params)
    odd = plan.split(ones)[1]
    first = (norm(odd["first"]["kernel"]) ** 2 + norm(odd["first"]["bias"]) ** 2) / 12
    second = norm(odd["second"]["kernel"]) ** 2 / 8
    wanted = 0.75 * 0.8 + 0.25 * np.sqrt([first, second])
    np.testing.assert_allclose(new.theta, wanted, rtol=1e-5)
    still = control.update(plan, params, state, state)
    np.testing.assert_allclose(still.theta, 0.75 * 0.8, rtol=1e-6)


def test_levels_follow_the_symmetry_of_the_data():
    v = sq.reps.vector(sq.groups.so(3))
    projector = sq.projector("i o", {"i": v.dual, "o": v})
    params = {"w": -np.eye(3, dtype=np.float32)}
    plan = sq.plan(params, {"w": projector})
    control = rx.recurrent(rate=0.05, memory=0.9)
    xs = np.random.default_rng(0).standard_normal((400, 16, 3)).astype(np.float32)

    def level(target):
        """The level after steps on small batches, whose second moments are not symmetric."""

        def one(stored, x):
            def objective(params, state):
                return jnp.mean(
                    (x @ control.weights(plan, params, state, 0)["w"] - x @ target) ** 2
                )

            gradient, signal = jax.grad(objective, argnums=(0, 1))(*stored)
            state = control.update(plan, *stored, signal)
            moved = jax.tree.map(lambda p, g: p - 0.01 * g, stored.params, gradient)
            return rx.Controlled(moved, state), state.theta

        begin = jax.tree.map(jnp.asarray, rx.start(control, plan, params))
        return np.asarray(jax.lax.scan(one, begin, xs)[1])[:, 0]

    symmetric = level(2 * np.eye(3, dtype=np.float32))
    broken = level(np.diag(np.array([4.0, 0, -3], np.float32)))
    assert symmetric[-1] < 0.4
    assert broken[-1] > 0.8


@pytest.mark.slow
def test_recurrent_memory_is_kept_in_float32():
    params, plan = two_layers()
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params)
    control = rx.recurrent()
    for tree in (params, rx.branches(plan, params)):
        state = control.init(plan, tree)
        assert {x.dtype for x in jax.tree.leaves(state)} == {jnp.dtype("float32")}
        weights = control.weights(plan, tree, state, 0)
        assert {x.dtype for x in jax.tree.leaves(weights)} == {jnp.dtype("bfloat16")}


# All of them.


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_refuses_what_is_not_its_own(name):
    params, plan = two_layers()
    control = CONTROLS[name]()
    state = control.init(plan, params)
    with pytest.raises(ValueError, match="not the parameters that the plan was built for"):
        control.weights(plan, {"first": params["first"]}, state, 0)
    weights, penalty = rx.as_method(control)
    assert penalty is None
    if state != ():
        with pytest.raises(TypeError, match=r"state must be \w+State, got tuple: begin with start"):
            weights(params, plan, 0)
        with pytest.raises(ValueError, match="not the parameters that the plan was built for"):
            control.init(plan, {"first": params["first"]})
    else:
        chex.assert_trees_all_equal(
            weights(params, plan, 3), weights(rx.start(control, plan, params), plan, 3)
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rx.ace(primal_rate=-1.0), "primal_rate must be a finite number > 0"),
        (lambda: rx.ace(dual_rate=0.0), "dual_rate must be a finite number > 0"),
        (lambda: rx.ace(rho=-1.0), "rho must be a finite number > 0"),
        (lambda: rx.ace(gamma=float("nan")), "gamma must be a finite number >= 0"),
        (lambda: rx.ace(per="model").init(two_layers()[1], two_layers()[0]), "per must be"),
        (lambda: rx.recurrent(rate=1.5), r"rate must be in \[0, 1\]"),
        (lambda: rx.recurrent(rate=0.0), "rate must be > 0"),
        (lambda: rx.recurrent(theta=2.0), r"theta must be in \[0, 1\]"),
        (lambda: rx.recurrent(memory=1.0), r"memory must be in \[0, 1\)"),
        (
            lambda: rx.scheduled(lambda step: 2.0).weights(*two_layers()[::-1], (), 0),
            r"theta must be in \[0, 1\], got 2.0",
        ),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
