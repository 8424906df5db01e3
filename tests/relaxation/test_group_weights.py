"""Weights over the elements of a group: the formula, equal weights, the control in the trainer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import softeq_jax as sq
from softeq_jax import relaxation as rx
from softeq_jax import training as tr

RNG = np.random.default_rng(0)
GROUPS = {"c4": sq.groups.cyclic(4), "d4": sq.groups.dihedral(4), "s3": sq.groups.symmetric(3)}


def model(group):
    """(parameters, plan): vectors, lifted to functions on the group, and back to invariants."""
    v, functions = sq.reps.vector(group), sq.reps.regular(group)
    inner, outer = 2 * functions, sq.reps.trivial(group, 3)
    params = {
        "lift": {"kernel": np.zeros((v.dim, inner.dim)), "bias": np.zeros(inner.dim)},
        "read": {"kernel": np.zeros((inner.dim, 3)), "bias": np.zeros(3)},
    }
    rules = {
        "lift/kernel": sq.projector("i o", {"i": v.dual, "o": inner}),
        "lift/bias": sq.projector("o", {"o": inner}),
        "read/kernel": sq.projector("i o", {"i": inner, "o": outer}),
        "read/bias": None,
    }
    return params, sq.plan(params, rules)


def drawn(params, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda w: rng.standard_normal(w.shape).astype(np.float32), params)


def unequal(banks, seed=0):
    """The same banks with other numbers over the group."""
    rng = np.random.default_rng(seed)
    shaken = jax.tree.map(lambda w: np.float32(rng.uniform(0.3, 2.0, w.shape)), banks.weights)
    return banks._replace(weights=shaken)


@pytest.mark.parametrize("name", GROUPS)
def test_the_formula_of_the_group_convolution(name):
    """sum_h f(h) sum_l w_l(h) psi_l(g^-1 h), element by element."""
    group = GROUPS[name]
    functions = sq.reps.regular(group)
    order, elements = functions.dim, group.elements()
    filters, f = RNG.standard_normal((3, order)), RNG.standard_normal(order)
    weights = RNG.standard_normal((3, order))
    kernels = np.zeros((3, order, order))
    wanted = np.zeros(order)
    for g in range(order):
        for h in range(order):
            between = group.index(np.linalg.inv(elements[g]) @ elements[h])
            kernels[:, h, g] = filters[:, between]
            wanted[g] += f[h] * np.sum(weights[:, h] * filters[:, between])
    projector = sq.projector("i o", {"i": functions, "o": functions})
    np.testing.assert_allclose(projector(kernels[0]), kernels[0], atol=1e-12)
    found = rx.mixed_banks(projector, np.float32(kernels), np.float32(weights))
    np.testing.assert_allclose(f @ found, wanted, atol=1e-4)


def test_the_input_is_weighted_where_it_is_a_function_on_the_group_and_else_the_output():
    group = GROUPS["c4"]
    functions, v = sq.reps.regular(group), sq.reps.vector(group)
    mixed = sq.reps.trivial(group, 1) + 2 * functions
    both = rx.group_axis(
        sq.projector("h w i o", {"h w": sq.reps.image(group, (3, 3)), "i": mixed, "o": functions})
    )
    assert both.position == 2
    assert both.order == 4
    np.testing.assert_array_equal(both.elements, [-1, 0, 1, 2, 3, 0, 1, 2, 3])
    assert rx.group_axis(sq.projector("i o", {"i": v, "o": functions})).position == 1
    assert rx.group_axis(sq.projector("i o", {"i": v, "o": v})) is None


@pytest.mark.parametrize("name", GROUPS)
def test_equal_weights_are_strict_and_others_are_not(name):
    params, plan = model(GROUPS[name])
    banks = rx.group_banks(plan, drawn(params, 0), drawn(params, 1))
    control = rx.group_weights()
    strict = control.weights(plan, banks, (), 0)
    assert control.penalty is None
    both = [plan.project(drawn(params, seed)) for seed in (0, 1)]
    for path, found in (("lift", strict["lift"]), ("read", strict["read"])):
        wanted = (both[0][path]["kernel"] + both[1][path]["kernel"]) / np.sqrt(2)
        np.testing.assert_allclose(found["kernel"], wanted, atol=1e-5)
    np.testing.assert_array_equal(strict["read"]["bias"], banks.first["read"]["bias"])
    relaxed = control.weights(plan, unequal(banks), (), 0)
    assert all(p.residual < 1e-5 for p in sq.regularizers.part_norms(plan, strict).values())
    assert all(p.residual > 0.05 for p in sq.regularizers.part_norms(plan, relaxed).values())


def test_the_penalty_is_the_spread_over_the_group():
    params, plan = model(GROUPS["c4"])
    banks = rx.group_banks(plan, drawn(params, 0), drawn(params, 1))
    charge = rx.group_weights(2.0).penalty
    assert charge(plan, banks, (), 0) == 0.0
    shaken = unequal(banks)
    wanted = 2.0 * sum(4 * np.var(w, axis=1).sum() for w in jax.tree.leaves(shaken.weights))
    np.testing.assert_allclose(charge(plan, shaken, (), 0), wanted, rtol=1e-5)


@pytest.mark.slow(5)
def test_training_finds_the_weights_of_the_group():
    """The targets come from a relaxed map: the control fits them, strict training cannot."""
    params, plan = model(GROUPS["c4"])
    control = rx.group_weights(1e-6)
    x = RNG.standard_normal((64, 2)).astype(np.float32)

    def outputs(weights, x):
        hidden = jax.nn.relu(x @ weights["lift"]["kernel"] + weights["lift"]["bias"])
        return hidden @ weights["read"]["kernel"] + weights["read"]["bias"]

    truth = unequal(rx.group_banks(plan, drawn(params, 5)))
    y = outputs(control.weights(plan, truth, (), 0), x)

    def loss(weights, state, batch, key, extra):
        return jnp.mean((outputs(weights, batch["x"]) - batch["y"]) ** 2), (state, {})

    ends = {}
    batch = {"x": x, "y": np.asarray(y)}
    starts = rx.group_banks(plan, drawn(params, 5)), drawn(params, 5)
    methods = tr.methods.controlled(control), tr.methods.project()
    for name, start, method in zip(("relaxed", "strict"), starts, methods, strict=True):
        optimizer = optax.adam(0.02)
        step = tr.make_train_step(loss, optimizer, method=method)
        state = tr.init_state(start, optimizer, seed=0)
        end = tr.fit(step, state, [batch] * 150, 150, extra=plan)[0]
        ends[name] = loss(method.weights(end.params, plan, 150), {}, batch, None, None)[0]
    assert ends["relaxed"] < 0.2 * ends["strict"], ends


def test_what_cannot_be_banked():
    params, plan = model(GROUPS["c4"])
    v = sq.reps.vector(GROUPS["c4"])
    vectors = sq.projector("i o", {"i": v, "o": v})
    with pytest.raises(ValueError, match="needs at least one draw"):
        rx.group_banks(plan)
    with pytest.raises(ValueError, match="no planned parameter has an axis with functions"):
        rx.group_banks(sq.plan({"k": np.eye(2)}, {"k": vectors}), {"k": np.eye(2)})
    with pytest.raises(ValueError, match=r"no axis of i: V\(C4\), o: V\(C4\) is a function on"):
        rx.mixed_banks(vectors, [np.eye(2)], np.ones((1, 4)))
    functions = sq.projector("i o", {"i": v, "o": sq.reps.regular(GROUPS["c4"])})
    with pytest.raises(ValueError, match=r"must be \[1, 4\].*got shape \(2, 4\)"):
        rx.mixed_banks(functions, [np.ones((2, 4))], np.ones((2, 4)))
    with pytest.raises(ValueError, match="smooth mask 'heat'"):
        rx.mixed_banks(functions.at(softness=0.5, mask="heat"), [np.ones((2, 4))], np.ones((1, 4)))
    with pytest.raises(TypeError, match="group_weights needs GroupBanks, got dict"):
        rx.group_weights().weights(plan, params, (), 0)
    with pytest.raises(ValueError, match="strength"):
        rx.group_weights(-1.0)


def test_a_scheduled_penalty_is_of_the_free_branch():
    params, plan = model(GROUPS["c4"])
    opened = rx.branches(plan, drawn(params, 0))
    strength = lambda plan, tree: 3.0 * sq.regularizers.lie_penalty(plan, tree)  # noqa: E731
    control = rx.scheduled(rx.triangular(10), 10, penalty=strength)
    wanted = 3.0 * sq.regularizers.lie_penalty(plan, drawn(params, 0))  # P w has none
    np.testing.assert_allclose(control.penalty(plan, opened, (), 0), wanted, rtol=1e-5)
    empty = rx.branches(plan, drawn(params, 0), scale=0.0)
    assert control.penalty(plan, empty, (), 0) == 0.0
    with pytest.raises(TypeError, match="a penalty of the free branch needs Branches, got dict"):
        control.penalty(plan, drawn(params, 0), (), 0)
