"""The Lie penalty of layers on their data: affine, nonlinear, of several layers, of any group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from regularizer_cases import CASES, params_of, plan_of, projector

import softeq_jax as sq
from softeq_jax import regularizers as rg

SO3 = sq.groups.so(3)
V = sq.reps.vector(SO3)
RNG = np.random.default_rng(0)


def linear(params, x):
    return jnp.matmul(x, params["layer"]["kernel"], precision="highest")


def affine(params, x):
    return linear(params, x) + params["other"]


def ends(name):
    i, o = (entry.rep for entry in projector(name).space.entries)
    return i.dual, o


def whitened(n, dtype=np.float32):
    """Inputs with ``E x x^T = 1``."""
    q = np.linalg.qr(np.random.default_rng(1).standard_normal((n, n)))[0]
    return (np.sqrt(n) * q).astype(dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c4", "c6", "so2", "so3", "su2"])
def test_on_whitened_inputs_it_is_the_penalty_of_the_weight(name):
    params = params_of(name, 1)
    rep_in, rep_out = ends(name)
    x = whitened(rep_in.dim, rep_in.dtype.type).astype(params["layer"]["kernel"].dtype)
    found = rg.lie_activation_penalty(linear, params, x, rep_in, rep_out)
    np.testing.assert_allclose(found, rg.lie_penalty(plan_of(name), params), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s4", "o2", "so3", "so3xs3"])
def test_zero_on_equivariant_layers_and_on_no_others(name):
    params = params_of(name, 2)
    rep_in, rep_out = ends(name)
    x = RNG.standard_normal((4, rep_in.dim)).astype(np.float32)
    penalty = jax.jit(lambda p: rg.lie_activation_penalty(linear, p, x, rep_in, rep_out))
    assert penalty(params) > 0.1
    assert penalty(plan_of(name).project(params)) < 1e-9
    assert name in CASES


@pytest.mark.slow
def test_an_affine_layer_is_compared_with_its_own_output():
    """The published code compares ``A (W x + b)`` with ``W A x + b``, which is another number."""
    params = {
        "layer": {"kernel": RNG.standard_normal((6, 6)).astype(np.float32)},
        "other": RNG.standard_normal(6).astype(np.float32),
    }
    x = RNG.standard_normal((5, 6)).astype(np.float32)
    rep = 2 * V
    found = rg.lie_activation_penalty(affine, params, x, rep, rep)
    w, b = params["layer"]["kernel"], params["other"]
    right = wrong = 0.0
    for a in rep.lie_matrices():
        turned = (x @ w + b) @ a.T
        right += np.mean(np.sum((x @ a.T @ w - turned) ** 2, axis=1))
        wrong += np.mean(np.sum((x @ a.T @ w + b - turned) ** 2, axis=1))
    np.testing.assert_allclose(found, right, rtol=1e-5)
    assert abs(wrong / right - 1) > 0.05


def test_an_equivariant_affine_layer_has_none():
    to_scalars = sq.reps.trivial(SO3, 4)
    params = {"layer": {"kernel": np.zeros((6, 4), np.float32)}, "other": np.ones(4, np.float32)}
    x = RNG.standard_normal((5, 6)).astype(np.float32)
    assert rg.lie_activation_penalty(affine, params, x, 2 * V, to_scalars) == 0.0
    biased = {
        "layer": {"kernel": np.eye(6, dtype=np.float32)},
        "other": np.ones(6, np.float32),
    }
    # A b of the three generators: 2 ||b||^2 for each vector
    found = rg.lie_activation_penalty(affine, biased, x, 2 * V, 2 * V)
    np.testing.assert_allclose(found, 2 * 6.0, rtol=1e-5)


@pytest.mark.slow
def test_nonlinear_layers():
    def gate(params, x):
        return x * jnp.tanh(jnp.sum(x * x, axis=-1, keepdims=True))

    x = RNG.standard_normal((7, 5, 3)).astype(np.float32)
    assert rg.lie_activation_penalty(gate, {}, x, V, V) < 1e-10
    assert rg.lie_activation_penalty(lambda p, x: jax.nn.relu(x), {}, x, V, V) > 0.1


@pytest.mark.slow
def test_the_inputs_are_constants():
    params = params_of("so3")
    x = jnp.asarray(RNG.standard_normal((4, 4)), jnp.float32)
    rep_in, rep_out = ends("so3")
    slope = jax.grad(lambda x: rg.lie_activation_penalty(linear, params, x, rep_in, rep_out))(x)
    np.testing.assert_array_equal(slope, 0.0)
    norm = jax.grad(lambda x: rg.activation_norm_penalty(linear, params, x, rep_out))(x)
    np.testing.assert_array_equal(norm, 0.0)


def test_it_does_not_grow_with_examples_points_and_channels():
    w = RNG.standard_normal((3, 3)).astype(np.float32)
    x = RNG.standard_normal((4, 3)).astype(np.float32)

    def apply(params, x):
        return x @ params

    once = rg.lie_activation_penalty(apply, w, x, V, V)
    many = rg.lie_activation_penalty(apply, w, np.tile(x[:, None, None], (2, 5, 6, 1)), V, V)
    np.testing.assert_allclose(once, many, rtol=1e-5)


@pytest.mark.slow
def test_several_layers_and_the_root_of_their_sum():
    params = {k: RNG.standard_normal((3, 3)).astype(np.float32) for k in "ab"}
    x = {k: RNG.standard_normal((4, 3)).astype(np.float32) for k in "ab"}
    other = np.arange(4)

    def apply(params, inputs):
        x, _ = inputs
        return {k: x[k] @ params[k] for k in x}

    def one(params, x):
        return x @ params

    each = [rg.lie_activation_penalty(one, params[k], x[k], V, V) for k in "ab"]
    reps = ({"a": V, "b": V}, None)
    found = rg.lie_activation_penalty(apply, params, (x, other), reps, {"a": V, "b": V})
    np.testing.assert_allclose(found, sum(each), rtol=1e-5)
    root = rg.lie_activation_penalty(apply, params, (x, other), reps, V, root=True)
    np.testing.assert_allclose(root, np.sqrt(sum(each)), rtol=1e-5)
    zero = jax.tree.map(np.zeros_like, params)
    slope = jax.grad(
        lambda p: (
            rg.lie_activation_penalty(apply, p, (x, other), reps, V, root=True)
            + rg.activation_norm_penalty(apply, p, (x, other), V, root=True)
        )
    )(zero)
    for leaf in jax.tree.leaves(slope):
        np.testing.assert_array_equal(leaf, 0.0)


def test_images_under_quarter_turns():
    group = sq.groups.dihedral(4)
    image = sq.reps.image(group, (8, 8))
    kernel = RNG.standard_normal((3, 3, 2, 3)).astype(np.float32)
    plan = sq.plan(
        {"k": kernel},
        {"k": sq.projector("h w i o", {"h w": sq.reps.image(group, (3, 3))})},
    )
    x = RNG.standard_normal((2, 8, 8, 2)).astype(np.float32)

    def conv(params, x):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, params["k"], (1, 1), "SAME", dimension_numbers=numbers, precision="highest"
        )

    penalty = jax.jit(lambda p: rg.lie_activation_penalty(conv, p, x, image, image))
    assert penalty({"k": kernel}) > 1.0
    assert penalty(plan.project({"k": kernel})) < 1e-6


def test_relative_does_not_depend_on_scale():
    params, (rep_in, rep_out) = params_of("so3"), ends("so3")
    x = RNG.standard_normal((4, 4)).astype(np.float32)
    values = [
        rg.lie_activation_penalty(
            linear, jax.tree.map(lambda w, s=s: s * w, params), x, rep_in, rep_out, relative=True
        )
        for s in (1.0, 100.0)
    ]
    np.testing.assert_allclose(*values, rtol=1e-4)


def test_the_norm_is_the_mean_square():
    params = params_of("so3")
    x = RNG.standard_normal((4, 4)).astype(np.float32)
    found = rg.activation_norm_penalty(affine_free, params, x, V)
    expected = np.mean(np.sum((x @ params["layer"]["kernel"])[:, :3] ** 2, axis=1))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def affine_free(params, x):
    return linear(params, x)[:, :3]
