"""The smoke solver: divergence, symmetry and its dial, order, limits, batches, blow-ups."""

import itertools

import jax
import numpy as np
import pytest

from experiments.smoke import simulator
from experiments.smoke.simulator import Plume, SmokeBlewUp, SmokeConstants

STEPS = 40
BROKEN = SmokeConstants(asymmetry=1.0)


@pytest.fixture(scope="module")
def runs():
    return simulator.draw(np.random.default_rng(0), 8, 16)


def close(one, other, atol=1e-11):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@pytest.mark.slow(6)
def test_no_divergence_nothing_through_the_walls_and_smoke_as_much_as_came_in(runs):
    for plume in (runs, simulator.evolve(runs, STEPS)):
        assert np.abs(simulator.divergence(plume)).max() < 1e-12
        assert not np.any(plume.across[:, :, [0, -1]])
        assert not np.any(plume.up[:, [0, -1]])
    assert plume.density.dtype == np.float64
    assert plume.density.min() >= 0
    assert np.abs(plume.across).max() > 0.3
    came = STEPS * SmokeConstants().dt * runs.inflow.sum((1, 2))
    np.testing.assert_allclose(plume.density.sum((1, 2)), came, rtol=0.25)


@pytest.mark.slow(3)
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turned_runs_are_the_turned_runs_until_the_dial_breaks_it(runs, quarters):
    plain, broken = (simulator.evolve(runs, STEPS, c) for c in (SmokeConstants(), BROKEN))
    start = simulator.turned(runs, quarters)
    close(simulator.evolve(start, STEPS), simulator.turned(plain, quarters))
    apart = simulator.evolve(start, STEPS, BROKEN).density
    assert np.abs(apart - simulator.turned(broken, quarters).density).max() > 0.1


def test_turning_four_times_is_nothing(runs):
    close(simulator.turned(runs, 4), runs, atol=0)
    close(simulator.turned(simulator.turned(runs, 3)), runs, atol=0)
    assert np.abs(simulator.turned(runs).direction - runs.direction).max() == 1.0


def test_the_dial_is_the_strength_of_buoyancy_by_its_direction():
    quarter_turns = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert np.array_equal(SmokeConstants().force(quarter_turns), quarter_turns)
    found = SmokeConstants(2.0, 1.0).force(quarter_turns)
    strengths = 2.0 * np.exp([3**0.5 / 2, 0.5, -(3**0.5) / 2, -0.5])
    np.testing.assert_allclose(found, quarter_turns * strengths[:, None])


@pytest.mark.slow(6)
def test_the_seen_frames_are_those_of_the_runs_and_runs_do_not_touch(runs):
    frames = simulator.simulate(runs, STEPS)
    assert frames.shape == (8, STEPS, 16, 16, 3)
    end = simulator.evolve(runs, STEPS)
    close([frames[:, -1]], [simulator.centred(end)], 1e-12)
    order = np.random.default_rng(1).permutation(8)
    other = simulator.simulate(Plume(*(field[order] for field in runs)), STEPS)
    close([other], [frames[order]], 1e-12)
    single = simulator.simulate(runs, STEPS, dtype=np.float32)
    assert single.dtype == np.float32
    close([single], [frames], 1e-3)
    assert jax.numpy.zeros(1).dtype == np.float32, "float64 stays inside"


@pytest.mark.slow(12)
def test_the_scheme_is_of_first_order_at_least():
    """With steps as long as cells are wide, halved twice; the seen means over 8 x 8 blocks."""
    seen = []
    for halvings in range(3):
        side = 16 * 2**halvings
        plume = simulator.draw(np.random.default_rng(3), 4, side)
        steps = 8 * 2**halvings
        fine = simulator.centred(simulator.evolve(plume, steps, SmokeConstants(dt=0.8 / steps)))
        width = side // 8
        seen.append(np.asarray(fine).reshape(4, 8, width, 8, width, 3).mean((2, 4)))
    errors = [np.sqrt(np.mean((a - b) ** 2, (0, 1, 2))) for a, b in itertools.pairwise(seen)]
    order = np.log2(errors[0] / errors[1])
    assert order.min() > 0.9, order
    assert order[0] > 1.4, "that of the smoke, where the steps of the velocity hardly count"


def test_starts_are_the_same_on_every_grid_and_directions_are_even():
    coarse, fine = (simulator.draw(np.random.default_rng(5), 8, side) for side in (16, 32))
    np.testing.assert_array_equal(coarse.direction, fine.direction)
    halved = fine.inflow.reshape(8, 16, 2, 16, 2).mean((2, 4))
    np.testing.assert_allclose(halved, coarse.inflow, atol=0.05)
    faces = fine.across[:, :, ::2].reshape(8, 16, 2, 17).mean(2)
    np.testing.assert_allclose(faces, coarse.across, atol=1e-12)
    _, counts = np.unique(coarse.direction, axis=0, return_counts=True)
    np.testing.assert_array_equal(counts, 2)


@pytest.mark.slow(3)
def test_a_run_that_blows_up_names_step_and_setting(runs):
    with pytest.raises(SmokeBlewUp, match=r"run 0, step 0: .* sides of the box.*buoyancy=1000"):
        simulator.evolve(runs, STEPS, SmokeConstants(buoyancy=1e3, dt=0.5))
    holed = runs._replace(inflow=runs.inflow.copy())
    holed.inflow[3, 4, 5] = np.nan
    with pytest.raises(SmokeBlewUp, match=r"run 3, step 0: a number is not finite, with Smoke"):
        simulator.simulate(holed, STEPS)


def test_what_cannot_be_simulated(runs):
    for name, value in (("buoyancy", -1.0), ("asymmetry", np.nan), ("dt", 0.0)):
        with pytest.raises(ValueError, match=name):
            SmokeConstants(**{name: value})
    with pytest.raises(ValueError, match="runs >= 1 and side >= 4, got 0 and 16"):
        simulator.draw(np.random.default_rng(0), 0, 16)
    with pytest.raises(ValueError, match="steps must be at least 0, got -1"):
        simulator.evolve(runs, -1)
    with pytest.raises(
        ValueError, match=r"across must have shape \(8, 16, 17\), got \(8, 17, 16\)"
    ):
        simulator.evolve(runs._replace(across=runs.up), 1)
    with pytest.raises(ValueError, match=r"density must be \[runs, n, n\], got shape \(16, 16\)"):
        simulator.evolve(runs._replace(density=runs.density[0]), 1)
