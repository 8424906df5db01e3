"""The softening study in its tiny size: plans, rows, tables, what its command says before."""

import dataclasses
import math

import numpy as np
import pytest

from experiments import run as command
from experiments.shared import overview, runs
from experiments.shared.studies import Run, find
from experiments.soften import report, run, softening, study
from softeq_jax import models

EVERY = "**/conv?/kernel"


@pytest.mark.slow(20)
def test_a_study_ends_with_tables_a_figure_and_weights(tiny):
    done = tiny("soften")
    rows = [line for line in done.lines if not line["floor"]]
    assert [row["row"] for row in rows] == ["unfiltered", "SO(2) hard 1", "C4 .9"]
    assert [row["images"] for row in rows] == [24, 16, 16]
    for row in rows:
        assert row["measured"] <= row["certified"] <= row["measured"] + 1e-2
        assert row["measured_group"] <= row["certified_group"] <= row["measured_group"] + 0.1
        assert row["kl_30"] >= 0
    shown, reference = report.finished(done.lines)
    assert reference["row"] == "unfiltered"
    assert shown[0]["kl_30_change"] == 0
    assert all(math.isfinite(row["kl_30_change"]) for row in shown)
    assert rows[2]["layers"] == "5 of 7"
    np.testing.assert_allclose(rows[1]["kept"], 5 / 9)
    layers = [layer for layer in done.tables["layers"] if layer["row"] == "C4 .9"]
    assert {layer["certified"] for layer in layers} == {True, False}
    for layer in layers:
        if layer["certified"]:
            assert layer["gain_90"] <= layer["operator_bound"] + 1e-5
        else:
            assert "stride 2" in layer["reason"]
    weights = done.workdir / "artifacts" / "C4_.9" / "0" / "softened.safetensors"
    _, softened = models.load_cifar_resnet(weights)
    kernel = softened["params"]["stage1_block0"]["conv2"]["kernel"]
    half = np.rot90(kernel, 2)  # what a quarter turn negates is gone
    np.testing.assert_allclose(np.rot90(kernel) + np.rot90(half), kernel + half, atol=1e-6)
    text = report.terminal_table(shown)
    assert len({len(line.rstrip()) for line in text.splitlines()[:2]}) == 1


def _tiny(row="x", **settings):
    """A run of the tiny size."""
    made = {**find("soften").presets["tiny"].settings, **settings}
    return Run(row, 0, made, runs.Path("unused"), runs.Path("unused"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "rules", "message"),
    [
        ("so9", [["**", {"cutoff": 1.0}]], "row 'x'.*SO.9"),
        ("c4", [["nowhere/*", {"cutoff": 1.0}]], "row 'x'.*nowhere"),
        ("c4", [["**", {"cutoff": -1.0}]], "row 'x'.*cutoff"),
    ],
)
def test_bad_rows_are_refused_by_name(group, rules, message):
    one = _tiny(group=group, rules=rules)
    with pytest.raises(ValueError, match=message):
        run.describe(one)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "rules"),
    [
        ("so2", [[EVERY, {"cutoff": 1.0}]]),
        ("c4", [["stage1_*/conv1/kernel", None], [EVERY, {"cutoff": 0.0}]]),
    ],
)
def test_the_measured_movement_is_the_certified_one(group, rules):
    one = _tiny(group=group, rules=rules)
    params = run.workshop(one).network.variables["params"]
    plan = run.build_plan(params, "x", one.settings)
    rotations = run.build_plan(params, "x", one.settings, "so2")
    moved = softening.movement(plan, rotations, plan.project(params))
    assert moved.measured <= moved.certified <= moved.measured + 1e-2
    assert moved.measured_group <= moved.certified_group <= 2


@pytest.mark.slow
def test_every_plan_is_told_before_anything_is_run(data_dir, capsys):
    assert command.main(["soften", "--rows", "--data_dir", str(data_dir)]) == 0
    said = capsys.readouterr().out
    for row in study.ROWS:
        assert f"== {row} " in said
    for part in ("stage3_block2/conv2/kernel", "rank", "certified", "not certified", "measured"):
        assert part in said


def test_the_rows_follow_their_own_limits():
    size = find("soften").presets["small"]
    rows = find("soften").rows({**size.settings, **size.grid})
    groups = [row["group"] for name, row in rows.items() if name != "unfiltered"]
    assert {group: groups.count(group) for group in set(groups)} == {"c4": 3, "d4": 3, "so2": 3}
    assert size.settings["steps"] == 400
    assert {name for name, row in rows.items() if row.get("images")} == set(study.WHOLE)
    assert dataclasses.asdict(softening.FineTuning(1, 1, 0.1))["warmup"] == 0.15
    tiny = runs.Chosen(find("soften"), "tiny", runs.Path("unused"))
    assert overview.rows(tiny).count("== ") == 3
