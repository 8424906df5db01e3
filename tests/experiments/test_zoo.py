"""The zoo: its tiny size, kinds of layers, claims on tables that were made up, its figures."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.measure.subject import EIGHT, Subject, picked
from experiments.shared.claims import Claim, Verdict
from experiments.shared.studies import find
from experiments.zoo import layers, networks, report, run, study
from experiments.zoo.verdicts import Exceeds, TrainingDecides
from softeq_jax import measures, models
from softeq_jax.data import IMAGENET_MEAN, IMAGENET_STD

CLAIM = Claim("", "every network", "", ())


@pytest.mark.slow(30)
def test_a_zoo_ends_with_every_table_and_figure(tiny):
    done = tiny("zoo")
    assert len(done.lines) == 6
    assert len(done.tables["weights"]) == 3
    (start,) = done.of(row="ResNet 4, init")
    assert start["untrained"] == pytest.approx(1)
    (end,) = done.of(row="ResNet 4, end")
    rows = [row for row in done.tables["lie"] if row["row"] == end["row"]]
    assert [row["generator"] for row in rows] == [getattr(one, "name", one) for one in EIGHT]
    assert end["lee_translation"] == pytest.approx(
        np.mean([row["mean_sq"] for row in rows if row["generator"].startswith("translation")])
    )
    for line in done.of(part="measured", final=True):
        mine = [row for row in done.tables["layers"] if row["row"] == line["row"]]
        assert sum(row["share"] for row in mine) == pytest.approx(1, abs=1e-3)
        every = (*layers.KINDS, layers.REST)
        assert sum(layers.share_of(mine, kind) for kind in every) == pytest.approx(1)
        assert line["nonlinear"] == pytest.approx(layers.share_of(mine, layers.NONLINEARITY))
    assert {row["generator"] for row in done.tables["protocol"]} == {
        getattr(one, "name", one) for one in EIGHT
    }
    text = (done.workdir / "tiny.md").read_text()
    for word in (
        "SHA-256",
        "published protocol",
        "checkpoint = early",
        "The layers that contribute most",
    ):
        assert word in text
    written = {path.name for path in done.workdir.glob("*.png")}
    assert written >= {"tiny.png", "tiny_generators.png", "tiny_layers.png", "tiny_training.png"}


@pytest.mark.slow(4)
def test_the_published_protocol_is_the_stencil_and_units_it_says(tiny):
    """Of a linear network: mean |w . (x[p+1] - x[p])| times half the image."""
    done = tiny("zoo")
    rows = {row["generator"]: row for row in done.tables["protocol"]}
    settings = study.STUDY.presets["tiny"].settings
    images, labels = networks.test_images(settings, None)
    model = models.CifarResNet(depth=8, width=4)
    variables = networks.drawn(model, 16, 0)
    subject = Subject(
        model, variables, images, labels, networks.IMAGENET_MEAN, networks.IMAGENET_STD
    )
    x = jnp.asarray(subject.inputs(0, 2))
    ahead = jnp.concatenate([x[:, :, 1:], x[:, :, -2:-1]], axis=2)  # mirrored at the edge
    _, moved = jax.jvp(lambda x: jax.nn.softmax(subject.function(x)), (x,), (ahead - x,))
    wanted = 7.5 * np.mean(np.abs(moved))
    assert rows["translation_x"]["published"] == pytest.approx(float(wanted), rel=1e-3)


@pytest.mark.slow(5)
def test_the_quiet_pass_times_lee_in_forwards_of_one_checkpoint(tiny):
    listed = {one.run.row: one.run for one in tiny("zoo").chosen.listed()}
    assert run.step_cost(listed["ResNet 4, early"]) is None
    assert run.step_cost(listed["published protocol on ResNet-8"]) is None
    found = run.step_cost(listed["ResNet 4, end"])
    (ratio,) = found.further.values()
    assert ratio > 1
    assert found.milliseconds > 0
    assert found.mebibytes > 0


@pytest.mark.slow(4)
@pytest.mark.slow(8)
def test_the_untrained_twin_of_a_deep_published_network_is_not_saturated():
    model = models.CifarResNet(depth=56, width=4)
    variables = networks.drawn(model, 16, 1)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), np.uint8)
    subject = Subject(model, variables, pixels, np.zeros(32), IMAGENET_MEAN, IMAGENET_STD)
    case = SimpleNamespace(settings={"weights": "a file", "forward_images": 32})
    images = subject.inputs(0, 32)

    def surest(variables):
        return float(jax.nn.softmax(model.apply(variables, images, train=False)).max(-1).mean())

    assert surest(networks.drawn(model, 16, 0)) > 0.99
    assert surest(run.begun(case, subject)) < 0.9


def test_layers_are_named_by_their_kind():
    cases = {
        models.CifarResNet(depth=8, width=4): {
            "conv1": "convolution",
            "relu": "nonlinearity",
            "stage1_block0/relu_1": "nonlinearity",
            "stage2_block0/conv1": "strided convolution",
            "stage2_block0/conv2": "convolution",
            "stage2_block0/bn2": "normalization",
            "stage2_block0/add": layers.REST,
            "linear": "pooling and head",
        },
        models.CifarResNet(depth=8, width=4, blur=4): {
            "stage2_block0/conv1": "convolution",
            "stage2_block0/blur": "blur-pool",
            "stage2_block0/shortcut_blur": "blur-pool",
        },
        networks.build(networks.vit(8, 1, 2, side=16)): {
            "patch_embed": "patch embedding",
            "add": "positions",
            "block0/attention": "attention",
            "block0/erf": "nonlinearity",
            "block0/norm2": "normalization",
            "head": "pooling and head",
        },
        networks.build(networks.mixer(8, 1, 8, side=16)): {
            "block0": "token mixing",
            "block0/erf": "nonlinearity",
            "sum": "pooling and head",
        },
    }
    for model, wanted in cases.items():
        images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
        made = jax.eval_shape(
            lambda model=model: model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
        )
        variables = jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), made)
        cut = measures.attribution.plan(
            measures.linen(model, variables, train=False), images, "rotation"
        )
        found = dict(zip(cut.layers, layers.kinds(cut.layers, cut.layouts), strict=True))
        assert {name: found[name] for name in wanted} == wanted
    lite = layers.kinds(
        ["stem_conv", "relu6_1", "stage2_block0/depthwise", "stage2_block0/project", "head_conv"],
        ["image, pitch 2", "image, pitch 2", "image, pitch 4", "image, pitch 4", "image, pitch 4"],
    )
    strided, plain = "strided convolution", "convolution"
    assert lite == [strided, "nonlinearity", strided, plain, plain]


@pytest.mark.slow
def test_rows_and_claims_fit():
    declared = find("zoo")
    small = declared.presets["small"]
    rows = declared.rows({**small.settings, **small.grid})
    assert len(rows) == 8 + 3 * 8 + 8 + 1
    assert all(settings["final"] for name, settings in rows.items() if name in study.FILES)
    sizes = {}
    for name in ("ResNet 16", "ResNet 16 blur"):
        model = networks.build(study.TRAINED[name])
        made = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
        sizes[name] = networks.parameters(made)
    assert sizes["ResNet 16"] == sizes["ResNet 16 blur"]
    assert "Not run here" in declared.presets["paper"].note
    assert find("factors").presets["small"].settings["epochs"] == small.settings["epochs"]
    shared = {key: small.settings[key] for key in networks.SMALL}
    assert shared == {key: find("factors").presets["small"].settings[key] for key in shared}


def _lines(lee, phases):
    """Three seeds of the networks of the small size at their checkpoints."""
    declared = find("zoo")
    small = declared.presets["small"]
    rng = np.random.default_rng(0)
    found = []
    for row, settings in declared.rows({**small.settings, **small.grid}).items():
        if settings["part"] != "measured" or row == "DINOv2-S":
            continue
        size = float("".join(c for c in settings["network"] if c.isdigit()))
        for seed in range(1 if settings["checkpoint"] == "published" else 3):
            accuracy = 50 + size / 4 + 0.1 * rng.standard_normal()
            value = {"size": size, "accuracy": accuracy, **settings}
            found.append(
                {
                    **settings,
                    "row": row,
                    "seed": seed,
                    "accuracy": accuracy,
                    "parameters": int(1000 * size),
                    "consistency": accuracy / 100,
                    "lee_translation": lee(value),
                    "phases": phases(value),
                    "nonlinear": 0.7 + 0.02 * rng.standard_normal(),
                    "nonlinear_mirror": 0.3 + 0.02 * rng.standard_normal(),
                }
            )
    return found


def test_claims_are_judged_by_the_table():
    declared = find("zoo")

    def judged(lines):
        return [claim.judge(declared, lines)[0] for claim in declared.claims]

    holds, fails = Verdict.HOLDS, Verdict.FAILS
    falling = lambda x: np.exp(-x["accuracy"])  # noqa: E731
    trained = lambda x: np.exp(-x["accuracy"] / 100 - 3 * (x["checkpoint"] == "end"))  # noqa: E731
    assert judged(_lines(falling, trained)) == [holds, holds, fails, holds, holds, holds]
    kept = lambda x: np.exp(x["accuracy"])  # noqa: E731
    assert judged(_lines(falling, kept)) == [fails, fails, fails, fails, holds, fails]
    # One family says the opposite: all together still correlate, but not "whatever their family".
    mixed = lambda x: np.exp(x["accuracy"] * (1 if x["family"] == "Mixer" else -1))  # noqa: E731
    assert judged(_lines(mixed, mixed))[0] is not holds
    assert judged([]) == [Verdict.UNKNOWN] * 6


def test_shares_are_compared_with_their_level_over_networks():
    declared = find("zoo")
    lines = [
        {"row": f"n{i}", "seed": seed, "final": True, "nonlinear": 0.6 + 0.01 * i}
        for i in range(4)
        for seed in range(3)
    ]
    assert Exceeds("nonlinear", 0.5).judge(declared, lines, CLAIM).verdict is Verdict.HOLDS
    assert Exceeds("nonlinear", 0.7).judge(declared, lines, CLAIM).verdict is Verdict.FAILS
    finding = Exceeds("nonlinear", 0.615).judge(declared, lines, CLAIM)
    assert finding.verdict is Verdict.UNKNOWN
    assert "4 networks, 2 of them above" in finding.text
    begun = [{**line, "final": False} for line in lines]
    assert Exceeds("nonlinear", 0.5).judge(declared, begun, CLAIM).verdict is Verdict.UNKNOWN


def test_training_is_compared_with_architecture_seed_by_seed():
    declared = find("zoo")

    def lines(change, spread):
        return [
            {"network": f"n{i}", "seed": seed, "checkpoint": at, "phases": value}
            for i in range(3)
            for seed in range(3)
            for at, value in (
                ("init", np.exp(spread * i)),
                ("end", np.exp(spread * i - change * (1 + 0.01 * seed))),
                ("early", 1.0),
            )
        ]

    test = TrainingDecides("phases")
    assert test.judge(declared, lines(5.0, 0.5), CLAIM).verdict is Verdict.HOLDS
    finding = test.judge(declared, lines(0.1, 1.0), CLAIM)
    assert finding.verdict is Verdict.FAILS
    assert "1.11-fold by training, 3.79-fold between networks" in finding.text


def test_the_ranking_finds_the_measure_that_follows_the_truth():
    lines = _lines(lambda x: 1.0, lambda x: 1.0)
    keys = {(line["row"], line["seed"]): line for line in report.final(lines)}
    rng = np.random.default_rng(0)
    rows = []
    for (row, seed), line in keys.items():
        for head in ("logits", "probabilities"):
            for generator in ("translation_x", "translation_y", "rotation"):
                noise = rng.standard_normal() if head == "logits" else 0.0
                rows.append(
                    {
                        "row": row,
                        "seed": seed,
                        "head": head,
                        "stencil": "central",
                        "low_pass": 1.0,
                        "generator": generator,
                        "mean_sq": np.exp(-line["consistency"] + noise),
                    }
                )
    found = report.agreements(lines, {"lie": rows})
    assert found["LEE, probabilities, central"].value == pytest.approx(-1)
    assert abs(found["LEE, logits, central"].value) < 0.6
    text = report.agreement(lines, {"lie": rows})
    assert "| LEE, probabilities, central | -1.00 [" in text
    assert "translation x | " in report.by_generator(lines, {"lie": rows})
    assert picked(rows, head="logits", generator="nothing") != 0
