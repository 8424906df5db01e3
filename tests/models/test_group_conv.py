"""GroupConvNet: feature maps that turn with the image, invariant logits, its plan."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax.models.group_conv import GroupConv, GroupConvNet, kernel_projector, shrink
from softeq_jax.models.rules import ModelDials

G, R = sq.groups, sq.reps
C4, D4 = G.cyclic(4), G.dihedral(4)


def images(side, n=2, channels=2):
    return np.random.default_rng(0).standard_normal((n, side, side, channels)).astype(np.float32)


def random_variables(model, channels=2, seed=0, dtype=np.float32):
    """Random parameters, large enough for what projections leave, and plausible statistics."""
    x = jax.ShapeDtypeStruct((1, 12, 12, channels), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    rng = np.random.default_rng(seed)

    def draw(path, s):
        name = path[-1].key
        if name == "kernel":
            return rng.standard_normal(s.shape) * np.sqrt(12 / np.prod(s.shape[:-1]))
        spread = rng.uniform(-0.2, 0.2, s.shape)
        return spread + (name in ("scale", "var"))

    drawn = jax.tree_util.tree_map_with_path(draw, shapes)
    return jax.tree.map(dtype, drawn)


def turned(group, g, array, channels=None):
    """The element applied to the grid of maps [n, s, s, c], and to their channels."""
    grid = R.image(group, array.shape[1:3]).apply(g, array, axes=(1, 2))
    return grid if channels is None else channels.apply(g, grid, axes=(3,))


@pytest.mark.slow
@pytest.mark.parametrize(("group", "side"), [(C4, 12), (D4, 12), (D4, 13)])
def test_maps_turn_with_the_image_and_logits_do_not_change(group, side):
    model = GroupConvNet(group, (2, 3, 2), num_classes=5)
    variables, x = random_variables(model, dtype=np.float64), images(side)
    run = jax.jit(lambda x: (model.apply(variables, x), model.apply(variables, x, features=True)))
    y, maps = run(x)
    sides = (side, 6, 3)
    assert [a.shape[1:] for a in maps] == [
        (s, s, w * group.order) for s, w in zip(sides, model.widths, strict=True)
    ]
    assert np.std(y) > 1e-2
    for g in group.discrete_generators:
        same, moved = run(turned(group, g, x))
        np.testing.assert_allclose(same, y, atol=2e-6 * np.abs(y).max())
        for stage, (a, b) in enumerate(zip(maps, moved, strict=True)):
            expected = turned(group, g, np.asarray(a), model.rep(stage))
            assert np.abs(a).max() > 0.1
            np.testing.assert_allclose(b, expected, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("group", [G.dihedral(1), G.dihedral(2)])
def test_mirrors_of_rectangular_images(group):
    model = GroupConvNet(group, (2, 2), num_classes=3)
    variables = random_variables(model)
    x = np.random.default_rng(0).standard_normal((2, 8, 5, 2)).astype(np.float32)
    y = model.apply(variables, x)
    assert np.std(y) > 1e-2
    for g in group.discrete_generators:
        np.testing.assert_allclose(model.apply(variables, turned(group, g, x)), y, atol=1e-5)


def test_the_same_in_training_with_statistics_shared_over_the_group():
    model = GroupConvNet(C4, (2, 2), num_classes=3)
    variables, x = random_variables(model), images(8, 3)

    @jax.jit
    def run(x):
        return model.apply(variables, x, True, mutable=["batch_stats"])

    (y, updates), (same, again) = run(x), run(np.rot90(x, axes=(1, 2)))
    np.testing.assert_allclose(same, y, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), updates, again)
    assert updates["batch_stats"]["bn0"]["mean"].shape == (2,)
    before = variables["batch_stats"]["bn3"]["var"]
    assert np.abs(updates["batch_stats"]["bn3"]["var"] - before).min() > 1e-4


def test_free_kernels_break_the_symmetry_and_the_strict_plan_restores_it():
    strict, free = (GroupConvNet(C4, (2, 2), 3, project=p) for p in (True, False))
    variables, x = random_variables(strict), images(8)
    plan = sq.plan(variables["params"], free.soft_rules(C4, ModelDials()))
    projected = plan.project(jax.tree.map(np.float64, variables["params"]))
    projected = {**variables, "params": jax.tree.map(np.float32, projected)}
    run = jax.jit(free.apply)
    y = jax.jit(strict.apply)(variables, x)
    np.testing.assert_allclose(run(projected, x), y, atol=1e-5)
    raw = run(variables, x)
    assert np.abs(raw - y).max() > 1e-2
    assert np.abs(run(variables, np.rot90(x, axes=(1, 2))) - raw).max() > 1e-2
    filtered = {path for path, _, _ in plan.planned(variables["params"])}
    assert filtered == {f"conv{i}/kernel" for i in range(4)}


@pytest.mark.slow
def test_a_free_network_starts_equivariant_with_the_variance_kept():
    layer = GroupConv(D4, 3, 4, project=False)
    x = np.random.default_rng(1).standard_normal((4, 9, 9, 24)).astype(np.float32)
    kernel = jax.jit(layer.init)(jax.random.key(0), x)["params"]["kernel"]
    kernel = np.float64(kernel)
    np.testing.assert_allclose(kernel_projector(D4, 3, 3, 4)(kernel), kernel, atol=1e-6)
    # for white inputs a variance of 2, of which ReLU leaves a mean square of 1
    assert 1.4 < np.mean(np.sum(kernel**2, axis=(0, 1, 2))) < 2.8
    lifting = GroupConv(D4, None, 16)
    kernel = jax.jit(lifting.init)(jax.random.key(0), x)["params"]["kernel"]
    assert 1.4 < np.mean(np.sum(np.square(kernel), axis=(0, 1, 2))) < 2.8


@pytest.mark.parametrize("n", [3, 8])
def test_other_groups_have_equivariant_kernels_and_the_layer_turns_approximately(n):
    group = G.cyclic(n)
    space = {"h w": R.image(group, (3, 3)), "i": R.regular(group), "o": R.regular(group)}
    kernel = np.random.default_rng(0).standard_normal((3, 3, n, n))
    kernel = kernel_projector(group, 3, 1, 1)(kernel)
    g = group.discrete_generators[0]
    moved = space["h w"].apply(g, kernel, axes=(0, 1))
    for axis, name in ((2, "i"), (3, "o")):
        moved = space[name].apply(g, moved, axes=(axis,))
    np.testing.assert_allclose(moved, kernel, atol=1e-12)

    side, errors = 21, {True: [], False: []}
    y, x = np.mgrid[:side, :side] - side // 2
    bumps = np.exp(-((x - 2) ** 2 + (y + 1) ** 2) / 8) - 0.5 * np.exp(-((x + 3) ** 2 + y**2) / 8)
    image = bumps[None, :, :, None].astype(np.float32)
    for seed, project in itertools.product(range(3), errors):
        weights = np.random.default_rng(seed).standard_normal((3, 3, 1, 2 * n))
        layer = GroupConv(group, None, 2, project=project)

        def run(x, layer=layer, weights=weights):
            return np.asarray(layer.apply({"params": {"kernel": weights}}, x))

        expected = turned(group, g, run(image), 2 * R.regular(group))
        error = np.linalg.norm(run(turned(group, g, image)) - expected)
        errors[project].append(error / np.linalg.norm(expected))
    strict, free = (np.mean(errors[project]) for project in (True, False))
    assert 1e-2 < strict < 0.35 * free


def test_quarter_turns_of_c8_are_exact_all_the_same():
    group = G.cyclic(8)
    model = GroupConvNet(group, (2, 2), 3)
    variables, x = random_variables(model), images(8)
    run = jax.jit(lambda x: model.apply(variables, x))
    np.testing.assert_allclose(run(np.rot90(x, axes=(1, 2))), run(x), atol=1e-5)


@pytest.mark.parametrize("side", [2, 3, 6, 7])
def test_shrinking_keeps_all_symmetries_of_the_square(side):
    x = images(side)
    y = shrink(x)
    assert y.shape == (2, side // 2, side // 2, 2)
    for g in D4.discrete_generators:
        moved = shrink(np.ascontiguousarray(turned(D4, g, x)))
        np.testing.assert_allclose(moved, turned(D4, g, np.asarray(y)), atol=1e-6)
    np.testing.assert_allclose(shrink(np.ones((1, side, side, 1), np.float32)), 1.0, rtol=1e-6)


@pytest.mark.slow
def test_gradients_reach_every_parameter():
    model = GroupConvNet(C4, (2, 2), 3)
    variables, x = random_variables(model), images(6, 4)

    @jax.jit
    @jax.grad
    def gradient(params):
        y, _ = model.apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y))

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables["params"])):
        assert np.all(np.isfinite(leaf)), path
        assert np.abs(leaf).max() > 1e-6, path


def test_soft_rules_take_the_dials():
    model = GroupConvNet(C4, (2,), 3, project=False)
    soft = model.soft_rules(C4, ModelDials({"softness": 0.5}))
    strict = model.soft_rules(C4, ModelDials())
    for name in ("conv0/kernel", "conv1/kernel"):
        assert strict[name].rank() < soft[name].rank() < soft[name].dim
    whole = model.soft_rules(C4, ModelDials({"softness": 1.0}))["conv1/kernel"]
    assert whole.rank() == whole.dim


def test_without_classes_the_pooled_features():
    model = GroupConvNet(C4, (2, 5), num_classes=0)
    x = jax.ShapeDtypeStruct((3, 8, 8, 1), jnp.float32)
    y, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    assert y.shape == (3, 5)
    assert "head" not in variables["params"]


@pytest.mark.parametrize(
    ("group", "widths", "shape", "words"),
    [
        (C4, (2,), (2, 8, 6, 1), r"\[n, s, s, c\], square, got shape \(2, 8, 6, 1\)"),
        (C4, (), (2, 8, 8, 1), r"widths must be positive integers, got \(\)"),
        (C4, (2, 2, 2), (1, 2, 2, 1), "side 1 cannot be halved"),
        (G.so(2), (2,), (2, 8, 8, 1), r"needs C_n or D_n, got SO\(2\)"),
    ],
)
def test_bad_input(group, widths, shape, words):
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(
            GroupConvNet(group, widths).init,
            jax.random.key(0),
            jax.ShapeDtypeStruct(shape, jnp.float32),
        )


def test_rules_need_free_kernels_and_the_own_group():
    with pytest.raises(ValueError, match="strict already.*project=False"):
        GroupConvNet(C4).soft_rules(C4, ModelDials())
    with pytest.raises(ValueError, match="functions on C4, got D4"):
        GroupConvNet(C4, project=False).soft_rules(D4, ModelDials())
