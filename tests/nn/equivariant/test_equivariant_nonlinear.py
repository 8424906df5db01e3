"""Pointwise functions, norm gates and gates: what commutes with which representation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equivariant_cases import GROUPS, G, R, defect, element, inputs, start
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax.nn import equivariant as eq

SO3, LORENTZ = G.so(3), G.lorentz()


def mixed(group):
    v = R.vector(group)
    return R.trivial(group, 2) + 2 * v + R.tensor(group, 1, 1) + R.trivial(group, 1) + v.dual


@pytest.mark.parametrize(
    "rep",
    [
        R.trivial(SO3, 3),
        2 * R.regular(G.dihedral(4)),
        R.tokens(G.cyclic(4), (3, 3)),
        R.vector(G.symmetric(4)),
    ],
    ids=repr,
)
def test_pointwise_is_allowed_on_permutations(rep):
    assert eq.pointwise(jnp.sin, rep) is jnp.sin
    g = element(rep.group, 1)
    assert defect(lambda x: jax.nn.relu(x - 0.1), rep, rep, g, inputs(rep)) < 1e-6


@pytest.mark.parametrize(
    "rep", [R.vector(SO3), R.vector(G.cyclic(8)), R.vector(LORENTZ), 2 * R.irrep(G.so(2), 2)]
)
def test_pointwise_is_refused_where_entries_are_mixed(rep):
    for odd in (False, True):
        with pytest.raises(ValueError, match="mixes entries") as caught:
            eq.pointwise(jax.nn.relu, rep, odd=odd)
        assert repr(rep) in str(caught.value)


def test_pointwise_on_signed_permutations_takes_odd_functions_only():
    rep = R.vector(G.dihedral(4))
    with pytest.raises(ValueError, match="only odd functions"):
        eq.pointwise(jnp.tanh, rep)
    assert eq.pointwise(jnp.tanh, rep, odd=True) is jnp.tanh
    assert defect(jnp.tanh, rep, rep, element(rep.group, 4), inputs(rep)) < 1e-6
    with pytest.raises(ValueError, match="f is not odd"):
        eq.pointwise(jax.nn.relu, rep, odd=True)
    under_jit = jax.jit(lambda x: eq.pointwise(jnp.tanh, rep, odd=True)(x))
    np.testing.assert_allclose(under_jit(jnp.ones(2)), np.tanh(np.ones(2)), rtol=1e-6)


def test_norm_gate_multiplies_without_normalizing():
    x = jnp.array([[3.0, 4.0, 0.0, 0.0, 0.0, 1.0]])
    y = eq.norm_gate(x, 2, 3, jnp.array([-1.0, -2.0]), jax.nn.relu)
    np.testing.assert_allclose(y, [[12.0, 16.0, 0.0, 0.0, 0.0, 0.0]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"2 vectors of length 3 need \[\.\.\., 6\], got \(1, 5\)"):
        eq.norm_gate(x[:, :5], 2, 3, 0.0, jax.nn.relu)


@pytest.mark.slow
def test_norm_gate_with_a_form_is_the_smoothed_signed_root():
    eta = eq.invariant_form(R.vector(LORENTZ))
    v = jnp.array([[3.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    q = np.array([9.0, -4.0, 0.0])
    found = eq.norms(v, eta)
    np.testing.assert_allclose(found, q / (q**2 + 1) ** 0.25, rtol=1e-6)
    y = eq.norm_gate(v.reshape(1, 12), 3, 4, 0.5, jnp.tanh, eta).reshape(3, 4)
    np.testing.assert_allclose(y, np.tanh(found + 0.5)[:, None] * v, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SO(2)", "SO(3)", "O(5)", "S3", "O(1,3)"])
def test_norm_gates_are_equivariant(name):
    group = GROUPS[name]
    rep = mixed(group)
    layer = eq.NormGate(rep, jnp.tanh)
    with jax.enable_x64(True):
        x, g = inputs(rep, dtype=np.float64), element(group, 5)
        bias = np.random.default_rng(0).standard_normal(eq.fields(rep).copies)
        variables = {"params": {"bias": bias}}
        assert defect(lambda x: layer.apply(variables, x), rep, rep, g, x) < 1e-12


@pytest.mark.parametrize("name", ["SO(3)", "O(1,3)"])
def test_gates_in_single_precision(name):
    group = GROUPS[name]
    rep, g = mixed(group), element(group, 6)
    taken = eq.gated_input(rep)
    layer = eq.NormGate(rep, jax.nn.sigmoid)
    variables = start(layer, inputs(rep))
    assert variables["params"]["bias"].shape == (eq.fields(rep).copies,)
    norm = defect(lambda x: layer.apply(variables, x), rep, rep, g, inputs(rep))
    gated = defect(lambda x: eq.Gated(rep).apply({}, x), taken, rep, g, inputs(taken))
    assert max(norm, gated) < 1e-5


def test_the_euclidean_norm_is_not_invariant_under_boosts():
    rep = R.vector(LORENTZ)
    g = LORENTZ.exp([0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    eta = eq.invariant_form(rep)
    x = inputs(rep)

    def gate(form):
        return lambda x: eq.norm_gate(jnp.asarray(x), 1, 4, 0.0, jax.nn.sigmoid, form)

    assert defect(gate(eta), rep, rep, g, x) < 1e-5
    assert defect(gate(None), rep, rep, g, x) > 1e-2


def test_scalars_get_the_activation_itself():
    rep = R.trivial(SO3, 2) + R.vector(SO3)
    x = jnp.array([[-1.0, 2.0, 0.0, 3.0, 4.0]])
    variables = {"params": {"bias": jnp.array([1.0])}}
    y = eq.NormGate(rep, jax.nn.relu).apply(variables, x)
    np.testing.assert_allclose(y, [[0.0, 2.0, 0.0, 18.0, 24.0]], rtol=1e-6)
    other = eq.NormGate(rep, jax.nn.relu, scalar_act=jnp.tanh).apply(variables, x)
    np.testing.assert_allclose(other, [[np.tanh(-1), np.tanh(2), 0, 18, 24]], rtol=1e-6)
    scalars = eq.NormGate(R.trivial(SO3, 2))
    assert scalars.init(jax.random.key(0), x[:, :2]) == {}


def test_gated_is_gate_times_vector():
    rep = R.vector(SO3) + R.trivial(SO3, 1) + R.vector(SO3)
    x = jnp.array([[1.0, 0.0, 2.0, -1.0, 0.0, 3.0, 0.0, 0.0, 5.0]])
    y = eq.Gated(rep, act=jnp.tanh).apply({}, x)
    second = 3.0 / (1.0 + np.exp(-5.0))
    np.testing.assert_allclose(y, [[0.5, 0, 1, np.tanh(-1), 0, second, 0]], rtol=1e-6)
    assert eq.gated_input(rep).dim == rep.dim + 2
    assert eq.gated_input(R.trivial(SO3, 4)) == R.trivial(SO3, 4)
    with pytest.raises(ValueError, match=r"\[\.\.\., 9\] \(7 and 2 gates\), got shape \(1, 7\)"):
        eq.Gated(rep).apply({}, x[:, :7])


@pytest.mark.slow
def test_every_copy_of_every_kind_has_its_own_gate_or_bias():
    rep = 2 * R.vector(SO3) + R.tensor(SO3, 2)
    x = np.zeros((1, rep.dim), np.float32)
    x[0, [0, 3, 6]] = 1.0
    gates = np.float32([[1.0, 2.0, 3.0]])
    y = eq.Gated(rep, gate=lambda a: a).apply({}, jnp.concatenate([x, gates], axis=-1))
    np.testing.assert_array_equal(y[0, [0, 3, 6]], gates[0])
    layer = eq.NormGate(rep, lambda a: a)
    y = layer.apply({"params": {"bias": gates[0]}}, jnp.asarray(x))
    np.testing.assert_array_equal(y[0, [0, 3, 6]], 1.0 + gates[0])


@pytest.mark.parametrize("name", ["O(2)", "O(5)", "O(1,3)", "Sp(4,R)"])
def test_gated_is_equivariant_for_groups_without_a_norm_too(name):
    group = GROUPS[name]
    rep = mixed(group)
    taken = eq.gated_input(rep)
    with jax.enable_x64(True):
        x, g = inputs(taken, dtype=np.float64), element(group, 7)
        assert defect(lambda x: eq.Gated(rep).apply({}, x), taken, rep, g, x) < 1e-12


@examples(fast=30)
@given(st.data())
def test_forms_are_invariant(data):
    group = GROUPS[data.draw(st.sampled_from(sorted(GROUPS)))]
    p, q = data.draw(st.sampled_from([(1, 1), (2, 0), (0, 2), (2, 2)]))
    rep = R.tensor(group, p, q)
    form, g = eq.invariant_form(rep), rep.matrix(element(group, data.draw(st.integers(0, 99))))
    np.testing.assert_allclose(g.T @ form @ g, form, atol=1e-8)
    np.testing.assert_array_equal(form, form.T)


def test_symplectic_vectors_have_no_norm_but_their_tensors_do():
    group = G.sp(1)
    v = R.vector(group)
    with pytest.raises(ValueError, match=r"V\(Sp\(2,R\)\) is skew"):
        eq.NormGate(v).init(jax.random.key(0), inputs(v))
    rep = R.tensor(group, 1, 1)
    layer = eq.NormGate(rep, jnp.tanh)
    variables = start(layer, inputs(rep))
    assert defect(lambda x: layer.apply(variables, x), rep, rep, element(group, 1), inputs(rep)) < (
        1e-5
    )


def test_a_representation_of_unknown_form_is_refused():
    shear = np.array([[0.0, 1.0], [0.0, 0.0]])
    group = G.from_generators("shears", lie=[shear])
    with pytest.raises(ValueError, match="no invariant bilinear form of V"):
        eq.NormGate(R.vector(group)).init(jax.random.key(0), jnp.ones((1, 2)))


def test_restricted_and_product_representations_keep_their_forms():
    rotations = R.restrict(
        R.vector(LORENTZ), SO3, lambda g: np.block([[1, 0 * g[:1]], [0 * g[:, :1], g]])
    )
    np.testing.assert_array_equal(eq.invariant_form(rotations), np.eye(4))
    product = G.product(LORENTZ, SO3)
    on_first = R.factor(product, 0, R.vector(LORENTZ))
    np.testing.assert_array_equal(eq.invariant_form(on_first), np.diag([1.0, -1, -1, -1]))


@pytest.mark.parametrize("group", [SO3, LORENTZ], ids=str)
def test_gradients_are_finite_at_zero(group):
    rep = R.trivial(group) + R.vector(group)
    layer = eq.NormGate(rep)
    zero = jnp.zeros((1, rep.dim))
    gradient = jax.jit(jax.grad(lambda p, x: layer.apply(p, x).sum(), argnums=(0, 1)))
    grads = gradient({"params": {"bias": jnp.zeros(1)}}, zero)
    assert len(jax.tree.leaves(grads)) == 2
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))


@pytest.mark.slow
@examples(fast=7)
@given(st.data())
def test_split_and_join_are_inverse_and_the_parts_are_the_terms(data):
    group = GROUPS[data.draw(st.sampled_from(["SO(2)", "SO(3)", "O(1,3)", "D4"]))]
    v = R.vector(group)
    choices = [R.trivial(group, 2), 2 * v, v.dual, R.tensor(group, 2), (v + R.trivial(group)) * v]
    terms = data.draw(st.lists(st.sampled_from(choices), min_size=1, max_size=4))
    rep = sum(terms[1:], terms[0])
    x = inputs(rep)
    scalars, moved = eq.split(rep, x)
    np.testing.assert_array_equal(eq.join(rep, scalars, moved), x)
    g = element(group, 3)
    moved_scalars, moved_parts = eq.split(rep, rep.apply(g, x))
    np.testing.assert_allclose(moved_scalars, scalars, atol=1e-6)
    for field, before, after in zip(eq.fields(rep).moved, moved, moved_parts, strict=True):
        expected = field.rep.apply(g, before, axes=(2,))
        np.testing.assert_allclose(after, expected, atol=2e-5)


def test_equal_terms_are_one_kind():
    v = R.vector(SO3)
    found = eq.fields(v + R.trivial(SO3, 1) + 2 * v)
    assert [field.copies for field in found.moved] == [3]
    np.testing.assert_array_equal(found.moved[0].index, [[0, 1, 2], [4, 5, 6], [7, 8, 9]])
    with pytest.raises(ValueError, match=r"complex V\(SU\(2\)\)"):
        eq.fields(R.vector(G.su(2)))
    with pytest.raises(ValueError, match=r"must be \[\.\.\., 3\], got shape \(4,\)"):
        eq.split(v, jnp.zeros(4))
