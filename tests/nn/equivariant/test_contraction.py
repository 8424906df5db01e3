"""Contraction: invariants of vectors and tensors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equivariant_cases import GROUPS, G, R, element, inputs, start

import softeq_jax as sq
from softeq_jax.nn import equivariant as eq


def layer_and_variables(rep, features=4, **options):
    rng = np.random.default_rng(1)
    ends = eq.contraction_maps(rep, features)
    params = {k: {"kernel": rng.standard_normal((rep.dim, end.dim))} for k, end in ends.items()}
    return eq.Contraction(rep, features, **options), {"params": params}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SO(2)", "SO(3)", "O(5)", "D4", "O(1,3)", "Sp(4,R)"])
def test_contractions_are_invariant_and_do_not_vanish(name):
    group = GROUPS[name]
    v = R.vector(group)
    rep = R.trivial(group, 2) + 3 * v + R.tensor(group, 1, 1)
    layer, variables = layer_and_variables(rep)
    run = jax.jit(lambda x: layer.apply(variables, x))
    x = inputs(rep)
    y = np.asarray(run(x))
    assert y.shape == (6, eq.contracted(rep, 4)) == (6, 8)
    assert np.abs(y[:, :4]).max() > 0.1
    moved = run(rep.apply(element(group, 2), x))
    np.testing.assert_allclose(moved, y, atol=3e-5 * max(1.0, np.abs(y).max()))


def test_of_one_kind_it_is_a_bilinear_form_of_inner_products():
    rep = 3 * R.vector(G.lorentz())
    layer, variables = layer_and_variables(rep, features=2)
    x = inputs(rep)
    left, right = (
        np.asarray(p(variables["params"][name]["kernel"]))
        for name, p in (
            (name, eq.dense_projectors(rep, end)[0])
            for name, end in eq.contraction_maps(rep, 2).items()
        )
    )
    eta = np.diag([1.0, -1.0, -1.0, -1.0])
    a = left.reshape(3, 4, 2, 4)[:, 0, :, 0]
    b = right.reshape(3, 4, 2, 4)[:, 0, :, 0]
    vectors = x.reshape(-1, 3, 4)
    gram = np.einsum("nim,mk,njk->nij", vectors, eta, vectors)
    expected = np.einsum("if,nki,kf->nf", a, gram, b) / 2.0
    np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-4, atol=1e-4)


def test_scalars_start_with_a_variance_of_order_one():
    rep = 16 * R.vector(G.o(5))
    x = inputs(rep, n=2000)
    layer = eq.Contraction(rep, 32)
    y, _ = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    assert 0.5 < np.var(y) < 2.0


def test_strict_is_the_plan_of_the_free_one():
    rep = R.trivial(G.so(3), 1) + 2 * R.vector(G.so(3))
    strict, variables = layer_and_variables(rep, features=3)
    free = strict.copy(project=False)
    rules = {}
    for name, end in eq.contraction_maps(rep, 3).items():
        rules |= eq.dense_rules(name, rep, end, use_bias=False)
    plan = sq.plan(variables["params"], rules)
    x = inputs(rep)
    wanted = strict.apply(variables, x)
    projected = {"params": plan.project(variables["params"])}
    np.testing.assert_allclose(free.apply(projected, x), wanted, atol=1e-4)
    assert np.abs(free.apply(variables, x) - wanted).max() > 0.1


def test_equal_ends_are_no_forgotten_dual():
    rep = 2 * R.vector(G.lorentz())
    layer = eq.Contraction(rep, 2)
    assert start(layer, inputs(rep))["params"]["right"]["kernel"].shape == (8, 8)


def test_bad_input():
    scalars = R.trivial(G.so(3), 3)
    with pytest.raises(ValueError, match=r"needs vectors or tensors .* 3·1\(SO\(3\)\)"):
        eq.Contraction(scalars, 4).init(jax.random.key(0), jnp.zeros((1, 3)))
    with pytest.raises(ValueError, match="features >= 1"):
        eq.contraction_maps(R.vector(G.so(3)), 0)
    with pytest.raises(ValueError, match=r"must be \[\.\.\., 3\], got shape \(2, 4\)"):
        eq.Contraction(R.vector(G.so(3)), 1).init(jax.random.key(0), jnp.zeros((2, 4)))
