"""Files from strangers: whatever is in them, an error that names it, soon, or the right network."""

import itertools
import json
import pathlib
import random
import shutil
import struct
import time

import damaged_files
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from safetensors.numpy import load_file, save_file

from softeq_jax import models

GOLDEN = pathlib.Path(__file__).parent / "golden"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The golden checkpoints with a preprocessor configuration, whole and in shards."""
    made, root = {}, tmp_path_factory.mktemp("sound")
    for name, shards in itertools.product(damaged_files.NAMES, (False, True)):
        made[name, shards] = root / f"{name}{'_shards' * shards}"
        damaged_files.write(name, made[name, shards], shards)
    return made


@pytest.mark.slow(20)
@given(st.integers(0, 2**40))
@examples(fast=150, sweep=10_000)
def test_damage_ends_in_an_error_that_names_the_file_or_in_the_same_network(
    sound, tmp_path_factory, seed
):
    draw = random.Random(seed)
    name, shards = draw.choice(damaged_files.NAMES), draw.random() < 0.25
    folder = tmp_path_factory.mktemp("damaged") / "checkpoint"
    shutil.copytree(sound[name, shards], folder)
    done = damaged_files.damage(folder, draw)
    started = time.monotonic()
    wrong = damaged_files.outcome(name, folder)
    assert wrong is None, f"{name}: {wrong} after {done}"
    assert time.monotonic() - started < 60
    shutil.rmtree(folder.parent)


# Depth


def _empty(name):
    return {name: np.zeros(1, np.float32)}


@pytest.mark.parametrize(
    ("name", "extra", "words"),
    [
        ("timm_mixer", "blocks.300.norm1.weight", "missing all tensors of number 2"),
        ("timm_mixer", "blocks.30000.norm1.weight", "missing all tensors of number 2"),
        ("timm_vit", "blocks.1000000000.norm1.weight", "left over blocks.1000000000.norm1.weight"),
        ("timm_vit", f"blocks.{'9' * 5000}.norm1.weight", "left over blocks.999"),
        ("timm_vit", "blocks.01.norm1.weight", "left over blocks.01.norm1.weight"),
        ("timm_vit", "blocks.\u0661.norm1.weight", "left over blocks.\u0661.norm1.weight"),
        ("hf_vit", "vit.encoder.layer.400.layernorm_after.bias", "missing all tensors of number 2"),
        ("hf_dinov2", "dinov2.encoder.layer.999999.norm1.bias", "missing all tensors of number 2"),
        ("timm_resnet", "layer30000.0.conv1.weight", "missing all tensors of number 5"),
        ("timm_resnet", "layer1.30000.conv1.weight", "missing all tensors of number 1"),
        (
            "hf_segformer",
            "segformer.encoder.patch_embeddings.100000000.proj.weight",
            "left over segformer.encoder.patch_embeddings.100000000.proj.weight",
        ),
        (
            "hf_segformer",
            "segformer.encoder.patch_embeddings.30000.proj.weight",
            "missing all tensors of number 5",
        ),
    ],
)
def test_depth_is_bounded_by_the_tensors(altered, name, extra, words):
    folder = altered(name, tensors=lambda found: found | _empty(extra))
    started = time.monotonic()
    with pytest.raises(ValueError, match=words) as info:
        models.load(folder)
    assert time.monotonic() - started < 10
    assert str(folder) in str(info.value)


def test_many_blocks_of_few_tensors_are_refused_at_once(tmp_path):
    found = load_file(GOLDEN / "timm_vit" / WEIGHTS)
    found |= {f"blocks.{i}.norm1.weight": np.zeros(1, np.float32) for i in range(2, 5_000)}
    save_file(found, tmp_path / "x")
    started = time.monotonic()
    with pytest.raises(ValueError, match="names of 5000 blocks, which its 5030 tensors cannot"):
        models.load(tmp_path / "x", heads=2)
    assert time.monotonic() - started < 20


def test_stages_are_bounded(tmp_path):
    names = ["segformer.encoder.patch_embeddings.{}.proj.weight"]
    names.append("segformer.encoder.block.{}.0.mlp.dense1.weight")
    many = [name.format(stage) for name in names for stage in range(400)]
    save_file({name: np.zeros((1, 1, 1, 1), np.float32) for name in many}, tmp_path / "x")
    with pytest.raises(ValueError, match="has 400 stages, expected at most 8"):
        models.load(tmp_path / "x")


@pytest.mark.slow(4)
def test_a_deep_network_is_read_off_like_a_shallow_one(altered):
    def deepened(found):
        more = {
            k.replace("blocks.1.", f"blocks.{i}."): v
            for i in range(2, 40)
            for k, v in found.items()
        }
        return found | more

    folder = altered("timm_vit", {"depth": 40}, "model_args", deepened)
    found = models.load(folder)
    assert found.model.depth == 40
    images = np.zeros((1, 32, 32, 3), np.float32)
    own = jax.eval_shape(found.model.init, jax.random.key(0), images)
    expected = [(path, leaf.shape) for path, leaf in _leaves(own)]
    assert [(path, leaf.shape) for path, leaf in _leaves(found.variables)] == expected


def _leaves(tree):
    return [(str(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(dict(tree))]


# Headers


def _file(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def _tensor(shape=(1,), offsets=(0, 4), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"[" * 200_000, "its header is not readable: not JSON"),
        (b'{"a":' * 50 + b"{" + b"}" * 51, "expected a list|has no dtype"),
        (b'{"a": ' + b"[" * 80 + b"]" * 80 + b"}", "nested more than 64 levels"),
        (b'{"a": 1, "a": 1}', "the name 'a' occurs twice"),
        (b'{"a": "\xff"}', "not JSON"),
        ({"a": 5}, "tensor a is 5, expected an object"),
        ({"a": {"dtype": "F32", "shape": [1]}}, "tensor a: has no data_offsets"),
        ({"a": _tensor(offsets=(0, "x"))}, "tensor a: data_offsets is .0, 'x'., expected two int"),
        ({"a": _tensor(offsets=(4, 0))}, "data_offsets is .4, 0."),
        ({"a": _tensor(offsets=(0, True))}, "data_offsets"),
        ({"a": _tensor((-1,))}, "shape is .-1."),
        ({"a": _tensor((1.0,))}, "shape is .1.0."),
        ({"a": _tensor([2**62] * 20)}, "at most 16 integers"),
        ({"a": _tensor((2**62, 4))}, r"tensor a has 4 bytes, expected \d+ for F32"),
        ({"a": _tensor(dtype=3)}, "dtype is 3, expected a text"),
        ({"a": _tensor(), "b": _tensor()}, "tensor b begins at byte .* where the one before"),
        ({"a": _tensor(offsets=(4, 8))}, "tensor a begins at byte"),
        ({"__metadata__": {"a": 1}}, "__metadata__ is {'a': 1}, expected an object of texts"),
        ({"a": _tensor(offsets=(0, 4), dtype="F8")}, "4 bytes too long|not a checkpoint"),
    ],
)
def test_headers_account_for_every_byte(tmp_path, header, words):
    file = _file(tmp_path / "x.safetensors", header, b"\0" * 8)
    with pytest.raises(ValueError, match=rf"x\.safetensors: .*(?:{words})"):
        models.load(file)


@pytest.mark.parametrize("side", [0, 10**14])
def test_tensors_without_values_tell_no_size(tmp_path, side):
    names = {"patch_embed.proj.weight": (64, 0, 4, 4), "pos_embed": (1, side, 0)}
    names |= {"norm.weight": (0,), "cls_token": (1, 1, 0), "blocks.0.mlp.fc1.weight": (0, 64)}
    header = {name: _tensor(shape, (0, 0)) for name, shape in names.items()}
    file = _file(tmp_path / "x.safetensors", header)
    with pytest.raises(ValueError, match=r"x\.safetensors: tensor patch_embed\.proj\.weight"):
        models.load(file)


# Prefixes


@pytest.mark.parametrize("name", ["timm_vit", "hf_dinov2", "hf_segformer_segmenter", "timm_resnet"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "model.backbone.model."])
def test_prefixes_of_wrappers_are_put_back(altered, tmp_path, name, prefix):
    folder = altered(name, tensors=lambda found: {prefix + k: v for k, v in found.items()})
    found, plain = models.load(folder), models.load(GOLDEN / name)
    assert found.model == plain.model
    assert _leaves(found.variables)[0][0] == _leaves(plain.variables)[0][0]
    models.save(tmp_path / "saved.safetensors", found.variables, found.origin)
    before, after = load_file(folder / WEIGHTS), load_file(tmp_path / "saved.safetensors")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.slow(2)
def test_a_new_head_gets_the_prefix_of_the_wrapper(altered, tmp_path):
    def wrapped(found):
        return {f"module.{k}": v for k, v in found.items()}

    found = models.load(
        altered("hf_dinov2_backbone", tensors=wrapped), num_classes=3, reset_head=True
    )
    models.save(tmp_path / "saved.safetensors", found.variables, found.origin)
    names = set(load_file(tmp_path / "saved.safetensors"))
    assert {"module.classifier.weight", "module.dinov2.layernorm.bias"} <= names
    assert all(name.startswith(("module.dinov2.", "module.classifier.")) for name in names)


@pytest.mark.slow(2)
def test_counters_of_averages_are_carried(altered, tmp_path):
    def averaged(found):
        return {"n_averaged": np.array(3)} | {f"module.{k}": v for k, v in found.items()}

    for name, classes in (("timm_vit", None), ("hf_dinov2_backbone", 3)):
        folder = altered(name, tensors=averaged)
        found = models.load(folder, num_classes=classes, reset_head=classes is not None)
        models.save(tmp_path / "saved.safetensors", found.variables, found.origin)
        saved = load_file(tmp_path / "saved.safetensors")
        assert saved.pop("n_averaged") == 3
        assert all(key.startswith("module.") for key in saved)


def test_prefixes_that_are_not_of_all_names_or_not_known_are_named(altered):
    def without_one(found):
        return {("" if k == "head.bias" else "module.") + k: v for k, v in found.items()}

    with pytest.raises(ValueError, match=r"missing module\.head\.bias; left over head\.bias"):
        models.load(altered("timm_vit", tensors=without_one))

    def of_a_student(found):
        return {f"student.{k}": v for k, v in load_file(GOLDEN / "timm_vit" / WEIGHTS).items()}

    with pytest.raises(ValueError, match=r"without their prefix 'student\.' its names .* vit \(ti"):
        models.load(altered("timm_vit", tensors=of_a_student))


# Shards


def test_a_shard_alone_says_of_how_many_it_is_one(sound, tmp_path):
    folder = sound["timm_vit", True]
    with pytest.raises(ValueError, match=r"00002\.safetensors: is shard 2 of 2 .*load the folder"):
        models.load(folder / "model-00002-of-00002.safetensors")
    shutil.copytree(folder, tmp_path / "other")
    text = (tmp_path / "other" / INDEX).read_text()
    for i in (1, 2):
        (tmp_path / "other" / f"model-0000{i}-of-00002.safetensors").rename(
            tmp_path / "other" / f"part{i}.safetensors"
        )
        text = text.replace(f"model-0000{i}-of-00002", f"part{i}")
    (tmp_path / "other" / INDEX).write_text(text)
    models.load(tmp_path / "other")
    with pytest.raises(ValueError, match=r"part1\.safetensors: is shard 1 of 2"):
        models.load(tmp_path / "other" / "part1.safetensors")
    whole = tmp_path / "model-00001-of-00001.safetensors"
    shutil.copy(GOLDEN / "timm_vit" / WEIGHTS, whole)
    assert models.load(whole, heads=2).model.depth == 2


# What was asked for


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("timm_vit", {"image_size": 64}, "not fit image_size=64: .*pass interpolate=True"),
        ("timm_vit", {"image_size": 64, "interpolate": True}, "leave it, and pass interpolate=T"),
        ("hf_dinov2", {"image_size": 40}, "takes images of any size as it is: leave image_size"),
        ("timm_mixer", {"image_size": 64}, "the network takes no other image_size"),
        ("timm_vit", {"patch_size": 16}, "not fit patch_size=16"),
        ("timm_vit", {"width": 32}, "not fit width=32"),
        ("timm_vit", {"depth": 10**6}, r"not fit depth=1000000: has \(2,\) blocks"),
        ("timm_vit", {"heads": 3}, "3 attention heads do not divide the 16 channels"),
        ("timm_vit", {"heads": 0}, "heads must be a positive integer, got 0"),
    ],
)
def test_attributes_that_do_not_fit_the_tensors_are_refused(name, asked, words):
    with pytest.raises(ValueError, match=words):
        models.load(GOLDEN / name, **asked)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_family_without_preprocessing_for_so_many_channels(tmp_path, channels):
    values = load_file(GOLDEN / "timm_vit" / WEIGHTS)
    stem = values["patch_embed.proj.weight"]
    values["patch_embed.proj.weight"] = np.repeat(stem[:, :1], channels, axis=1)
    save_file(values, tmp_path / "x.safetensors")
    made = models.load(tmp_path / "x.safetensors", heads=2).preprocess
    assert made.mean == (0.5,) * channels
    assert made.source == "default of vit, the mean of its channels"
