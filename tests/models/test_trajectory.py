"""The trajectory transformer: symmetry, causality, rollout, absent people, soft levels, dropout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import softeq_jax as sq
from softeq_jax import data
from softeq_jax import training as tr
from softeq_jax.models.rules import soft_rules
from softeq_jax.models.trajectory import TrajectoryTransformer, teacher_forced
from softeq_jax.training import objectives

PEOPLE, FRAMES = 3, 6
GROUPS = {"d3": sq.groups.dihedral(3), "o2": sq.groups.o(2)}


def small(**changes):
    options = {"width": 16, "depth": 1, "heads": 2, "mlp_width": 32, "max_length": 10}
    return TrajectoryTransformer(PEOPLE, **{**options, **changes})


@functools.cache
def tracks(frames=FRAMES):
    return np.random.default_rng(0).normal(size=(4, PEOPLE, frames, 2)).astype(np.float32)


@functools.cache
def stored(model, seed=0):
    """Parameters that nothing has made equivariant: normal, of the scale of a trained network."""
    params = jax.eval_shape(model.init, jax.random.key(0), tracks())["params"]
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    scale = {2: 0.3, 1: 0.2, 3: 0.5}
    drawn = [rng.normal(0, scale[len(x.shape)], x.shape).astype(np.float32) for x in leaves]
    return {"params": jax.tree.unflatten(structure, drawn)}


@functools.partial(jax.jit, static_argnums=0)
def apply(model, variables, x, present=None):
    return model.apply(variables, x, present)


@functools.partial(jax.jit, static_argnums=(0, 3))
def rollout(model, variables, x, steps, present=None):
    return model.rollout(variables, x, steps, present)


def rotation(angle, flip=False):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]]) @ np.diag([1.0, -1.0 if flip else 1.0])


def moved(x, matrix):
    return (x @ matrix.T).astype(np.float32)


def change(model, variables, matrix, steps=None):
    """Root mean square of f(g x) - g f(x), relative to f(x); of the next frame or a rollout."""
    f = apply if steps is None else lambda m, v, x: rollout(m, v, x, steps)
    before = np.asarray(f(model, variables, tracks()))
    after = np.asarray(f(model, variables, moved(tracks(), matrix)))
    assert np.abs(before).max() > 0.1
    return np.linalg.norm(after - moved(before, matrix)) / np.linalg.norm(before)


@pytest.mark.slow
@pytest.mark.parametrize("coordinates", ["absolute", "displacement", "departure"])
def test_the_strict_model_commutes_with_every_rotation(coordinates):
    model = small(coordinates=coordinates, depth=2 if coordinates == "absolute" else 1)
    for angle in (0.4, 2.0, -1.3):
        assert change(model, stored(model), rotation(angle)) < 1e-5
        assert change(model, stored(model), rotation(angle), steps=4) < 1e-5


def test_the_free_model_does_not():
    model = small(project=False)
    assert change(model, stored(model), rotation(0.4)) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["d3", "o2"])
def test_reflections_act_where_the_group_has_them(name):
    """The group's own flip; a rotation-strict model with the same weights does not commute."""
    flip = np.asarray(GROUPS[name].discrete_generators[-1])
    assert np.linalg.det(flip) < 0
    model, rotations_only = small(group=GROUPS[name]), small()
    assert change(model, stored(model), flip) < 1e-5
    assert change(rotations_only, stored(model), flip) > 0.05


def test_a_finite_group_allows_what_so2_forbids():
    """C2 alone: every linear map of vectors commutes with -1, so only half turns are kept."""
    model = small(group=sq.groups.cyclic(2))
    assert change(model, stored(model), rotation(np.pi)) < 1e-5
    assert change(model, stored(model), rotation(np.pi / 3)) > 0.05


def test_displacements_commute_with_translations():
    shift = np.array([10.0, -4.0], np.float32)
    for coordinates, sees in (("displacement", False), ("departure", False), ("absolute", True)):
        model = small(coordinates=coordinates)
        before = apply(model, stored(model), tracks())
        after = apply(model, stored(model), tracks() + shift)
        assert (np.abs(after - before - shift).max() > 1e-2) == sees


def test_departures_of_zero_are_constant_velocity():
    model = small(coordinates="departure")
    weights = stored(model)["params"]
    weights["head"] = jax.tree.map(np.zeros_like, weights["head"])
    found = rollout(model, {"params": weights}, tracks(), 3)
    step = tracks()[:, :, -1:] - tracks()[:, :, -2:-1]
    wanted = tracks()[:, :, -1:] + step * np.arange(1, 4)[:, None]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_later_frames_do_not_change_earlier_predictions():
    model = small(project=False)
    changed = tracks().copy()
    changed[:, :, 4:] += 1.0
    before, after = (apply(model, stored(model), x) for x in (tracks(), changed))
    np.testing.assert_array_equal(before[:, :, :4], after[:, :, :4])
    assert np.abs(before - after)[:, :, 4:].max() > 0.05


@pytest.mark.slow
def test_a_rollout_feeds_its_own_predictions():
    model = small(project=False, coordinates="displacement")
    found = rollout(model, stored(model), tracks(), 4)
    assert found.shape == (4, PEOPLE, 4, 2)
    frames = np.concatenate([tracks(), np.zeros_like(found)], axis=2)
    for i in range(FRAMES, FRAMES + 4):
        frames[:, :, i] = apply(model, stored(model), frames)[:, :, i - 1]
    np.testing.assert_allclose(found, frames[:, :, FRAMES:], atol=1e-4)


def test_absent_people_are_not_looked_at():
    model = small(project=False)
    present = np.ones((4, PEOPLE), bool)
    present[:, 1] = False
    noise = tracks().copy()
    noise[:, 1] = 1e3
    before, after = (apply(model, stored(model), x, present) for x in (tracks(), noise))
    np.testing.assert_array_equal(before, after)
    assert np.all(np.asarray(before)[:, 1] == 0)
    assert np.abs(apply(model, stored(model), tracks()) - before)[:, 0].max() > 1e-3
    one, other = (rollout(model, stored(model), x, 2, present) for x in (tracks(), noise))
    np.testing.assert_array_equal(one, other)
    assert np.all(np.asarray(one)[:, 1] == 0)


@pytest.mark.slow
def test_a_plan_reaches_from_the_strict_model_to_the_plain_one():
    group = sq.groups.dihedral(4)
    model, strict = small(project=False), small(group=group)
    variables = stored(model)
    plan = sq.plan(variables["params"], soft_rules(model, group))
    projected = {"params": plan.project(variables["params"])}
    np.testing.assert_allclose(
        apply(model, projected, tracks()), apply(strict, variables, tracks()), atol=1e-5
    )
    plain = plan.at(softness=1.0).project(variables["params"])
    for one, other in zip(
        jax.tree.leaves(plain), jax.tree.leaves(variables["params"]), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_soft_levels_lie_between_and_bring_the_positions_back():
    model = small(project=False)
    params = stored(model)["params"]
    group = sq.groups.so(2)
    errors, tables = [], []
    for cutoff in (0.0, 1.0, 2.0):
        plan = sq.plan(params, soft_rules(model, group, cutoff=cutoff))
        soft = plan.project(params)
        errors.append(change(model, {"params": soft}, rotation(0.2)))
        tables.append(float(np.abs(soft["pos_embed"]).max()))
    assert errors[0] < 1e-5
    assert 1e-3 < errors[1] < errors[2]
    assert tables[0] < 1e-6
    np.testing.assert_allclose(tables[1:], np.abs(params["pos_embed"]).max(), rtol=1e-5)
    held = sq.plan(params, soft_rules(model, group, cutoff=2.0, position_cutoff=0.0))
    assert np.abs(held.project(params)["pos_embed"]).max() < 1e-6
    planned = {path for path, _, _ in held.planned(params)}
    assert "block0/mlp_out/kernel" in planned
    assert "block0/query/bias" in planned
    assert "block0/gate/bias" not in planned


@pytest.mark.slow
def test_dropout_takes_whole_vectors_and_keeps_the_symmetry():
    model = small(dropout=0.5)
    turn = rotation(0.7)

    @jax.jit
    def f(x):
        return model.apply(stored(model), x, train=True, rngs={"dropout": jax.random.key(1)})

    before, after = f(tracks()), f(moved(tracks(), turn))
    np.testing.assert_allclose(after, moved(np.asarray(before), turn), atol=1e-5)
    assert np.abs(before - apply(model, stored(model), tracks())).max() > 0.05


@pytest.mark.slow(6)
def test_it_learns_by_teacher_forcing_in_the_trainer():
    """Straight walks in all directions; strict weights, the data and the loss of the project."""
    rng = np.random.default_rng(0)
    start, speed = (rng.normal(size=(64, PEOPLE, 1, 2)) for _ in range(2))
    paths = (start + 0.3 * speed * np.arange(8)[:, None]).astype(np.float32)
    source = [
        {"observed": p[:, :4], "future": p[:, 4:], "present": np.ones(PEOPLE, bool)} for p in paths
    ]
    model = small(coordinates="displacement", dropout=0.0)
    loss = objectives.trajectories(
        lambda w, state, x, there: (model.apply({"params": w}, x, there), state)
    )
    optimizer = optax.adam(1e-2)
    step = tr.make_train_step(loss, optimizer)
    params = jax.jit(model.init)(jax.random.key(0), tracks())["params"]
    batches = data.train_batches(
        source,
        32,
        seed=0,
        check=data.anything(),
        transforms=[data.RotateTrajectories(180.0), teacher_forced],
        num_threads=0,
    )
    state, history = tr.fit(step, tr.init_state(params, optimizer), batches, 60)
    assert history["displacement"][-1] < 0.5 * history["displacement"][0]
    found = rollout(model, {"params": state.params}, paths[:, :, :4], 4)
    still = np.linalg.norm(paths[:, :, 4:] - paths[:, :, 3:4], axis=-1).mean()
    assert np.linalg.norm(found - paths[:, :, 4:], axis=-1).mean() < 0.5 * still


def test_bad_input_is_named():
    model = small()
    variables = stored(model)
    with pytest.raises(ValueError, match=r"positions must be \[n, 3, t, 2\]"):
        model.apply(variables, jnp.zeros((1, 2, 4, 2)))
    with pytest.raises(ValueError, match="expected 1 to 10 frames, got 11"):
        model.apply(variables, jnp.zeros((1, 3, 11, 2)))
    with pytest.raises(ValueError, match=r"present must be \[1, 3\]"):
        model.apply(variables, jnp.zeros((1, 3, 4, 2)), jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="max_length = 10, got 6 steps"):
        model.rollout(variables, tracks(), 6)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        model.rollout(variables, tracks(), 0)
    with pytest.raises(ValueError, match="width must be a multiple of 2"):
        jax.eval_shape(small(width=18).init, jax.random.key(0), tracks())
    with pytest.raises(ValueError, match="'displacement', 'departure'.*'polar'"):
        jax.eval_shape(small(coordinates="polar").init, jax.random.key(0), tracks())
    for group in (sq.groups.so(3), sq.groups.cyclic(1)):
        with pytest.raises(ValueError, match="real orthogonal 2 x 2 matrices"):
            soft_rules(model, group)
