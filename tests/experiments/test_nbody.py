"""The N-body study in small form: methods, penalties, table, figure, resumption."""

import csv

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments.nbody import methods, report, run, task
from experiments.nbody.configs import paper
from experiments.nbody.configs import small as cores
from experiments.shared.kept_runs import kept


@pytest.fixture(scope="module")
def small():
    config = cores.get_config()
    config.update(seeds=1, epochs=8, batch_size=20, width=12, layers=1, rotations=2)
    config.systems.update(train=60, validation=30, test=40)
    config.save_every_epochs = 0
    config.strengths = ConfigDict(
        {"strict": (0.0,), "relaxed": (0.0, 1e-2), "unconstrained": (0.0,)}
    )
    return config


@pytest.fixture(scope="module")
def study(small, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("nbody")
    return run.run(small, workdir), workdir


@pytest.mark.slow(25)
def test_what_is_projected_is_equivariant_and_the_rest_is_not(study):
    rows, _ = study
    by = {(row["method"], row["strength"]): row for row in rows}
    for key in (("strict", 0.0), ("relaxed", 0.0), ("relaxed", 1e-2)):
        assert by[key]["equivariance_error"] < 3e-6
    free = by["unconstrained", 0.0]
    assert free["equivariance_error"] > 1e-3
    assert free["mse"] == free["mse_before"] != free["mse_projected"]
    for row in rows:
        assert row["mse"] < 0.3


@pytest.mark.slow(23)
def test_the_study_leaves_a_table_a_figure_and_all_runs(study, small):
    rows, workdir = study
    assert (workdir / "nbody.png").stat().st_size > 10_000
    page = (workdir / "nbody.md").read_text()
    for method in small.strengths:
        assert f"| {method} |" in page
    assert "60 training, 30 validation and 40 test systems" in page
    assert "relaxed: test MSE" in page
    with (workdir / "nbody.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [float(row["mse"]) for row in found] == [row["mse"] for row in rows]
    assert report.terminal(rows).count("\n") == len(small.strengths)


@pytest.mark.slow(25)
def test_finished_runs_are_kept_and_other_settings_refused(study, small, monkeypatch):
    rows, workdir = study
    trained = []
    monkeypatch.setattr(run.ParticleTrainer, "train", lambda *args: trained.append(args))
    assert run.run(small, workdir) == rows
    assert trained == []
    changed = cores.get_config()
    changed.update(small)
    changed.learning_rate = 1e-4
    with pytest.raises(ValueError, match="made with other settings"):
        run.run(changed, workdir)


@pytest.fixture(scope="module")
def setting(small):
    model = task.network(small.width, small.layers)
    plan = task.plan(model, task.init(model, 0))
    return methods.ParticleSetting(model, plan, steps=100, hold=0.1, free_std=0.1)


def test_every_method_of_both_configs_starts_as_the_same_network_up_to_its_branch(setting):
    """The N-part of what the first step sees is the free branch times its factor."""
    params = task.init(setting.model, 0)
    for config in (cores.get_config(), paper.get_config()):
        assert set(config.strengths) == set(methods.NAMES)
        for name, strengths in config.strengths.items():
            recipe = methods.recipe(name, strengths[0], setting)
            begun = recipe.begin(params, jax.random.key(1))
            seen = recipe.method.weights(begun, {"plan": setting.plan}, 0)
            seen = seen.net if isinstance(seen, task.Seen) else seen
            even, odd = (task.layers_of(setting.model, t) for t in setting.plan.split(seen))
            start = task.layers_of(setting.model, params)
            for path, kernel in start.items():
                opened = name.startswith("ACE")
                assert (np.abs(odd[path]).max() > 0.05) == opened
                if not opened:
                    np.testing.assert_allclose(even[path], kernel, atol=1e-5)
    with pytest.raises(ValueError, match="method must be one of"):
        methods.recipe("relax", 0.0, setting)


@pytest.mark.slow
def test_the_lie_penalty_vanishes_for_equivariant_branches_only(setting):
    """B and the generators meet on the right axes: 0 for every equivariant B, not for others."""
    model, params = setting.model, task.init(setting.model, 0)
    recipe = methods.recipe("relaxed", 1.0, setting)
    rng = np.random.default_rng(0)
    free = jax.tree.map(lambda w: rng.normal(size=w.shape).astype(np.float32), params)
    inputs = {
        path: rng.normal(size=(3, 5, inside.dim)).astype(np.float32)
        for path, (inside, _) in model.relaxed_representations().items()
    }
    ratios = []
    for tree in (setting.plan.project(free), free):
        kernels = task.layers_of(model, tree)
        norm = sum(np.mean(np.sum((inputs[p] @ k) ** 2, -1)) for p, k in kernels.items()) ** 0.5
        ratios.append(recipe.layer_penalty(tree, inputs, {"strength": 1.0}) / norm - 1.0)
    assert abs(ratios[0]) < 1e-4
    assert ratios[1] > 0.5


@pytest.mark.slow
def test_rotations_are_rotations_without_preference():
    matrices = np.asarray(task.random_rotations(jax.random.key(0), 4000))
    products = matrices @ matrices.swapaxes(1, 2)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), products.shape), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(matrices), 1.0, atol=1e-5)
    assert np.abs(matrices.mean(0)).max() < 0.05
    np.testing.assert_allclose((matrices**2).mean(0), 1 / 3, atol=0.03)


@pytest.mark.slow
def test_augmented_losses_of_a_strict_network_are_the_plain_ones(setting):
    """Targets turn with the systems."""
    batch = task.data("train", 20, 0)
    weights = task.init(setting.model, 0)
    losses = [
        jax.jit(task.make_loss(setting.model, rotate))(weights, {}, batch, jax.random.key(0), None)[
            0
        ]
        for rotate in (False, True)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_the_best_strength_is_chosen_by_validation_and_judged_by_paired_seeds():
    def row(method, strength, seed, validation, mse):
        values = {"equivariance_error": 0.0, "mse_before": mse, "error_before": 0.0}
        scores = {"validation_mse": validation, "mse": mse, "mse_projected": mse, **values}
        return {"method": method, "strength": strength, "seed": seed, **scores}

    rows = [
        row("strict", 0.0, 0, 0.3, 0.30),
        row("strict", 0.0, 1, 0.3, 0.40),
        *(row("relaxed", 0.1, s, 0.2, m) for s, m in enumerate((0.24, 0.36))),
        *(row("relaxed", 1.0, s, 0.25, 0.1) for s in (0, 1)),
    ]
    assert {r["strength"] for r in report.chosen(rows)["relaxed"]} == {0.1}
    assert report.verdicts(rows) == [
        "relaxed: test MSE -15.0 ± 5.0 % of that of strict, smaller in 2 of 2 seeds."
    ]
    assert report.strengths(rows)[2][:4] == [
        "relaxed",
        "1.0",
        "250.00 ± 0.00",
        "100.00 ± 0.00",
    ]
    config = cores.get_config()
    config.strengths = ConfigDict({"strct": (0.0,)})
    with pytest.raises(ValueError, match=r"unknown methods \['strct'\]"):
        list(run.runs_of(config))


def test_kept_records_come_from_their_file(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"value": (1.5, 2)}

    path = tmp_path / "deep" / "run.json"
    for _ in range(2):
        assert kept(path, {"a": (1, 2)}, make) == {"value": [1.5, 2]}
    assert made == [1]
    with pytest.raises(ValueError, match="other settings"):
        kept(path, {"a": (1, 3)}, make)
