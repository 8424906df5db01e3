"""Contributions sum to the Lie derivative, whatever the network and however it is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax.measures.attribution import layerwise, linen, plan
from softeq_jax.measures.attribution._dataflow import DataFlow
from softeq_jax.measures.attribution._partition import partition
from softeq_jax.measures.attribution._pullbacks import Problem, Stages, Values
from softeq_jax.measures.base._actions import Stencil, as_stencil
from softeq_jax.measures.base._functions import split_callable
from softeq_jax.measures.base._generators import FLOWS
from softeq_jax.models import CifarResNet, ViT

GENERATORS = ("translation_x", "rotation")


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def images(n=3, side=8, channels=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, side, side, channels))


def weights(*shape, seed=0):
    scale = np.sqrt(1 / np.prod(shape[:-1]))
    return scale * np.random.default_rng([seed, *shape]).standard_normal(shape)


def conv(x, features, stride=1, size=3, seed=0, padding="SAME"):
    kernel = weights(size, size, x.shape[-1], features, seed=seed)
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def residual(x):
    x = jax.nn.relu(conv(x, 4))
    y = conv(jax.nn.relu(conv(x, 4, seed=1)), 4, seed=2)
    x = x + y
    z = conv(x, 6, 2)
    x = jax.nn.silu(z + jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (1, 1))))
    return x.mean((1, 2)) @ weights(6, 5) + 0.1


def squeeze_excite(x):
    x = jnp.tanh(conv(x, 4))
    gate = jax.nn.sigmoid(jax.nn.relu(x.mean((1, 2)) @ weights(4, 2)) @ weights(2, 4))
    return (x * gate[:, None, None, :]).sum((1, 2))


def u_net(x):
    first = jnp.tanh(conv(x, 4))
    down = jnp.tanh(conv(first, 6, 2, padding=((1, 1), (1, 1))))
    up = jax.lax.conv_transpose(down, weights(2, 2, 6, 4), (2, 2), "SAME")
    coarse = jax.image.resize(down, (len(x), 8, 8, 6), "bilinear")
    return conv(jnp.concatenate([first, up, coarse], axis=-1), 3, size=1)


def functional(x):
    x = conv(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap"), 4, padding="VALID")
    x = jnp.where(x > 0, x, 0.1 * x) + jnp.roll(x, 1, axis=2)
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = jnp.maximum(x[:, ::-1], 0) ** 2
    return jax.nn.log_softmax(x.reshape(len(x), -1) @ weights(64, 5))


def tokens(x):
    x = conv(x, 6, 2, size=2, padding="VALID").reshape(len(x), 16, 6)
    x = jnp.concatenate([jnp.ones((len(x), 1, 6)), x], axis=1) + weights(1, 17, 6)
    x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) * 2 + 0.1
    scores = jax.nn.softmax(jnp.einsum("ntc,nsc->nts", x, x @ weights(6, 6)))
    x = x + jnp.einsum("nts,nsc->ntc", scores, x @ weights(6, 6, seed=1))
    return jnp.tanh(x @ weights(6, 4))[:, 1:].mean(1)


def looped(x):
    x = conv(x, 4)
    kernels = weights(3, 3, 3, 4, 4)

    def step(x, kernel):
        order = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=order)
        return x + jnp.tanh(y), x.mean()

    x, _ = jax.lax.scan(step, x, kernels)
    x = jax.lax.cond(True, jnp.sin, jnp.cos, x)
    x = jax.lax.fori_loop(0, 2, lambda _, y: jnp.tanh(y), x)
    return jax.checkpoint(lambda y: jnp.sum(y**2, axis=(1, 2)))(x)


def variables_of(net, *args):
    """Variables of the right shapes, without the time that initializing takes."""
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), *args))
    return jax.tree.map(lambda a: 0.05 + np.abs(weights(1, *a.shape))[0], shapes)


def linen_resnet():
    net = CifarResNet(depth=8, width=4)
    variables = variables_of(net, False)
    params = jax.tree.map(lambda a: weights(*a.shape) if a.ndim > 1 else a, variables["params"])
    return linen(net, {**variables, "params": params}, False)


def linen_vit():
    net = ViT(8, 2, 8, 1, 2, num_classes=4)
    params = jax.tree.map(lambda a: weights(1, *a.shape)[0], variables_of(net)["params"])
    return linen(net, {"params": params})


NETWORKS = {
    "residual": (residual, "invariant"),
    "squeeze_excite": (squeeze_excite, "invariant"),
    "u_net": (u_net, "image"),
    "functional": (functional, "invariant"),
    "tokens": (tokens, "invariant"),
    "looped": (looped, "invariant"),
    "resnet": (linen_resnet, "invariant"),
    "vit": (linen_vit, "invariant"),
}


def network(name):
    f, output = NETWORKS[name]
    return (f() if name in ("resnet", "vit") else f), output


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_shares_sum_to_one(name):
    f, output = network(name)
    result = layerwise(f, images(), GENERATORS, output=output)
    for shares in result.shares.values():
        np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=0, atol=1e-10)
    assert result.undefined == dict.fromkeys(GENERATORS, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["residual", "squeeze_excite", "tokens"])
def test_layers_left_uncomputed_contribute_zero(name):
    """With every layer computed, the same shares; what was left out is zero to rounding."""
    f, output = network(name)
    planned = plan(f, images(2), GENERATORS, output=output, by="ops")
    problem = planned._stages.problem
    flow = DataFlow(problem.graph, problem.facts)
    full = partition(flow, "ops", flows_only=True, skip_still=False)
    assert len(full.edges) > len(problem.partition.edges)
    whole = Problem(
        problem.function,
        problem.graph,
        problem.facts,
        full,
        tuple(FLOWS[name] for name in GENERATORS),
        problem.frame,
        as_stencil("central"),
    )
    constants = [value for _, value in problem.graph.constants]
    values = Values(list(split_callable(f)[0]), constants, jnp.asarray(images(2)))
    wanted = Stages(whole).run("shares", values, None, 0, 2)["layers"]
    found = planned.measure(images(2))
    for g, name in enumerate(GENERATORS):
        shares = np.swapaxes(wanted[:, g], 0, 1)
        np.testing.assert_allclose(found.shares[name], shares, rtol=0, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["residual", "u_net"])
def test_exact_contributions_sum_to_the_total(name):
    f, output = network(name)
    result = layerwise(f, images(2), GENERATORS, output=output, estimator="exact", by="ops")
    coarse = layerwise(f, images(2), GENERATORS, output=output)
    for generator in GENERATORS:
        c, total = result.contributions[generator], result.totals[generator]
        assert c.shape == (len(result.layers), *total.shape)
        np.testing.assert_allclose(c.sum(axis=0), total, rtol=0, atol=1e-11 * np.abs(total).max())
        np.testing.assert_allclose(result.shares[generator].sum(axis=0), 1, atol=1e-10)
        np.testing.assert_allclose(coarse.totals[generator], total, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_contributions_of_a_chain_by_hand():
    """c_i = J_{>i} (J_i D a_{i-1} - D a_i), layer by layer with jvp."""
    first, last = (lambda x: jnp.tanh(conv(x, 3))), (lambda a: conv(a, 2, seed=3).sum((1, 2)))
    x = jnp.asarray(images(2))
    result = layerwise(lambda x: last(first(x)), x, "translation_x", estimator="exact")

    def d(a):
        right = jnp.pad(a, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="reflect")
        return (right[:, :, 2:] - right[:, :, :-2]) / 2

    a, moved = jax.jvp(first, (x,), (d(x),))
    by_first = jax.jvp(last, (a,), (moved - d(a),))[1]
    by_last = jax.jvp(last, (a,), (d(a),))[1]
    c = result.contributions["translation_x"]
    split = [label in ("conv_1", "tanh") for label in result.layers]
    np.testing.assert_allclose(c[split].sum(axis=0), by_first, atol=1e-13)
    np.testing.assert_allclose(c[~np.array(split)].sum(axis=0), by_last, atol=1e-13)


@pytest.mark.slow
def test_linear_layers_on_a_torus_contribute_nothing():
    """Shift-equivariant linear layers commute with spectral differentiation; tanh does not."""

    def wrapped(x, seed):
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
        return conv(x, 4, seed=seed, padding="VALID")

    def f(x):
        x = wrapped(x, 0) + 0.2
        x = jnp.tanh(x)
        x = x + wrapped(x, 1)
        return (x**2).sum((1, 2))

    result = layerwise(
        f,
        images(2, side=9),
        ("translation_x", "translation_y"),
        stencil=Stencil("spectral"),
        estimator="exact",
        by=lambda label: "wrapped" if label.startswith(("pad", "conv")) else label,
    )
    for norms in result.squared_norms.values():
        norm = dict(zip(result.layers, np.sqrt(norms).max(axis=-1), strict=True))
        assert set(norm) >= {"wrapped", "tanh"}
        assert norm["tanh"] > 1e-3
        assert norm["wrapped"] < 1e-12 * norm["tanh"]


@pytest.mark.slow
def test_equivariant_networks_have_no_shares():
    """Where L f is rounding alone, images are counted out rather than attributed."""

    def f(x):
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
        return conv(x, 4, padding="VALID").mean((1, 2))

    x = images(3)
    for estimator in ("shares", "exact", "hutchinson"):
        result = layerwise(f, x, "translation_x", stencil="spectral", estimator=estimator, probes=3)
        assert result.undefined == {"translation_x": 3}
        assert np.all(np.isnan(result.shares["translation_x"]))
        assert "nan" not in result.table()
        assert result.table().splitlines()[1].split()[2] == "-"


@pytest.mark.slow
def test_contrast_of_a_homogeneous_network():
    """J x = f for a bias-free ReLU network: contrast of input and output cancel, layer by layer."""

    def f(x):
        return conv(jax.nn.relu(conv(x, 4)), 2, seed=1)

    result = layerwise(f, images(2), "contrast", output="image", estimator="exact")
    assert np.abs(result.contributions["contrast"]).max() < 1e-12
    biased = layerwise(lambda x: f(x) + 1.0, images(2), "contrast", output="image")
    share = dict(zip(biased.layers, biased.shares["contrast"], strict=True))
    np.testing.assert_allclose(share["add"], 1, atol=1e-10)
