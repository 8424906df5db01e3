"""Published checkpoints into models and back: round trips, attributes, reports, the hub."""

import json
import pathlib
import shutil
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from safetensors.numpy import load_file, save_file

from softeq_jax import models

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture
def copied(tmp_path):
    """Copies a golden network."""
    return lambda name: shutil.copytree(GOLDEN / name, tmp_path / "network")


def _metadata(file):
    with safetensors.safe_open(file, framework="np") as opened:
        return opened.metadata()


def _assert_same_tensors(a, b):
    a, b = load_file(a), load_file(b)
    assert a.keys() == b.keys()
    for name, array in a.items():
        assert (array.shape, array.dtype) == (b[name].shape, b[name].dtype), name
        assert array.tobytes() == b[name].tobytes(), name


def _assert_same_trees(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


# Round trips


@pytest.mark.parametrize(
    "name",
    [
        "hf_vit_backbone_f16",
        "hf_vit_renamed",
        "hf_dinov2_registers_bf16",
        "hf_resnet_bottleneck",
        "hf_segformer_segmenter",
        "timm_vit_registers",
        "timm_resnet",
        "timm_mixer",
    ],
)
def test_saving_what_was_loaded_gives_the_same_bytes(name, tmp_path):
    found = models.load(GOLDEN / name)
    models.save(tmp_path / "x.safetensors", found.variables, found.origin)
    models.save(tmp_path / "folder", found.variables, found.origin)
    original = GOLDEN / name / "model.safetensors"
    for file in (tmp_path / "x.safetensors", tmp_path / "folder" / "model.safetensors"):
        _assert_same_tensors(original, file)
        assert _metadata(file) == _metadata(original)
    config = (GOLDEN / name / "config.json").read_text()
    assert (tmp_path / "folder" / "config.json").read_text() == config
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "x.safetensors"]
    assert len(list((tmp_path / "folder").iterdir())) == 2


def test_a_change_reaches_its_tensor_and_no_other(tmp_path):
    found = models.load(GOLDEN / "timm_vit")
    params = jax.tree.map(jnp.asarray, found.variables["params"])
    kernel = params["block1"]["attention"]["key"]["kernel"]
    params["block1"]["attention"]["key"]["kernel"] = kernel.at[3, 5].add(1.0)
    models.save(tmp_path / "x.safetensors", {"params": params}, found.origin)
    before = load_file(GOLDEN / "timm_vit" / "model.safetensors")
    after = load_file(tmp_path / "x.safetensors")
    moved = {name: np.argwhere(before[name] != after[name]) for name in before}
    assert {name for name, where in moved.items() if len(where)} == {"blocks.1.attn.qkv.weight"}
    assert moved["blocks.1.attn.qkv.weight"].tolist() == [[16 + 5, 3]]  # key is the second third


def test_a_checkpoint_can_be_written_over_itself(copied):
    folder = copied("hf_resnet_bottleneck")
    found = models.load(folder)
    models.save(folder, found.variables, found.origin)
    name = "hf_resnet_bottleneck/model.safetensors"
    _assert_same_tensors(folder / "model.safetensors", GOLDEN / name)


def _shard(folder, parts=3):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = {}
    for i in range(parts):
        file = f"model-{i + 1:05d}-of-{parts:05d}.safetensors"
        names = sorted(tensors)[i::parts]
        save_file({name: tensors[name] for name in names}, folder / file, {"format": "pt"})
        where |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_are_one_checkpoint(copied, tmp_path):
    folder = copied("timm_mixer")
    _shard(folder)
    found = models.load(folder)
    assert found.origin.files == "shards"
    _assert_same_trees(found.variables, models.load(GOLDEN / "timm_mixer").variables)
    models.save(tmp_path / "saved", found.variables, found.origin)
    saved = tmp_path / "saved" / "model.safetensors"
    _assert_same_tensors(saved, GOLDEN / "timm_mixer" / "model.safetensors")
    assert _metadata(saved) == {"format": "pt"}
    with pytest.raises(ValueError, match="in shards"):
        models.save(folder, found.variables, found.origin)


def test_a_file_reads_the_configuration_beside_it_only_under_its_usual_name(copied):
    folder = copied("hf_vit")
    assert models.load(folder / "model.safetensors").model.heads == 4
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    with pytest.raises(ValueError, match=r"16 is no multiple of 64; pass heads"):
        models.load(folder / "other.safetensors")
    found = models.load(folder / "other.safetensors", heads=8)
    assert (found.model.heads, found.model.norm_epsilon, found.origin.config) == (8, 1e-12, None)


# Attributes


def test_attributes_are_read_off():
    def find(name):
        return models.load(GOLDEN / name).model

    assert find("hf_vit") == models.ViT(
        32, 8, 16, 2, 4, mlp_ratio=2, num_classes=5, norm_epsilon=1e-12
    )
    assert find("hf_deit").registers == 1
    assert find("timm_vit_mean") == models.ViT(
        32, 8, 16, 2, 2, num_classes=5, pool="mean", class_token=True, norm_after_pool=True
    )
    assert find("timm_vit_registers") == models.ViT(
        *(32, 8, 16, 2, 2),
        num_classes=5,
        pool="mean",
        class_token=False,
        registers=4,
        position_prefix="none",
        layer_scale=1e-5,
        norm_after_pool=True,
    )
    assert find("hf_dinov2_registers_bf16") == models.DINOv2(
        16, 2, 4, image_size=20, patch_size=4, mlp_ratio=3, registers=3, num_classes=5
    )
    assert find("hf_resnet_basic") == models.ResNet((1, 2, 1, 1), False, 4, 5)
    assert find("timm_mixer") == models.MLPMixer(32, 8, 16, 2, 8, 64, 5)
    segmenter = find("hf_segformer_segmenter")
    assert segmenter.backbone.heads == (1, 2, 3, 4)
    assert segmenter.head == models.SegFormerHead(5, 12)


def test_changes_of_attributes(copied):
    found = models.load(GOLDEN / "timm_vit", interpolate=True, heads=4)
    assert (found.model.interpolate, found.model.heads) == (True, 4)
    segmenter = models.load(GOLDEN / "hf_segformer_segmenter", upsample=False, heads=(1, 2, 1, 2))
    assert (segmenter.model.upsample, segmenter.model.backbone.heads) == (False, (1, 2, 1, 2))
    with pytest.raises(TypeError, match="ViT has no attribute head_count; it has image_size"):
        models.load(GOLDEN / "timm_vit", head_count=4)
    with pytest.raises(TypeError, match="ResNet has no attention heads, got heads=4"):
        models.load(GOLDEN / "timm_resnet", heads=4)
    with pytest.raises(TypeError, match="a tuple of 4 integers for a SegFormer, got 2"):
        models.load(GOLDEN / "hf_segformer", heads=2)
    with pytest.raises(ValueError, match=r"not fit registers=2: params/register_tokens would have"):
        models.load(GOLDEN / "timm_vit", registers=2)


# Report


def test_report_accounts_for_every_tensor():
    for name in ("hf_vit_backbone_f16", "hf_resnet_bottleneck", "timm_vit"):
        report = models.load(GOLDEN / name).report
        tensors = load_file(GOLDEN / name / "model.safetensors")
        assert {row.name for row in (*report.used, *report.carried)} == set(tensors)
        used = sum(tensors[row.name].size for row in report.used)
        assert report.parameters == used
        table = report.table()
        assert all(f"| {tensor} |" in table for tensor in tensors)


def test_report_reads_well():
    text = str(models.load(GOLDEN / "hf_vit_backbone_f16", num_classes=3, reset_head=True).report)
    assert "ViT (family vit, hugging face names)" in text
    assert "used: 38 tensors" in text
    assert "float16" in text
    assert "dropped: embeddings.mask_token, pooler.dense.bias, pooler.dense.weight" in text
    assert "initialized anew: params/head/kernel (16, 3)" in text
    carried = str(models.load(GOLDEN / "hf_resnet_basic").report)
    assert "num_batches_tracked and" in carried
    assert "step counter" in carried


# The hub


@pytest.fixture
def hub(monkeypatch):
    """A huggingface_hub that hands out golden networks, and the calls it got."""
    calls = []

    def snapshot_download(repository, *, allow_patterns):
        calls.append((repository, allow_patterns))
        if repository == "someone/offline":
            raise ConnectionError("no route")
        if repository == "someone/odd":
            raise ValueError("not a repository id")
        return str(GOLDEN / repository.split("/")[1])

    module = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return calls


def test_a_hub_id_is_fetched_where_there_is_no_such_path(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = models.load("someone/hf_vit")
    assert hub[0][0] == "someone/hf_vit"
    assert "model.safetensors" in hub[0][1]
    assert not any(pattern.endswith(".bin") for pattern in hub[0][1])
    assert found.report.source == "someone/hf_vit"
    shutil.copytree(GOLDEN / "timm_vit", tmp_path / "someone" / "hf_vit")
    assert models.load("someone/hf_vit").report.format == "timm"
    assert len(hub) == 1


@pytest.mark.parametrize("source", ["someone/offline", "someone/odd"])
def test_what_the_hub_says_is_passed_on(hub, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no file or folder here.*(no route|repository)"):
        models.load(source)


@pytest.mark.parametrize(
    "source",
    ["./a/b", "/a/b", "../a", "a/b.safetensors", "a/b/c", "a", "~/b", pathlib.Path("a/b")],
)
def test_paths_are_no_hub_ids(hub, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        models.load(source)
    assert not hub


def test_the_hub_needs_its_package(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install softeq-jax\[hub\]"):
        models.load("someone/network")
