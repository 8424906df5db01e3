"""Every control as a method of the trainer: pure functions of (params, extra, step)."""

import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from relaxation_cases import two_layer_outputs, two_layers

import softeq_jax as sq
from softeq_jax import relaxation as rx
from softeq_jax import training as tr
from softeq_jax.training import export

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 2)).astype(np.float32)
Y = RNG.standard_normal((8, 2)).astype(np.float32)
RATE, STEPS = 0.05, 6

CONTROLS = {
    "scheduled": lambda: rx.scheduled(rx.triangular(STEPS, 0.2), STEPS),
    "ace": lambda: rx.ace(primal_rate=0.1, dual_rate=0.2),
    "resilient ace": lambda: rx.ace(primal_rate=0.1, dual_rate=0.2, rho=0.5),
    "recurrent": lambda: rx.recurrent(rate=0.2, memory=0.5),
    "rpp": lambda: rx.rpp(equivariant_weight=0.01, free_weight=0.1),
    "per": lambda: rx.per(strength=0.1, rate=0.2),
}


def loss(weights, x=X, y=Y):
    return jnp.mean((two_layer_outputs(weights, x) - y) ** 2)


def loss_fn(weights, model_state, batch, key, extra):
    return loss(weights, batch["x"], batch["y"]), (model_state, {})


def case(name, form):
    params, plan = two_layers()
    control = CONTROLS[name]()
    extra = {"a": plan, "b": two_layers(group=sq.groups.dihedral(4))[1]} if name == "per" else plan
    params = rx.branches(plan, params, scale=0.5) if form == "two branches" else params
    return control, extra, rx.start(control, extra, params)


def trained(control, extra, tree, steps=STEPS, **options):
    optimizer = rx.control_optimizer(control, extra, optax.sgd(RATE))
    method = tr.Method(*rx.as_method(control))
    step = tr.make_train_step(loss_fn, optimizer, method=method, **options)
    state = tr.replicate(tr.init_state(tree, optimizer))
    batch, vote = tr.shard({"x": X, "y": Y}), tr.shard(np.zeros(1, np.float32))
    for _ in range(steps):
        state, metrics = step(state, batch, extra, vote)
        assert float(metrics["finite"]) == 1
    return tr.unreplicate(state)


def by_hand(control, extra, tree, steps=STEPS):
    """The same steps without the trainer and without optax."""
    params, state = tree

    def one(params, state, step):
        def objective(params, state):
            value = loss(control.weights(extra, params, state, step))
            if control.penalty is not None:
                value = value + control.penalty(extra, params, state, step)
            return value

        gradient, signal = jax.grad(objective, argnums=(0, 1))(params, state)
        new = control.update(extra, params, state, signal)
        return jax.tree.map(lambda p, g: p - RATE * g, params, gradient), new

    for step in range(steps):
        params, state = one(params, state, step)
    return rx.Controlled(params, state)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form"),
    [(name, "one weight") for name in CONTROLS if name != "rpp"]
    + [(name, "two branches") for name in ("rpp", "ace", "recurrent")],
)
def test_the_trainer_takes_the_steps_of_the_pure_functions(name, form):
    control, extra, tree = case(name, form)
    expected = by_hand(control, extra, tree)
    found = trained(control, extra, tree)
    chex.assert_trees_all_close(found.params, expected, atol=1e-5)
    if tree.control != ():
        moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), tree, expected).control
        assert max(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.slow
def test_accumulating_parts_changes_nothing():
    control, extra, tree = case("recurrent", "one weight")
    parts = trained(control, extra, tree, accumulate=4)
    chex.assert_trees_all_close(parts.params, by_hand(control, extra, tree), atol=1e-5)


@pytest.mark.slow
def test_the_schedule_alone_is_a_method():
    params, plan = two_layers()
    schedule = rx.triangular(STEPS, 0.2)
    method = tr.Method(rx.weights(schedule, STEPS))
    step = tr.make_train_step(loss_fn, optax.sgd(RATE), method=method)
    state = tr.replicate(tr.init_state(params, optax.sgd(RATE)))
    batch, vote = tr.shard({"x": X, "y": Y}), tr.shard(np.zeros(1, np.float32))
    expected = params
    for t in range(STEPS):
        theta = float(schedule(t))
        grads = jax.grad(lambda p, theta=theta: loss(rx.relax(plan, p, theta)))(expected)
        expected = jax.tree.map(lambda p, g: p - RATE * g, expected, grads)
        state, _ = step(state, batch, plan, vote)
    chex.assert_trees_all_close(tr.unreplicate(state).params, expected, atol=1e-5)
    last = method.weights(expected, plan, STEPS - 1)
    report = rx.jump(loss, last, rx.finish(plan, expected))
    assert abs(report.change) < 1e-6


@pytest.mark.parametrize(("name", "form"), [("ace", "one weight"), ("recurrent", "two branches")])
def test_a_controlled_run_goes_through_checkpoints_and_export(tmp_path, name, form):
    control, extra, tree = case(name, form)
    state = tr.init_state(tree, rx.control_optimizer(control, extra, optax.adam(RATE)))
    tr.save(tmp_path / "state", state, {"step": 3})
    back, _ = tr.restore(tmp_path / "state", state)
    chex.assert_trees_all_equal(back.params, state.params)
    weights = control.weights(extra, *back.params, 3)
    export.save_params(tmp_path / "net.safetensors", rx.finish(extra, weights))
    loaded = export.load_params(tmp_path / "net.safetensors", weights)
    chex.assert_trees_all_close(loaded, extra.project(weights), atol=1e-6)


def test_what_the_optimizer_refuses():
    control, plan, tree = case("ace", "one weight")
    optimizer = rx.control_optimizer(control, plan, optax.sgd(0.1))
    with pytest.raises(TypeError, match="expected a Controlled tree, got dict"):
        optimizer.init(tree.params)
    with pytest.raises(ValueError, match="params are missing"):
        optimizer.update(tree, optimizer.init(tree))


@pytest.mark.slow
def test_a_nonfinite_step_changes_no_multiplier():
    control, plan, tree = case("ace", "one weight")
    optimizer = rx.control_optimizer(control, plan, optax.sgd(RATE))
    step = tr.make_train_step(
        loss_fn, optimizer, method=tr.Method(*rx.as_method(control)), skip_nonfinite=True
    )
    state = tr.replicate(tr.init_state(tree, optimizer))
    batch = tr.shard({"x": np.full_like(X, np.nan), "y": Y})
    state, metrics = step(state, batch, plan, tr.shard(np.zeros(1, np.float32)))
    assert float(metrics["finite"]) == 0
    chex.assert_trees_all_equal(tr.unreplicate(state).params, tree)


@pytest.mark.slow
def test_importing_needs_neither_optax_nor_flax_nor_the_trainer():
    code = (
        "import sys, softeq_jax.relaxation as rx; rx.triangular(10)\n"
        "loaded = {'optax', 'flax', 'softeq_jax.training', 'softeq_jax.nn'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "sys.modules['optax'] = None\n"
        "try: rx.freeze_residual\n"
        "except ImportError as e: assert 'softeq-jax[train]' in str(e), e\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
