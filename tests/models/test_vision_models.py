"""The vision families: shapes, features, sizes that are published, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import measures, models

SMALL = {
    "vit": models.ViT(16, 4, 16, 2, 2, num_classes=5, registers=2),
    "vit-mean": models.ViT(16, 4, 16, 2, 2, num_classes=5, pool="mean", norm_after_pool=True),
    "dinov2": models.DINOv2(16, 2, 2, image_size=16, patch_size=4, num_classes=5),
    "resnet-basic": models.ResNet((1, 1, 1, 1), bottleneck=False, width=4, num_classes=5),
    "resnet": models.ResNet((1, 1, 1, 1), width=4, num_classes=5),
    "cifar": models.CifarResNet(8, 5, 4),
    "mixer": models.MLPMixer(16, 4, 16, 2, 8, 32, num_classes=5),
    "segformer": models.SegFormer(
        widths=(4, 8), depths=(1, 1), heads=(1, 2), reductions=(2, 1), patch_sizes=(7, 3),
        strides=(4, 2), mlp_ratios=(2, 2), num_classes=5,
    ),
    "lite": models.EfficientNetLite((4,) * 7, (1,) * 7, stem=4, width=8, num_classes=5),
}  # fmt: skip
X = jax.ShapeDtypeStruct((3, 16, 16, 3), jnp.float32)


def shapes(model, x=X, **options):
    """(variables, output) of a model, as shapes."""
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, **options), x)
    return variables, jax.eval_shape(lambda v, x: model.apply(v, x, **options), variables, x)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_family_is_called_alike(name):
    model = SMALL[name]
    variables, logits = shapes(model)
    assert logits.shape == (3, 5)
    maps = shapes(model, features=True)[1]
    assert all(m.ndim == 4 and m.shape[0] == 3 for m in maps)
    assert [m.shape[1] for m in maps] == sorted((m.shape[1] for m in maps), reverse=True)
    headless, pooled = shapes(model.clone(num_classes=0))
    assert pooled.shape == (3, maps[-1].shape[-1])
    assert set(variables["params"]) - set(headless["params"]) <= {"head", "linear"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["segformer", "lite"])
def test_shifted_maps_change_no_values(name):
    x = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
    variables = SMALL[name].init(jax.random.key(0), x)
    found, wanted = (SMALL[name].clone(shifts=s).apply(variables, x) for s in (True, False))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "millions"),
    [  # those of the published models
        ("vit_ti16", 5.717), ("vit_s16", 22.05), ("vit_b16", 86.57), ("vit_l16", 304.3),
        ("dinov2_s14", 22.06), ("dinov2_b14_reg4", 86.58), ("resnet18", 11.69),
        ("resnet34", 21.80), ("resnet50", 25.56), ("resnet101", 44.55), ("resnet152", 60.19),
        ("mixer_s32", 19.10), ("mixer_b16", 59.88), ("mixer_l16", 208.2),
        ("cifar_resnet20", 0.2697), ("efficientnet_lite1", 5.417), ("efficientnet_lite3", 8.197),
        ("efficientnet_lite4", 13.007),
    ],
)  # fmt: skip
def test_presets_have_the_published_number_of_parameters(name, millions):
    model = models.create(name)
    side = 32 if name.startswith("cifar") else 224
    variables, _ = shapes(model, jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count / 1e6 == pytest.approx(millions, rel=5e-4)


def test_all_presets_can_be_made_and_changed():
    assert all(models.create(name) is not None for name in models.PRESETS)
    assert models.create("vit_ti16", num_classes=7).num_classes == 7
    with pytest.raises(ValueError, match="unknown model 'vit_x16'; there are vit_ti16"):
        models.create("vit_x16")
    with pytest.raises(TypeError, match="colour"):
        models.create("vit_ti16", colour=1)


@pytest.mark.slow(3)
@pytest.mark.parametrize("name", ["vit", "resnet", "segformer", "mixer"])
def test_heads_sit_on_any_backbone(name):
    backbone = SMALL[name]
    for head in ("linear", "segformer"):
        model = models.segmenter(backbone, 4, head)
        variables, logits = shapes(model)
        assert logits.shape == (3, 16, 16, 4)
        assert set(variables["params"]) == {"backbone", "head"}
        assert "head" not in variables["params"]["backbone"]
        coarse = shapes(model.clone(upsample=False))[1].shape
        maps = shapes(backbone, features=True)[1]
        assert coarse[1:3] == (maps[-1] if head == "linear" else maps[0]).shape[1:3]
    with pytest.raises(ValueError, match="head must be"):
        models.segmenter(backbone, 4, "upernet")


@pytest.mark.slow
def test_batch_statistics_are_updated_in_training_only():
    model = SMALL["resnet-basic"]
    x = jax.random.normal(jax.random.key(0), (4, 16, 16, 3))
    shapes_of = jax.eval_shape(lambda x: model.init(jax.random.key(1), x), x)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1), shapes_of)
    assert set(variables) == {"params", "batch_stats"}
    apply = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])[1])
    new = apply(variables, x)["batch_stats"]
    assert float(jnp.abs(new["bn1"]["mean"]).max()) > 0


@pytest.mark.slow
def test_register_tokens_reach_the_patches_but_are_not_among_them():
    model = models.ViT(8, 4, 8, 2, 2, pool="mean", registers=3)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    params = jax.jit(model.init)(jax.random.key(1), x)["params"]
    assert params["pos_embed"].shape == (1, 3 + 4, 8)
    apply = jax.jit(lambda p: model.apply({"params": p}, x))
    moved = {**params, "register_tokens": params["register_tokens"][..., ::-1]}
    assert float(jnp.abs(apply(params) - apply(moved)).max()) > 1e-4
    maps = model.apply({"params": params}, x, features=True)
    assert maps[0].shape == (2, 2, 2, 8)


@pytest.mark.parametrize(("prefix", "rows"), [("all", 3), ("class", 1), ("none", 0)])
def test_rows_of_the_position_table(prefix, rows):
    model = models.ViT(8, 4, 8, 1, 2, registers=2, position_prefix=prefix)
    variables, _ = shapes(model, jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32))
    assert variables["params"]["pos_embed"].shape == (1, rows + 4, 8)
    assert model.position_rows == rows


@pytest.mark.slow
def test_position_tables_are_resized_to_other_images():
    model = models.ViT(8, 2, 8, 1, 2, interpolate=True)
    variables = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 8, 8, 1)))
    x = jax.random.normal(jax.random.key(0), (1, 12, 6, 1))
    assert model.apply(variables, x).shape == (1, 10)
    same = models.ViT(8, 2, 8, 1, 2)
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 1))
    np.testing.assert_array_equal(model.apply(variables, x), same.apply(variables, x))


@pytest.mark.slow
@pytest.mark.parametrize("antialias", [False, True])
def test_resizing_keeps_constants_prefix_rows_and_quarter_turns(antialias):
    rng = np.random.default_rng(0)
    table = jnp.asarray(rng.standard_normal((1, 2 + 25, 3)), jnp.float32)
    for side in (3, 5, 9):
        new = models.resize_positions(table, 2, (side, side), antialias)
        np.testing.assert_array_equal(new[:, :2], table[:, :2])
        turned = jnp.rot90(table[0, 2:].reshape(5, 5, 3)).reshape(1, 25, 3)
        turned = jnp.concatenate([table[:, :2], turned], axis=1)
        moved = models.resize_positions(turned, 2, (side, side), antialias)
        expected = jnp.rot90(new[0, 2:].reshape(side, side, 3))
        np.testing.assert_allclose(moved[0, 2:].reshape(side, side, 3), expected, atol=1e-5)
        ones = models.resize_positions(jnp.ones((1, 25, 1)), 0, (side, 2), antialias)
        np.testing.assert_allclose(ones, 1, atol=1e-6)
    if antialias:  # an independent implementation of the second rule
        image = table[0, 2:].reshape(5, 5, 3)
        for grid in ((3, 4), (8, 7)):
            new = models.resize_positions(table, 2, grid, True)[0, 2:].reshape(*grid, 3)
            expected = jax.image.resize(image, (*grid, 3), "cubic", antialias=True)
            np.testing.assert_allclose(new, expected, atol=1e-5)
    with pytest.raises(ValueError, match="26 patches"):
        models.resize_positions(table, 1, (4, 4))


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (models.ViT(8, 4, 8, 1, 2, class_token=False), (1, 8, 8, 1), "class_token=False"),
        (models.ViT(8, 4, 8, 1, 2, norm_after_pool=True), (1, 8, 8, 1), "norm_after_pool"),
        (models.ViT(8, 4, 8, 1, 2, position_prefix="some"), (1, 8, 8, 1), "position_prefix.*some"),
        (models.ViT(8, 4, 8, 1, 2), (1, 12, 12, 1), "interpolate=True"),
        (models.ViT(8, 4, 8, 1, 2, interpolate=True), (1, 8, 10, 1), "multiples of 4"),
        (SMALL["dinov2"], (1, 18, 16, 3), "multiples of 4"),
        (models.DINOv2(8, 1, 3), (1, 14, 14, 3), "multiple of heads"),
        (models.DINOv2(8, 1, 2, image_size=15), (1, 14, 14, 3), "15 and 14"),
        (SMALL["mixer"], (1, 12, 12, 3), r"\[n, 16, 16, c\]"),
        (models.MLPMixer(9, 4, 8, 1, 4, 4), (1, 9, 9, 3), "9 and 4"),
        (SMALL["resnet"], (16, 16, 3), r"\(16, 16, 3\)"),
        (SMALL["segformer"], (16, 16, 3), r"\(16, 16, 3\)"),
        (models.SegFormer(widths=(4, 8)), (1, 16, 16, 3), "one entry for each stage"),
    ],
)  # fmt: skip
def test_bad_input(model, shape, words):
    with pytest.raises(ValueError, match=words):
        shapes(model, jax.ShapeDtypeStruct(shape, jnp.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixer", "segformer"])
def test_every_family_can_be_attributed_layer_by_layer(name):
    model = SMALL[name]
    x = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    found = measures.layerwise(measures.linen(model, variables, train=False), x, ["rotation"])
    np.testing.assert_allclose(found.shares["rotation"].sum(axis=0), 1, atol=1e-4)
    inside = {"mixer": "block1/channel_out", "segformer": "stage2_norm"}
    assert inside[name] in found.layers
