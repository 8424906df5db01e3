"""VNDGCNN: invariant under O(3), a graph of its own at every stage, rules for every free kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import models
from softeq_jax.models.vector_cloud import VectorBlock, edge_vectors, nearest

TINY = {"num_classes": 4, "widths": (3, 4, 5), "neighbors": 4, "hidden": (8, 6)}
O3 = sq.groups.o(3)


def drawn(model, x, seed=0):
    """Random parameters, and statistics of a trained network: positive variances."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    params = jax.tree.map(
        lambda s: (rng.standard_normal(s.shape) / np.sqrt(s.shape[0])).astype(np.float32),
        shapes["params"],
    )
    stats = jax.tree.map(
        lambda s: rng.uniform(0.5, 1.5, s.shape).astype(np.float32), shapes["batch_stats"]
    )
    return {"params": params, "batch_stats": stats}


@pytest.fixture(scope="module")
def clouds():
    return np.random.default_rng(1).standard_normal((2, 12, 3)).astype(np.float32)


def elements():
    return np.asarray(O3.sample(jax.random.key(3), 6), np.float32)


@pytest.mark.slow(4)
def test_logits_are_invariant_and_features_equivariant_under_any_rotation_and_mirror(clouds):
    model = models.VNDGCNN(**TINY)
    variables = drawn(model, clouds)
    run = jax.jit(lambda x: (model.apply(variables, x), model.apply(variables, x, features=True)))
    y, maps = run(clouds)
    assert [m.shape for m in maps] == [(2, 12, c, 3) for c in TINY["widths"]]
    assert np.std(y) > 1e-2
    assert {round(float(np.linalg.det(g))) for g in elements()} == {1, -1}
    for g in elements():
        moved, others = run(clouds @ g.T)
        np.testing.assert_allclose(moved, y, atol=1e-5 * np.abs(y).max())
        for a, b in zip(maps, others, strict=True):
            np.testing.assert_allclose(b, a @ g.T, atol=1e-5 * np.abs(a).max())
    order = np.random.default_rng(3).permutation(12)
    np.testing.assert_allclose(run(clouds[:, order])[0], y, atol=1e-5 * np.abs(y).max())


@pytest.mark.slow
def test_an_edge_convolution_is_the_mean_over_neighbors_in_all_its_vectors(clouds):
    """Of one point, at the second edge convolution, by hand."""
    model = models.VNDGCNN(**TINY)
    variables = drawn(model, clouds)
    first, second, _ = model.apply(variables, clouds, features=True)
    own = {kind: variables[kind]["edge1"] for kind in variables}
    i = 7
    flat = np.asarray(first)[0].reshape(12, -1)
    others = np.argsort(np.linalg.norm(flat - flat[i], axis=1))[1:5]
    v = np.asarray(first)[0]
    edges = np.stack([np.concatenate([v[j] - v[i], v[i]]) for j in others])
    found = VectorBlock(TINY["widths"][1]).apply(own, edges, False).mean(0)
    np.testing.assert_allclose(found, second[0, i], atol=1e-5)


def test_the_graph_of_later_stages_is_not_that_of_the_points():
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((2, 1, 9, 1, 3)).astype(np.float32)
    near, far = (nearest(jnp.asarray(a).reshape(1, 9, 3), 3) for a in (x, v))
    assert not np.array_equal(near, far)
    assert edge_vectors(jnp.asarray(x), 3).shape == (1, 9, 3, 2, 3)


@pytest.mark.slow(4)
def test_the_strict_plan_of_a_free_network_is_invariant(clouds):
    model = models.VNDGCNN(**TINY, free=True)
    variables = drawn(model, clouds)
    plan = sq.plan(variables["params"], models.soft_rules(model, O3))
    covered = {
        p.removesuffix("/kernel") for p, c in zip(plan.paths, plan.chosen, strict=True) if c >= 0
    }
    assert covered == set(model.relaxed_representations(O3))
    run = jax.jit(lambda p, x: model.apply({**variables, "params": p}, x))
    g = elements()[0]
    free, strict = variables["params"], plan.project(variables["params"])
    assert np.abs(run(free, clouds @ g.T) - run(free, clouds)).max() > 1e-2
    np.testing.assert_allclose(run(strict, clouds @ g.T), run(strict, clouds), atol=1e-4)


def test_representations_have_the_shapes_of_the_kernels(clouds):
    for model in (models.VNDGCNN(**TINY, free=True), models.VNPointNet(**TINY, free=True)):
        params = jax.eval_shape(model.init, jax.random.key(0), clouds)["params"]
        for path, (source, target) in model.relaxed_representations(sq.groups.so(3)).items():
            kernel = params
            for name in path.split("/"):
                kernel = kernel[name]
            assert kernel["kernel"].shape == (source.dim, target.dim), path


def test_fewer_points_than_neighbors_are_refused(clouds):
    with pytest.raises(ValueError, match="neighbors must be in 1 .. 3 for 4 points, got 4"):
        models.VNDGCNN(**TINY).init(jax.random.key(0), clouds[:, :4])
    with pytest.raises(ValueError, match="this VNDGCNN is strict already"):
        models.soft_rules(models.VNDGCNN(**TINY), O3)
