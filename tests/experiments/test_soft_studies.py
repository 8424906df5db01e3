"""The studies of tunable softness in their tiny sizes: tensors, digits, trajectories."""

import fnmatch

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from experiments.mnist import task as digits
from experiments.mnist.canonicaliser import Canonicalized
from experiments.shared import recipes
from experiments.shared.invariant_tasks import o5_targets
from experiments.shared.studies import find
from experiments.tensors import task as tensors
from experiments.trajectories import task as tracks

GROUP = sq.groups.o(3)
PLAN = sq.plan(
    {"k": np.eye(3, dtype=np.float32)},
    {"k": sq.projector("i o", {"i": sq.reps.vector(GROUP).dual, "o": sq.reps.vector(GROUP)})},
)


def _params(seed):
    return {"k": np.random.default_rng(seed).standard_normal((3, 3)).astype(np.float32)}


@pytest.mark.slow(30)
def test_tensors_know_what_is_invariant(tiny):
    study = tiny("tensors")
    assert len(study.lines) == 7
    found = {line["family"]: line for line in study.lines if "family" in line}
    for row in ("strict", "ACE, augmented"):
        assert found[row]["invariance"] < 1e-4
    assert all(found[row]["invariance"] > 1e-3 for row in ("heat .3", "penalty", "RPP .5"))
    assert all(0 < line["relative_error"] < 1 for line in study.lines)


@pytest.mark.slow(30)
def test_lorentz_scattering_knows_what_is_invariant(tiny):
    study = tiny("lorentz")
    assert len(study.lines) == 7
    found = {line["family"]: line for line in study.lines if "family" in line}
    assert found["strict"]["invariance"] < 1e-3 < found["heat .3"]["invariance"]


def test_a_canonicaliser_makes_any_network_invariant_and_learns_its_choice():
    images = np.random.default_rng(0).normal(size=(6, 28, 28, 1)).astype(np.float32)
    network = Canonicalized(digits.DigitNet((4, 4, 4)))
    variables = jax.jit(network.init)(jax.random.key(0), images)
    apply = jax.jit(network.apply)
    upright = apply(variables, images)
    for k in range(1, 4):
        turned = np.rot90(images, k, axes=(1, 2))
        np.testing.assert_allclose(apply(variables, turned), upright, rtol=1e-3, atol=1e-4)
        scores = network.apply(variables, turned, method="scores")
        wanted = np.roll(network.apply(variables, images, method="scores"), k, axis=1)
        np.testing.assert_allclose(scores, wanted, atol=1e-5)
    assert np.abs(np.asarray(upright) - np.asarray(apply(variables, -images))).max() > 1e-2

    def loss(params):
        return jnp.sum(apply({"params": params}, images)[:, 0])

    slopes = jax.grad(loss)(variables["params"])
    assert max(np.abs(x).max() for x in jax.tree.leaves(slopes["score"])) > 1e-6


@pytest.mark.slow(20)
def test_digits_know_what_is_invariant(tiny):
    study = tiny("mnist")
    assert len(study.lines) == 7
    (strict,) = study.of(family="strict")
    assert strict["kl"] < 1e-6
    assert strict["defect"] < 1e-4
    assert strict["accuracy"] == strict["turned_accuracy"]
    (free,) = study.of(family="free")
    assert free["defect"] > 1e-3
    assert not find("mnist").presets["tiny"].needs


@pytest.mark.slow(20)
def test_tracks_know_what_is_equivariant(tiny):
    study = tiny("trajectories")
    assert len(study.lines) == 6
    (strict,) = study.of(family="strict")
    (free,) = study.of(family="free")
    assert strict["consistency"] < 1e-4 < free["consistency"]
    assert strict["turned_ade"] == pytest.approx(strict["ade"], rel=1e-4)


def test_rows_and_claims_fit():
    for name in ("tensors", "lorentz", "mnist", "trajectories"):
        study = find(name)
        size = study.presets["small"]
        settings = {**size.settings, **size.grid}
        rows, floors = study.rows(settings), study.floors(settings)
        families = {row["family"] for row in rows.values()}
        for claim in study.claims:
            for name_or_glob in (claim.row, claim.reference):
                assert fnmatch.filter(set(rows) | families, name_or_glob)
            for test in claim.tests:
                assert getattr(test, "floor", None) in {None, *floors}


def test_recipes_end_with_the_weights_they_name():
    params, second = _params(0), _params(1)
    strict = np.asarray(PLAN.project(params)["k"])
    np.testing.assert_allclose(recipes.projected(PLAN).finish(params)["k"], strict)
    mixed = recipes.mixed(PLAN, 0.3)
    both = mixed.begin(params, second)
    wanted = 0.7 * strict + 0.3 * second["k"]
    np.testing.assert_allclose(mixed.finish(both)["k"], wanted, rtol=1e-6)
    np.testing.assert_allclose(mixed.method.weights(both, PLAN, 0)["k"], wanted, rtol=1e-6)
    ace = recipes.dual_ascent(PLAN, 10, primal_rate=0.1, dual_rate=0.01, augmentation=0.5)
    begun = ace.begin(params, second)
    np.testing.assert_allclose(ace.finish(begun)["k"], strict, rtol=1e-6)
    np.testing.assert_allclose(ace.method.weights(begun, PLAN, 0)["k"], params["k"], rtol=1e-6)
    penalty = recipes.penalized(PLAN, 2.0).method.penalty(params, PLAN, jnp.int32(0))
    assert float(penalty) == pytest.approx(2.0 * np.sum((params["k"] - strict) ** 2), rel=1e-5)


def test_the_shrink_after_a_step_ends_at_the_strict_weights():
    params = _params(0)
    shrunk = recipes.proximal(PLAN, 100.0, 0.1)
    optimizer = shrunk.wrap_optimizer(recipes.Budget(1, 0.1).optimizer())
    zeros = jax.tree.map(np.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    np.testing.assert_allclose(
        params["k"] + updates["k"], PLAN.project(params)["k"], rtol=1e-5, atol=1e-6
    )


def test_digits_are_turned_and_some_stay_upright():
    images = np.arange(2 * 28 * 28, dtype=np.float32).reshape(2, 28, 28, 1)
    turned = digits.turned(images, np.array([0, 1]))
    np.testing.assert_array_equal(turned[0], images[0])
    np.testing.assert_array_equal(turned[1], np.rot90(images[1], axes=(0, 1)))
    upright, all_turned = (digits.turned_digits(None, p, 0, 400, 50, 100) for p in (1.0, 0.0))
    again = digits.turned_digits(None, 1.0, 0, 400, 50, 100)
    np.testing.assert_array_equal(upright.train[0], again.train[0])
    plain = digits._small_digits()[0]
    known = {plain.images[i].tobytes() for i in range(len(plain.images))}

    def standing(part):
        pixels = np.uint8(np.round((part[0] * 0.3081 + 0.1307) * 255))
        there = np.array([image.tobytes() in known for image in pixels])
        return there[np.isin(part[1], digits.UPRIGHT)].mean()

    assert standing(upright.train) == 1.0
    assert standing(all_turned.train) < 0.5


def test_the_turned_error_of_the_truth_is_zero():
    """A network that knows the task has no error, on moved inputs either; it is not invariant."""

    class Truth:
        def apply(self, variables, x):
            target = jax.pure_callback(
                lambda x: np.float32((o5_targets(np.float64(x), 0.5) - mean) / deviation),
                jax.ShapeDtypeStruct((len(x), 1), np.float32),
                x,
            )
            return target

    drawn = tensors.tensor_data("o5", 0.5, 0, 40)
    mean, deviation = drawn.mean, drawn.deviation
    found = tensors.scores(Truth(), {}, drawn, "o5", 0.5, 0)
    assert found.mse < 1e-9
    assert found.relative_error < 1e-4
    assert found.turned_error < 1e-4
    assert found.invariance > 1e-3


@pytest.mark.parametrize("problem", ["o5", "lorentz"])
def test_elements_are_of_the_group(problem):
    moves = tensors.elements(problem, 50, 0)
    metric = np.eye(5) if problem == "o5" else np.diag([1.0, -1, -1, -1])
    kept = np.swapaxes(moves, 1, 2) @ metric @ moves
    np.testing.assert_allclose(kept, np.broadcast_to(metric, kept.shape), atol=1e-5)
    assert {-1, 1} == set(np.sign(np.linalg.det(moves)).astype(int))


def test_constant_velocity_is_exact_for_who_walks_straight():
    step = np.array([0.5, -0.25])
    frames = np.cumsum(np.broadcast_to(step, (3, 2, 20, 2)), axis=2)
    present = np.array([[True, True], [True, False], [True, True]])
    walks = tracks.Windows(frames[:, :, :10], frames[:, :, 10:], present)
    found = tracks.track_scores(tracks.straight_on, walks, 0)
    assert max(found.values()) < 1e-5
    standing = tracks.track_scores(lambda seen, there: np.repeat(seen[:, :, -1:], 10, 2), walks, 0)
    length = float(np.hypot(*step))
    assert standing["ade"] == pytest.approx(5.5 * length, rel=1e-5)
    assert standing["fde"] == pytest.approx(10 * length, rel=1e-5)
