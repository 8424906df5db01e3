"""VNPointNet: invariance of logits, equivariance of features, rules for every free kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax.models import VNPointNet
from softeq_jax.models.rules import ModelDials
from softeq_jax.models.vector_cloud import VectorBlock, edge_vectors, nearest

SO3, O3 = sq.groups.so(3), sq.groups.o(3)
TINY = {"num_classes": 4, "widths": (3, 4, 5), "neighbors": 4, "hidden": (8, 6)}


def clouds(n=2, p=12, seed=0):
    return np.random.default_rng(seed).standard_normal((n, p, 3)).astype(np.float32)


def shapes_of(model, n=2, p=12):
    x = jax.ShapeDtypeStruct((n, p, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), x)


def random_variables(model, seed=0):
    """Random parameters, and statistics of a trained network: positive variances."""
    rng = np.random.default_rng(seed)
    shapes = shapes_of(model)
    params = jax.tree.map(
        lambda s: (rng.standard_normal(s.shape) / np.sqrt(s.shape[0])).astype(np.float32),
        shapes["params"],
    )
    stats = jax.tree.map(
        lambda s: rng.uniform(0.5, 1.5, s.shape).astype(np.float32), shapes["batch_stats"]
    )
    return {"params": params, "batch_stats": stats}


def rotation(seed=1, group=SO3):
    return np.asarray(group.sample(jax.random.key(seed), 1)[0])


@pytest.mark.slow
@pytest.mark.parametrize("cross", [True, False])
def test_logits_are_invariant_and_features_equivariant(cross):
    model = VNPointNet(**TINY, cross=cross)
    variables, x, g = random_variables(model), clouds(), rotation()

    @jax.jit
    def run(x):
        return model.apply(variables, x), model.apply(variables, x, features=True)

    (y, maps), (same, moved) = run(x), run(x @ g.T)
    assert y.shape == (2, 4)
    assert np.std(y) > 1e-2
    np.testing.assert_allclose(same, y, atol=1e-5 * np.abs(y).max())
    assert [a.shape for a in maps] == [(2, 12, c, 3) for c in TINY["widths"]]
    for a, b in zip(maps, moved, strict=True):
        np.testing.assert_allclose(b, a @ g.T, atol=1e-5 * np.abs(a).max())
    mirrored, _ = run(x * np.float32([-1, 1, 1]))
    difference = np.abs(mirrored - y).max()
    assert difference > 1e-3 if cross else difference < 1e-4


def test_logits_do_not_depend_on_the_order_of_points():
    model = VNPointNet(**TINY)
    variables, x = random_variables(model), clouds()
    run = jax.jit(lambda x: model.apply(variables, x))
    order = np.random.default_rng(3).permutation(x.shape[1])
    np.testing.assert_allclose(run(x[:, order]), run(x), atol=1e-5)


@pytest.mark.slow
def test_training_statistics_are_those_of_the_batch_and_invariant():
    model = VNPointNet(**TINY)
    variables, x, g = random_variables(model), clouds(4), rotation()

    @jax.jit
    def run(x):
        return model.apply(variables, x, True, mutable=["batch_stats"])

    (y, updates), (same, again) = run(x), run(x @ g.T)
    np.testing.assert_allclose(same, y, atol=1e-3)
    before, after = (jax.tree.leaves(t["batch_stats"]) for t in (variables, updates))
    assert all(np.abs(a - b).max() > 1e-4 for a, b in zip(before, after, strict=True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), updates, again)
    evaluated = jax.jit(lambda x: model.apply(variables, x))(x)
    assert np.abs(evaluated - y).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(("cross", "group"), [(True, SO3), (False, O3)])
def test_the_strict_plan_of_a_free_network_is_invariant(cross, group):
    model = VNPointNet(**TINY, cross=cross, free=True)
    variables, x, g = random_variables(model), clouds(), rotation(2, group)
    plan = sq.plan(variables["params"], model.soft_rules(group, ModelDials()))
    run = jax.jit(lambda p, x: model.apply({**variables, "params": p}, x))
    free = variables["params"]
    assert np.abs(run(free, x @ g.T) - run(free, x)).max() > 1e-2
    strict = jax.tree.map(np.float32, plan.project(jax.tree.map(np.float64, free)))
    np.testing.assert_allclose(run(strict, x @ g.T), run(strict, x), atol=1e-4)


def test_rules_cover_every_kernel_on_vectors_and_nothing_else():
    model = VNPointNet(**TINY, free=True)
    params = shapes_of(model)["params"]
    plan = sq.plan(params, model.soft_rules(SO3, ModelDials({"softness": 0.2})))
    of_strict = jax.tree_util.tree_leaves_with_path(
        shapes_of(VNPointNet(**TINY))["params"], is_leaf=lambda s: hasattr(s, "shape")
    )
    for (_, strict), path, shape, chosen in zip(
        of_strict, plan.paths, plan.shapes, plan.chosen, strict=True
    ):
        is_free = shape != strict.shape
        assert (chosen >= 0) == is_free, path
        if is_free:
            assert shape == (3 * strict.shape[0], 3 * strict.shape[1])
    # feature and direction maps of five blocks, and the frame
    assert sum(chosen >= 0 for chosen in plan.chosen) == 11


@pytest.mark.slow
def test_a_free_block_starts_as_the_strict_one():
    v, key = clouds(2, 5), jax.random.key(0)
    y, strict = jax.jit(lambda v: VectorBlock(4).init_with_output(key, v, False))(v)
    same, free = jax.jit(lambda v: VectorBlock(4, free=True).init_with_output(key, v, False))(v)
    assert np.std(y) > 0.1
    np.testing.assert_allclose(same, y, atol=1e-5)
    kernels = strict["params"]["dense"]["kernel"], free["params"]["dense"]["kernel"]
    np.testing.assert_allclose(kernels[1], np.kron(kernels[0], np.eye(3)), atol=1e-7)


@pytest.mark.slow
def test_gradients_reach_every_parameter_that_matters():
    model = VNPointNet(**TINY)
    variables, x = random_variables(model), clouds(4)

    @jax.jit
    @jax.grad
    def gradient(params):
        y, _ = model.apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y))

    grads = gradient(variables["params"])
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        if path[-1].key == "kernel":
            assert np.abs(leaf).max() > 1e-6, path


def test_neighbors_are_the_nearest_others():
    x = clouds(2, 9)
    index = np.asarray(nearest(jnp.asarray(x), 3))
    distance = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)
    np.testing.assert_array_equal(index, np.argsort(distance, axis=-1)[..., 1:4])


@pytest.mark.slow
def test_edges_hold_difference_center_and_cross_product():
    x = clouds(1, 5)
    edges = np.asarray(edge_vectors(jnp.asarray(x)[:, :, None], 2, cross=True))
    j = np.asarray(nearest(jnp.asarray(x), 2))[0, 3, 1]
    expected = [x[0, j] - x[0, 3], x[0, 3], np.cross(x[0, j], x[0, 3])]
    np.testing.assert_allclose(edges[0, 3, 1], expected, atol=1e-6)
    assert edge_vectors(jnp.asarray(x)[:, :, None], 2).shape == (1, 5, 2, 2, 3)


def test_without_classes_the_pooled_invariants():
    model = VNPointNet(**{**TINY, "num_classes": 0})
    x = jax.ShapeDtypeStruct((2, 12, 3), jnp.float32)
    y, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    assert y.shape == (2, 6 * TINY["widths"][-1])
    assert not {"mlp1", "head"} & set(variables["params"])


@pytest.mark.parametrize(
    ("changes", "shape", "words"),
    [
        ({}, (2, 12, 2), r"points must be \[n, p, 3\], got shape \(2, 12, 2\)"),
        ({}, (2, 4, 3), "neighbors must be in 1 .. 3 for 4 points, got 4"),
        ({"widths": (3,)}, (2, 12, 3), "widths must be two or more"),
    ],
)
def test_bad_input(changes, shape, words):
    with pytest.raises(ValueError, match=words):
        VNPointNet(**{**TINY, **changes}).init(jax.random.key(0), jnp.zeros(shape))


def test_rules_need_free_kernels_and_a_group_that_fits_the_inputs():
    with pytest.raises(ValueError, match="strict already.*free=True"):
        VNPointNet(**TINY).soft_rules(SO3, ModelDials())
    with pytest.raises(ValueError, match=r"needs SO\(3\), got O\(3\)"):
        VNPointNet(**TINY, free=True).soft_rules(O3, ModelDials())
    with pytest.raises(ValueError, match=r"needs SO\(3\) or O\(3\), got SO\(2\)"):
        VNPointNet(**TINY, free=True, cross=False).soft_rules(sq.groups.so(2), ModelDials())
