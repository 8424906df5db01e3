"""What lies in and beside a softened file: its metadata and its card, and who reads them back."""

import hashlib
import json
import re

import numpy as np
import pytest
from command import refused, run
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tiny_checkpoints import cifar_file, vit_folder

import softeq_jax as sq
from softeq_jax import models
from softeq_jax.models.weights import load, sha256

HEAT = ("--group", "so2", "--softness", "0.4")


def metadata(path):
    with safe_open(path, "np") as file:
        return file.metadata()


def tensors(path):
    """Name to dtype and shape."""
    return {name: (tensor.dtype, tensor.shape) for name, tensor in load_file(path).items()}


@pytest.fixture
def resnet(tmp_path):
    path = cifar_file(tmp_path / "net.safetensors")
    save_file(load_file(path), path, {"license": "BSD", "softness": "mine"})
    return path


def test_the_file_says_what_was_done_and_keeps_what_it_said(capsys, resnet, tmp_path):
    out = tmp_path / "soft.safetensors"
    run(capsys, "soften", resnet, *HEAT, "--out", out)
    found = metadata(out)
    assert found["license"] == "BSD"
    assert found["softness"] == "mine"
    assert found["format"] == "pt"  # or `transformers` refuses it
    digest = hashlib.sha256(resnet.read_bytes()).hexdigest()
    assert found["softeq.source_sha256"] == digest == sha256(resnet)
    assert found["softeq.source"] == "net.safetensors"
    wanted = {"group": "so2", "mask": "heat", "softness": "0.4"}
    assert {key: found[f"softeq.{key}"] for key in wanted} == wanted
    assert json.loads(found["softeq.dials"]) == {"softness": 0.4}
    network = load(out)
    plan = sq.plan(
        network.variables["params"],
        models.soft_rules(network.model, sq.groups.so(2), softness=0.4),
    )
    assert float(found["softeq.width"]) == pytest.approx(plan.projectors[0].cutoff, rel=1e-3)
    bound, words = found["softeq.bound"].split("; ")[0].split(" ", 1)
    true = plan.certificate(network.variables["params"]).relative
    assert words == "by any element of SO(2)"
    assert true <= float(bound) <= true * 1.001
    text = run(capsys, "inspect", out)
    assert f"made of   net.safetensors, SHA-256 {digest}, by softeq-jax " in text
    assert "softened  under so2: heat mask, softness 0.4, width " in text
    assert found["softeq.bound"] in text
    assert f"card      {out.with_suffix('.md')}" in text


def test_a_hard_mask_is_told_by_its_level(capsys, resnet, tmp_path):
    out = tmp_path / "soft.safetensors"
    run(capsys, "soften", resnet, "--group", "D4", "--cutoff", "0", "--out", out)
    found = metadata(out)
    assert (found["softeq.mask"], found["softeq.level"]) == ("hard", "0")
    assert "softeq.width" not in found


def test_the_card_has_every_filter_and_every_bound(capsys, resnet, tmp_path):
    out = tmp_path / "soft.safetensors"
    run(capsys, "soften", resnet, *HEAT, "--out", out)
    card = out.with_suffix(".md").read_text()
    network, before = load(out), load(resnet)
    rules = models.soft_rules(network.model, sq.groups.so(2), softness=0.4)
    plan = sq.plan(network.variables["params"], rules)
    for path, _, w in plan.planned(network.variables["params"]):
        tensor = next(t.name for t in network.report.used if f"params/{path}" in t.paths)
        assert re.search(rf"\| {re.escape(tensor)} \| {'x'.join(map(str, w.shape))} \|", card)
        line = next(x for x in card.splitlines() if x.startswith(f"| `{path}` | by any element"))
        shown = [float(cell) for cell in line.strip("| ").split(" | ")[2:]]
        old = plan.certificate(before.variables["params"]).parts[path]
        new = plan.certificate(network.variables["params"]).parts[path]
        true = [old.relative, new.bound / old.weight_norm, new.relative]
        assert np.all(np.array(true) <= shown)
        np.testing.assert_allclose(shown, true, rtol=1e-3)
    assert 'load_file("soft.safetensors")' in card
    assert sha256(resnet) in card
    assert str(tmp_path) not in card
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1]
    code = code.replace('"soft.safetensors"', repr(str(out)))
    names = {"images": np.zeros((1, 32, 32, 3), np.float32)}
    exec(compile(code, "card", "exec"), names)
    assert names["outputs"].shape == (1, 5)


def test_a_folder_has_a_card_for_transformers_and_the_tensors_of_its_source(capsys, tmp_path):
    vit = vit_folder(tmp_path / "vit")
    out = tmp_path / "soft"
    run(capsys, "soften", vit, "--group", "c4", "--softness", "0.5", "--out", out)
    card = (out / "README.md").read_text()
    assert 'model = ViTForImageClassification.from_pretrained("soft")' in card
    assert "library_name: transformers" in card
    weights = out / "model.safetensors"
    assert tensors(weights) == tensors(vit / "model.safetensors")
    assert metadata(weights)["softeq.source_sha256"] == sha256(vit)
    for source in (out, weights):
        assert f"card      {out / 'README.md'}" in run(capsys, "inspect", source)


def test_softened_weights_are_softened_again_only_when_told(capsys, resnet, tmp_path):
    once, twice = tmp_path / "once.safetensors", tmp_path / "twice.safetensors"
    run(capsys, "soften", resnet, *HEAT, "--out", once)
    words = refused(capsys, "soften", once, *HEAT, "--out", twice)
    assert "softened already, under so2: heat mask, softness 0.4" in words
    assert "--again" in words
    assert not twice.exists()
    run(capsys, "soften", once, "--group", "c4", "--softness", "0", "--out", twice, "--again")
    found = metadata(twice)
    assert (found["softeq.group"], found["softeq.source_sha256"]) == ("c4", sha256(once))
    (earlier,) = json.loads(found["softeq.earlier"])
    assert (earlier["group"], earlier["source_sha256"]) == ("so2", sha256(resnet))
    lines = run(capsys, "inspect", twice).splitlines()
    told = [line.split()[0] for line in lines if line.startswith(("softened", "made"))]
    assert told == ["softened", "made", "softened", "made"]
    thrice = tmp_path / "thrice.safetensors"
    run(capsys, "soften", twice, *HEAT, "--out", thrice, "--again")
    assert len(json.loads(metadata(thrice)["softeq.earlier"])) == 2


def test_a_card_is_replaced_only_when_told(capsys, resnet, tmp_path):
    out = tmp_path / "soft.safetensors"
    out.with_suffix(".md").write_text("mine")
    words = refused(capsys, "soften", resnet, *HEAT, "--out", out)
    assert "soft.md, the card of --out" in words
    assert out.with_suffix(".md").read_text() == "mine"
    run(capsys, "soften", resnet, *HEAT, "--out", out, "--force")
    assert "# soft: CifarResNet, softened" in out.with_suffix(".md").read_text()


@pytest.mark.parametrize("key", ["dials", "training", "classes", "earlier"])
def test_metadata_that_cannot_be_read_are_named(capsys, resnet, tmp_path, key):
    odd = tmp_path / "odd.safetensors"
    save_file(load_file(resnet), odd, {f"softeq.{key}": "[{"})
    for command in (("inspect", odd), ("soften", odd, *HEAT, "--out", tmp_path / "x.safetensors")):
        words = refused(capsys, *command)
        assert f"odd.safetensors: metadata softeq.{key} is '[{{', expected JSON" in words


def test_the_digest_of_shards_is_that_of_their_bytes_in_order(tmp_path):
    folder = vit_folder(tmp_path / "vit")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, where = sorted(weights), {}
    for i, part in enumerate((names[::2], names[1::2]), 1):
        name = f"model-{i:05}-of-00002.safetensors"
        save_file({n: weights[n] for n in part}, folder / name)
        where |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    whole = b"".join(path.read_bytes() for path in sorted(folder.glob("model-*.safetensors")))
    assert sha256(folder) == hashlib.sha256(whole).hexdigest()


def test_metadata_of_the_files_before_are_checked_too(capsys, resnet, tmp_path):
    odd = tmp_path / "odd.safetensors"
    for earlier, words in (
        ([{"training": "[]"}], "softeq.training is '[]', expected JSON of a dict"),
        ([3], "softeq.earlier holds '3', expected texts by name"),
    ):
        save_file(load_file(resnet), odd, {"softeq.earlier": json.dumps(earlier)})
        assert words in refused(capsys, "inspect", odd)


@pytest.mark.slow(8)
def test_a_softened_dinov2_has_the_tensors_of_the_published_one(capsys, data_dir, tmp_path):
    source, out = data_dir / "pretrained" / "dinov2_small", tmp_path / "soft"
    run(capsys, "soften", source, "--group", "c4", "--softness", "0.8", "--out", out)
    weights = source / "model.safetensors", out / "model.safetensors"
    assert tensors(weights[0]) == tensors(weights[1])
    before, after = map(load_file, weights)
    changed = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert changed == {
        "embeddings.patch_embeddings.projection.weight",
        "embeddings.position_embeddings",
    }
    assert metadata(weights[1]).items() >= metadata(weights[0]).items()
    assert (out / "config.json").read_bytes() == (source / "config.json").read_bytes()
    card = (out / "README.md").read_text()
    assert 'Dinov2Model.from_pretrained("soft")' in card


@pytest.mark.slow(5)
def test_a_softened_efficientnet_has_the_tensors_of_the_published_one(capsys, data_dir, tmp_path):
    source, out = data_dir / "pretrained" / "tf_efficientnet_lite0", tmp_path / "soft"
    run(capsys, "soften", source, "--group", "c4", "--softness", "0.5", "--out", out)
    assert tensors(source / "model.safetensors") == tensors(out / "model.safetensors")
    card = (out / "README.md").read_text()
    options = 'num_classes=1000, checkpoint_path="soft/model.safetensors"'
    assert f'timm.create_model("tf_efficientnet_lite0", {options})' in card
