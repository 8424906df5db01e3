"""TensorMLP: equivariance through its depth, its plan, and whether it fits its tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import softeq_jax as sq
from experiments.shared.invariant_tasks import lorentz_data, o5_data
from softeq_jax.models.rules import ModelDials
from softeq_jax.models.tensor_mlp import TensorMLP, mixed

G, R = sq.groups, sq.reps
SMALL = {"contractions": 3}


def network(group, nonlinearity="gated", **changes):
    v = R.vector(group)
    outputs = v + R.trivial(group, 2)
    hidden = (mixed(group, 6), R.trivial(group, 2) + 2 * v + R.tensor(group, 1, 1))
    return TensorMLP(
        group, 3 * v, hidden, outputs, nonlinearity=nonlinearity, **{**SMALL, **changes}
    )


def random_variables(model, seed=0, dtype=np.float64):
    """Variables of the model with random entries of a tame size."""
    x = jax.ShapeDtypeStruct((1, model.inputs.dim), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda s: (2.5 * rng.standard_normal(s.shape) / np.sqrt(s.shape[0])).astype(dtype), shapes
    )


def element(group, seed=1):
    if group.is_compact:
        with jax.enable_x64(True):
            return np.asarray(group.sample(jax.random.key(seed), 1)[0])
    rng = np.random.default_rng(seed)
    return group.exp(0.4 * rng.standard_normal(6)) @ group.discrete_generators[1]


def inputs(model, n=5, dtype=np.float64):
    return np.random.default_rng(2).standard_normal((n, model.inputs.dim)).astype(dtype)


def relative(a, b):
    return float(np.abs(np.asarray(a) - b).max() / np.abs(b).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "nonlinearity"),
    [
        (G.o(5), "gated"),
        (G.so(3), "norm"),
        (G.so(2), "gated"),
        (G.lorentz(), "gated"),
        (G.lorentz(), "norm"),
    ],
)
def test_outputs_and_hidden_features_are_equivariant(group, nonlinearity):
    model = network(group, nonlinearity)
    g = element(group)
    with jax.enable_x64(True):
        variables, x = random_variables(model), inputs(model)
        run = jax.jit(
            lambda x: (model.apply(variables, x), *model.apply(variables, x, features=True))
        )
        before, after = run(x), run(model.inputs.apply(g, x))
    for rep, y, moved in zip((model.outputs, *model.hidden), before, after, strict=True):
        assert np.abs(y).max() > 1e-3
        assert relative(moved, rep.apply(g, np.asarray(y))) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("group", [G.o(5), G.so(3)], ids=str)
def test_equivariant_in_single_precision(group):
    model = network(group)
    variables, x = random_variables(model), inputs(model, dtype=np.float32)
    g = element(group)
    run = jax.jit(lambda x: model.apply(variables, x))
    assert relative(run(model.inputs.apply(g, x)), model.outputs.apply(g, np.array(run(x)))) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("nonlinearity", ["gated", "norm"])
def test_strict_is_the_strict_plan_of_the_free_network(nonlinearity):
    group = G.so(3)
    strict, free = network(group, nonlinearity), network(group, nonlinearity, project=False)
    variables, x = random_variables(strict, dtype=np.float32), inputs(strict, dtype=np.float32)
    plan = sq.plan(variables["params"], free.soft_rules(group, ModelDials()))
    untouched = [p for p, chosen in zip(plan.paths, plan.chosen, strict=True) if chosen < 0]
    assert untouched == (["norm0/bias", "norm1/bias"] if nonlinearity == "norm" else [])
    projected = plan.project(jax.tree.map(np.float64, variables["params"]))
    projected = jax.tree.map(np.float32, projected)
    run = jax.jit(free.apply)
    wanted = jax.jit(strict.apply)(variables, x)
    assert relative(run({"params": projected}, x), wanted) < 1e-5
    assert relative(run(variables, x), wanted) > 0.1


@pytest.mark.slow
def test_a_free_network_starts_equivariant_and_soft_rules_leave_it_alone():
    group = G.o(5)
    model = TensorMLP.o5(4, 1, project=False, **SMALL)
    x = inputs(model, dtype=np.float32)
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    run = jax.jit(lambda p, x: model.apply({"params": p}, x))
    y = run(params, x)
    assert relative(run(params, model.inputs.apply(element(group), x)), y) < 1e-4
    soft = sq.plan(params, model.soft_rules(group, ModelDials({"softness": 0.4})))
    softened = jax.tree.map(np.float32, soft.project(jax.tree.map(np.float64, params)))
    assert relative(run(softened, x), y) < 1e-4


def test_softness_reaches_every_rule_and_one_is_the_identity():
    model = TensorMLP.o5(4, 1, project=False, **SMALL)
    rules = model.soft_rules(G.o(5), ModelDials({"softness": 1.0}))
    assert {p.softness for p in rules.values()} == {1.0}
    strict = model.soft_rules(G.o(5), ModelDials())
    assert strict["contract0/left/kernel"].rank() == 2 * 3
    some = model.soft_rules(G.o(5), ModelDials({"softness": 0.4}))
    assert 2 * 3 < some["contract0/left/kernel"].rank() < 10 * 15


def test_rules_of_a_subgroup_keep_more():
    model = TensorMLP.o5(4, 1, project=False, **SMALL)
    params = random_variables(model)["params"]
    ranks = []
    for group in (G.o(5), G.so(5), G.trivial()):
        if group.d != 5:
            with pytest.raises(ValueError, match="5 x 5"):
                model.soft_rules(group, ModelDials())
            continue
        plan = sq.plan(params, model.soft_rules(group, ModelDials()))
        ranks.append(sum(p.rank() for _, p, _ in plan.planned(params)))
    assert ranks[0] == ranks[1]
    reflection = G.from_generators("Z2", discrete=[np.diag([-1.0, 1, 1, 1, 1])])
    plan = sq.plan(params, model.soft_rules(reflection, ModelDials()))
    assert sum(p.rank() for _, p, _ in plan.planned(params)) > 2 * ranks[0]


@pytest.mark.slow
def test_gradients_reach_every_kernel():
    model = TensorMLP.o5(4, 2, **SMALL)
    x = inputs(model, dtype=np.float32)
    params = random_variables(model, dtype=np.float32)["params"]
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(model.apply({"params": p}, x)))))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert np.all(np.isfinite(leaf))
        if path[-1].key == "kernel":
            assert np.abs(leaf).max() > 1e-6, path


def fitted(model, data, steps, scale):
    """Mean square error on new data, in units of the targets' variance."""
    (x, y), (new, wanted) = data(800, 0), data(800, 1)
    x, new = jnp.float32(x * scale), jnp.float32(new * scale)
    mean, deviation = y.mean(), y.std()
    y, wanted = jnp.float32((y - mean) / deviation), (wanted - mean) / deviation
    optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, steps))

    @jax.jit
    def train(key):
        params = model.init(key, x)

        def step(carry, _):
            params, state = carry
            loss = lambda p: jnp.mean((model.apply(p, x) - y) ** 2)  # noqa: E731
            updates, state = optimizer.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=steps)
        return model.apply(params, new)

    return float(np.mean((np.asarray(train(jax.random.key(0))) - wanted) ** 2))


@pytest.mark.slow
def test_it_fits_the_invariant_of_o5():
    assert fitted(TensorMLP.o5(12, 1, contractions=6), o5_data, 150, 1.0) < 0.1


@pytest.mark.slow(3)
def test_it_fits_the_scattering_of_electrons_and_muons():
    model = TensorMLP.lorentz((6,), contractions=6)
    assert fitted(model, lorentz_data, 250, 4.0) < 0.3


@pytest.mark.parametrize(
    ("model", "dims"),
    [
        (TensorMLP.o5(), [384, 384, 384]),
        (TensorMLP.lorentz(), [1000, 500, 500, 500]),
        (TensorMLP.lorentz((3,), nonlinearity="norm"), [9]),
    ],
)
def test_presets(model, dims):
    assert [rep.dim for rep in model.hidden] == dims
    x = jax.ShapeDtypeStruct((7, model.inputs.dim), jnp.float32)
    y, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    assert y.shape == (7, 1)
    assert variables["params"]["head"]["kernel"].shape == (dims[-1] + model.contractions, 1)


def test_scalars_alone_have_nothing_to_contract():
    group = G.so(3)
    scalars = R.trivial(group, 3)
    model = TensorMLP(group, scalars, (scalars,), R.trivial(group, 1), project=False)
    shapes = jax.eval_shape(
        model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 3), jnp.float32)
    )
    assert set(shapes["params"]) == {"dense0", "head"}
    plan = sq.plan(shapes["params"], model.soft_rules(group, ModelDials()))
    assert all(p.rank() == p.dim for p in plan.projectors)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nonlinearity": "relu"}, '"gated" or "norm", got \'relu\''),
        ({"contractions": 0}, "contractions must be a positive integer, got 0"),
        ({"outputs": R.vector(G.so(3))}, r"representations of O\(5\), got V\(SO\(3\)\)"),
        ({"inputs": R.vector(G.o(5))}, r"\[\.\.\., 5\], got shape \(2, 10\)"),
    ],
)
def test_bad_attributes_and_inputs(changes, words):
    model = TensorMLP.o5(4, 1, **changes)
    with pytest.raises(ValueError, match=words):
        model.init(jax.random.key(0), jnp.zeros((2, 10)))


def test_strict_networks_have_no_rules_and_widths_a_least_value():
    with pytest.raises(ValueError, match="strict already.*project=False"):
        TensorMLP.o5(4, 1).soft_rules(G.o(5), ModelDials())
    with pytest.raises(ValueError, match="width must be an integer of at least 2, got 1"):
        TensorMLP.o5(1, 1)
    assert mixed(G.o(5), 3) == R.trivial(G.o(5), 1) + 2 * R.vector(G.o(5))
