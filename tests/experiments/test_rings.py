"""The rings study in small form: rows, choices, table, figure, resumption."""

import csv

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments.rings import methods, report, run, task
from experiments.rings.configs import paper


@pytest.fixture(scope="module")
def small():
    config = paper.get_config()
    config.update(sigmas=(0.0, 0.5), seeds=2, epochs=20, test_per_ring=300)
    config.strengths = ConfigDict(
        {
            "strict": (0.0,),
            "unconstrained": (0.0,),
            "penalty, power 2": ((0.0, 1e-3), (1e-2, 1.0)),
            "REMUL, adaptive": (1.0,),
            "triangular": (0.2,),
        }
    )
    return config


@pytest.fixture(scope="module")
def study(small, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("rings")
    return run.run(small, workdir), workdir


@pytest.mark.slow(16)
def test_strict_is_invariant_and_free_is_not(study):
    rows, _ = study
    assert len(rows) == (4 + 2) * 4
    by = {}
    for row in rows:
        by.setdefault((row["method"], row["sigma"], str(row["strength"])), []).append(row)
    for sigma in (0.0, 0.5):
        for row in by["strict", sigma, "0.0"] + by["triangular", sigma, "0.2"]:
            assert row["worst_error"] < 1e-4
    free = np.mean([row["worst_error"] for row in by["unconstrained", 0.5, "0.0"]])
    weak = np.mean([row["worst_error"] for row in by["penalty, power 2", 0.5, "[0.0, 0.001]"]])
    strong = np.mean([row["worst_error"] for row in by["penalty, power 2", 0.5, "[0.01, 1.0]"]])
    assert strong < weak <= free + 1e-3
    accuracy = np.mean([row["accuracy"] for row in by["unconstrained", 0.5, "0.0"]])
    assert accuracy > np.mean([row["accuracy"] for row in by["strict", 0.5, "0.0"]])


@pytest.mark.slow(34)
def test_the_study_leaves_a_table_a_figure_and_all_runs(study, small):
    rows, workdir = study
    assert (workdir / "rings.png").stat().st_size > 10_000
    page = (workdir / "rings.md").read_text()
    assert "| strict |" in page
    assert "The penalty, power 2, by paired seeds" in page
    with (workdir / "rings.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    text = report.terminal(rows, small)
    assert text.count("REMUL, adaptive") == 2


@pytest.mark.slow(34)
def test_finished_runs_are_kept_and_other_settings_refused(study, small, monkeypatch):
    rows, workdir = study
    trained = []
    monkeypatch.setattr(run.RingsTrainer, "train", lambda *args: trained.append(args))
    assert run.run(small, workdir) == rows
    assert trained == []
    changed = paper.get_config()
    changed.update(small)
    changed.learning_rate = 1e-2
    with pytest.raises(ValueError, match="made with other settings"):
        run.run(changed, workdir)


def test_the_best_strength_is_chosen_by_held_out_points():
    def row(strength, held, error):
        return {
            "method": "prox",
            "sigma": 0.5,
            "strength": strength,
            "held_accuracy": held,
            "worst_error": error,
        }

    rows = [row(1, 0.9, 0.1), row(2, 0.95, 0.5), row(3, 0.9495, 0.3), row(4, 0.2, 0.0)]
    assert report.chosen(rows)["prox", 0.5][0]["strength"] == 3
    mean, width = report.interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    np.testing.assert_allclose(width, 4.302653 / np.sqrt(3), rtol=1e-6)


@pytest.mark.slow
def test_the_network_turns_with_its_points():
    """The lift is a representation, and projected weights make the logit invariant."""
    points, labels = task.rings(1.0, 0, 50)
    assert points.shape == (100, 2)
    assert labels.sum() == 50
    plans = methods.plans()
    weights = task.init_steerable(jax.random.key(1))
    ranks = {name: [p.rank() for p in plan.projectors] for name, plan in plans.items()}
    assert all(a < b for a, b in zip(ranks["so2"], ranks["c5"], strict=True))
    strict = task.scores(task.steerable, plans["so2"].project(weights), points, labels)
    free = task.scores(task.steerable, weights, points, labels)
    assert strict.worst_logit_error < 1e-5
    assert free.worst_logit_error > 0.05
    turn = 2 * np.pi / task.WAVES
    moved = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    coarse = plans["c5"].project(weights)
    before, after = (task.steerable(coarse, x.astype("float32")) for x in (points, moved))
    np.testing.assert_allclose(after, before, atol=1e-4)


@pytest.mark.slow
def test_every_method_can_be_built():
    config = paper.get_config()
    assert set(config.strengths) == set(methods.NAMES)
    for name, strengths in config.strengths.items():
        recipe = methods.recipe(name, strengths[0], 100, 1e-3)
        recipe.begin(recipe.init(jax.random.key(0)))
    with pytest.raises(ValueError, match="method must be one of"):
        methods.recipe("penalty", 0.0, 100, 1e-3)
    config.strengths = ConfigDict({"strct": (0.0,)})
    with pytest.raises(ValueError, match=r"unknown methods \['strct'\]"):
        list(run.runs_of(config))
