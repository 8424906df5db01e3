"""The ImageNet study in its tiny size: splits, batch statistics, changes image by image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from experiments.imagenet_sample import report, study, task
from experiments.shared.claims import Claim, OverItems, Verdict, over_items
from experiments.shared.studies import find
from softeq_jax import models


@pytest.mark.slow(15)
def test_a_study_ends_with_changes_from_the_network_as_published(tiny):
    done = tiny("imagenet_sample")
    assert len(done.lines) == 10
    published, renewed = (done.of(row=f"Lite 0: as published{end}")[0] for end in ("", study.NEW))
    for key in ("accuracy", "rotated_accuracy", "kl"):
        assert published[f"{key}_change"] == published[f"{key}_change_se"] == 0
        assert renewed[f"{key}_change"] == pytest.approx(renewed[key] - published[key], abs=1e-9)
    assert renewed["kl"] != published["kl"]
    (strict,) = done.of(row="Lite 0: C4 0")
    (nearly,) = done.of(row="Lite 0: C4 0.95")
    assert strict["certified_group"] < 1e-5 < nearly["certified_group"]
    assert nearly["certified_group"] < published["certified_group"]
    for line in done.lines:
        assert line["images"] == 16
        if not line["floor"]:
            assert line["measured"] <= line["certified"] + 1e-9
    # All maps of 33 pixels are symmetric; what SO(2) does to a layer is not known.
    assert strict["layers"] == "8 of 8"
    assert done.of(row="Lite 0: SO2 0.5")[0]["layers"] == "0 of 8"
    (constant,) = done.of(row="Lite 0: constant")
    assert constant["kl"] == 0
    (section, table, _) = report.sections(done.lines, {})
    assert section == "## Changes over images"
    assert table.count("\n") == 1 + 8


def test_rows_and_claims_fit():
    declared = find("imagenet_sample")
    small = declared.presets["small"]
    rows = declared.rows({**small.settings, **small.grid})
    assert len(rows) == 2 * (17 + 5 + 5)
    for claim in declared.claims:
        assert {claim.row, claim.reference} <= set(rows)
        assert rows[claim.row]["dials"] == {"softness": 0.95}
        assert rows[claim.row]["network"] == rows[claim.reference]["network"]
    strong = [settings["dials"]["softness"] for settings in rows.values()]
    assert set(strong) == {*study.EIGHT, 1.0}


@pytest.mark.slow(15)
def test_the_published_dials_fit_the_networks_they_are_for():
    paper = study.STUDY.presets["paper"]
    assert "Not run here" in paper.note
    presets = {"ViT-B/16": "vit_b16", "DINOv2-B": "dinov2_b14", "ResNet-50": "resnet50"}
    rows = study.rows({**paper.settings, **paper.grid})
    assert {settings["network"] for settings in rows.values()} == set(presets)
    shapes = {}
    for network, name in presets.items():
        model = models.create(name)
        x = jnp.ones((1, 224, 224, 3))
        made = jax.eval_shape(lambda x, model=model: model.init(jax.random.key(0), x), x)
        shapes[network] = model, made["params"]
    for name, settings in rows.items():
        model, params = shapes[settings["network"]]
        group = sq.groups.from_name(settings["group"])
        plan = sq.plan(params, models.soft_rules(model, group, **settings["dials"]))
        kept = min(projector.softness for projector in plan.projectors)
        wanted = min(settings["dials"].values())
        assert kept == pytest.approx(wanted, abs=1e-6), name


def test_splits_are_disjoint_and_of_their_seed():
    held, rest = task.split_of(50, 10, 3)
    assert len(held) == 10
    assert sorted([*held, *rest]) == list(range(50))
    again, _ = task.split_of(50, 10, 3)
    other, _ = task.split_of(50, 10, 4)
    assert (held == again).all()
    assert set(held) != set(other)
    with pytest.raises(ValueError, match="50 of 50"):
        task.split_of(50, 50, 0)


@pytest.fixture(scope="module")
def small():
    settings = {**study.STUDY.presets["tiny"].settings, "network": "Lite 0"}
    return task.load_classifier(settings, None)


@pytest.mark.slow(4)
def test_new_statistics_are_those_of_the_images(small):
    """In one batch the network then says in evaluation what it says in training."""
    images = small.upright[:8].astype(np.float32)
    one = small.with_statistics_of(small.variables, small.upright[:8], 8)
    assert jax.tree.structure(one) == jax.tree.structure(dict(small.variables))
    trained, _ = jax.jit(lambda v, x: small.model.apply(v, x, train=True, mutable=["batch_stats"]))(
        small.variables, images
    )
    np.testing.assert_allclose(small.logits(one, small.upright[:8]), trained, rtol=0, atol=1e-5)
    before = small.logits(small.variables, small.upright[:8])
    assert np.abs(before - trained).max() > 1e-3
    parts = small.with_statistics_of(small.variables, small.upright[:8], 4)
    for key in ("mean", "var"):  # the first layer sees the same in batches of any size
        whole, halves = (each["batch_stats"]["stem_bn"][key] for each in (one, parts))
        np.testing.assert_allclose(whole, halves, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="8 images cannot be divided into batches of 3"):
        small.with_statistics_of(small.variables, small.upright[:8], 3)


@pytest.mark.slow
def test_images_turn_by_angles_of_their_own(small):
    np.testing.assert_array_equal(task.rotated_images(small.upright[:2], 0.0), small.upright[:2])
    moved = task.rotated_images(small.upright[:3], 30.0)
    np.testing.assert_array_equal(moved[:2], task.rotated_images(small.upright[:2], 30.0)[:2])
    assert np.abs(moved - small.upright[:3]).max(axis=(1, 2, 3)).min() > 0.1


def test_changes_know_the_sampling_error_of_their_items():
    def lines(*changes, error):
        return [
            {"row": "soft", "seed": i, "accuracy_change": x, "accuracy_change_se": error}
            for i, x in enumerate(changes)
        ]

    claim = Claim("", "soft", "free", ())
    declared = find("imagenet_sample")

    def verdict(found):
        return OverItems("accuracy_change", -0.01).judge(declared, found, claim).verdict

    same = over_items(lines(0.0, 0.0, 0.0, error=0.01), "accuracy_change")
    assert same.high == -same.low == pytest.approx(0.0196, abs=1e-4)  # no smaller for three seeds
    apart = over_items(lines(-0.1, 0.0, 0.1, error=0.0), "accuracy_change")
    assert apart.high == pytest.approx(1.96 * 0.1 / np.sqrt(3), abs=1e-4)
    assert verdict(lines(0.0, 0.0, error=0.004)) is Verdict.HOLDS
    assert verdict(lines(0.0, 0.0, error=0.006)) is Verdict.UNKNOWN
    assert verdict(lines(-0.03, -0.03, error=0.004)) is Verdict.FAILS
    assert verdict([]) is Verdict.UNKNOWN
