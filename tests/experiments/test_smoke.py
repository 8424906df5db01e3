"""The smoke study in its tiny size: records, units, turns, rows, rollouts, choice of strengths."""

import fnmatch

import jax
import numpy as np
import pytest

from experiments.shared import recipes
from experiments.shared.studies import find
from experiments.smoke import records, report, run, simulator, task
from experiments.smoke.study import METHODS
from softeq_jax import data
from softeq_jax.regularizers import part_norms

NET = task.SmokeNet(past=2, width=4, layers=2)
N = 8


@pytest.fixture(scope="module")
def params():
    return task.init(NET, N, 0)


def drawn(count=3, frames=4, seed=0):
    """A batch in units."""
    rng = np.random.default_rng(seed)
    return {
        "frames": rng.standard_normal((count, frames, N, N, 3)).astype(np.float32),
        "inflow": rng.random((count, N, N, 1)).astype(np.float32),
        "direction": np.eye(4, 2)[rng.integers(0, 2, count)].astype(np.float32),
        "change": np.full((count, 3), 0.3, np.float32),
    }


def shaken(params, seed=1, by=0.3):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda w: w + np.float32(by * rng.standard_normal(w.shape)) * (w.ndim > 1), params
    )


@pytest.mark.slow(20)
def test_the_study_knows_what_is_equivariant_and_leaves_its_page(tiny):
    study = tiny("smoke")
    assert len(study.lines) == 5
    (strict,) = study.of(family="strict")
    assert strict["defect"] < 1e-5
    for family in ("relaxed group convolution", "sampled penalty", "penalty"):
        assert all(line["defect"] > 1e-3 for line in study.of(family=family))
    (floor,) = study.of(row="persistence at 1")
    assert floor["rollout"] > 0.05
    assert all(0 < line["rollout"] < 2 * floor["rollout"] for line in study.lines)
    assert {path.name for path in study.workdir.glob("tiny*.[pg]*")} == {
        "tiny.png",
        "tiny_frames.png",
        "tiny_frames.gif",
    }
    page = (study.workdir / "tiny.md").read_text()
    assert "![tiny_frames.gif](tiny_frames.gif)" in page
    assert "| penalty at 1 |" in page
    files = sorted(path.name for path in (study.chosen.shared / "smoke").iterdir())
    assert files == [
        f"v1_8x8_asymmetry1_seed0_{part}.array_record"
        for part in ("test4x8", "train2x8", "validation2x8")
    ]


@pytest.mark.slow(4)
def test_windows_of_written_runs_are_those_of_the_simulator(tmp_path):
    file = records.SmokeFile("test", 3, 3, 8, N, 0.3)
    path = records.written(tmp_path, file)
    before = path.stat().st_mtime_ns
    assert records.written(tmp_path, file).stat().st_mtime_ns == before, "once"
    plume, frames = file.simulated(0)
    windows = records.SmokeWindows(path, file, 3)
    assert len(windows) == 3 * 6
    example = windows[6 + 4]  # run 1 from frame 4
    np.testing.assert_array_equal(example["frames"], frames[1, 4:7].astype(np.float32))
    np.testing.assert_array_equal(example["inflow"][..., 0], np.float32(plume.inflow[1]))
    np.testing.assert_array_equal(example["direction"], plume.direction[1])
    some = records.all_of(records.SmokeWindows(path, file, 4, [1, 4]))
    np.testing.assert_array_equal(some["frames"][5], np.float32(frames[2, 4:8]))
    units = task.InUnits(task.scales(frames))
    batches = data.train_batches(
        windows, 4, seed=0, check=data.anything(), transforms=(units,), epochs=1
    )
    seen = list(batches)
    assert len(seen) == 4
    assert seen[0]["frames"].shape == (4, 3, N, N, 3)
    assert seen[0]["change"].shape == (4, 3)
    velocities = np.concatenate([b["frames"][..., 1:] for b in seen])
    assert 0.7 < velocities.std() < 1.3
    more = records.SmokeFile("test", 3, 5, 8, N, 0.3)
    np.testing.assert_array_equal(more.simulated(0)[1][:3], frames)
    with pytest.raises(ValueError, match=r"holds 24 frames, expected 5 x 8"):
        records.SmokeWindows(path, more, 3)
    for length, starts in ((9, ()), (4, (5,))):
        with pytest.raises(ValueError, match=f"windows of {length} frames from .* do not fit"):
            records.SmokeWindows(path, file, length, starts)


def test_what_blows_up_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_AT_ONCE", 1)
    calm = simulator.simulate

    def later(plume, frames, constants):
        if later.calls:
            raise simulator.SmokeBlewUp("run 0, step 4: too fast")
        later.calls += 1
        return calm(plume, frames, constants)

    later.calls = 0
    monkeypatch.setattr(simulator, "simulate", later)
    with pytest.raises(simulator.SmokeBlewUp, match="step 4"):
        records.written(tmp_path / "smoke", records.SmokeFile("train", 0, 2, 3, N, 0.0))
    assert not list((tmp_path / "smoke").iterdir())
    with pytest.raises(ValueError, match="part must be one of"):
        records.SmokeFile("all", 0, 1, 1, N, 0.0)
    with pytest.raises(ValueError, match="runs must be at least 1, got 0"):
        records.SmokeFile("test", 0, 0, 1, N, 0.0)


def test_turned_batches_are_those_of_the_simulator():
    plume = simulator.draw(np.random.default_rng(0), 4, N)
    seen = lambda plume: {  # noqa: E731
        "frames": np.float32(simulator.centred(plume))[:, None],
        "inflow": np.float32(plume.inflow)[..., None],
        "direction": np.float32(plume.direction),
    }
    for quarters in range(4):
        found = task.turned(seen(plume), np.full(4, quarters))
        for name, wanted in seen(simulator.turned(plume, quarters)).items():
            np.testing.assert_allclose(found[name], wanted, atol=1e-6)


@pytest.mark.slow(4)
def test_strict_networks_turn_rollouts_and_the_defect_is_theirs(params):
    batch, quarters = drawn(), np.array([1, 2, 3])
    free = shaken(params)
    plan = task.plan(NET, params)
    roll = jax.jit(lambda weights, batch: task.rollout(NET, weights, batch, 2))
    defect = jax.jit(lambda w: task.equivariance_error(NET, w, batch, None, relative=True))
    for weights, turns in ((plan.project(free), True), (free, False)):
        found = roll(weights, task.turned(batch, quarters))
        wanted = task.turned(batch | {"frames": roll(weights, batch)}, quarters)["frames"]
        assert (np.abs(found - wanted).max() < 1e-4) == turns
        assert (defect(weights) < 1e-9) == turns
    x = task.inputs(batch, batch["frames"][:, :2])
    f = np.asarray(NET.apply({"params": free}, x))
    total = 0.0
    for quarter in range(4):
        moved = task.turned(batch, np.full(3, quarter))
        after = NET.apply({"params": free}, task.inputs(moved, moved["frames"][:, :2]))
        before = task.turned(batch | {"frames": f[:, None]}, np.full(3, quarter))["frames"][:, 0]
        total += np.mean((after - before) ** 2) / 4
    np.testing.assert_allclose(defect(free), total / np.mean(f**2), rtol=1e-4)


def test_a_rollout_feeds_its_own_frames_and_zero_weights_persist(params):
    batch = drawn()
    zero = jax.tree.map(np.zeros_like, params)
    still = task.rollout(NET, zero, batch, 3)
    np.testing.assert_array_equal(still, task.persistence(2)(batch, 3))
    first = task.rollout(NET, params, batch, 3)
    again = {**batch, "frames": np.stack([batch["frames"][:, 1], first[:, 0]], 1)}
    np.testing.assert_allclose(task.rollout(NET, params, again, 2), first[:, 1:], atol=1e-5)
    errors = task.rollout_errors(task.persistence(2), batch, 2, 3)
    change = batch["frames"][:, 2:] - batch["frames"][:, 1:2]
    np.testing.assert_allclose(errors, np.sqrt(np.mean(change**2, (1, 2, 3, 4))), rtol=1e-5)


def test_the_published_term_vanishes_on_isotropic_and_the_right_one_on_equivariant_branches(params):
    right, published = (task.plan(NET, params, published_term=p) for p in (False, True))
    turn = {"right": right, "published": published}

    def charged(name, tree):
        norm = sum(np.linalg.norm(w) for w in jax.tree.leaves(tree) if w.ndim > 1)
        return task.turn_term(turn[name], 1.0, right, tree) - norm

    equivariant = jax.tree.map(np.asarray, right.project(shaken(params)))
    isotropic = jax.tree.map(np.asarray, published.project(shaken(params)))
    assert abs(charged("right", equivariant)) < 1e-4 < 0.5 < charged("published", equivariant)
    assert abs(charged("published", isotropic)) < 1e-4 < 0.5 < charged("right", isotropic)
    zero = {"conv0": jax.tree.map(np.zeros_like, params["conv0"]), "conv1": params["conv1"]}
    slope = jax.jit(jax.grad(lambda tree: task.turn_term(right, 1.0, right, tree)))(zero)
    assert all(np.all(np.isfinite(w)) for w in jax.tree.leaves(slope))


def test_every_row_starts_as_the_same_strict_network(params):
    """Up to the second bank, of its own draw; and ends with weights of the network."""
    plan, second = task.plan(NET, params), task.init(NET, N, 7)
    settings = {"past": 2, "width": 4, "layers": 2}
    for name, tried in find("smoke").presets["small"].grid["tried"].items():
        row = {**settings, **METHODS[name], "strength": tried[0]}
        own = run.recipe(row, NET, params, recipes.Budget(100, 1e-3))
        begun = own.begin(params, second)
        seen = own.method.weights(begun, own.plan, 0)
        for one in (seen, own.finish(begun)):
            assert all(p.residual < 1e-4 for p in part_norms(plan, one).values())
            if name != "relaxed group convolution":
                jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, params)
        if own.method.penalty is not None:
            assert np.isfinite(own.method.penalty(begun, own.plan, 0))
    with pytest.raises(ValueError, match="unknown method 'loose'"):
        run.recipe({"method": "loose", "strength": 0.0}, NET, params, recipes.Budget(100, 1e-3))


def test_rows_claims_and_equal_time_fit():
    study = find("smoke")
    size = study.presets["small"]
    settings = {**size.settings, **size.grid}
    rows = study.rows(settings)
    assert len(rows) == 15 * 3
    chosen = {f"{row['family']} at {row['asymmetry']:g}" for row in rows.values()}
    families = {row["family"] for row in rows.values()}
    for claim in study.claims:
        assert {claim.row, claim.reference} <= chosen | families
        assert all(
            getattr(t, "floor", None) in {None, *study.floors(settings)} for t in claim.tests
        )
    seeds = {
        row: n for row in rows for m, n in size.more_seeds.items() if fnmatch.fnmatchcase(row, m)
    }
    for name in ("strict at 1", "CNN at 1", "penalty (3) at 1", "sampled penalty (1) at 1"):
        assert seeds[name] == 5
    whole, part = (run.steps(settings | {"share": share}) for share in (1.0, 0.5))
    assert whole == 14 * 8 * 58 // 16
    assert part == round(whole / 2)


def test_strengths_are_chosen_on_held_out_runs_at_each_asymmetry():
    def line(strength, asymmetry, seed, validation, rollout):
        row = f"penalty ({strength}) at {asymmetry:g}"
        scores = {"validation_rollout": validation, "rollout": rollout, "defect": 0.1}
        return {"row": row, "family": "penalty", "asymmetry": asymmetry, "seed": seed, **scores}

    lines = [
        *(line(1, 0.0, s, v, 0.5) for s, v in enumerate((0.2, 0.4))),
        *(line(2, 0.0, s, v, 0.1) for s, v in enumerate((0.3, 0.4))),
        *(line(1, 1.0, s, 0.4, 0.1) for s in (0, 1)),
        *(line(2, 1.0, s, 0.3, 0.7) for s in (0, 1)),
        {"row": "persistence at 1", "seed": 0, "asymmetry": 1.0, "rollout": 1.0, "floor": True},
    ]
    found = [(x["row"], x["rollout"]) for x in report.chosen_lines(lines)]
    assert found == [
        *[("penalty at 0", 0.5)] * 2,
        *[("penalty at 1", 0.7)] * 2,
        ("persistence at 1", 1.0),
    ]
    assert "| penalty (2) at 1 | 0.3 ± 0 | 0.7 ± 0 | 0.1 ± 0 |" in report.sections(lines, {})[-1]
