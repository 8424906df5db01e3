"""The study of what raises learned equivariance; networks that are trained once for all studies."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.factors import report, study
from experiments.shared.claims import Verdict
from experiments.shared.studies import Run, StudyError, find
from experiments.zoo import networks


@pytest.mark.slow(30)
def test_features_go_with_shifts_as_far_as_the_networks_do(tiny):
    done = tiny("factors")
    assert len(done.lines) == 6
    stages = done.tables["stages"]
    assert {line["row"] for line in stages} == {x["row"] for x in done.lines if not x["floor"]}
    for line in stages:
        # Embedding patches commutes with shifts by a patch, whatever it has learned.
        if (line["layer"], line["transform"]) == ("patch_embed", "shift"):
            assert line["equivariance"] == pytest.approx(1, abs=1e-5)
    (control,) = done.of(row="ResNet 4, other images")
    assert abs(control["shift"]) < 0.3
    (trained,), (begun,) = (done.of(row=f"ResNet 4{end}") for end in ("", ", untrained"))
    assert trained["shift"] != begun["shift"]
    assert trained["parameters"] == begun["parameters"]
    text = (done.workdir / "tiny.md").read_text()
    assert all(word in text for word in ("stage3_block0", "patch_embed", "of another image"))
    assert {"tiny.png", "tiny_stages.png", "tiny_accuracy.png"} <= {
        path.name for path in done.workdir.iterdir()
    }
    kept = sorted((done.chosen.shared / "networks").glob("*/network.json"))
    assert len(kept) == 3  # three networks, though six rows measure them
    facts = json.loads(kept[0].read_text())
    assert set(facts["checkpoints"]) == set(networks.CHECKPOINTS)


@pytest.fixture
def one(tmp_path):
    """A run of a small network."""
    settings = {**study.TINY, "model": networks.resnet(4), "augmentation": "crop"}
    return Run("r", 3, settings, tmp_path / "w", tmp_path / "a", None, tmp_path / "shared")


@pytest.mark.slow(15)
def test_training_that_was_stopped_ends_with_the_same_weights(one, tmp_path, monkeypatch):
    straight = networks.network_of(one)
    assert networks.network_of(one) == straight, "it is not trained again"

    save = networks.export.save_params

    def stops(path, tree):
        if path.stem == "end":
            raise KeyboardInterrupt
        save(path, tree)

    again = dataclasses.replace(one, shared=tmp_path / "again")
    with monkeypatch.context() as patch:
        patch.setattr(networks.export, "save_params", stops)
        with pytest.raises(KeyboardInterrupt):
            networks.network_of(again)
    left = {path.stem for path in (tmp_path / "again").rglob("*.safetensors")}
    assert {"init", "early"} <= left
    assert "end" not in left
    resumed = networks.network_of(again)
    assert resumed.facts == straight.facts
    digests = {facts["sha256"] for facts in straight.facts["checkpoints"].values()}
    assert len(digests) == 3
    assert not (resumed.folder / "work").exists()
    spoiled = straight.folder / "early.safetensors"
    spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"\0")
    with pytest.raises(StudyError, match=r"early.safetensors has SHA-256 .*, expected"):
        straight.load("early")
    other = dataclasses.replace(one, seed=4)
    assert networks.made_with(other) != networks.made_with(one)


def test_networks_of_a_size_have_the_same_number_of_parameters():
    counts = {}
    for name, settings in networks.MATCHED.items():
        model = networks.build(settings)
        template = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
        counts[name] = networks.parameters(template)
    sizes = np.array(list(counts.values())).reshape(2, 3)
    assert (np.abs(sizes / sizes[:, :1] - 1) < 0.05).all(), counts
    with pytest.raises(ValueError, match="no kind of network is called 'cnn'"):
        networks.build({"kind": "cnn"})


def test_rows_differ_from_the_base_in_one_factor_and_claims_fit():
    declared = find("factors")
    small = declared.presets["small"]
    rows = declared.rows({**small.settings, **small.grid})
    assert len(rows) == 7 + 2 + 6
    base = rows[study.BASE]
    for name, settings in rows.items():
        changed = {key for key in base if settings[key] != base[key]} - {"family"}
        assert len(changed) <= 1 or settings["checkpoint"] == "init", name
    known = {*rows, *declared.floors({**small.settings, **small.grid})}
    for claim in declared.claims[:4]:
        assert {claim.row, claim.reference} <= known
        for test in claim.tests:
            assert getattr(test, "floor", claim.row) in known
    first = declared.claims[0]
    assert {first.row, first.reference, first.tests[1].floor} == set(small.more_seeds)
    assert "Not run here" in declared.presets["paper"].note


def _lines(effects):
    """Five seeds of every row of the small size, with a score of its own for each."""
    declared = find("factors")
    small = declared.presets["small"]
    rng = np.random.default_rng(0)

    def noise(row):
        return 0.2 if row == "Mixer 48" else 0.01

    return [
        {
            **settings,
            "row": row,
            "seed": seed,
            "shift": (score := effects(row) + noise(row) * rng.standard_normal()),
            "accuracy": 50 + 10 * score,
            "consistency": 0.9 - 0.1 * score,
        }
        for row, settings in declared.rows({**small.settings, **small.grid}).items()
        for seed in range(5)
    ]


def test_claims_are_judged_by_the_table():
    def effects(row):
        if "untrained" in row:
            return 0.1
        return {"ResNet 4": 0.5, "ResNet 32": 0.7, "ViT 44": 0.3}.get(row, 0.6 - 0.2 * ("," in row))

    declared = find("factors")
    lines = _lines(effects)
    verdicts = [claim.judge(declared, lines)[0] for claim in declared.claims]
    holds, fails = Verdict.HOLDS, Verdict.FAILS
    assert verdicts[:3] == [holds, fails, holds]
    assert verdicts[3] is Verdict.UNKNOWN  # the Mixer's seeds differ too much
    assert verdicts[4:] == [holds, fails]
    assert report.is_trained(lines[0])
    assert not report.is_trained({**lines[0], "floor": True})
