"""The N-body study in its tiny size: methods, penalties, table, figure."""

import jax
import numpy as np
import pytest

from experiments.nbody import methods, report, task
from experiments.shared.rotations import random_rotations
from experiments.shared.studies import find


@pytest.mark.slow(25)
def test_what_is_projected_is_equivariant_and_the_rest_is_not(tiny):
    study = tiny("nbody")
    for row in ("strict", "relaxed (0)", "relaxed (0.01)"):
        (line,) = study.of(row=row)
        assert line["equivariance_error"] < 3e-6
    (free,) = study.of(row="unconstrained")
    assert free["equivariance_error"] > 1e-3
    assert free["mse"] == free["mse_before"] != free["mse_projected"]
    assert all(line["mse"] < 0.3 for line in study.lines)
    assert len(study.tables["curves"]) == 4 * 8


@pytest.mark.slow(25)
def test_the_study_leaves_a_table_a_figure_and_all_runs(tiny):
    study = tiny("nbody")
    assert (study.workdir / "tiny.png").stat().st_size > 10_000
    page = (study.workdir / "tiny.md").read_text()
    for method in ("strict", "relaxed", "unconstrained"):
        assert f"| {method} |" in page
    assert "train_systems = 60" in page
    assert "relaxed against strict" in page


@pytest.fixture(scope="module")
def setting():
    model = task.network(12, 1)
    plan = task.plan(model, task.init(model, 0))
    return methods.ParticleSetting(model, plan, steps=100, hold=0.1, free_std=0.1)


def test_every_method_of_both_configs_starts_as_the_same_network_up_to_its_branch(setting):
    """The N-part of what the first step sees is the free branch times its factor."""
    params = task.init(setting.model, 0)
    for size in ("small", "paper"):
        tried = find("nbody").presets[size].grid["tried"]
        assert set(tried) == set(methods.NAMES)
        for name, strengths in tried.items():
            recipe = methods.recipe(name, strengths[0], setting)
            begun = recipe.begin(params, jax.random.key(1))
            seen = recipe.method.weights(begun, {"plan": setting.plan}, 0)
            seen = seen.net if isinstance(seen, task.Seen) else seen
            even, odd = (task.layers_of(setting.model, t) for t in setting.plan.split(seen))
            start = task.layers_of(setting.model, params)
            for path, kernel in start.items():
                opened = name == "RPP" or name.startswith("ACE")
                assert (np.abs(odd[path]).max() > 0.05) == opened
                if not opened:
                    np.testing.assert_allclose(even[path], kernel, atol=1e-5)
    with pytest.raises(ValueError, match="method must be one of"):
        methods.recipe("relax", 0.0, setting)


@pytest.mark.slow
def test_the_lie_penalty_vanishes_for_equivariant_branches_only(setting):
    """B and the generators meet on the right axes: 0 for every equivariant B, not for others.

    What the released code has in its place does not vanish on equivariant ones either.
    """
    model, params = setting.model, task.init(setting.model, 0)
    recipe = methods.recipe("relaxed", 1.0, setting)
    rng = np.random.default_rng(0)
    free = jax.tree.map(lambda w: rng.normal(size=w.shape).astype(np.float32), params)
    inputs = {
        path: rng.normal(size=(3, 5, inside.dim)).astype(np.float32)
        for path, (inside, _) in model.relaxed_representations().items()
    }
    published = methods.recipe("relaxed, published term", 1.0, setting)
    ratios, scrambled = [], []
    for tree in (setting.plan.project(free), free):
        kernels = task.layers_of(model, tree)
        norm = sum(np.mean(np.sum((inputs[p] @ k) ** 2, -1)) for p, k in kernels.items()) ** 0.5
        for found, made in ((ratios, recipe), (scrambled, published)):
            found.append(made.layer_penalty(tree, inputs, {"strength": 1.0}) / norm - 1.0)
    assert abs(ratios[0]) < 1e-4
    assert min(ratios[1], *scrambled) > 0.5


@pytest.mark.slow
def test_rotations_are_rotations_without_preference():
    matrices = np.asarray(random_rotations(jax.random.key(0), 4000))
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


def test_the_best_strength_is_chosen_by_validation():
    def line(method, strength, seed, validation, mse):
        scores = {"validation_mse": validation, "mse": mse, "equivariance_error": 0.0}
        return {"row": f"{method} ({strength})", "method": method, "seed": seed, **scores}

    lines = [
        *(line("strict", 0, s, 0.3, m) for s, m in enumerate((0.30, 0.40))),
        *(line("relaxed", 0.1, s, 0.2, m) for s, m in enumerate((0.24, 0.36))),
        *(line("relaxed", 1, s, 0.25, 0.1) for s in (0, 1)),
        {"row": "straight flight", "seed": 0, "mse": 0.5, "floor": True},
    ]
    named = [(x["row"], x["mse"]) for x in report.chosen_lines(lines)]
    assert named[2:4] == [("relaxed", 0.24), ("relaxed", 0.36)]
    assert named[-1] == ("straight flight", 0.5)
    text = report.sections(lines, {})[-1]
    assert "| relaxed (1) | 250 ± 0 | 100 ± 0 |" in text
