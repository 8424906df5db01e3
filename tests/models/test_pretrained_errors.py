"""Damaged, incomplete and foreign checkpoints: an error that names what is wrong."""

import json
import pathlib
import shutil

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from softeq_jax import models

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture
def copied(tmp_path):
    """Copies a golden network; tensors (functions of the old value) and configuration changed."""

    def copy(name, tensors=None, config=None):
        target = tmp_path / "network"
        shutil.copytree(GOLDEN / name, target)
        values = load_file(target / "model.safetensors")
        for key, change in (tensors or {}).items():
            value = change(values.get(key)) if callable(change) else change
            values = {k: v for k, v in values.items() if k != key}
            if value is not None:
                values[key] = np.ascontiguousarray(value)
        save_file(values, target / "model.safetensors", {"format": "pt"})
        texts = json.loads((target / "config.json").read_text())
        for key, value in (config or {}).items():
            part = texts["model_args"] if key in texts.get("model_args", ()) else texts
            part[key] = value
        (target / "config.json").write_text(json.dumps(texts))
        return target

    return copy


def _nan(array):
    array = array.copy()
    array.flat[1] = np.nan
    return array


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tensors", "words"),
    [
        (
            "hf_vit",
            {"vit.encoder.layer.1.attention.attention.key.bias": None},
            [
                "missing vit.encoder.layer.1.attention.attention.key.bias",
                "the 40 tensors",
                "got 39",
            ],
        ),
        ("hf_vit", {"vit.surplus": np.ones(2)}, ["left over vit.surplus"]),
        (
            "hf_vit",
            {"vit.embeddings.patch_embeddings.projection.weight": None},
            ["missing vit.embeddings.patch_embeddings.projection.weight"],
        ),
        (
            "hf_vit",
            {"vit.encoder.layer.0.output.dense.weight": lambda a: a.T},
            ["vit.encoder.layer.0.output.dense.weight", "(32, 16)", "expected (16, 32)"],
        ),
        (
            "hf_vit",
            {"vit.layernorm.bias": lambda a: a.astype(np.float64)},
            ["vit.layernorm.bias", "float64", "expected float32, float16 or bfloat16"],
        ),
        (
            "hf_vit",
            {"vit.embeddings.position_embeddings": lambda a: a[:, :-1]},
            ["vit.embeddings.position_embeddings", "15 rows for patches", "square"],
        ),
        ("hf_vit", {"classifier.bias": lambda a: a[:-1]}, ["classifier.weight (5, 16)", "(4,)"]),
        ("hf_vit", {"classifier.bias": None}, ["missing classifier.bias"]),
        ("hf_vit", {"classifier.bias": None, "classifier.weight": None}, ["5 classes", "of 0"]),
        ("timm_vit", {"blocks.1.attn.qkv.weight": _nan}, ["blocks.1.attn.qkv.weight", "1 of 768"]),
        (
            "timm_vit",
            {"blocks.1.attn.qkv.bias": lambda a: a[:-1]},
            ["blocks.1.attn.qkv.bias", "(47,)", "expected (48,)"],
        ),
        ("timm_vit", {"norm_pre.weight": np.ones(16)}, ["norm_pre.weight", "CLIP"]),
        (
            "timm_resnet",
            {"layer2.1.bn2.running_var": lambda a: -a},
            ["layer2.1.bn2.running_var", "variances >= 0"],
        ),
        ("timm_resnet", {"layer3.0.downsample.0.weight": None}, ["missing layer3.0.downsample.0"]),
        (
            "hf_segformer_segmenter",
            {"decode_head.linear_fuse.weight": lambda a: a[:, :-12]},
            ["decode_head.linear_fuse.weight", "(12, 36, 1, 1)", "(12, 48, 1, 1)"],
        ),
        ("timm_mixer", {"blocks.0.norm2.weight": lambda a: a * np.inf}, ["blocks.0.norm2.weight"]),
        (
            "hf_dinov2",
            {"dinov2.encoder.layer.0.mlp.weights_in.weight": np.ones((4, 4), np.float32)},
            ["weights_in", "SwiGLU"],
        ),
    ],
)
def test_errors_name_the_tensor(copied, name, tensors, words):
    folder = copied(name, tensors)
    with pytest.raises(ValueError, match="network") as info:
        models.load(folder)
    for word in words:
        assert word in str(info.value)


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("hf_vit", {"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new', expected 'gelu'"),
        ("hf_vit", {"num_hidden_layers": 3}, "num_hidden_layers is 3, the tensors have 2"),
        ("hf_vit", {"image_size": 64}, "image_size is 64.* 4 x 4 patches of 8 pixels"),
        ("hf_vit", {"image_size": [32, 64]}, "image_size is .*expected a square size"),
        (
            "hf_vit",
            {"num_attention_heads": "4"},
            "num_attention_heads is '4', expected a positive integer",
        ),
        ("hf_vit", {"model_type": "swin"}, "model_type is 'swin', but .* look like vit or deit"),
        (
            "hf_vit",
            {"architectures": ["ViTForMaskedImageModeling"]},
            "'ViTForMaskedImageModeling' is not supported",
        ),
        ("hf_vit", {"id2label": {"0": "a"}}, "tells of 1 classes, the tensors of 5"),
        ("hf_dinov2", {"use_swiglu_ffn": True}, "use_swiglu_ffn is True, expected False"),
        ("hf_resnet_basic", {"downsample_in_bottleneck": True}, "downsample_in_bottleneck is True"),
        ("hf_resnet_basic", {"depths": [1, 1, 1, 1]}, r"depths is .* tensors have \(1, 2, 1, 1\)"),
        ("hf_segformer", {"num_attention_heads": [1, 2]}, "expected 4 integers"),
        ("timm_resnet", {"architecture": "resnetblur50"}, "'resnetblur50' is not supported"),
        (
            "timm_vit",
            {"architecture": "vit_so400m_patch16_siglip_gap_256"},
            "siglip_gap_256' is not supported",
        ),
        ("timm_vit", {"model_args": {"qk_norm": True}}, "qk_norm is True, expected False"),
        ("timm_vit", {"model_args": {"block_fn": "x"}}, "block_fn = 'x', which is not supported"),
        ("timm_vit", {"model_args": {}, "global_pool": "max"}, "global_pool is 'max'"),
        ("timm_mixer", {"architecture": "gmixer_12_224"}, "'gmixer_12_224' is not supported"),
    ],
)
def test_configurations_that_the_models_do_not_have_are_refused(copied, name, config, words):
    folder = copied(name, config=config)
    with pytest.raises(ValueError, match=rf"config\.json.*{words}"):
        models.load(folder)


def test_configuration_files_must_be_readable(copied):
    folder = copied("hf_vit")
    for text, words in (("{", "not JSON"), ("[]", "a JSON object"), ("{}", "neither 'model_type'")):
        (folder / "config.json").write_text(text)
        with pytest.raises(ValueError, match=rf"config\.json: .*{words}"):
            models.load(folder)
    shutil.copy(GOLDEN / "timm_vit" / "config.json", folder)
    with pytest.raises(ValueError, match="is timm's, but the tensors have hugging face names"):
        models.load(folder)


def test_positions_that_leave_the_prefix_open(copied):
    # 5 prefix rows: 9 rows are 9 patches, or 4 patches and the prefix.
    change = {"pos_embed": lambda a: np.repeat(a[:, :1], 9, axis=1)}
    folder = copied("timm_dinov2_registers", change, {"model_args": {"num_heads": 2}})
    with pytest.raises(ValueError, match="of which 0 or 5 may belong"):
        models.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="of which 0 or 5 may belong"):
        models.load(folder, heads=2)


# Other families


def test_the_family_asked_for_must_be_the_one(copied):
    with pytest.raises(ValueError, match="asked for family 'resnet', but it looks like 'vit' with"):
        models.load(GOLDEN / "timm_vit", family="resnet")
    with pytest.raises(ValueError, match="family must be one of vit, dinov2, .* got 'swin'"):
        models.load(GOLDEN / "timm_vit", family="swin")
    assert models.load(GOLDEN / "timm_vit", family="vit").report.family == "vit"
    with pytest.raises(ValueError, match="asked for family 'cifar_resnet'"):
        models.load_cifar_resnet(GOLDEN / "timm_vit" / "model.safetensors")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["layers.0.blocks.0.attn.relative_position_bias_table", "norm.weight"], "a Swin"),
        (["bert.embeddings.word_embeddings.weight"], "a language model"),
        (["vision_model.encoder.layers.0.mlp.fc1.weight"], "CLIP"),
        (["params/block0/kernel"], "a Flax network"),
        (["a.weight", "b.weight"], "its 2 tensors are called a.weight, b.weight"),
        ([], "it has no tensors"),
    ],
)
def test_foreign_checkpoints_are_told_apart(tmp_path, names, words):
    file = tmp_path / "foreign.safetensors"
    save_file({name: np.ones(3, np.float32) for name in names}, file)
    with pytest.raises(ValueError, match=f"foreign.safetensors: not a checkpoint of vit.*{words}"):
        models.load(file)


# Files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda data: data[:-7], r"truncated: (\d+) bytes of (\d+)"),
        (lambda data: data[:900], "truncated: 900 bytes, its header alone needs"),
        (lambda data: data[:5], "truncated: 5 bytes"),
        (lambda data: data + b"xx", "2 bytes too long"),
        (lambda data: b"", "the file is empty"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-lfs"),
        (lambda data: b"\n<!DOCTYPE html><html>not found</html>", "an HTML or XML page"),
        (lambda data: b"PK\x03\x04" + data, "a PyTorch pickle; refused"),
        (lambda data: b"\xff" * 99, "no safetensors header"),
        (lambda data: (9).to_bytes(8, "little") + b"not json!", "header is not readable"),
    ],
)
def test_damaged_files_are_told_apart(copied, content, words):
    folder = copied("timm_vit")
    file = folder / "model.safetensors"
    file.write_bytes(content(file.read_bytes()))
    with pytest.raises(ValueError, match=rf"model\.safetensors: not a readable .*: .*{words}"):
        models.load(folder)


def test_pickles_are_refused(copied):
    for name in ("x.bin", "x.pt", "x.pth"):
        with pytest.raises(ValueError, match=rf"{name}: a PyTorch pickle; refused, since unpick"):
            models.load(name)
    folder = copied("timm_vit")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"expected model\.safetensors .*pytorch_model\.bin: a Py"):
        models.load(folder)


def test_folders_without_weights(tmp_path, copied):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"expected model\.safetensors .*has nothing"):
        models.load(tmp_path / "empty")
    folder = copied("timm_vit")
    (folder / "model.safetensors").rename(folder / "model.safetensors.incomplete")
    with pytest.raises(FileNotFoundError, match=r"cut off: model\.safetensors\.incomplete"):
        models.load(folder)
    with pytest.raises(FileNotFoundError, match="nowhere: no such file"):
        models.load(tmp_path / "nowhere")


def test_shards_must_be_complete(copied):
    folder = copied("timm_mixer")
    tensors = load_file(folder / "model.safetensors")
    index = folder / "model.safetensors.index.json"
    names = ["model-1.safetensors", "model-2.safetensors"]
    where = {name: names[i % 2] for i, name in enumerate(sorted(tensors))}
    for file in names:
        save_file({k: v for k, v in tensors.items() if where[k] == file}, folder / file)
    index.write_text(json.dumps({"weight_map": where}))
    with pytest.raises(ValueError, match="has both"):
        models.load(folder)
    (folder / "model.safetensors").unlink()
    models.load(folder)
    index.write_text(json.dumps({"weight_map": where | {"phantom": names[0]}}))
    with pytest.raises(ValueError, match="phantom are in .* but not in both"):
        models.load(folder)
    index.write_text(json.dumps({"weight_map": where | {"phantom": "../x.safetensors"}}))
    with pytest.raises(ValueError, match="not a safetensors file of the folder"):
        models.load(folder)
    index.write_text(json.dumps({"weight_map": [1]}))
    with pytest.raises(ValueError, match="weight_map is .1., expected an object"):
        models.load(folder)
    index.write_text(json.dumps({"weight_map": where}))
    (folder / names[1]).unlink()
    with pytest.raises(FileNotFoundError, match=r"the shard model-2\.safetensors is missing"):
        models.load(folder)


# Saving


def _changed(variables, change):
    params = dict(variables["params"])
    params["norm"] = {**params["norm"], **change(params["norm"])}
    return {**variables, "params": params}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda norm: {"scale": np.ones(3, np.float32)}, r"params/norm/scale has shape \(3,\)"),
        (lambda norm: {"scale": norm["scale"].astype(int)}, "params/norm/scale has dtype int64"),
        (lambda norm: {"scale": norm["scale"] * np.float32(np.nan)}, "layernorm.weight has 16 of"),
        (lambda norm: {"scale": norm["scale"] * np.float32(1e6)}, "too large for float16"),
        (lambda norm: {"extra": norm["scale"]}, "left over params/norm/extra"),
    ],
)
def test_saving_checks_variables_and_leaves_the_old_file(tmp_path, change, words):
    found = models.load(GOLDEN / "hf_vit_backbone_f16")
    file = tmp_path / "x.safetensors"
    models.save(file, found.variables, found.origin)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=words):
        models.save(file, _changed(found.variables, change), found.origin)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_saving_needs_all_variables_and_a_place(tmp_path):
    found = models.load(GOLDEN / "timm_resnet")
    with pytest.raises(ValueError, match=r"missing bn1\.running_mean"):
        models.save(tmp_path / "x.safetensors", {"params": found.variables["params"]}, found.origin)
    with pytest.raises(ValueError, match="variables has cache, expected params and batch_stats"):
        models.save(tmp_path / "y.safetensors", {**found.variables, "cache": {}}, found.origin)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        models.save(tmp_path / "nowhere" / "x.safetensors", found.variables, found.origin)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is a file; expected a folder"):
        models.save(tmp_path / "file", found.variables, found.origin)
    shutil.copy(GOLDEN / "timm_resnet" / "model.safetensors", tmp_path / "bare.safetensors")
    bare = models.load(tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match=r"a folder needs a config\.json"):
        models.save(tmp_path / "folder", bare.variables, bare.origin)


def test_bfloat16_variables_are_taken_for_a_bfloat16_file(tmp_path):
    found = models.load(GOLDEN / "hf_dinov2_registers_bf16")
    half = {"scale": found.variables["params"]["norm"]["scale"].astype(ml_dtypes.bfloat16)}
    variables = _changed(found.variables, lambda norm: half)
    models.save(tmp_path / "x.safetensors", variables, found.origin)
    a = load_file(tmp_path / "x.safetensors")
    b = load_file(GOLDEN / "hf_dinov2_registers_bf16" / "model.safetensors")
    assert all(a[name].tobytes() == b[name].tobytes() for name in b)
