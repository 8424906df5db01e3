"""The study of volumes: what its network respects under each group, its floors, its tiny size."""

import jax
import numpy as np
import pytest

import softeq_jax as sq
from experiments.shared.studies import Run
from experiments.volumes import run, solids, study, task

SIDE = 5


def _solved(name, method="cutoff"):
    """(network, strict parameters) under a group, drawn apart from equivariant ones."""
    model = task.network(study.TINY | {"group": name})
    params = task.start(model, SIDE, 0)
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(lambda w: (w + 0.3 * rng.standard_normal(w.shape)).astype("f4"), params)
    return model, drawn, sq.plan(drawn, model.rules()).project(drawn)


@pytest.fixture(scope="module")
def volumes():
    return np.random.default_rng(1).standard_normal((2, SIDE, SIDE, SIDE, 1)).astype(np.float32)


@pytest.mark.slow(12)
@pytest.mark.parametrize("name", ["so3", "o3", "octahedral"])
def test_a_strict_network_is_invariant_under_the_turns_of_the_cube(name, volumes):
    model, free, strict = _solved(name)
    run_it = jax.jit(lambda p, x: model.apply({"params": p}, x))
    acting = sq.reps.voxels(task.TURNS, (SIDE,) * 3)
    before, loose = run_it(strict, volumes), run_it(free, volumes)
    for g in task.TURNS.elements()[1:24:5]:
        moved = acting.apply(g, volumes, axes=(1, 2, 3))
        np.testing.assert_allclose(run_it(strict, moved), before, atol=2e-5)
        assert np.abs(run_it(free, moved) - loose).max() > 1e-3
    mirrored = np.abs(run_it(strict, volumes[:, ::-1]) - before).max()
    assert mirrored < 2e-5 if name == "o3" else mirrored > 1e-3


@pytest.mark.slow(40)
def test_the_tiny_study_runs_and_strict_rows_are_invariant(tiny):
    lines = {line["row"]: line for line in tiny("volumes").lines}
    assert lines["strict SO(3)"]["kl"] < 1e-6 < 1e-4 < lines["free"]["kl"]
    assert lines["majority"]["accuracy"] == pytest.approx(1 / 6)
    assert all(line["worst"] <= line["accuracy"] + 1e-9 for line in lines.values())


@pytest.mark.slow(8)
def test_the_sampled_penalty_is_the_mean_over_turns_of_logits():
    model, free, _ = _solved("so3")
    views, labels = solids.solids(0, 6, SIDE, 0.1, 1, turns=1)
    batch = {"views": views, "label": labels}
    bare, taxed = (task.make_loss(model, SIDE, factor) for factor in (0.0, 1.0))
    acting = sq.reps.voxels(task.TURNS, (SIDE,) * 3)
    logits = model.apply({"params": free}, views[:, 0])
    exact = np.mean(
        [
            np.sum((model.apply({"params": free}, moved) - logits) ** 2, axis=1).mean()
            for moved in (
                acting.apply(g, views[:, 0], axes=(1, 2, 3)) for g in task.TURNS.elements()
            )
        ]
    )

    @jax.jit
    def extra(key):
        return taxed(free, {}, batch, key, None)[0] - bare(free, {}, batch, key, None)[0]

    drawn = [float(extra(key)) for key in jax.random.split(jax.random.key(0), 150)]
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert abs(np.mean(drawn) - exact) < 4 * error
    assert exact > 1e-3


def test_a_method_that_does_not_exist_is_refused():
    settings = study.TINY | {"method": "none", "group": "so3"}
    with pytest.raises(ValueError, match="unknown method 'none'"):
        run.trainer(Run("row", 0, settings, None, None))


def test_a_plain_network_starts_with_kernels_that_no_group_has_shaped():
    settings = study.TINY | {"group": "so3", "vectors": 0}
    for plain in (False, True):
        model = task.network(settings | {"plain_start": plain})
        kernel = task.start(model, SIDE, 0)["conv0"]["kernel"]
        turned = np.abs(np.swapaxes(kernel, 0, 1) - kernel).max()
        assert turned > 0.1 if plain else turned < 1e-6
