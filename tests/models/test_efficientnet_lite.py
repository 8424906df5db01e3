"""EfficientNet-Lite: published logits, timm's names, what its padding does to the lattice."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from safetensors.numpy import load_file, save_file

import softeq_jax as sq
from softeq_jax import certificates, cli, models
from softeq_jax.models.depthwise import shifted_windows

C4 = sq.groups.cyclic(4)
SMALL = models.EfficientNetLite((4,) * 7, (1, 2, 1, 1, 1, 1, 1), stem=4, width=8, num_classes=3)
CONFIG = {"architecture": "tf_efficientnet_lite0", "num_classes": 3}


def timm_tensors(seed=0):
    """Random tensors of ``SMALL`` under timm's names, written down independently of the table."""
    rng = np.random.default_rng(seed)
    tensors = {}

    def conv(name, *shape):
        tensors[f"{name}.weight"] = rng.standard_normal(shape).astype(np.float16)

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{name}.{part}"] = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        tensors[f"{name}.num_batches_tracked"] = np.array(7)

    conv("conv_stem", 4, 3, 3, 3)
    norm("bn1", 4)
    conv("blocks.0.0.conv_dw", 4, 1, 3, 3)
    norm("blocks.0.0.bn1", 4)
    conv("blocks.0.0.conv_pw", 4, 4, 1, 1)
    norm("blocks.0.0.bn2", 4)
    for stage, window in enumerate((3, 5, 3, 5, 5, 3), 1):
        for block in range(SMALL.depths[stage]):
            start = f"blocks.{stage}.{block}"
            conv(f"{start}.conv_pw", 24, 4, 1, 1)
            norm(f"{start}.bn1", 24)
            conv(f"{start}.conv_dw", 24, 1, window, window)
            norm(f"{start}.bn2", 24)
            conv(f"{start}.conv_pwl", 4, 24, 1, 1)
            norm(f"{start}.bn3", 4)
    conv("conv_head", 8, 4, 1, 1)
    norm("bn2", 8)
    conv("classifier", 3, 8)
    tensors["classifier.bias"] = rng.standard_normal(3).astype(np.float32)
    return tensors


@pytest.fixture
def folder(tmp_path):
    """A folder with ``SMALL`` as timm saves it; settings replace those of its configuration."""

    def made(tensors=None, **settings):
        path = tmp_path / "network"
        path.mkdir(exist_ok=True)
        save_file(tensors or timm_tensors(), path / "model.safetensors", {"format": "pt"})
        (path / "config.json").write_text(json.dumps({**CONFIG, **settings}))
        return path

    return made


@pytest.mark.slow(6)
@pytest.mark.parametrize("version", [0, 2])
def test_published_logits(data_dir, version):
    path = data_dir / "pretrained" / f"tf_efficientnet_lite{version}"
    found = models.load(path)
    assert found.model == models.create(f"efficientnet_lite{version}")
    with np.load(path / "reference_logits.npz") as arrays:
        images, logits = arrays["images"][:2], arrays["logits"][:2]
    side = found.preprocess.image_size
    assert (side, found.preprocess.resize) == {0: (224, 256), 2: (260, 297)}[version]
    assert images.shape[1:] == (side, side, 3)
    x = (images.astype(np.float32) / 255 - found.preprocess.mean) / found.preprocess.std
    ours = jax.jit(found.model.apply)(found.variables, x.astype(np.float32))
    np.testing.assert_allclose(ours, logits, rtol=0, atol=1e-5 * np.abs(logits).max())


@pytest.mark.slow
def test_a_softened_file_has_timms_names_and_all_else_to_the_bit(folder, tmp_path):
    path = folder()
    found = models.load(path)
    assert found.model == SMALL
    models.save(tmp_path / "same.safetensors", found.variables, found.origin)
    given, same = load_file(path / "model.safetensors"), load_file(tmp_path / "same.safetensors")
    assert given.keys() == same.keys()
    assert all(given[k].dtype == same[k].dtype for k in given)
    assert all(given[k].tobytes() == same[k].tobytes() for k in given)
    plan = sq.plan(found.variables["params"], models.soft_rules(found.model, C4))
    soft = {**found.variables, "params": plan.project(found.variables["params"])}
    models.save(tmp_path / "soft.safetensors", soft, found.origin)
    softened = load_file(tmp_path / "soft.safetensors")
    changed = {name for name in given if given[name].tobytes() != softened[name].tobytes()}
    windows = {name for name in given if name.endswith("conv_dw.weight")} | {"conv_stem.weight"}
    assert changed == windows
    for name in windows:  # but for the rounding to half precision
        kernel = softened[name].astype(np.float32)
        np.testing.assert_allclose(np.rot90(kernel, axes=(2, 3)), kernel, rtol=2e-3, atol=1e-6)


def test_the_side_is_that_of_the_configuration_or_of_the_published_size(folder, tmp_path):
    assert models.load(folder()).preprocess.image_size == 224
    recipe = {"input_size": [3, 96, 96], "crop_pct": 0.8, "interpolation": "bicubic"}
    found = models.load(folder(pretrained_cfg=recipe))
    assert (found.preprocess.image_size, found.preprocess.resize) == (96, 120)
    assert found.model.image_size == 96
    larger = models.load(folder(pretrained_cfg=recipe), image_size=160)
    assert (larger.preprocess.image_size, larger.preprocess.resize) == (160, 200)
    assert found.preprocess.mean == found.preprocess.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"blocks.2.0.conv_dw.weight": (24, 1, 3, 3)}, {}, r"blocks.2.0.conv_dw.weight.*5, 5"),
        ({"blocks.1.0.se.conv_reduce.weight": (2, 24, 1, 1)}, {}, "attention to channels"),
        ({"blocks.0.0.conv_pwl.weight": (4, 24, 1, 1)}, {}, "left over blocks.0.0.conv_pwl"),
        ({"blocks.6.0.conv_pwl.weight": None}, {}, "missing blocks.6.0.conv_pwl"),
        ({}, {"architecture": "efficientnet_lite0"}, "'efficientnet_lite0' is not supported"),
        ({}, {"num_classes": 4}, "of 4 classes, the tensors of 3"),
        ({}, {"model_args": {"act_layer": "swish"}}, "act_layer"),
    ],
)
def test_relatives_are_refused(folder, change, settings, message):
    tensors = timm_tensors()
    for name, shape in change.items():
        if shape is None:
            del tensors[name]
        else:
            tensors[name] = np.ones(shape, np.float16)
    with pytest.raises(ValueError, match=message):
        models.load(folder(tensors, **settings))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "window", "stride"), [(6, 3, 1), (6, 5, 2), (7, 3, 2)])
def test_shifted_maps_are_the_depthwise_convolution(size, window, stride):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, size, size + 2, 3)).astype(np.float32)
    kernel = rng.standard_normal((window, window, 1, 3)).astype(np.float32)
    wanted = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=3,
    )  # fmt: skip
    found = jax.jit(lambda x, k: shifted_windows(x, k, (stride, stride), "SAME"))(x, kernel)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.slow(3)
def test_layers_of_stride_2_break_the_lattice_on_even_maps_only():
    """The certificates say so, and so does the first layer itself."""
    shapes = jax.eval_shape(SMALL.init, jax.random.key(1), jnp.ones((1, 33, 33, 3)))
    draw = np.random.default_rng(0).standard_normal
    params = jax.tree.map(lambda leaf: draw(leaf.shape, np.float32), shapes["params"])
    plan = sq.plan(params, models.soft_rules(SMALL, C4))
    params = plan.project(params)
    stem = nn.Conv(4, (3, 3), strides=(2, 2), use_bias=False)
    images = draw((2, 33, 33, 3), np.float32)
    bounds = {}
    for side in (32, 33):
        geometry = models.conv_geometry(SMALL, {**shapes, "params": params}, (1, side, side, 3))
        bounds[side] = {
            path: certificates.convolution(projector, np.asarray(w), geometry[path])
            for path, projector, w in plan.planned(params)
        }
        x, first = images[:, :side, :side], {"params": params["stem_conv"]}
        y, moved = stem.apply(first, x), stem.apply(first, np.rot90(x, axes=(1, 2)))
        gap = float(jnp.abs(jnp.rot90(y, axes=(1, 2)) - moved).max())
        assert (gap < 1e-4) == bounds[side]["stem_conv/kernel"].certified == (side == 33)
    broken = {path for path, bound in bounds[32].items() if not bound.certified}
    halving = {f"stage{stage}_block0/depthwise/kernel" for stage in (2, 3, 4, 6)}
    assert broken == {"stem_conv/kernel", *halving}
    assert all("padding" in bounds[32][path].reason for path in broken)
    assert all(bound.certified and bound.bound < 1e-4 for bound in bounds[33].values())


def test_bad_input():
    with pytest.raises(ValueError, match=r"\(8, 8, 3\)"):
        SMALL.init(jax.random.key(0), jnp.ones((8, 8, 3)))
    short = SMALL.clone(depths=(1, 1))
    with pytest.raises(ValueError, match=r"7 entries, got .*\(1, 1\)"):
        jax.eval_shape(short.init, jax.random.key(0), jnp.ones((1, 8, 8, 3)))


@pytest.mark.slow(4)
def test_the_command_line_knows_them(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")  # each layer on one line
    path = str(folder())
    assert cli.main(["inspect", path, "--image-size", "64"]) == 0
    said = capsys.readouterr().out
    assert "EfficientNetLite (family efficientnet_lite, timm names)" in said
    assert "the padding ((0, 1), (0, 1)) is not symmetric" in said
    out = tmp_path / "soft"
    assert cli.main(["soften", path, "--group", "c4", "--softness", "0.5", "--out", str(out)]) == 0
    assert models.load(out).model == SMALL
    assert cli.main(["models", "efficientnet_lite[01]"]) == 0
    assert "4.65 M" in capsys.readouterr().out
