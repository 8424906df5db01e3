"""The studies of published networks in their tiny sizes: CIFAR-10 and CamVid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from experiments import run as command
from experiments.camvid import report as scene_report
from experiments.camvid import run as scene_run
from experiments.camvid import task as scenes
from experiments.cifar10 import report as photo_report
from experiments.cifar10 import run as photo_run
from experiments.cifar10 import task as photos
from experiments.shared import shapes
from experiments.shared.studies import find
from softeq_jax import data, measures


@pytest.mark.slow(15)
def test_photos_end_with_a_price_for_every_tool(tiny):
    study = tiny("cifar10")
    families = ["free, augmented", "heat .9", "strict"]
    assert [line.get("family") for line in study.lines] == [*families, None, None]
    trained = [line for line in study.lines if not line["floor"]]
    assert all(line["kl"] > 0 and line["defect"] > 0 for line in study.lines[:4])
    (published,) = study.of(row="not fine-tuned on ResNet-8")
    assert all(line["defect"] != published["defect"] for line in trained)
    (majority,) = study.of(row="majority on ResNet-8")
    assert majority["kl"] == 0
    assert majority["accuracy"] == majority["rotated_accuracy"]
    page = (study.workdir / "tiny.md").read_text()
    assert "What a tool buys" in page
    assert "| ResNet-8 | strict |" in page


@pytest.mark.slow(25)
def test_scenes_end_with_intervals_over_drives(tiny):
    study = tiny("camvid")
    assert len(study.lines) == 3
    trained = [line for line in study.lines if not line["floor"]]
    assert all(0 <= line["iou"] <= 100 and line["consistency"] > 0 for line in trained)
    page = (study.workdir / "tiny.md").read_text()
    assert "| both on DINOv2-S | free, augmented on DINOv2-S | 1 |" in page
    counted = [x for x in study.tables["blocks"] if x["row"] == "both on DINOv2-S"]
    both = [sum(x["both"] for x in counted if x["class"] == c) for c in (0, 1)]
    either = [sum(x["either"] for x in counted if x["class"] == c) for c in (0, 1)]
    (soft,) = study.of(row="both on DINOv2-S")
    assert soft["iou"] == pytest.approx(100 * np.mean(np.divide(both, either)))


@pytest.mark.slow(3)
@pytest.mark.parametrize(
    ("name", "preset", "row", "said"),
    [
        ("cifar10", "paper", "heat .7 on ResNet-50", "-> (128, 10), 23,528,522 parameters, 48.1%"),
        (
            "cifar10",
            "imagenet",
            "strict on ViT-B/16",
            "(1024, 224, 224, 3) -> (1024, 1000), 86,567,656 parameters, 0.9% of them filtered, "
            "in 2 weights: patch_embed/kernel, pos_embed; 18,767 steps",
        ),
        ("camvid", "paper", "free on DINOv2-B", "(32, 518, 518, 21), 86,595,861 parameters, none"),
        ("camvid", "ade20k", "heat .9 on SegFormer-B0", "(32, 512, 512, 151), 3,752,951 param"),
    ],
)
def test_rows_of_sizes_that_were_not_run_fit_their_networks(
    name, preset, row, said, capsys, tmp_path
):
    """They say what they would train, without data or weights; to run, they say what is missing."""
    size = find(name).presets[preset]
    assert size.note.endswith("Not run here.")
    assert command.main([name, "--preset", preset, "--rows", "--only", row]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"== {row}\n")
    assert said in told
    work = ["--workdir", str(tmp_path / "work"), "--data_dir", str(tmp_path)]
    assert command.main([name, "--preset", preset, *work]) == 2
    assert f"{size.needs[0].path} of the data folder" in capsys.readouterr().err


def test_rules_that_do_not_fit_are_told_before_anything_is_run():
    model = scenes.unloaded({"weights": "", "backbone": "dinov2", "classes": 2})
    assert "none filtered" in shapes.network_text(model, 12, 2)
    with pytest.raises(ValueError, match="nowhere"):
        shapes.network_text(model, 12, 2, {"nowhere/*": None})
    with pytest.raises(ValueError, match="multiples of 4"):
        shapes.network_text(model, 13, 2)


@pytest.mark.parametrize("name", ["cifar10", "camvid"])
def test_claims_name_rows_that_are_there(name):
    study = find(name)
    size = study.presets["small"]
    settings = {**size.settings, **size.grid}
    rows, floors = study.rows(settings), study.floors(settings)
    for claim in study.claims:
        assert {claim.row, claim.reference} <= set(rows)
        for test in claim.tests:
            assert getattr(test, "floor", None) in {None, *floors}
    free = {name for name, row in rows.items() if not row["rotated"]}
    assert free == {name for name in rows if name.startswith("free on ")}


def test_a_strict_row_starts_from_kernels_that_a_turn_leaves_alone():
    model, variables = photos.network(None, 10, False)
    settings = {"method": "dial", "dials": {"cutoff": 0.0}}
    weights = photo_run.recipe(settings, model, variables["params"]).finish(variables["params"])
    kernel = np.asarray(weights["stage1_block0"]["conv1"]["kernel"])
    np.testing.assert_allclose(np.rot90(kernel), kernel, atol=1e-6)
    assert np.abs(kernel).max() > 0.01
    with pytest.raises(ValueError, match="'wish'"):
        photo_run.recipe({"method": "wish"}, model, variables["params"])


def test_photos_that_are_scored_are_never_held_out():
    first, second = (photos.photos(None, "digits", s, (20, 30, 200), None) for s in (0, 1))
    np.testing.assert_array_equal(first.held[0], second.held[0])
    held = {image.tobytes() for image in first.held[0]}
    for drawn in (first, second):
        assert len(drawn.test[0]) == 200
        assert not held & {image.tobytes() for image in drawn.test[0]}
    drawn = [[d.train[i]["image"].tobytes() for i in range(20)] for d in (first, second)]
    assert drawn[0] != drawn[1]


def test_what_comes_in_at_the_border_is_nothing_to_the_network():
    gray = np.broadcast_to(np.array(photos.GRAY, np.uint8), (8, 8, 3)).copy()
    settings = {"side": None, "crop": 2, "rotated": True}
    example = {"image": gray, "label": 0}
    rng = np.random.default_rng(0)
    for transform in photos.augmentation(settings):
        example = transform(example, rng)
    assert float(np.abs(photos.preprocess(example["image"])).max()) < 0.01
    plain = photos.augmentation({**settings, "rotated": False})
    assert not any(isinstance(t, data.RandomRotation) for t in plain)


class Radius(nn.Module):
    """Two features that turns leave alone: means over the middle, and over all."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, x):
        found = jnp.stack([x[:, 3:5, 3:5].mean((1, 2, 3)), x.mean((1, 2, 3))], -1)
        return nn.Dense(self.num_classes)(found) if self.num_classes else found


def test_what_turns_leave_alone_has_no_defect():
    rng = np.random.default_rng(0)
    bright = rng.integers(30, 250, 40)
    images = np.broadcast_to(np.array(photos.GRAY, np.uint8), (40, 8, 8, 3)).copy()
    images[:, 3:5, 3:5] = bright[:, None, None, None]
    labels = (bright > 120).astype(np.int32)
    split = photos.Photos(data.ArraySource(images, labels), *2 * ((images, labels),))
    kernel = jnp.array([[-30.0, 30.0], [0.0, 0.0]])
    variables = {"params": {"Dense_0": {"kernel": kernel, "bias": jnp.zeros(2)}}}
    found = photos.photo_scores(Radius(), variables, split)
    assert found.accuracy > 90
    assert found.rotated_accuracy > 90
    assert found.combined == pytest.approx(np.sqrt(found.accuracy * found.rotated_accuracy))
    assert found.defect == pytest.approx(found.feature_defect, rel=0.5)
    assert found.defect < 0.2
    variables["params"]["Dense_0"]["kernel"] = 7 * kernel
    again = photos.photo_scores(Radius(), variables, split)
    assert again.temperature == pytest.approx(7 * found.temperature, rel=1e-2)
    assert again.kl == pytest.approx(found.kl, rel=1e-2)


def test_the_price_of_a_tool_is_in_points():
    def line(family, accuracy, kl):
        common = {"network": "N", "rotated_accuracy": 50.0}
        return {"family": family, "accuracy": accuracy, "kl": kl, **common}

    lines = [line("free, augmented", 80.0, 1.0), line("heat .9", 78.0, 0.5)]
    text = "\n".join(photo_report.sections([*lines, line("strict", 81.0, 2.0)], {}))
    assert "| N | heat .9 | -2.00 | +0.00 | -50.0 % | +25.0 % |" in text
    assert "| N | strict | +1.00 | +0.00 | +100.0 % | nothing lost |" in text


def test_blocks_are_stretches_of_one_drive():
    assert scenes.block("Seq05VD_f02550") == scenes.block("Seq05VD_f02670") == "Seq05VD 8"
    assert scenes.block("0001TP_008550") == "0001TP 28"
    assert scenes.block("0016E5_00390") != scenes.block("0006R0_f00390")
    assert scenes.block("") == ""


class Brightness(nn.Module):
    """Dark pixels are road, bright ones sky: it knows the drawn scenes, and turns with them."""

    def __call__(self, x, train=False):
        return jnp.stack([x.mean(-1), -x.mean(-1)], -1)


def test_a_network_that_looks_at_pixels_alone_is_equivariant():
    found = scenes.scenes(None, "drawn", 16, 11, 1)
    scores, counts = scenes.scene_scores(Brightness(), {}, found, 2)
    assert scores.iou == pytest.approx(100)
    assert scores.rotated_iou > 90
    assert scores.agreement > 95
    assert 100 * measures.mean_iou(counts.sum(axis=0)) == pytest.approx(scores.iou)
    assert counts.sum() == found.test[1].size
    lines = scene_run.block_lines(counts, found.blocks)
    assert {line["block"] for line in lines} == {"drive 0", "drive 1"}
    assert sum(line["both"] for line in lines) == found.test[1].size


def test_void_is_not_counted():
    masks = np.array([[[0, 1], [scenes.VOID, 1]]])
    counts = scenes.image_counts(np.array([[[0, 1], [1, 0]]]), masks, 2)
    np.testing.assert_array_equal(counts, [[[1, 0], [1, 1]]])


def test_drives_drawn_again_compare_a_row_with_its_reference():
    def counted(row, both):
        return [
            {"row": row, "seed": 0, "block": str(b), "class": 0, "both": both[b], "either": 10}
            for b in range(4)
        ]

    tables = {
        "blocks": counted("free, augmented on N", [5, 6, 7, 8]) + counted("both on N", [6, 7, 8, 9])
    }
    text = "\n".join(scene_report.sections([], tables))
    assert "| both on N | free, augmented on N | 1 | +10.00 [+10.00, +10.00] |" in text
    assert scene_report.sections([], {}) == []


def test_a_published_backbone_is_where_a_segmenter_starts():
    settings = {"weights": "", "backbone": "dinov2", "classes": 2}
    model, published = scenes.network(settings, None)
    assert published is None
    plain = scenes.start(model, None, 12, 0)
    half = jax.tree.map(lambda w: np.float16(w + 1), plain["params"]["backbone"])
    given = scenes.start(model, half, 12, 0)["params"]
    kernel = given["backbone"]["patch_embed"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel, half["patch_embed"]["kernel"])
    same = given["head"]["classifier"]["kernel"]
    np.testing.assert_array_equal(same, plain["params"]["head"]["classifier"]["kernel"])
