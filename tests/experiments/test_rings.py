"""The rings study in its tiny size: rows, choices, table, figure, resumption."""

import jax
import numpy as np
import pytest

from experiments import run as command
from experiments.rings import methods, report, run
from experiments.shared.studies import find


@pytest.mark.slow(16)
def test_strict_is_invariant_and_free_is_not(tiny):
    study = tiny("rings")
    assert len(study.lines) == (4 + 1) * 2
    assert all(line["worst_error"] < 1e-4 for line in study.of(method="strict"))

    def error(row):
        return np.mean([line["worst_error"] for line in study.of(row=row)])

    free = error("unconstrained at 0.5")
    weak = error("penalty, power 2 (0, 0.001) at 0.5")
    strong = error("penalty, power 2 (0.01, 1) at 0.5")
    assert strong < weak <= free + 1e-3
    assert {line["accuracy"] for line in study.of(floor=True)} == {0.5}


@pytest.mark.slow(16)
def test_finished_runs_are_kept_and_other_settings_refused(tiny, monkeypatch, capsys):
    study = tiny("rings")
    before = (study.workdir / "tiny.csv").read_bytes()
    monkeypatch.setattr(run.RingsTrainer, "train", lambda *args: pytest.fail("it was finished"))
    arguments = ["rings", "--preset", "tiny", "--workdir", str(study.workdir)]
    assert command.main(arguments) == 0
    assert (study.workdir / "tiny.csv").read_bytes() == before
    monkeypatch.setitem(find("rings").presets["tiny"].settings, "learning_rate", 1e-2)
    assert command.main(arguments) == 2
    assert "settings.learning_rate: 0.003, now 0.01" in capsys.readouterr().err


def test_every_method_has_its_rows_at_every_amplitude():
    study = find("rings")
    for size in study.presets.values():
        rows = study.rows({**size.settings, **size.grid})
        there = {(row["method"], row["sigma"]) for row in rows.values()}
        named = size.grid["tried"]
        assert there == {(m, s) for m in named for s in size.grid["amplitudes"]}
    assert set(study.presets["small"].grid["tried"]) == set(methods.NAMES)


@pytest.mark.slow
def test_every_method_can_be_built():
    for name, strengths in find("rings").presets["small"].grid["tried"].items():
        strength = strengths[0]
        recipe = methods.recipe(name, strength, 100, 1e-3)
        recipe.begin(recipe.init(jax.random.key(0)))
    with pytest.raises(ValueError, match="method must be one of"):
        methods.recipe("penalty", 0.0, 100, 1e-3)


def test_the_best_strength_is_chosen_by_held_out_points():
    def row(strength, held, error):
        return {
            "row": f"prox ({strength})",
            "method": "prox",
            "sigma": 0.5,
            "held_accuracy": held,
            "worst_error": error,
        }

    rows = [row(1, 0.9, 0.1), row(2, 0.95, 0.5), row(3, 0.9495, 0.3), row(4, 0.2, 0.0)]
    assert report.chosen(rows)["prox", 0.5][0]["row"] == "prox (3)"
    assert [line["row"] for line in report.chosen_lines(rows)] == ["prox at 0.5"]
    mean, width = report.interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    np.testing.assert_allclose(width, 4.302653 / np.sqrt(3), rtol=1e-6)
