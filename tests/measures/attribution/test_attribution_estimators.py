"""Estimators agree; batches, keys, traces and parameters; what is refused at run time."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, reps
from softeq_jax.measures import Fiber
from softeq_jax.measures.attribution import layerwise, plan

GENERATORS = ("translation_y", "rotation")
X = np.random.default_rng(3).standard_normal((5, 6, 6, 2)).astype(np.float32)
PARAMS = {
    "kernel": np.random.default_rng(4).standard_normal((3, 3, 2, 3)).astype(np.float32) / 4,
    "head": np.random.default_rng(5).standard_normal((3, 4)).astype(np.float32),
}


def net(params, x):
    x = jax.lax.conv_general_dilated(
        x, params["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jax.nn.relu(x).mean((1, 2)) @ params["head"]


F = jax.tree_util.Partial(net, PARAMS)


@pytest.mark.slow
def test_exact_and_shares_agree():
    shares = layerwise(F, X, GENERATORS)
    exact = layerwise(F, X, GENERATORS, estimator="exact")
    for name in GENERATORS:
        np.testing.assert_allclose(shares.shares[name], exact.shares[name], atol=1e-4)
        c, total = exact.contributions[name], exact.totals[name]
        norms = np.sum(c.astype(np.float64) ** 2, axis=-1)
        np.testing.assert_allclose(exact.squared_norms[name], norms, rtol=1e-6)
        size = np.sqrt(norms) * np.linalg.norm(total, axis=-1)
        with np.errstate(invalid="ignore"):
            cosines = np.einsum("lnk,nk->ln", c, total) / size
        np.testing.assert_allclose(exact.cosines[name], cosines, atol=1e-5)
        np.testing.assert_array_equal(shares.totals[name], total)


@pytest.mark.slow
def test_hutchinson_is_within_its_errors():
    exact = layerwise(F, X, GENERATORS, estimator="exact")
    found = layerwise(F, X, GENERATORS, estimator="hutchinson", probes=64)
    for name in GENERATORS:
        error = found.squared_norm_errors[name]
        gap = np.abs(found.squared_norms[name] - exact.squared_norms[name])
        assert np.all(gap <= 5 * error + 1e-12)
        np.testing.assert_allclose(found.shares[name].sum(axis=0), 1, atol=1e-4)
    quarter = layerwise(F, X, GENERATORS, estimator="hutchinson", probes=16)
    ratio = np.nanmean(quarter.squared_norm_errors["rotation"]) / np.nanmean(
        found.squared_norm_errors["rotation"]
    )
    assert 1.4 < ratio < 2.9


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["shares", "exact", "hutchinson"])
def test_batches_do_not_matter(estimator):
    whole = layerwise(F, X, GENERATORS, estimator=estimator, probes=8)
    done = []
    parts = layerwise(
        F,
        X,
        GENERATORS,
        estimator=estimator,
        probes=8,
        batch_size=2,
        progress=lambda k, n: done.append((k, n)),
    )
    assert done == [(2, 5), (4, 5), (5, 5)]
    for name in GENERATORS:
        np.testing.assert_allclose(whole.shares[name], parts.shares[name], atol=1e-4)
        assert parts.totals[name].shape == (5, 4)


@pytest.mark.slow
def test_keys_decide():
    run = functools.partial(layerwise, F, X[:2], "rotation", estimator="hutchinson", probes=4)
    first, again, other = run(), run(key=jax.random.key(0)), run(key=jax.random.key(1))
    norms = [result.squared_norms["rotation"] for result in (first, again, other)]
    np.testing.assert_array_equal(norms[0], norms[1])
    assert not np.array_equal(norms[0], norms[2])


@pytest.mark.slow
def test_function_is_traced_twice_however_many_batches():
    calls = itertools.count()

    def counted(params, x):
        next(calls)
        return net(params, x)

    f = jax.tree_util.Partial(counted, PARAMS)
    planned = plan(f, X, GENERATORS, batch_size=2)
    for estimator in ("shares", "exact", "hutchinson", "shares"):
        planned.measure(X, estimator, probes=3)
    assert next(calls) == 2


def test_parameters_are_arguments():
    """Neither arrays of the function nor those it closes over are compiled in."""
    big = np.ones((2, 3), np.float32)
    for f in (F, lambda x: net(PARAMS, x @ big @ big.T)):
        planned = plan(f, X)
        problem = planned._stages.problem
        assert all(
            np.size(op.value) == 1
            for o in problem.graph.operations
            for op in o.inputs
            if hasattr(op, "value")
        )


@pytest.mark.slow
def test_means_tables_and_rows():
    result = layerwise(F, X, GENERATORS, estimator="exact")
    mean, error = result.mean_shares()["rotation"]
    total = np.float64(result.totals["rotation"])
    along = np.einsum("lnk,nk->ln", np.float64(result.contributions["rotation"]), total)
    squares = (total**2).sum(axis=1)
    np.testing.assert_allclose(mean, along.mean(axis=1) / squares.mean(), atol=1e-6)
    jackknife = [
        np.delete(along, i, 1).sum(axis=1) / np.delete(squares, i).sum() for i in range(len(total))
    ]
    spread = np.sqrt((len(total) - 1) * np.var(jackknife, axis=0))
    assert 0.3 < np.linalg.norm(error) / np.linalg.norm(spread) < 1.5
    np.testing.assert_allclose(result.cumulative()["rotation"][-1], 1, atol=1e-4)
    rows = result.rows()
    assert len(rows) == len(GENERATORS) * len(result.layers)
    first = rows[0]
    assert (first["generator"], first["layer"], first["shape"]) == (
        "translation_y",
        "conv",
        "6x6x3",
    )
    assert first["layout"] == "image, pitch 1"
    norm = np.sqrt(result.squared_norms["translation_y"][0].mean())
    np.testing.assert_allclose(first["norm"], norm)
    table = result.table().splitlines()
    assert len(table) == 1 + len(result.layers)
    assert table[0].split() == [
        "layer",
        "output",
        *(w for g in GENERATORS for w in (g, "norm", "cosine")),
    ]
    assert table[1].startswith("conv ")
    with pytest.raises(ValueError, match="no norms"):
        layerwise(F, X).mean_norms()


@pytest.mark.slow
def test_functions_that_change_are_caught():
    scale = itertools.count(1)

    def f(x):
        return next(scale) * net(PARAMS, x)

    with pytest.raises(ArithmeticError, match="translation_x: the contributions"):
        layerwise(f, X)


@pytest.mark.slow
def test_mixed_examples_are_caught():
    def f(x):
        return net(PARAMS, x - x.mean(axis=0) * 3)

    with pytest.raises(ArithmeticError, match="treat every image by itself"):
        layerwise(f, X)


@pytest.mark.slow
def test_reverse_rules_are_replaced_by_the_derivative():
    """A custom_vjp, wrong here and without forward mode, does not matter."""

    @jax.custom_vjp
    def act(x):
        return jnp.tanh(x)

    act.defvjp(lambda x: (act(x), None), lambda _, g: (7 * g,))
    found = layerwise(lambda x: act(net(PARAMS, x)), X, GENERATORS)
    wanted = layerwise(lambda x: jnp.tanh(net(PARAMS, x)), X, GENERATORS)
    for name in GENERATORS:
        np.testing.assert_allclose(found.totals[name], wanted.totals[name], rtol=1e-6)


@pytest.mark.slow
def test_not_finite():
    with pytest.raises(ValueError, match=r"L f for translation_x has .* NaN or infinite"):
        layerwise(lambda x: jnp.sqrt(net(PARAMS, x) * 0), X)
    with pytest.raises(ValueError, match="images hold NaN"):
        layerwise(F, np.full_like(X, np.nan))


def test_arguments_are_checked():
    planned = plan(F, X)
    with pytest.raises(ValueError, match="no estimator"):
        planned.measure(X, "best")
    with pytest.raises(ValueError, match="probes must be an integer of at least 2"):
        planned.measure(X, "hutchinson", probes=1)
    with pytest.raises(ValueError, match="the plan is for"):
        planned.measure(X[:, :4])


@pytest.mark.slow
def test_fewer_images_than_planned():
    planned = plan(F, X, batch_size=4)
    np.testing.assert_allclose(
        planned.measure(X[:1]).shares["translation_x"],
        planned.measure(X).shares["translation_x"][:, :1],
        atol=1e-5,
    )


@pytest.mark.slow
def test_half_precision():
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), PARAMS)
    f = jax.tree_util.Partial(lambda p, x: net(p, x.astype(jnp.bfloat16)), params)
    found, wanted = layerwise(f, X, "scale"), layerwise(F, X, "scale")
    defined = np.isfinite(found.shares["scale"][0])
    assert defined.sum() >= 3
    for label in ("conv", "relu"):
        a, b = (
            result.shares["scale"][[own == label for own in result.layers]][0, defined]
            for result in (found, wanted)
        )
        np.testing.assert_allclose(a, b, atol=0.1)


@pytest.mark.slow
def test_representations_on_vectors():
    """Layers on vectors of SO(3): norms commute with rotations, a fixed axis does not."""
    vectors = reps.vector(groups.so(3))
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)

    def f(x):
        x = x * jnp.sum(x**2, axis=-1, keepdims=True)
        return x + jnp.tanh(x) * jnp.array([0.0, 0.0, 1.0])

    result = layerwise(f, x, (0, 1, 2), input=Fiber(vectors), output=Fiber(vectors))
    assert sorted(result.undefined.values()) == [0, 0, 4]
    for name, shares in result.shares.items():
        if not result.undefined[name]:
            np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-4)
            norm = [label in ("mul_1", "sum", "integer_pow") for label in result.layers]
            np.testing.assert_allclose(shares[norm].sum(axis=0), 0, atol=1e-5)


@pytest.mark.slow
def test_other_parameters_reuse_the_plan():
    def apply(scale, x):
        return net(PARAMS, x * scale)

    first, second = (
        plan(jax.tree_util.Partial(apply, jnp.float32(scale)), X, GENERATORS) for scale in (1, 2)
    )
    assert first._stages is second._stages
    totals = [planned.measure(X).totals["rotation"] for planned in (first, second)]
    alone = layerwise(lambda x: apply(np.float32(2), x), X, GENERATORS)
    np.testing.assert_allclose(totals[1], alone.totals["rotation"], rtol=1e-5)
    np.testing.assert_allclose(totals[1], 2 * totals[0], rtol=1e-5)
    assert plan(F, X, GENERATORS)._stages is not plan(F, X, GENERATORS[:1])._stages


def test_the_table_can_be_cut_short():
    result = layerwise(F, X, GENERATORS)
    lines = result.table(top=2).splitlines()
    assert len(lines) == 1 + 2 + 1
    assert lines[-1] == f"{len(result.layers) - 2} further layers have smaller shares"
    largest = max(
        result.layers,
        key=lambda layer: max(
            abs(mean[result.layers.index(layer)]) for mean, _ in result.mean_shares().values()
        ),
    )
    assert any(line.startswith(largest) for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["shares", "exact"])
def test_confident_predictions(estimator):
    """Near ``p = (1, 0, ...)`` the derivative of the softmax must not be lost to rounding."""
    for scale in (3.0, 30.0, 300.0):

        def apply(params, x, scale=scale):
            return scale * net(params, x)

        setting = {"generators": "rotation", "head": "probabilities"}
        f = jax.tree_util.Partial(apply, PARAMS)
        found = layerwise(f, X, estimator=estimator, **setting)
        with jax.enable_x64(True):
            double = jax.tree.map(lambda a: a.astype(float), PARAMS)
            f = jax.tree_util.Partial(apply, double)
            exact = layerwise(f, X.astype(float), **setting)
        known = np.isfinite(found.shares["rotation"]).all(axis=0)
        assert found.undefined["rotation"] == (~known).sum()
        wanted = exact.shares["rotation"]
        np.testing.assert_allclose(
            found.shares["rotation"][:, known], wanted[:, known], rtol=0.02, atol=0.02
        )


@pytest.mark.slow
def test_modules_of_nnx_with_dropout():
    """Their generators of random numbers hold keys among the arrays."""
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(2, 3, (3, 3), rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.dropout(nnx.relu(self.conv(x))).mean((1, 2))

    net = Net(nnx.Rngs(0))
    net.eval()
    found = layerwise(net, X, "rotation")
    np.testing.assert_allclose(np.nansum(found.shares["rotation"], axis=0), 1, atol=1e-3)


@pytest.mark.slow
def test_what_a_plain_function_closes_over_may_change():
    state = {"params": PARAMS}

    def f(x):
        return net(state["params"], x)

    before = layerwise(f, X, "rotation").totals["rotation"]
    state["params"] = jax.tree.map(lambda a: 2 * a, PARAMS)
    np.testing.assert_allclose(
        layerwise(f, X, "rotation").totals["rotation"], 4 * before, rtol=1e-4
    )


def test_nan_is_called_by_its_name():
    with pytest.raises(ValueError, match="the output of f has .* NaN"):
        layerwise(lambda x: jnp.log(-jnp.abs(net(PARAMS, x))), X, "rotation")
