"""The study of clouds: surfaces, the terms of relaxed training, and its tiny size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from experiments.points import run, shapes, study, task
from experiments.shared import recipes
from experiments.shared.layer_penalties import lie_and_norm, scrambled_lie_and_norm
from experiments.shared.rotations import random_rotations, rotations_about_z, turn
from softeq_jax import models, relaxation
from softeq_jax.reps import vector

SO3 = sq.groups.so(3)


def _spread(name, count=4000, seed=0):
    rng = np.random.default_rng(seed)
    return shapes.on_surface(shapes.SHAPES[name](rng), count, rng)


def test_points_lie_on_their_surfaces():
    x, y, z = _spread("ellipsoid").T
    np.testing.assert_allclose(x**2 + y**2 + z**2, 1, atol=1e-12)
    np.testing.assert_allclose(np.abs(_spread("box")).max(axis=1), 1, atol=1e-12)
    x, y, z = _spread("cylinder").T
    radius = np.hypot(x, y)
    assert np.all((np.abs(radius - 1) < 1e-12) | (np.abs(np.abs(z) - 1) < 1e-12))
    x, y, z = _spread("cone").T
    assert np.all((np.abs(np.hypot(x, y) - (1 - z) / 2) < 1e-12) | (np.abs(z + 1) < 1e-12))
    x, y, z = _spread("pyramid").T
    side = np.maximum(np.abs(x), np.abs(y))
    assert np.all((np.abs(side - (1 - z) / 2) < 1e-12) | (np.abs(z + 1) < 1e-12))


@pytest.mark.parametrize(
    ("name", "where", "share"),
    [
        ("ellipsoid", lambda x: x[:, 2] > 0.5, 0.25),  # caps are as large as the cylinder's
        ("box", lambda x: x[:, 0] > 1 - 1e-9, 1 / 6),
        ("cylinder", lambda x: np.abs(np.hypot(x[:, 0], x[:, 1]) - 1) < 1e-9, 2 / 3),
        ("cone", lambda x: x[:, 2] < -1 + 1e-9, 1 / (1 + np.sqrt(5))),
        ("torus", lambda x: np.hypot(x[:, 0], x[:, 1]) > 1, None),
    ],
)
def test_points_are_spread_by_area(name, where, share):
    found = np.mean(where(_spread(name, 6000)))
    if share is None:  # the outer half of a torus has more area than the inner one
        assert 0.55 < found < 0.75
    else:
        assert found == pytest.approx(share, abs=0.03)


def test_clouds_are_centered_of_one_size_and_reproducible():
    points, labels = shapes.clouds(0, 16, 50, 0.05, 0.3, 3)
    assert points.shape == (16, 50, 3)
    assert points.dtype == np.float32
    assert list(labels) == [0, 1, 2, 3, 4, 5, 6, 7] * 2
    np.testing.assert_allclose(points.mean(axis=1), 0, atol=1e-6)
    size = np.sqrt(np.mean(np.sum(points**2, axis=2), axis=1))
    np.testing.assert_allclose(size, 1, atol=0.05)
    np.testing.assert_array_equal(shapes.cloud(3, 50, 0.05, 0.3, (3, 0, 3)), points[3])
    assert np.abs(shapes.clouds(1, 16, 50, 0.05, 0.3, 3)[0] - points).max() > 0.1


def test_the_hidden_part_lies_in_one_direction():
    whole, seen = (shapes.cloud(0, 400, 0.0, hidden, (0, 0, 0)) for hidden in (0.0, 0.3))

    def flattest(x):
        return np.sqrt(np.linalg.eigvalsh(np.cov(x.T))[0])

    assert flattest(seen) != pytest.approx(flattest(whole), rel=0.01)


def test_rotations_about_z_leave_it_and_all_are_rotations():
    key = jax.random.key(0)
    for drawn in (rotations_about_z(key, 50), random_rotations(key, 50)):
        product = np.einsum("nij,nkj->nik", drawn, drawn)
        np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), product.shape), atol=1e-5)
        np.testing.assert_allclose(np.linalg.det(drawn), 1, atol=1e-5)
    up = np.broadcast_to(np.float32([0, 0, 1]), (50, 1, 3))
    np.testing.assert_allclose(turn(up, rotations_about_z(key, 50)), up, atol=1e-6)


def test_the_lie_term_vanishes_on_equivariant_kernels_and_the_published_one_does_not():
    rng = np.random.default_rng(0)
    reps = {"a": (4 * vector(SO3), 5 * vector(SO3))}
    w = rng.standard_normal((4, 5))
    kernels = {"a": jnp.asarray(np.kron(w, np.eye(3)), jnp.float32)}
    inputs = {"a": jnp.asarray(rng.standard_normal((7, 6, 12)), jnp.float32)}
    norm = float(jnp.sqrt(jnp.mean(jnp.sum((inputs["a"] @ kernels["a"]) ** 2, -1))))
    right, published = lie_and_norm(reps), scrambled_lie_and_norm(reps)
    assert float(right(kernels, inputs)) == pytest.approx(norm, rel=1e-3)
    assert float(published(kernels, inputs)) > 2 * norm
    nothing = {"a": jnp.zeros((12, 15))}
    for term in (right, published):
        assert float(term(nothing, inputs)) == 0
        assert np.all(np.isfinite(jax.grad(lambda k, t=term: t(k, inputs))(nothing)["a"]))


def test_the_published_term_reads_the_images_of_the_generators_as_rows():
    """By loops, for one layer."""
    rng = np.random.default_rng(1)
    reps = {"a": (2 * vector(SO3), vector(SO3))}
    kernel, x = rng.standard_normal((6, 3)), rng.standard_normal((4, 6))
    generators = SO3.lie_generators
    total = 0.0
    for row in x:
        behind = np.concatenate([np.kron(np.eye(2), a) @ row for a in generators])
        for k, a in enumerate(generators):
            total += np.sum((behind[k::3] @ kernel - a @ (row @ kernel)) ** 2)
    norm = np.sqrt(np.mean(np.sum((x @ kernel) ** 2, axis=1)))
    given = {"a": jnp.asarray(kernel, jnp.float32)}, {"a": jnp.asarray(x, jnp.float32)}
    found = scrambled_lie_and_norm(reps)(*given)
    np.testing.assert_allclose(found, np.sqrt(total / 4) + norm, rtol=1e-5)


@pytest.mark.slow(5)
def test_inputs_of_every_kernel_are_seen():
    settings = {**study.TINY_NETWORKS["PointNet"], "network": "PointNet"}
    model = task.network(settings)
    variables = task.start(model, 12, 0)
    x = shapes.clouds(0, 8, 12, 0.0, 0.3, 0)[0]
    (logits, _), inputs = task.with_inputs(model, variables, x)
    pairs = model.relaxed_representations(SO3)
    assert {path: value.shape[-1] for path, value in inputs.items()} == {
        path: enter.dim for path, (enter, _) in pairs.items()
    }
    assert logits.shape == (8, 8)
    penalty = lie_and_norm(pairs)
    kernels = {path: task._at(variables["params"], path)["kernel"] for path in inputs}
    norms = float(penalty(kernels, inputs))
    free = {path: kernel + 0.1 for path, kernel in kernels.items()}
    assert float(penalty(free, inputs)) > norms > 0


@pytest.mark.slow(8)
def test_a_term_that_is_weighted_by_theta_goes_with_it():
    settings = {**study.TINY_NETWORKS["PointNet"], "network": "PointNet"}
    model = task.network(settings)
    variables = task.start(model, 12, 0)
    points, labels = shapes.clouds(0, 8, 12, 0.0, 0.3, 0)
    batch, params = {"points": points, "label": labels}, variables["params"]
    state = {"batch_stats": variables["batch_stats"]}
    penalty = lie_and_norm(model.relaxed_representations(SO3))

    def charged(theta, **options):
        loss = task.make_loss(model, task.TRAINED_UNDER["z"], penalty, clouds=8, **options)
        opened = recipes.Opened(params, params, theta)
        return float(jax.jit(loss)(opened, state, batch, jax.random.key(0), None)[0])

    bare = charged(0.5, strength=0.0)
    constant = charged(0.5, strength=0.01) - bare
    assert constant > 1e-3
    for theta in (0.0, 0.5):
        weighted = charged(theta, strength=0.01, times_theta=True) - bare
        np.testing.assert_allclose(weighted, theta * constant, rtol=1e-3, atol=1e-6)


def test_a_relaxed_recipe_ends_strict_and_shows_its_branches():
    params = {"k": np.diag([1.0, 2.0, 6.0]).astype(np.float32)}
    v = vector(SO3)
    plan = sq.plan(params, {"k": sq.projector("i o", {"i": v, "o": v})})
    schedule = relaxation.Schedule("constant", 10, 0.0, 0.5)
    recipe = recipes.relaxed(plan, schedule, opened=True)
    tree = recipe.begin(params, params)._replace(free={"k": jnp.ones((3, 3))})
    seen = recipe.method.weights(tree, plan, 3)
    np.testing.assert_allclose(seen.network["k"], 3 * np.eye(3) + 0.5, atol=1e-6)
    np.testing.assert_allclose(seen.free["k"], 1)
    assert float(seen.theta) == 0.5
    ended = recipe.finish(tree)["k"]
    factor = 3 + float(schedule(schedule.steps))
    np.testing.assert_allclose(ended, factor * np.eye(3), atol=1e-6)


@pytest.mark.slow(40)
def test_the_tiny_study_runs_and_relaxed_rows_end_invariant(tiny):
    lines = {line["row"]: line for line in tiny("points").lines}
    assert lines["majority on PointNet, SO(3)"]["accuracy"] == pytest.approx(1 / 8)
    assert lines["relaxed on PointNet, SO(3)"]["kl"] < 1.2e-7  # rounding of float32
    assert lines["free on PointNet, SO(3)"]["kl"] > 1e-6


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("method", "none", "unknown method 'none'"), ("term", "no term", "term: got 'no term'")],
)
def test_settings_that_mean_nothing_are_refused(key, value, words):
    settings = {"method": "free", key: value}
    network = models.VNPointNet(4, (2, 3), free=True)
    made = {
        "method": lambda: run._recipe(settings, None, 10, False),
        "term": lambda: run._layer_penalty(settings, network),
    }
    with pytest.raises(ValueError, match=words):
        made[key]()
