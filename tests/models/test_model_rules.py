"""Rules of soft equivariance for each family: what is filtered, what is not, and what it gives."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import models

C4 = sq.groups.cyclic(4)
SEGFORMER = models.SegFormer(
    widths=(4, 8), depths=(1, 1), heads=(1, 2), reductions=(2, 1), patch_sizes=(7, 3),
    strides=(4, 2), mlp_ratios=(2, 2), num_classes=3,
)  # fmt: skip


def made(model, side, seed=0):
    """(images, variables), all of them random."""
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.standard_normal((2, side, side, 3)), jnp.float32)

    def drawn(path, leaf):
        z = rng.standard_normal(leaf.shape).astype(np.float32)
        if leaf.ndim > 1:
            return z / np.sqrt(max(leaf.size // leaf.shape[-1], 1)).astype(np.float32)
        return 1 + 0.1 * abs(z) if path[-1].key in ("scale", "var") else 0.1 * z

    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(1), x), x)
    return x, jax.tree_util.tree_map_with_path(drawn, shapes)


def filtered(model, side, group=C4, **dials):
    """Paths that a plan filters."""
    x = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    params = jax.eval_shape(lambda x: model.init(jax.random.key(1), x), x)["params"]
    plan = sq.plan(params, models.soft_rules(model, group, **dials))
    return {path for path, index in zip(plan.paths, plan.chosen, strict=True) if index >= 0}


def test_vision_transformers_filter_patches_and_positions_only():
    for model in (
        models.ViT(12, 4, 8, 1, 2, registers=2),
        models.DINOv2(8, 1, 2, image_size=12, patch_size=4, registers=2),
    ):
        assert filtered(model, 12) == {"patch_embed/kernel", "pos_embed"}


@pytest.mark.slow
def test_convolutional_networks_filter_windows_only():
    model = models.ResNet((1, 1, 1, 1), width=4, num_classes=3)
    body = {f"stage{s}_block0/conv2/kernel" for s in range(1, 5)}
    assert filtered(model, 17, softness=0.8) == {"conv1/kernel"} | body
    assert filtered(model, 17, softness=0.81) == {"conv1/kernel"}
    basic = models.ResNet((1, 1, 1, 1), bottleneck=False, width=4, num_classes=3)
    assert len(filtered(basic, 17)) == 9
    assert len(filtered(models.CifarResNet(8, 3, 4), 9, softness=0.9)) == 7
    expected = {
        "stage1_patch_embed/kernel", "stage2_patch_embed/kernel",
        "stage1_block0/attention/reduce/kernel",
        "stage1_block0/mlp_conv/kernel", "stage2_block0/mlp_conv/kernel",
    }  # fmt: skip
    assert filtered(SEGFORMER, 17, softness=0.9) == expected
    assert filtered(SEGFORMER, 17, softness=0.95) == {"stage1_patch_embed/kernel"}
    segmenter = models.segmenter(SEGFORMER, 3)
    assert filtered(segmenter, 17) == {f"backbone/{path}" for path in expected}


def test_mixers_filter_token_mixing_on_its_token_axis():
    model = models.MLPMixer(12, 4, 8, 1, 6, 16, num_classes=3)
    mixing = {f"block0/token_{name}" for name in ("in/kernel", "out/kernel", "out/bias")}
    assert filtered(model, 12) == {"patch_embed/kernel"} | mixing


@pytest.mark.slow(6)
@pytest.mark.parametrize(
    ("model", "side"),
    [
        (models.ViT(12, 4, 16, 2, 2, pool="mean", num_classes=5), 12),
        (models.ViT(12, 4, 16, 2, 2, pool="cls", registers=2, num_classes=5), 12),
        (models.ViT(12, 4, 16, 2, 2, num_classes=5, interpolate=True), 20),
        (models.DINOv2(16, 2, 2, image_size=20, patch_size=4, num_classes=5), 12),
        (models.DINOv2(16, 2, 2, image_size=12, patch_size=4, registers=1, num_classes=5), 24),
        (models.MLPMixer(12, 4, 16, 2, 6, 16, num_classes=5), 12),
        (models.ResNet((1, 1, 1, 1), width=4, num_classes=3), 33),
        (models.CifarResNet(8, 3, 4), 9),
        (models.EfficientNetLite((4,) * 7, (1,) * 7, stem=4, width=8, num_classes=3), 33),
        (SEGFORMER.clone(reductions=(1, 1)), 25),  # on odd maps a reduction by 2 cuts a side off
    ],
    ids=["vit-mean", "vit-cls", "vit-resized", "dinov2", "dinov2-reg", "mixer", "resnet", "cifar",
         "lite", "segformer"],
)  # fmt: skip
def test_strict_networks_are_invariant_where_the_lattice_allows_it(model, side):
    x, variables = made(model, side)
    plan = sq.plan(variables["params"], models.soft_rules(model, C4, softness=0.0))
    apply = jax.jit(lambda params, x: model.apply({**variables, "params": params}, x))
    soft = plan.project(variables["params"])
    scale = float(jnp.abs(apply(soft, x)).max())
    for turns in (1, 2, 3):
        moved = jnp.rot90(x, turns, axes=(1, 2))
        np.testing.assert_allclose(apply(soft, moved), apply(soft, x), atol=2e-5 * scale)
    raw = apply(variables["params"], jnp.rot90(x, axes=(1, 2))) - apply(variables["params"], x)
    assert float(jnp.abs(raw).max()) > 1e-2 * scale


def test_strict_segmentation_commutes_with_quarter_turns():
    model = models.segmenter(models.ViT(12, 4, 16, 2, 2, pool="mean"), 3)
    x, variables = made(model, 12)
    soft = sq.plan(variables["params"], models.soft_rules(model, C4)).project(variables["params"])
    apply = jax.jit(lambda x: model.apply({"params": soft}, x))
    moved = apply(jnp.rot90(x, axes=(1, 2)))
    np.testing.assert_allclose(moved, jnp.rot90(apply(x), axes=(1, 2)), atol=1e-5)


def test_the_table_is_filtered_as_stored_and_resized_after():
    model = models.DINOv2(8, 1, 2, image_size=20, patch_size=4)
    _, variables = made(model, 12)
    plan = sq.plan(variables["params"], models.soft_rules(model, C4))
    table = plan.project(variables["params"])["pos_embed"]
    assert table.shape == (1, 26, 8)
    np.testing.assert_array_equal(table[:, :1], variables["params"]["pos_embed"][:, :1])
    grid = table[0, 1:].reshape(5, 5, 8)
    np.testing.assert_allclose(jnp.rot90(grid), grid, atol=1e-6)
    small = models.resize_positions(table, 1, (3, 3))[0, 1:].reshape(3, 3, 8)
    np.testing.assert_allclose(jnp.rot90(small), small, atol=1e-6)


def test_two_dials():
    model = models.ViT(12, 4, 8, 1, 2)
    _, variables = made(model, 12)

    def dials(**given):
        plan = sq.plan(variables["params"], models.soft_rules(model, C4, **given))
        return {path: p.softness for path, p, _ in plan.planned(variables["params"])}

    both = dials(softness=1.0, position_softness=0.0)
    assert (both["patch_embed/kernel"], both["pos_embed"]) == (1.0, 0.0)
    both = dials(cutoff=0.0, position_softness=1.0)
    assert (both["patch_embed/kernel"], both["pos_embed"]) == (0.0, 1.0)
    assert dials(softness=1.0) == {"patch_embed/kernel": 1.0, "pos_embed": 1.0}
    assert dials() == {"patch_embed/kernel": 0.0, "pos_embed": 0.0}
    plan = sq.plan(variables["params"], models.soft_rules(model, C4, softness=0.5, mask="heat"))
    assert {p.mask for p in plan.projectors} == {"heat"}


def test_a_softness_is_met_by_heat_unless_a_mask_is_named():
    model = models.CifarResNet(8, 3, 4)
    _, variables = made(model, 9)
    group = sq.groups.dihedral(4)

    def made_by(**dials):
        plan = sq.plan(variables["params"], models.soft_rules(model, group, **dials))
        return {(p.mask, round(p.softness, 9)) for p in plan.projectors}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for softness in (0.02, 0.1, 0.5, 0.9):
            assert made_by(softness=softness) == {("heat", softness)}
        assert made_by(softness=0.5, mask="resolvent") == {("resolvent", 0.5)}
        assert made_by(cutoff=1.0) == {("hard", round(2 / 3, 9))}
        for ends in (0.0, 1.0):  # which every mask meets: projectors still
            assert made_by(softness=ends) == {("hard", ends)}
    with pytest.warns(UserWarning, match=r"softness=0.5 is missed: 0.6667 is kept"):
        assert made_by(softness=0.5, mask="hard") == {("hard", round(2 / 3, 9))}


def test_each_table_has_the_mask_of_its_own_dial():
    model = models.ViT(12, 4, 8, 1, 2)
    _, variables = made(model, 12)
    rules = models.soft_rules(model, sq.groups.so(2), cutoff=1.0, position_softness=0.5)
    plan = sq.plan(variables["params"], rules)
    assert [p.mask for _, p, _ in plan.planned(variables["params"])] == ["hard", "heat"]


@pytest.mark.parametrize(
    ("model", "size"), [(models.ResNet((1, 1, 1, 1), width=4, num_classes=3), 17), (SEGFORMER, 17)]
)
def test_small_windows_that_are_left_alone_are_named(model, size):
    _, variables = made(model, size)
    rules = models.soft_rules(model, C4, softness=0.95)
    with pytest.warns(
        UserWarning, match="windows up to 3 x 3 are left alone above softness 0.[89]"
    ):
        plan = sq.plan(variables["params"], rules)
    strict = sq.plan(variables["params"], models.soft_rules(model, C4))
    filtered = {path for path, _, _ in strict.planned(variables["params"])}
    still = {path for path, _, _ in plan.planned(variables["params"])}
    assert {path for path, _ in plan.reasons} == filtered - still != set()


@pytest.mark.parametrize("softness", [0.5, 0.95])
def test_the_smallest_window_is_chosen(softness):
    """At every softness, in the place of the family's own choice, and in silence."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        large = filtered(SEGFORMER, 17, softness=softness, min_window=5)
        every = filtered(SEGFORMER, 17, softness=softness, min_window=2)
    assert large == {"stage1_patch_embed/kernel"}
    assert every == filtered(SEGFORMER, 17)
    resnet = models.ResNet((1, 1, 1, 1), width=4, num_classes=3)
    assert filtered(resnet, 17, softness=softness, min_window=4) == {"conv1/kernel"}
    with pytest.raises(ValueError, match="min_window must be"):
        models.soft_rules(SEGFORMER, C4, min_window=1)
    tensors = models.TensorMLP.o5(4, 1, project=False)
    with pytest.raises(ValueError, match="TensorMLP has no kernels with a window"):
        models.soft_rules(tensors, tensors.group, min_window=5)


def test_patches_alone_and_positions_alone():
    model = models.ViT(12, 4, 8, 1, 2)
    _, variables = made(model, 12)
    params = variables["params"]
    before = sq.plan(params, models.soft_rules(model, C4)).certificate(params).parts
    for kept, moved in (("patch_embed/kernel", "pos_embed"), ("pos_embed", "patch_embed/kernel")):
        dials = {"patch_embed/kernel": 1.0, "pos_embed": 1.0, moved: 0.0}
        rules = models.soft_rules(
            model,
            C4,
            softness=dials["patch_embed/kernel"],
            position_softness=dials["pos_embed"],
        )
        plan = sq.plan(params, rules)
        after = plan.certificate(plan.project(params)).parts
        assert after[moved].bound < 1e-5 * before[moved].bound
        assert after[kept].bound == pytest.approx(before[kept].bound, rel=1e-5)


@pytest.mark.parametrize("dial", ["position_softness", "position_cutoff"])
def test_position_dials_are_for_models_with_positions(dial):
    for model in (models.ResNet((1, 1, 1, 1), width=4, num_classes=3), SEGFORMER):
        with pytest.raises(ValueError, match=f"{type(model).__name__} has no position table"):
            models.soft_rules(model, C4, **{dial: 0.5})


def test_softness_one_changes_nothing():
    model = models.ResNet((1, 1, 1, 1), width=4, num_classes=3)
    _, variables = made(model, 17)
    plan = sq.plan(variables["params"], models.soft_rules(model, sq.groups.so(2), softness=1.0))
    for a, b in zip(
        jax.tree.leaves(plan.project(variables["params"])),
        jax.tree.leaves(variables["params"]),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_bad_input():
    model = models.ViT(12, 4, 8, 1, 2)
    with pytest.raises(ValueError, match="not both: got 0.5 and 1.0"):
        models.soft_rules(model, C4, softness=0.5, cutoff=1.0)
    with pytest.raises(ValueError, match="not both"):
        models.soft_rules(model, C4, position_softness=0.5, position_cutoff=1.0)
    with pytest.raises(ValueError, match="softness"):
        models.soft_rules(model, C4, softness=1.5)
    with pytest.raises(ValueError, match="mask='heat' needs a dial"):
        models.soft_rules(model, C4, mask="heat")
    with pytest.raises(ValueError, match="mask"):
        models.soft_rules(model, C4, softness=0.5, mask="boxcar")
    with pytest.raises(TypeError, match="LinearHead has no soft_rules"):
        models.soft_rules(models.LinearHead(3), C4)
    with pytest.raises((ValueError, TypeError), match=r"SO\(3\)|planar"):
        models.soft_rules(model, sq.groups.so(3))
