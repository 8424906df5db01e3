"""EquivariantDense: equivariance for any stored weights, plans, the variance at the start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equivariant_cases import GROUPS, NORMAL, G, R, defect, element, inputs, parts, start
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax.nn import equivariant as eq

SO3 = G.so(3)
V, S = R.vector(SO3), R.trivial(SO3, 1)
IN = 2 * V + R.trivial(SO3, 3) + R.tensor(SO3, 2)
OUT = R.trivial(SO3, 2) + 3 * V + R.tensor(SO3, 2)


def random_layer(rep_in, rep_out, dtype=np.float64, **options):
    """(layer, variables) with random entries, far from equivariant ones; float64 ones are
    projected by NumPy, which compiles nothing."""
    rng = np.random.default_rng(1)
    kernel = rng.standard_normal((rep_in.dim, rep_out.dim)).astype(dtype)
    bias = rng.standard_normal(rep_out.dim).astype(dtype)
    params = {"kernel": kernel, "bias": bias}
    return eq.EquivariantDense(rep_in, rep_out, **options), {"params": params}


@pytest.mark.slow
@pytest.mark.parametrize("name", GROUPS)
def test_equivariant_whatever_is_stored(name):
    group = GROUPS[name]
    rep_in = sum(parts(group)[1:], parts(group)[0])
    rep_out = eq.gated_input(2 * R.vector(group) + R.trivial(group, 2) + R.tensor(group, 1, 1))
    layer, variables = random_layer(rep_in, rep_out)
    g = element(group, 2)
    assert defect(lambda x: layer.apply(variables, x), rep_in, rep_out, g, inputs(rep_in)) < 1e-5
    free = layer.copy(project=False)
    assert defect(lambda x: free.apply(variables, x), rep_in, rep_out, g, inputs(rep_in)) > 1e-2


@pytest.mark.slow(3)
@examples(fast=40)
@given(st.data())
def test_projected_weights_commute_between_random_representations(data):
    group = GROUPS[data.draw(st.sampled_from(sorted(GROUPS)))]
    terms = st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from(parts(group))), min_size=1, max_size=3
    )
    ends = [data.draw(terms) for _ in range(2)]
    rep_in, rep_out = (sum((n * r for n, r in e[1:]), e[0][0] * e[0][1]) for e in ends)
    of_kernel, of_bias = eq.dense_projectors(rep_in, rep_out)
    _, variables = random_layer(rep_in, rep_out)
    kernel, bias = of_kernel(variables["params"]["kernel"]), of_bias(variables["params"]["bias"])
    g = element(group, data.draw(st.integers(0, 99)))
    moved = rep_in.matrix(g).T @ kernel
    scale = 1e-10 * np.linalg.norm(rep_in.matrix(g)) * np.linalg.norm(rep_out.matrix(g))
    np.testing.assert_allclose(moved, kernel @ rep_out.matrix(g).T, atol=scale)
    np.testing.assert_allclose(rep_out.matrix(g) @ bias, bias, atol=scale)


def test_maps_to_the_dual_lower_indices():
    v = R.vector(G.lorentz())
    of_kernel, _ = eq.dense_projectors(4 * v, (4 * v).dual)
    kernel = of_kernel(np.random.default_rng(0).standard_normal((16, 16)))
    blocks = kernel.reshape(4, 4, 4, 4)
    np.testing.assert_allclose(blocks[:, 0, :, 0], -blocks[:, 1, :, 1], atol=1e-12)
    assert np.abs(blocks[:, 0, :, 0]).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["O(1,3)", "Sp(4,R)"])
def test_exact_in_double_precision(name):
    group = GROUPS[name]
    rep = 2 * R.vector(group) + R.trivial(group, 1) + R.tensor(group, 1, 1)
    layer, variables = random_layer(rep, rep)
    with jax.enable_x64(True):
        found = defect(
            lambda x: layer.apply(variables, x),
            rep,
            rep,
            element(group, 3),
            inputs(rep, dtype=np.float64),
        )
    assert found < 1e-12


def test_the_formula():
    layer, variables = random_layer(IN, OUT)
    params = variables["params"]
    kernel, bias = eq.dense_projectors(IN, OUT)
    x = inputs(IN)
    expected = x @ kernel(params["kernel"]) + bias(params["bias"])
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-5)


def test_strict_is_the_plan_of_the_free_layer():
    strict, variables = random_layer(IN, OUT)
    free = strict.copy(project=False)
    plan = sq.plan(variables["params"], eq.dense_rules("", IN, OUT))
    x = inputs(IN)
    projected = free.apply({"params": plan.project(variables["params"])}, x)
    np.testing.assert_allclose(projected, strict.apply(variables, x), atol=1e-6)
    assert np.abs(projected - free.apply(variables, x)).max() > 0.1


def test_rules_name_the_parameters_and_take_the_dials():
    rules = eq.dense_rules("a/b", IN, OUT, softness=1.0)
    assert list(rules) == ["a/b/kernel", "a/b/bias"]
    assert rules["a/b/kernel"].softness == 1.0
    assert list(eq.dense_rules("a", IN, OUT, use_bias=False)) == ["a/kernel"]
    heat = eq.dense_rules("a", IN, OUT, cutoff=1.0, mask="heat")["a/kernel"]
    assert (heat.mask, heat.cutoff) == ("heat", 1.0)
    with pytest.raises(ValueError, match="softness"):
        eq.dense_rules("a", IN, OUT, softness=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["O(5)", "O(1,3)"])
def test_strict_layers_start_with_output_variance_one(name):
    group = GROUPS[name]
    rep_in = 3 * R.vector(group) + R.trivial(group, 4) + R.tensor(group, 2)
    rep_out = R.trivial(group, 2) + 2 * R.vector(group) + R.tensor(group, 2)
    init = eq.equivariant_normal(rep_in, rep_out)
    keys = jax.random.split(jax.random.key(0), 400)
    kernels = jax.jit(jax.vmap(lambda key: init(key, (rep_in.dim, rep_out.dim))))(keys)
    # for inputs of covariance 1 the variance of an output is the square norm of its column
    variances = np.mean(np.sum(np.square(kernels), axis=1), axis=0)
    found = eq.fields(rep_out)
    np.testing.assert_allclose(variances[found.scalars].mean(), 1.0, rtol=0.1)
    for field in found.moved:
        np.testing.assert_allclose(variances[field.index].mean(axis=1), 1.0, rtol=0.15)


@pytest.mark.slow
def test_a_strict_layer_on_unit_inputs_is_of_order_one():
    group = G.o(5)
    rep = 32 * R.vector(group) + R.trivial(group, 32)
    x = inputs(rep, n=200)
    layer = eq.EquivariantDense(rep, rep)
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    assert 0.8 < np.var(y) < 1.25
    louder = layer.copy(kernel_init=eq.equivariant_normal(rep, rep, gain=3.0))
    again = start(louder, x)["params"]["kernel"]
    np.testing.assert_allclose(again, 3.0 * variables["params"]["kernel"], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def started():
    return start(eq.EquivariantDense(IN, OUT, project=False), inputs(IN))


@pytest.mark.slow
@pytest.mark.parametrize(
    "dials", [{}, {"softness": 0.3}, {"cutoff": 2.0, "mask": "heat"}, {"softness": 1.0}]
)
def test_a_free_layer_starts_equivariant_so_that_no_plan_changes_it(dials, started):
    kernel = np.float64(started["params"]["kernel"])
    params = {"kernel": kernel, "bias": np.zeros(OUT.dim)}
    planned = sq.plan(params, eq.dense_rules("", IN, OUT, **dials)).project(params)
    np.testing.assert_allclose(planned["kernel"], kernel, atol=1e-6)
    assert np.abs(kernel).max() > 0.1


def test_no_linear_map_makes_scalars_of_vectors():
    layer, variables = random_layer(2 * V, S + V)
    x = inputs(2 * V)
    y = layer.apply(variables, x)
    np.testing.assert_allclose(y[:, 0], variables["params"]["bias"][0], atol=1e-6)
    assert np.abs(y[:, 1:]).max() > 0.1
    first = start(eq.EquivariantDense(2 * V, S), x)
    np.testing.assert_allclose(first["params"]["kernel"], 0.0, atol=1e-7)


def test_between_scalars_it_is_a_plain_dense_layer():
    a, b = R.trivial(SO3, 4), R.trivial(SO3, 3)
    layer, variables = random_layer(a, b)
    params, x = variables["params"], inputs(a)
    np.testing.assert_allclose(
        layer.apply(variables, x), x @ params["kernel"] + params["bias"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_gradients_flow_along_the_equivariant_directions_only():
    layer, variables = random_layer(IN, OUT, np.float32)
    x = inputs(IN)

    def gradients(layer):
        loss = jax.jit(jax.grad(lambda p: jnp.mean(jnp.sin(layer.apply({"params": p}, x)))))
        return jax.tree.map(np.float64, loss(variables["params"]))

    kernel, bias = eq.dense_projectors(IN, OUT)
    grads = gradients(layer)
    np.testing.assert_allclose(kernel(grads["kernel"]), grads["kernel"], atol=1e-6)
    np.testing.assert_allclose(bias(grads["bias"]), grads["bias"], atol=1e-6)
    assert np.abs(grads["kernel"]).max() > 1e-3
    outside = gradients(layer.copy(project=False))
    assert np.abs(kernel.residual(outside["kernel"])).max() > 1e-3


@pytest.mark.slow
def test_any_leading_axes_under_jit_and_in_half_precision():
    layer = eq.EquivariantDense(IN, OUT, dtype=jnp.bfloat16, bias_init=NORMAL)
    x = jnp.asarray(inputs(IN, 6)).reshape(2, 3, IN.dim)
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    y = jax.jit(layer.apply)(variables, x)
    assert (y.shape, y.dtype) == ((2, 3, OUT.dim), jnp.bfloat16)
    full = layer.copy(dtype=None)
    stored = jax.tree.map(np.float64, variables)
    wide = full.apply(stored, x)
    np.testing.assert_allclose(np.float32(y), wide, atol=0.05 * np.abs(wide).max())
    np.testing.assert_allclose(jax.jit(full.apply)(variables, x), wide, atol=1e-5)
    np.testing.assert_allclose(wide[1], full.apply(stored, x[1]), atol=1e-5)


@pytest.mark.slow
def test_without_bias():
    layer = eq.EquivariantDense(IN, OUT, use_bias=False)
    variables = start(layer, inputs(IN))
    assert set(variables["params"]) == {"kernel"}
    assert np.abs(layer.apply(variables, np.zeros((1, IN.dim), np.float32))).max() == 0


@pytest.mark.parametrize(
    ("rep_in", "rep_out", "x", "error", "words"),
    [
        (IN, OUT, np.zeros((2, 5)), ValueError, r"\[\.\.\., 18\].*\(2, 5\)"),
        (IN, R.vector(G.o(3)), np.zeros((2, 18)), ValueError, "one group"),
        (R.vector(G.su(2)), OUT, np.zeros((2, 2)), ValueError, r"complex V\(SU\(2\)\).*\.real"),
        (IN, "V", np.zeros((2, 18)), TypeError, "representation, got 'V'"),
    ],
)
def test_bad_input(rep_in, rep_out, x, error, words):
    with pytest.raises(error, match=words):
        eq.EquivariantDense(rep_in, rep_out).init(jax.random.key(0), jnp.asarray(x, jnp.float32))
