"""RelaxedDense and RelaxedConv of Linen and their NNX twins: formula, theta = 0, folding, plans."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import softeq_jax as sq
from softeq_jax import nn
from softeq_jax.nn import nnx as relaxed_nnx
from softeq_jax.relaxation import Branches, finish, jump

SO3 = sq.groups.so(3)
V = sq.reps.vector(SO3)
IN, OUT = 2 * V + sq.reps.trivial(SO3, 1), V + sq.reps.trivial(SO3, 2)
DENSE = sq.projector("i o", {"i": IN.dual, "o": OUT})
DENSE_BIAS = sq.projector("o", {"o": OUT})
D4 = sq.groups.dihedral(4)
CONV = sq.projector("h w i o", {"h w": sq.reps.image(D4, (3, 3))})
RNG = np.random.default_rng(0)
NORMAL = jax.nn.initializers.normal(1.0)


def inputs(kind):
    shape = (4, IN.dim) if kind == "dense" else (2, 7, 7, 3)
    return RNG.standard_normal(shape).astype(np.float32)


def linen_layer(kind, **options):
    options = {"free_init": NORMAL, "bias_init": NORMAL} | options
    if kind == "dense":
        return nn.RelaxedDense(OUT.dim, DENSE, DENSE_BIAS, **options)
    return nn.RelaxedConv(4, CONV, **options)


def linen_case(kind, **options):
    """(layer's function of (params, x, theta), params, x)."""
    layer, x = linen_layer(kind, **options), inputs(kind)
    params = layer.init(jax.random.key(0), x, 0.5)["params"]
    return lambda p, x, theta: layer.apply({"params": p}, x, theta), params, x


def nnx_case(kind, **options):
    options = {"free_init": NORMAL, "bias_init": NORMAL, "rngs": nnx.Rngs(0)} | options
    if kind == "dense":
        layer = relaxed_nnx.RelaxedLinear(
            IN.dim, OUT.dim, DENSE, bias_projector=DENSE_BIAS, **options
        )
    else:
        layer = relaxed_nnx.RelaxedConv(3, 4, CONV, **options)
    graph, state = nnx.split(layer)

    def apply(params, x, theta):
        copy = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(copy, params)
        return nnx.merge(graph, copy)(x, theta)

    return apply, nnx.to_pure_dict(state), inputs(kind)


CASES = [(case, kind) for case in (linen_case, nnx_case) for kind in ("dense", "conv")]
both = pytest.mark.parametrize(("case", "kind"), CASES)


def plain_output(kind, kernel, bias, x, **options):
    if kind == "dense":
        return x @ kernel + bias
    plain = linen.Conv(kernel.shape[-1], kernel.shape[:2], **options)
    return plain.apply({"params": {"kernel": kernel, "bias": bias}}, x)


@pytest.mark.slow
@both
@pytest.mark.parametrize("theta", [0.0, 0.3, 1.0])
def test_the_formula(case, kind, theta):
    apply, params, x = case(kind)
    projector = DENSE if kind == "dense" else CONV
    kernel = projector(params["kernel"]) + theta * params["free_kernel"]
    bias = params["bias"]
    if kind == "dense":
        bias = DENSE_BIAS(bias) + theta * params["free_bias"]
    expected = plain_output(kind, kernel, bias, x)
    np.testing.assert_allclose(apply(params, x, theta), expected, atol=2e-5)
    np.testing.assert_allclose(jax.jit(apply)(params, x, theta), expected, atol=2e-5)


@pytest.mark.slow
@both
def test_at_zero_nothing_depends_on_the_free_branch(case, kind):
    apply, params, x = case(kind)

    def other(fill):
        return {k: fill(v) if k.startswith("free_") else v for k, v in params.items()}

    changed = other(lambda b: 7.0 - 3.0 * b)
    for run in (apply, jax.jit(apply)):
        for theta in (0.0, jnp.float32(0.0)):
            np.testing.assert_array_equal(run(params, x, theta), run(changed, x, theta))
    assert np.abs(apply(params, x, 0.1) - apply(changed, x, 0.1)).max() > 1e-2
    # A concrete zero leaves the branch out altogether.
    spoiled = other(lambda b: jnp.full_like(b, jnp.nan))
    np.testing.assert_array_equal(apply(params, x, 0.0), apply(spoiled, x, 0.0))
    grads = jax.grad(lambda p: apply(p, x, 0.0).sum())(params)
    assert all(np.all(g == 0) for name, g in grads.items() if name.startswith("free_"))
    assert any(np.any(g != 0) for name, g in grads.items() if not name.startswith("free_"))


@pytest.mark.slow
@both
def test_at_zero_the_layer_is_equivariant(case, kind):
    apply, params, x = case(kind)

    def defect(theta):
        if kind == "dense":
            g = SO3.sample(jax.random.key(1), 1)[0]
            moved, wanted = IN.apply(g, x), OUT.apply(g, apply(params, x, theta))
        else:
            moved, wanted = np.rot90(x, axes=(1, 2)), np.rot90(apply(params, x, theta), axes=(1, 2))
        return float(np.abs(apply(params, moved, theta) - wanted).max())

    assert defect(0.0) < 1e-4
    assert defect(0.5) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("theta", [0.0, 0.6])
def test_a_layer_folds_to_the_nearest_plain_one(kind, theta):
    layer = linen_layer(kind)
    _, params, x = linen_case(kind)
    folded = layer.fold(params, theta)
    assert set(folded) == {"kernel", "bias"}
    projector = DENSE if kind == "dense" else CONV
    mixed = projector(params["kernel"]) + theta * params["free_kernel"]
    np.testing.assert_allclose(folded["kernel"], projector(mixed), atol=1e-5)
    if theta == 0:
        output = plain_output(kind, folded["kernel"], folded["bias"], x)
        strict = layer.apply({"params": params}, x, 0.0)
        np.testing.assert_allclose(output, strict, atol=2e-5)
    with pytest.raises(ValueError, match=r"theta must be in \[0, 1\]"):
        layer.fold(params, 1.2)
    with pytest.raises(ValueError, match="expected the parameters"):
        layer.fold({"kernel": params["kernel"]})


class Model(linen.Module):
    """Convolution, pooling over the grid, dense."""

    relaxed: bool

    @linen.compact
    def __call__(self, x, theta=None):
        if self.relaxed:
            x = jnp.tanh(nn.RelaxedConv(4, CONV, free_init=NORMAL, name="conv")(x, theta))
        else:
            x = jnp.tanh(linen.Conv(4, (3, 3), name="conv")(x))
        return linen.Dense(2, name="head")(x.mean((1, 2)))


def test_a_model_folds_to_a_plain_model_by_a_plan():
    x = inputs("conv")
    model = Model(relaxed=True)
    params = model.init(jax.random.key(0), x, 0.0)["params"]
    pair = nn.two_branches(params)
    assert isinstance(pair, Branches)
    assert set(pair.equivariant["conv"]) == {"kernel", "bias"}
    plan = sq.plan(pair.equivariant, {"conv/kernel": CONV})
    for theta in (0.0, 0.5):
        folded = nn.fold(plan, params, theta)
        expected = CONV(params["conv"]["kernel"] + theta * params["conv"]["free_kernel"])
        np.testing.assert_allclose(folded["conv"]["kernel"], expected, atol=1e-5)
        np.testing.assert_array_equal(folded["head"]["kernel"], params["head"]["kernel"])
        assert jax.tree.structure(folded) == jax.tree.structure(pair.equivariant)
    plain = Model(relaxed=False)
    strict = plain.apply({"params": nn.fold(plan, params)}, x)
    np.testing.assert_allclose(strict, model.apply({"params": params}, x, 0.0), atol=1e-5)
    np.testing.assert_allclose(
        plain.apply({"params": nn.fold(plan, params)}, np.rot90(x, axes=(1, 2))), strict, atol=1e-5
    )

    def loss(weights):
        return jnp.mean(plain.apply({"params": weights}, x) ** 2)

    # The jump is the loss of the folded model against that of the relaxed one.
    relaxed = dict(pair.equivariant)
    kernel = CONV(params["conv"]["kernel"]) + 0.5 * params["conv"]["free_kernel"]
    relaxed["conv"] = {**relaxed["conv"], "kernel": kernel}
    report = jump(loss, relaxed, finish(plan, pair, 0.5))
    before = jnp.mean(model.apply({"params": params}, x, 0.5) ** 2)
    np.testing.assert_allclose(report.before, before, rtol=1e-4)
    assert report.change != 0
    with pytest.raises(ValueError, match=r"does not cover \['conv/kernel'\]"):
        nn.fold(sq.plan(pair.equivariant, {"head/kernel": DENSE_HEAD}), params)
    with pytest.raises(ValueError, match=r"conv/free_gain has no parameter 'gain'"):
        nn.two_branches({"conv": {"free_gain": np.zeros(3)}})


DENSE_HEAD = sq.projector("i o", {"o": sq.reps.regular(sq.groups.cyclic(2))})


def test_a_model_of_nnx_folds_by_the_same_functions():
    _, params, _ = nnx_case("conv")
    pair = nn.two_branches(params)
    plan = sq.plan(pair.equivariant, {"kernel": CONV})
    folded = nn.fold(plan, params, 0.5)
    expected = CONV(params["kernel"] + 0.5 * params["free_kernel"])
    np.testing.assert_allclose(folded["kernel"], expected, atol=1e-5)
    assert set(folded) == {"kernel", "bias"}


def test_nnx_layers_train_under_jit():
    layer = relaxed_nnx.RelaxedConv(3, 4, CONV, rngs=nnx.Rngs(0))
    x = inputs("conv")

    @nnx.jit
    def grads(layer, theta):
        return nnx.grad(lambda layer: (layer(x, theta) ** 2).mean())(layer)

    for theta, moved in ((0.0, False), (0.5, True)):
        found = nnx.to_pure_dict(grads(layer, theta))
        assert np.any(found["kernel"] != 0)
        assert bool(np.any(found["free_kernel"] != 0)) == moved


@pytest.mark.parametrize("case", [linen_case, nnx_case])
@pytest.mark.parametrize(
    "options",
    [
        {"strides": 2, "padding": "VALID"},
        {"strides": (1, 2), "padding": 1},
        {"padding": ((1, 1), (0, 2))},
    ],
)
def test_strides_and_padding_are_those_of_linen(case, options):
    apply, params, x = case("conv", **options)
    found = apply(params, x, 0.0)
    expected = plain_output("conv", CONV(params["kernel"]), params["bias"], x, **options)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.slow
@both
def test_dtypes_and_leading_axes(case, kind):
    apply, params, x = case(kind, dtype=jnp.bfloat16)
    assert apply(params, x, 0.5).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    apply, params, x = case(kind)
    folded = apply(params, x[:, None], 0.5)
    np.testing.assert_allclose(folded[:, 0], apply(params, x, 0.5), atol=1e-5)
    assert apply(params, x[0], 0.5).shape == apply(params, x, 0.5).shape[1:]


@both
def test_theta_has_no_default_and_a_range(case, kind):
    apply, params, x = case(kind)
    for theta in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"theta must be in \[0, 1\], got"):
            apply(params, x, theta)
    with pytest.raises(ValueError, match=r"theta must be a scalar, got shape \(2,\)"):
        apply(params, x, np.zeros(2))
    with pytest.raises(TypeError, match="theta"):
        linen_layer(kind).apply({"params": params}, x)


def dense_call(**options):
    layer = nn.RelaxedDense(**({"features": OUT.dim, "projector": DENSE} | options))
    return layer.init(jax.random.key(0), inputs("dense"), 0.5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "acts on the output axis: give a bias_projector"),
        ({"projector": CONV}, ValueError, "projector must have 2 axes, got 4: 'h w i o'"),
        ({"projector": None}, TypeError, "projector must be a Projector, got NoneType"),
        ({"bias_projector": DENSE}, ValueError, "bias_projector must have one axis, got 'i o'"),
        (
            {"bias_projector": DENSE_BIAS, "use_bias": False},
            ValueError,
            "bias_projector is given, but use_bias is False",
        ),
        (
            {"projector": DENSE.at(cutoff=1.0, mask="heat"), "use_bias": False},
            ValueError,
            "smooth mask 'heat'",
        ),
    ],
)
def test_projectors_that_do_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        dense_call(**options)
    options = {"projector": DENSE} | options
    with pytest.raises(error, match=message):
        relaxed_nnx.RelaxedLinear(IN.dim, OUT.dim, rngs=nnx.Rngs(0), **options)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"shape \(7, 3\) does not fit the axes"):
        dense_call(features=3, use_bias=False)
    with pytest.raises(ValueError, match="kernel_size must be one or two positive integers, got 0"):
        relaxed_nnx.RelaxedConv(3, 4, CONV, kernel_size=0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"x must be \[..., h, w, channels\], got shape"):
        nn.RelaxedConv(4, CONV).init(jax.random.key(0), np.ones((7, 3), np.float32), 0.0)


def test_without_a_bias():
    variables = dense_call(use_bias=False)
    assert set(variables["params"]) == {"kernel", "free_kernel"}
    layer = relaxed_nnx.RelaxedLinear(IN.dim, OUT.dim, DENSE, use_bias=False, rngs=nnx.Rngs(0))
    assert set(nnx.to_pure_dict(nnx.state(layer, nnx.Param))) == {"kernel", "free_kernel"}
    assert layer(inputs("dense"), 0.0).shape == (4, OUT.dim)
