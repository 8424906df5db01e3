"""The graph network: symmetries of space and particles, plans for its layers, edges, input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import softeq_jax as sq
from softeq_jax.models import EquivariantGraphNet, complete_edges
from softeq_jax.models.rules import soft_rules

NODES = 4
O3, SO3 = sq.groups.o(3), sq.groups.so(3)


def small(**changes):
    options = {"width": 16, "layers": 1, "scalars": 2, "vectors": 1, "edge_scalars": 1}
    return EquivariantGraphNet(**{**options, **changes})


@functools.cache
def graphs(d=3):
    """(positions, vectors, scalars, edge scalars) of three graphs."""
    rng = np.random.default_rng(0)
    shapes = ((3, NODES, d), (3, NODES, 1, d), (3, NODES, 2), (3, NODES * (NODES - 1), 1))
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


@functools.cache
def stored(model):
    """Parameters that are not equivariant, with displacements of the size of the positions."""
    d = model.group.d if model.group else 3
    shapes = jax.eval_shape(model.init, jax.random.key(0), *graphs(d))["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda x: rng.normal(0, 1.5 / np.sqrt(x.shape[0]), x.shape).astype(np.float32), shapes
    )
    return {**params, "displacement": {"kernel": 100 * params["displacement"]["kernel"]}}


@functools.partial(jax.jit, static_argnums=0)
def apply(model, params, *inputs):
    return model.apply({"params": params}, *inputs)


def orthogonal(reflect=False, seed=0):
    matrix = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    return (-matrix if reflect else matrix).astype(np.float32)


def change(model, params, matrix):
    """Root mean square of f(g x) - g f(x), relative to the displacements."""
    x, v, s, e = graphs(len(matrix))
    before = np.asarray(apply(model, params, x, v, s, e))
    after = np.asarray(apply(model, params, x @ matrix.T, v @ matrix.T, s, e))
    assert np.abs(before - x).max() > 0.05
    return np.linalg.norm(after - before @ matrix.T) / np.linalg.norm(before - x)


@pytest.mark.slow
@pytest.mark.parametrize("reflect", [False, True])
def test_strict_weights_commute_with_rotations_and_reflections(reflect):
    for relaxed in ("update", "all"):
        model = small(relaxed=relaxed)
        assert change(model, stored(model), orthogonal(reflect)) < 1e-5


@pytest.mark.slow
def test_free_weights_do_not():
    errors = []
    for relaxed in ("update", "all"):
        model = small(project=False, relaxed=relaxed)
        errors.append(change(model, stored(model), orthogonal()))
    assert min(errors) > 0.05


def test_it_commutes_with_translations_whatever_the_weights():
    model, shift = small(project=False, relaxed="all"), np.array([5.0, -3.0, 1.0], np.float32)
    x, *rest = graphs()
    before = apply(model, stored(model), x, *rest)
    after = apply(model, stored(model), x + shift, *rest)
    assert np.linalg.norm(after - before - shift) < 1e-5 * np.linalg.norm(before)


@pytest.mark.slow
def test_it_commutes_with_permutations_of_the_nodes():
    model = small(project=False)
    x, v, s, e = graphs()
    order = np.array([2, 0, 3, 1])
    senders, receivers = complete_edges(NODES)
    of = np.zeros((NODES, NODES), int)
    of[receivers, senders] = np.arange(len(senders))
    moved = e[:, of[order[receivers], order[senders]]]
    before = apply(model, stored(model), x, v, s, e)
    after = apply(model, stored(model), x[:, order], v[:, order], s[:, order], moved)
    assert np.linalg.norm(after - before[:, order]) < 1e-5 * np.linalg.norm(before)


@pytest.mark.slow
def test_a_group_of_the_plane_acts_on_points_in_the_plane():
    model = small(group=sq.groups.so(2))
    turn = np.array([[0.6, -0.8], [0.8, 0.6]], np.float32)
    assert change(model, stored(model), turn) < 1e-5
    flip = np.diag(np.array([1, -1], np.float32))
    assert change(model, stored(model), flip) > 0.05


@pytest.mark.slow
def test_messages_follow_the_given_edges():
    """A node that hears from nobody, and one that nobody hears, do not depend on each other."""
    model = small(layers=2)
    x, v, s, e = graphs()
    senders, receivers = np.array([0, 1]), np.array([1, 2])
    run = jax.jit(lambda x: model.apply({"params": stored(model)}, x, v, s, e[:, :2], *ends))
    ends = (senders, receivers)
    far = x.copy()
    far[:, 0] += 1.0
    before, after = np.asarray(run(x)), np.asarray(run(far))
    np.testing.assert_array_equal(before[:, 3], after[:, 3])
    np.testing.assert_allclose(before[:, 0] + 1.0, after[:, 0], atol=1e-5)
    assert np.abs(before[:, 1] - after[:, 1]).max() > 1e-4
    assert np.abs(before[:, 2] - after[:, 2]).max() > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("relaxed", ["update", "all"])
def test_a_plan_makes_free_layers_strict(relaxed):
    free, strict = small(project=False, relaxed=relaxed), small(relaxed=relaxed)
    params = stored(free)
    plan = sq.plan(params, soft_rules(free, O3))
    planned = [path for path, _, _ in plan.planned(params)]
    if relaxed == "update":
        assert planned == ["block0/update1/kernel", "block0/update2/kernel"]
    else:
        assert plan.chosen.count(-1) == 0
    np.testing.assert_allclose(
        apply(free, plan.project(params), *graphs()), apply(strict, params, *graphs()), atol=1e-5
    )
    plain = plan.at(softness=1.0).project(params)
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(one, other)


def test_soft_levels_let_more_through():
    model = small(project=False)
    params = stored(model)
    levels = (0.0, 1.5, 2.5)
    chosen = [sq.plan(params, soft_rules(model, SO3, cutoff=b)) for b in levels]
    ranks = [[p.rank() for p in plan.projectors] for plan in chosen]
    assert all(a < b < c for a, b, c in zip(*ranks, strict=True))
    errors = [change(model, plan.project(params), orthogonal()) for plan in chosen]
    assert errors[0] < 1e-5
    assert min(errors[1:]) > 0.01
    assert abs(errors[1] - errors[2]) > 0.01


@pytest.mark.slow
def test_new_networks_start_equivariant_and_near_the_identity():
    model = small(project=False)
    params = jax.jit(model.init)(jax.random.key(0), *graphs())["params"]
    plan = sq.plan(params, soft_rules(model, O3))
    for one, other in zip(
        jax.tree.leaves(plan.project(params)), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)
    x = graphs()[0]
    moved = np.asarray(apply(model, params, *graphs())) - x
    assert 1e-3 < np.sqrt(np.mean(moved**2)) < 0.5


@pytest.mark.slow
def test_the_inputs_of_the_update_layers_are_kept_for_penalties():
    model = small(project=False)
    run = jax.jit(lambda p: model.apply({"params": p}, *graphs(), mutable=["intermediates"]))
    _, seen = run(stored(model))
    reps = model.relaxed_representations()
    assert list(reps) == ["block0/update1", "block0/update2"]
    for path, (inputs, outputs) in reps.items():
        block, layer = path.split("/")
        (x,) = seen["intermediates"][block][f"{layer}_input"]
        assert x.shape == (3, NODES, inputs.dim)
        assert stored(model)[block][layer]["kernel"].shape == (inputs.dim, outputs.dim)


@pytest.mark.slow
def test_coinciding_nodes_give_finite_gradients():
    model = small()
    x, v, s, e = graphs()
    x = x.copy()
    x[:, 1] = x[:, 0]
    value = lambda p, x: (model.apply({"params": p}, x, v, s, e) ** 2).sum()  # noqa: E731
    gradients = jax.jit(jax.grad(value, argnums=(0, 1)))(stored(model), x)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_bad_input_is_named():
    model = small()
    params = {"params": stored(model)}
    x, v, s, e = graphs()
    with pytest.raises(ValueError, match=r"positions must be \[..., n, 3\]"):
        model.apply(params, x[..., :2], v, s, e)
    with pytest.raises(ValueError, match=r"vectors must have shape \(3, 4, 1, 3\)"):
        model.apply(params, x, v[:, :, 0], s, e)
    with pytest.raises(ValueError, match=r"scalars must have shape \(3, 4, 2\)"):
        model.apply(params, x, v, s[..., :1], e)
    with pytest.raises(ValueError, match=r"edge_scalars must have shape \(3, 12, 1\), got None"):
        model.apply(params, x, v, s)
    with pytest.raises(ValueError, match="give senders and receivers, or neither"):
        model.apply(params, x, v, s, e, np.array([0]))
    for senders, message in (([4], "must be in"), ([1], "two different"), ([0.0], "integers")):
        with pytest.raises(ValueError, match=message):
            model.apply(params, x, v, s, e[:, :1], np.array(senders), np.array([1]))
    with pytest.raises(ValueError, match="the model's attribute edge_scalars is 0"):
        jax.eval_shape(small(edge_scalars=0).init, jax.random.key(0), x, v, s, e)
    with pytest.raises(ValueError, match="expected width >= 6"):
        jax.eval_shape(small(width=5).init, jax.random.key(0), x, v, s, e)
    with pytest.raises(ValueError, match="scalars or vectors for the nodes"):
        jax.eval_shape(small(scalars=0, vectors=0).init, jax.random.key(0), x, v, s, e)
    with pytest.raises(ValueError, match='relaxed must be "update" or "all"'):
        jax.eval_shape(small(relaxed="none").init, jax.random.key(0), x, v, s, e)
    with pytest.raises(ValueError, match="acts on 2"):
        soft_rules(model, sq.groups.so(2))
    with pytest.raises(ValueError, match="real orthogonal matrices"):
        soft_rules(model, sq.groups.lorentz())


@pytest.mark.slow(4)
def test_many_messages_in_16_bits_are_added_in_float32():
    """A thousand equal messages at one node: in bfloat16 their sum would stand still at 256."""
    senders = np.arange(1, 1001)
    model = small(project=False, relaxed="all")
    place = np.zeros((1001, 3), np.float32)
    place[1:] = (0.3, 0.1, -0.2)
    ones = (np.ones(shape, np.float32) for shape in ((1001, 1, 3), (1001, 2), (1000, 1)))
    inputs = (place, *ones, senders, 0 * senders)

    def heard(dtype):
        variables, given = jax.tree.map(
            lambda x: x if x.dtype == int else jnp.asarray(x, dtype), (stored(model), inputs)
        )
        found = model.apply({"params": variables}, *given, mutable=["intermediates"])[1]
        (x,) = found["intermediates"]["block0"]["update1_input"]
        assert x.dtype == dtype
        return np.asarray(x, np.float32)[0]

    exact = heard(jnp.float32)
    np.testing.assert_allclose(heard(jnp.bfloat16), exact, atol=0.03 * np.abs(exact).max())
