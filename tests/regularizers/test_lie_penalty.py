"""The Lie penalty of weights: levels and generators give one number, which symmetry makes 0."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from regularizer_cases import (
    CASES,
    acting,
    dense,
    flat,
    lie_stack,
    params_of,
    plan_of,
    projector,
    weight,
)

import softeq_jax as sq
from softeq_jax import regularizers as rg

CONNECTED = ("so2", "so3", "su2")


def norm(x):
    return np.linalg.norm(np.ravel(x))


def kernel(params):
    return params["layer"]["kernel"]


def by_levels(name, w):
    """``sum_sigma sigma^2 ||w_sigma||^2`` by differences of hard cuts."""
    whole = projector(name)
    levels = whole.levels()
    inside = [whole.at(cutoff=level)(w) for level in levels]
    parts = [inside[0], *(b - a for a, b in itertools.pairwise(inside))]
    return sum(s**2 * norm(part) ** 2 for s, part in zip(levels, parts, strict=True))


def by_classes(name, columns, members, order):
    """``c_h^2 mean ||h w - w||^2`` over the conjugates of a generator."""
    moved = [acting(name, lambda rep, h=h: rep.matrix(h)) @ columns - columns for h in members]
    return (order / (2 * math.pi)) ** 2 * np.mean([norm(m) ** 2 for m in moved])


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_sum_over_the_levels(name, seed):
    params = params_of(name, seed, np.float64)
    found = rg.lie_penalty(plan_of(name), params)
    np.testing.assert_allclose(found, by_levels(name, kernel(params)), rtol=1e-9)


@given(st.sampled_from(CONNECTED), st.integers(0, 2**20))
@examples(fast=20)
def test_of_connected_groups_it_is_the_norm_of_all_derivatives(name, seed):
    params = params_of(name, seed, np.float64)
    columns = flat(name, kernel(params))
    expected = sum(norm(a @ columns) ** 2 for a in lie_stack(name))
    np.testing.assert_allclose(rg.lie_penalty(plan_of(name), params), expected, rtol=1e-9)
    exact = sq.certificates.lie_norm(projector(name), kernel(params)) ** 2
    np.testing.assert_allclose(exact, expected, rtol=1e-9)


def test_of_finite_groups_it_is_that_of_the_class_sums():
    c6 = sq.groups.cyclic(6)
    s4 = sq.groups.symmetric(4)
    swaps = [g for g in s4.elements() if np.trace(g) == 2]
    turn = [c6.element(math.pi / 3)]
    for name, members, order in (("c6", turn, 6), ("s4", swaps, 2)):
        params = params_of(name, 5, np.float64)
        expected = by_classes(name, flat(name, kernel(params)), members, order)
        np.testing.assert_allclose(rg.lie_penalty(plan_of(name), params), expected, rtol=1e-9)


def test_of_dihedral_groups_rotations_come_first():
    """The flip's class counts only on what rotations fix."""
    group = sq.groups.dihedral(4)
    params = params_of("d4", 2, np.float64)
    columns = flat("d4", kernel(params))
    turn = group.element(math.pi / 2)
    fixed = np.mean([acting("d4", lambda r, g=g: r.matrix(g)) for g in _powers(turn, 4)], axis=0)
    expected = by_classes("d4", columns, [turn], 4)
    expected += by_classes("d4", fixed @ columns, [group.element(flip=True)], 2)
    np.testing.assert_allclose(rg.lie_penalty(plan_of("d4"), params), expected, rtol=1e-9)


def _powers(g, n):
    return [np.linalg.matrix_power(g, i) for i in range(n)]


@given(st.sampled_from(sorted(CASES)), st.integers(0, 2**20))
@examples(fast=20)
def test_zero_on_equivariant_weights_and_on_no_others(name, seed):
    params, plan = params_of(name, seed, np.float64), plan_of(name)
    assert rg.lie_penalty(plan, plan.project(params)) < 1e-20
    assert dense(name).trace().real < projector(name).dim - 0.5
    gap = projector(name).levels()
    gap = gap[gap > 0].min()
    outside = rg.part_norms(plan, params)["layer/kernel"].residual
    assert rg.lie_penalty(plan, params) >= gap**2 * outside**2 * (1 - 1e-9)


@pytest.mark.slow
def test_the_published_order_of_the_blocks_is_not_zero_on_equivariant_weights():
    """Its generators' images lie one after another, [X | Y | Z], and are then read as triples.

    On vectors x of C channels and W = w (x) 1, which commutes with all rotations, the term ought
    to vanish. Read as three blocks it does, and so does ours.
    """
    rng = np.random.default_rng(0)
    group = sq.groups.so(3)
    v = sq.reps.vector(group)
    generators = v.lie_matrices()
    for channels, more in ((4, 4), (3, 5)):
        whole = np.kron(rng.standard_normal((more, channels)), np.eye(3))
        x = rng.standard_normal((8, 3 * channels))
        moved_in = [x @ np.kron(np.eye(channels), a).T for a in generators]
        moved_out = [x @ whole.T @ np.kron(np.eye(more), a).T for a in generators]

        def term(read, moved_in=moved_in, moved_out=moved_out, whole=whole):
            a, b = read(np.concatenate(moved_in, 1)), read(np.concatenate(moved_out, 1))
            return np.mean(np.sum((np.einsum("od,ndk->nok", whole, a) - b) ** 2, axis=(1, 2)))

        def scrambled(z):
            return z.reshape(len(z), -1, 3)

        def in_blocks(z):
            return np.moveaxis(z.reshape(len(z), 3, -1), 1, 2)

        assert term(scrambled) > 1.0
        assert term(in_blocks) < 1e-20
        params = {"w": whole.T}
        plan = sq.plan(params, {"w": sq.projector("i o", {"i": channels * v, "o": more * v})})
        assert rg.lie_penalty(plan, params) < 1e-20
        found = rg.lie_activation_penalty(
            lambda p, x: x @ p["w"], params, x, channels * v, more * v
        )
        assert found < 1e-8
        broken = {"w": whole.T + 0.1 * rng.standard_normal(whole.T.shape)}
        assert rg.lie_penalty(plan, broken) > 0.1


def test_gradient_is_twice_the_casimir():
    params, plan = params_of("so3", 1), plan_of("so3")
    found = jax.jit(jax.grad(lambda p, plan: rg.lie_penalty(plan, p)))(params, plan)
    casimir = sum(a.T @ a for a in lie_stack("so3"))
    expected = 2 * casimir @ flat("so3", kernel(params))
    np.testing.assert_allclose(flat("so3", kernel(found)), expected, atol=1e-4)


def test_small_parts_do_not_cancel_in_float32():
    params, plan = params_of("so3", 1, np.float64), plan_of("so3")
    kept = kernel(plan.project(params))
    params["layer"]["kernel"] = kept + 1e-5 * (kernel(params) - kept)
    single = jax.tree.map(np.float32, params)
    truth = rg.lie_penalty(plan, jax.tree.map(np.float64, single))
    np.testing.assert_allclose(rg.lie_penalty(plan, single), truth, rtol=0.05)


def test_the_level_of_the_plan_does_not_matter_and_strict_back_ends_do_not_either():
    params = params_of("s4", 2)
    expected = rg.lie_penalty(plan_of("s4"), params)
    soft = plan_of("s4").at(cutoff=0.9)
    np.testing.assert_allclose(rg.lie_penalty(soft, params), expected, rtol=1e-5)
    strict = plan_of("s4", backend="orbits")
    found = jax.jit(rg.lie_penalty)(strict, params)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_large_strict_spaces_get_their_levels():
    """A strict projector of a large space is built without levels."""
    image = sq.reps.image(sq.groups.dihedral(4), (13, 13))
    params = {"w": np.random.default_rng(0).standard_normal((13, 13, 2))}
    plan = sq.plan(params, {"w": sq.projector("h w c", {"h w": image})})
    assert rg.lie_penalty(plan, params) > 1.0
    assert rg.lie_penalty(plan, plan.project(params)) < 1e-20


def test_unmatched_patterns_count_with_the_highest_level():
    circle = sq.reps.circle(sq.groups.so(2), 6)
    pattern = {"w": (-1.0) ** np.arange(6)}
    plan = sq.plan(pattern, {"w": sq.projector("n", {"n": circle})})
    np.testing.assert_allclose(rg.lie_penalty(plan, pattern), 2.0**2 * 6, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("power", [1, 2])
def test_relative_mean_weights_and_per(power):
    params, plan = params_of("so2", 2), plan_of("so2")
    plain = float(rg.lie_penalty(plan, params))
    w = kernel(params)
    cases = [
        ({"relative": True}, (plain / norm(w) ** 2) ** (power / 2)),
        ({"mean": True}, (plain / w.size) ** (power / 2)),
        ({"weights": {"layer/*": 3.0}}, 3 * plain ** (power / 2)),
        ({"per": "all"}, plain ** (power / 2)),
    ]
    for options, expected in cases:
        np.testing.assert_allclose(
            rg.lie_penalty(plan, params, power=power, **options), expected, 1e-5
        )
    zero = jax.tree.map(np.zeros_like, params)
    slope = jax.grad(lambda p: rg.lie_penalty(plan, p, power=power, relative=True))(zero)
    np.testing.assert_array_equal(kernel(slope), 0.0)


def test_the_root_of_the_sum_over_layers():
    group = sq.groups.so(2)
    v = sq.reps.vector(group)
    params = {k: weight("so2", i)[:2, :2] for i, k in enumerate("ab")}
    plan = sq.plan(params, {"*": sq.projector("i o", {"i": v, "o": v})})
    each = [rg.lie_penalty(sq.plan(params, {k: plan.projectors[0]}), params) for k in "ab"]
    found = rg.lie_penalty(plan, params, power=1, per="all")
    np.testing.assert_allclose(found, np.sqrt(sum(each)), rtol=1e-6)


def test_movement_is_bounded_by_it():
    params, plan = params_of("so3", 6, np.float64), plan_of("so3")
    group = sq.groups.so(3)
    speed = np.sqrt(rg.lie_penalty(plan, params))
    rng = np.random.default_rng(0)
    for size in (0.01, 0.3, 2.0):
        t = rng.standard_normal(3)
        t *= size / norm(t)
        moved = projector("so3").act(group.exp(t), kernel(params))
        assert norm(moved - kernel(params)) <= size * speed * (1 + 1e-9)


def test_level_is_data_and_stacks_work():
    count = []

    @jax.jit
    def penalty(plan, params):
        count.append(None)
        return rg.lie_penalty(plan, params)

    params = params_of("d4")
    soft = plan_of("d4").at(cutoff=1.0)
    values = [float(penalty(soft.at(cutoff=b), params)) for b in (0.0, 1.0)]
    assert len(count) == 1
    np.testing.assert_allclose(*values, rtol=1e-6)
    stacked = jax.tree.map(lambda *w: jnp.stack(w), params, params_of("d4", 7))
    found = jax.vmap(functools.partial(rg.lie_penalty, soft))(stacked)
    np.testing.assert_allclose(found[0], values[0], rtol=1e-5)
