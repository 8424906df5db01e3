"""Heads of published checkpoints, new ones and none, and how their images are made."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from softeq_jax import models

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture
def copied(tmp_path):
    """Copies a golden network."""
    return lambda name: shutil.copytree(GOLDEN / name, tmp_path / "network")


def _assert_same_tensors(a, b):
    a, b = load_file(a), load_file(b)
    assert a.keys() == b.keys()
    assert all(a[name].tobytes() == b[name].tobytes() for name in a)


def _assert_same_trees(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


# Heads


@pytest.mark.slow
def test_another_number_of_classes_needs_a_new_head(tmp_path):
    source = GOLDEN / "hf_vit"
    with pytest.raises(ValueError, match=r"5 classes \(classifier.*num_classes=7; reset_head=True"):
        models.load(source, num_classes=7)
    found = models.load(source, num_classes=7, reset_head=True, seed=3)
    assert found.model.num_classes == 7
    assert found.variables["params"]["head"]["kernel"].shape == (16, 7)
    assert [(r.path, r.shape) for r in found.report.reset] == [
        ("params/head/bias", (7,)),
        ("params/head/kernel", (16, 7)),
    ]
    again = models.load(source, num_classes=7, reset_head=True, seed=3)
    _assert_same_trees(found.variables, again.variables)
    other = models.load(source, num_classes=7, reset_head=True, seed=4).variables["params"]["head"]
    assert not np.array_equal(found.variables["params"]["head"]["kernel"], other["kernel"])
    body = models.load(source).variables["params"]["block1"]
    _assert_same_trees(found.variables["params"]["block1"], body)

    models.save(tmp_path / "seven", found.variables, found.origin)
    config = json.loads((tmp_path / "seven" / "config.json").read_text())
    assert len(config["id2label"]) == 7
    assert config["label2id"]["LABEL_6"] == 6
    _assert_same_trees(models.load(tmp_path / "seven").variables, found.variables)


def test_a_new_head_of_a_timm_network(tmp_path):
    found = models.load(GOLDEN / "timm_mixer", num_classes=2, reset_head=True)
    models.save(tmp_path / "two", found.variables, found.origin)
    config = json.loads((tmp_path / "two" / "config.json").read_text())
    assert [part["num_classes"] for part in (config, config["pretrained_cfg"])] == [2, 2]
    assert models.load(tmp_path / "two").model.num_classes == 2
    assert load_file(tmp_path / "two" / "model.safetensors")["head.weight"].shape == (2, 16)


def test_a_backbone_gets_a_head_and_the_names_that_go_with_it(tmp_path):
    source = GOLDEN / "hf_vit_backbone_f16"
    with pytest.raises(ValueError, match="has no head, asked for num_classes=3"):
        models.load(source, num_classes=3)
    with pytest.raises(ValueError, match="has no head; reset_head=True needs num_classes"):
        models.load(source, reset_head=True)
    found = models.load(source, num_classes=3, reset_head=True)
    models.save(tmp_path / "headed", found.variables, found.origin)
    tensors = load_file(tmp_path / "headed" / "model.safetensors")
    assert "vit.encoder.layer.0.output.dense.weight" in tensors
    assert tensors["classifier.weight"].dtype == np.float16
    assert not [name for name in tensors if "pooler" in name or "mask" in name]
    assert {row.name for row in found.report.carried if not row.saved} == {
        "embeddings.mask_token",
        "pooler.dense.bias",
        "pooler.dense.weight",
    }
    config = json.loads((tmp_path / "headed" / "config.json").read_text())
    assert config["architectures"] == ["ViTForImageClassification"]
    back = models.load(tmp_path / "headed")
    head = found.variables["params"]["head"]["kernel"].astype(np.float16)
    np.testing.assert_array_equal(back.variables["params"]["head"]["kernel"], head)


def test_what_a_network_with_a_head_has_too_is_carried_under_its_new_name(tmp_path):
    found = models.load(GOLDEN / "hf_dinov2_backbone", num_classes=3, reset_head=True)
    models.save(tmp_path / "headed", found.variables, found.origin)
    before = load_file(GOLDEN / "hf_dinov2_backbone" / "model.safetensors")
    after = load_file(tmp_path / "headed" / "model.safetensors")
    assert set(after) == {f"dinov2.{name}" for name in before} | {
        "classifier.weight",
        "classifier.bias",
    }
    assert after["classifier.weight"].shape == (3, 32)
    for name, tensor in before.items():
        np.testing.assert_array_equal(after[f"dinov2.{name}"], tensor)


def test_a_model_of_features_carries_its_head(tmp_path):
    found = models.load(GOLDEN / "hf_resnet_basic", num_classes=0)
    assert "head" not in found.variables["params"]
    with np.load(GOLDEN / "hf_resnet_basic" / "io.npz") as arrays:
        x = arrays["x0"].astype(np.float32)
    assert jax.eval_shape(found.model.apply, found.variables, x).shape == (2, 32)
    models.save(tmp_path / "x.safetensors", found.variables, found.origin)
    _assert_same_tensors(
        tmp_path / "x.safetensors", GOLDEN / "hf_resnet_basic" / "model.safetensors"
    )
    with pytest.raises(ValueError, match="makes no segmenter"):
        models.load(GOLDEN / "hf_segformer_segmenter", num_classes=0)


@pytest.mark.slow
def test_a_new_head_of_a_segmenter():
    found = models.load(GOLDEN / "hf_segformer_segmenter", num_classes=11, reset_head=True)
    assert found.variables["params"]["head"]["classifier"]["kernel"].shape == (1, 1, 12, 11)
    kept = models.load(GOLDEN / "hf_segformer_segmenter").variables["params"]["head"]["fuse"]
    _assert_same_trees(found.variables["params"]["head"]["fuse"], kept)


@pytest.mark.parametrize("count", [-1, 2.0, True, "3"])
def test_num_classes_is_checked(count):
    with pytest.raises(ValueError, match="num_classes must be an integer of at least 0"):
        models.load(GOLDEN / "timm_vit", num_classes=count)


# Preprocessing


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"size": 224, "resample": 3, "crop_pct": 0.875, "image_mean": [0.1, 0.2, 0.3]},
            {"image_size": 224, "resize": 256, "keep_aspect": True, "interpolation": "bicubic"},
        ),
        (
            {
                "size": {"shortest_edge": 256},
                "crop_size": {"height": 224, "width": 224},
                "do_center_crop": True,
                "resample": 2,
            },
            {"image_size": 224, "resize": 256, "keep_aspect": True, "interpolation": "bilinear"},
        ),
        (
            {"size": {"height": 64, "width": 64}, "do_normalize": False},
            {"image_size": 64, "resize": 64, "keep_aspect": False, "mean": (0, 0, 0)},
        ),
        (
            {
                "size": 32,
                "rescale_factor": 2 / 255,
                "image_mean": [1.0] * 3,
                "image_std": [0.5] * 3,
            },
            {"mean": (0.5,) * 3, "std": (0.25,) * 3},
        ),
    ],
)
def test_preprocessor_config_is_read(copied, tmp_path, values, expected):
    folder = copied("hf_resnet_basic")
    text = json.dumps(values)
    (folder / "preprocessor_config.json").write_text(text)
    found = models.load(folder)
    for key, value in expected.items():
        got = getattr(found.preprocess, key)
        assert got == (pytest.approx(value) if isinstance(value, tuple) else value)
    assert "preprocessor_config.json" in found.preprocess.source
    models.save(tmp_path / "saved", found.variables, found.origin)
    assert (tmp_path / "saved" / "preprocessor_config.json").read_text() == text


def test_preprocessing_of_timm_and_of_families(copied):
    timm = models.load(GOLDEN / "timm_vit").preprocess
    assert (timm.image_size, timm.resize, timm.interpolation) == (32, 35, "bicubic")
    assert timm.mean == (0.5, 0.5, 0.5)
    assert "pretrained_cfg" in timm.source
    dino = models.load(GOLDEN / "hf_dinov2").preprocess
    assert (dino.image_size, dino.resize, dino.source) == (224, 256, "default of dinov2")
    assert models.load(GOLDEN / "hf_vit").preprocess.image_size == 32


@pytest.mark.parametrize(
    ("values", "words"),
    [({"size": {"height": 2, "width": 3}}, "size"), ({"size": 8, "resample": 9}, "resample")],
)
def test_odd_preprocessor_configs_are_refused(copied, values, words):
    folder = copied("hf_vit")
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf"preprocessor_config\.json: {words} is"):
        models.load(folder)
