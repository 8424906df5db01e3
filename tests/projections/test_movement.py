"""Certificates under groups of any dimension: never exceeded, tight where they say so."""

import math

import jax
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax.projections.movement import growth, lie_images, speed, stretch_rate

COMPACT = {
    "so3": lambda: sq.groups.so(3),
    "o3": lambda: sq.groups.o(3),
    "o5": lambda: sq.groups.o(5),
    "su2": lambda: sq.groups.su(2),
    "so3xc4": lambda: sq.groups.product(sq.groups.so(3), sq.groups.cyclic(4)),
    "s4": lambda: sq.groups.symmetric(4),
    "d6": lambda: sq.groups.dihedral(6),
    "icosahedral": sq.groups.icosahedral,
}
NONCOMPACT = {"lorentz": sq.groups.lorentz, "sp4": lambda: sq.groups.sp(2)}
FINITE = ("s4", "d6", "icosahedral")
LIE = [name for name in COMPACT if name not in FINITE]


def dense(name, **dial):
    group = {**COMPACT, **NONCOMPACT}[name]()
    v = sq.reps.vector(group)
    if name == "d6":
        # forces the general path for a group of the plane
        dial["backend"] = "gram"
    return sq.projector("i o", {"i": v.dual, "o": v}, **dial)


def random_weight(projector, rng):
    shape = tuple(entry.rep.dim for entry in projector.space.entries)
    w = rng.standard_normal(shape)
    return w + 1j * rng.standard_normal(shape) if projector.space.is_complex else w


def movement(projector, g, w):
    return np.linalg.norm(projector.act(g, w) - w)


def random_elements(group, n, seed=0):
    with jax.enable_x64(True):
        return np.asarray(group.sample(jax.random.key(seed), n))


def in_ball(k, radius, rng):
    t = rng.standard_normal(k)
    return t / np.linalg.norm(t) * radius * rng.uniform() ** (1 / k)


def ascend(value, k, radius, rng, steps=80):
    """The largest value found in the ball by random steps of shrinking size."""
    t = in_ball(k, radius, rng)
    best = value(t)
    for i in range(steps):
        step = t + rng.standard_normal(k) * radius * 0.5 * 0.95**i
        step *= min(1.0, radius / max(np.linalg.norm(step), 1e-300))
        if (new := value(step)) > best:
            t, best = step, new
    return best


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPACT)
def test_no_bound_is_exceeded_by_200_elements_or_by_an_ascent(name):
    rng = np.random.default_rng(0)
    projector = dense(name, cutoff=0.0)
    group = projector.space.group
    gs = group.elements() if group.is_finite else random_elements(group, 200)
    w = random_weight(projector, rng)
    whole = projector.certificate(w)
    assert whole.certified
    assert whole.scope == "global"
    measured = [movement(projector, g, w) for g in gs]
    assert max(measured) <= whole.bound == whole.supremum
    for g, exact in zip(gs[:30], measured, strict=False):
        one = projector.certificate(w, element=g)
        assert exact <= one.bound <= exact + 1e-11 * one.weight_norm
        assert one.bound <= one.supremum
        assert one.scope == "element"
    if group.is_finite:
        np.testing.assert_allclose(whole.bound, max(measured), rtol=1e-10)
        return
    k = len(group.lie_generators)
    for radius in (0.1, 0.7, 3.0):
        local = projector.certificate(w, within=radius)
        assert local.certified
        found = ascend(lambda t: movement(projector, group.exp(t), w), k, radius, rng)
        assert found <= local.bound <= whole.bound
        assert local.bound <= radius * speed(projector.space, w).total * (1 + 1e-9)
    # to first order the speed is attained
    tiny = projector.certificate(w, within=1e-4)
    images = lie_images(projector.space, w).reshape(k, -1)
    t = np.linalg.eigh(np.real(images @ images.conj().T))[1][:, -1]
    assert movement(projector, group.exp(1e-4 * t), w) >= 0.999 * tiny.bound


@pytest.mark.parametrize("name", NONCOMPACT)
def test_non_compact_groups_are_certified_locally_and_by_element_only(name):
    rng = np.random.default_rng(1)
    projector = dense(name, cutoff=0.0)
    group = projector.space.group
    k = len(group.lie_generators)
    w = random_weight(projector, rng)
    whole = projector.certificate(w)
    assert not whole.certified
    assert whole.is_vacuous
    assert math.isnan(whole.bound)
    assert "not compact" in whole.reason
    for radius in (0.05, 0.5, 2.0):
        local = projector.certificate(w, within=radius)
        assert local.certified
        assert local.scope == "local"
        assert math.isnan(local.supremum)
        found = ascend(lambda t: movement(projector, group.exp(t), w), k, radius, rng, 120)
        drawn = [movement(projector, group.exp(in_ball(k, radius, rng)), w) for _ in range(200)]
        assert max(found, *drawn) <= local.bound
        if radius == 0.05:
            assert local.bound <= 1.4 * found
    g = group.exp(in_ball(k, 3.0, rng))
    one = projector.certificate(w, element=g)
    np.testing.assert_allclose(one.bound, movement(projector, g, w), rtol=1e-9)
    assert projector.certificate(projector(w), element=g).bound < 1e-9
    assert math.isnan(projector.certificate().bound)


@pytest.mark.parametrize("name", NONCOMPACT)
def test_the_stretch_rate_bounds_every_logarithmic_norm(name):
    projector = dense(name)
    space, group = projector.space, projector.space.group
    rate = stretch_rate(space)
    rng = np.random.default_rng(2)
    largest = 0.0
    for _ in range(300):
        t = rng.standard_normal(len(group.lie_generators))
        t /= np.linalg.norm(t)
        b = sum(
            np.kron(x, np.eye(4)) + np.kron(np.eye(4), y)
            for x, y in [
                (
                    np.tensordot(t, space.entries[0].rep.lie_matrices(), 1),
                    np.tensordot(t, space.entries[1].rep.lie_matrices(), 1),
                )
            ]
        )
        largest = max(largest, np.linalg.eigvalsh((b + b.T) / 2)[-1])
    assert 0.3 * rate <= largest <= rate


def test_growth_is_the_mean_of_the_exponential():
    s = (np.arange(20_000) + 0.5) / 20_000
    for x in (-3.0, -1e-13, 0.0, 1e-3, 2.0):
        np.testing.assert_allclose(growth(x), np.exp(s * x).mean(), rtol=1e-8)
    assert growth(1e4) == math.inf


@pytest.mark.slow
@pytest.mark.parametrize("name", [*COMPACT, *NONCOMPACT])
def test_a_priori_promises_hold_for_every_weight(name):
    rng = np.random.default_rng(3)
    strict = dense(name)
    group = strict.space.group
    k = len(group.lie_generators)
    levels = strict.levels()
    cuts = [strict.at(cutoff=levels[len(levels) // 2]), strict.at(softness=0.5, mask="heat")]
    if group.is_finite:
        gs = group.elements()[:: max(1, group.order // 12)]
    else:
        gs = [group.exp(in_ball(k, 2.0, rng)) for _ in range(8)]
        gs += [h @ gs[0] for h in group.discrete_generators]
    dims = tuple(entry.rep.dim for entry in strict.space.entries)
    n = math.prod(dims)
    eye = np.eye(n, dtype=complex if strict.space.is_complex else float)
    for cut in cuts:
        matrix = np.stack([cut(e.reshape(dims)).ravel() for e in eye], axis=1)
        for g in gs:
            moved = np.stack([cut.act(g, e.reshape(dims)).ravel() for e in eye], axis=1) - eye
            worst = np.linalg.norm(moved @ matrix, 2)
            promised = cut.certificate(element=g)
            assert worst <= promised.bound
            np.testing.assert_allclose(promised.bound, worst, atol=1e-9)
            if group.is_compact:
                assert worst <= promised.supremum <= 2.0 + 1e-9
        if k:
            for radius in (0.2, 1.0):
                local = cut.certificate(within=radius)
                for _ in range(20):
                    g = group.exp(in_ball(k, radius, rng))
                    w = random_weight(strict, rng)
                    w /= np.linalg.norm(w)
                    assert movement(cut, g, cut(w)) <= local.bound
    if group.is_compact:
        assert strict.certificate().bound < 1e-11
        assert strict.at(softness=1.0).certificate().bound <= 2.0 + 1e-9
    assert strict.certificate(element=gs[-1]).bound < 1e-9


def test_the_supremum_over_a_lie_group_is_attained():
    """Every level on which SO(3) acts has an element of eigenvalue -1: a half turn."""
    projector = dense("so3").at(softness=1.0)
    half = np.diag([-1.0, -1.0, 1.0])
    np.testing.assert_allclose(projector.certificate().bound, 2.0, atol=1e-9)
    np.testing.assert_allclose(projector.certificate(element=half).bound, 2.0, atol=1e-9)


def test_parts_that_only_a_discrete_generator_moves_do_not_move_along_exponentials():
    group = sq.groups.o(3)
    v = sq.reps.vector(group)
    # volumes: the level of the determinant, which rotations fix
    projector = sq.projector("a b c", {"a": v, "b": v, "c": v}, cutoff=0.7)
    w = projector(np.random.default_rng(0).standard_normal((3, 3, 3)))
    assert np.linalg.norm(w) > 0.1
    assert projector.certificate(w, within=3.0).bound < 1e-10
    assert projector.certificate(within=3.0).bound < 1e-7
    np.testing.assert_allclose(projector.certificate(w).bound, 2 * np.linalg.norm(w), rtol=1e-9)


def test_large_blocks_fall_back_to_levels():
    group = sq.groups.so(3)
    v = sq.reps.vector(group)
    t = v * v * v
    projector = sq.projector("i o", {"i": t, "o": t}, cutoff=2.0)
    assert projector.dim > 512
    g = group.exp(np.array([0.3, -0.2, 0.1]))
    promised = projector.certificate(element=g)
    rng = np.random.default_rng(0)
    w = rng.standard_normal((27, 27))
    moved = movement(projector, g, projector(w)) / np.linalg.norm(w)
    assert moved <= promised.bound <= np.linalg.norm([0.3, -0.2, 0.1]) * math.sqrt(2) + 1e-9
    assert projector.certificate(within=0.1).bound <= 0.1 * math.sqrt(2) + 1e-9
    np.testing.assert_allclose(projector.certificate().bound, 2.0, rtol=1e-9)


@given(st.sampled_from(LIE), st.floats(0, 4), st.integers(0, 2**31))
@examples(fast=40)
def test_bounds_grow_with_the_radius_and_stay_below_the_supremum(name, radius, seed):
    projector = dense(name)
    w = random_weight(projector, np.random.default_rng(seed))
    small = projector.certificate(w, within=0.5 * radius).bound
    large = projector.certificate(w, angle=radius)
    assert small <= large.bound <= large.supremum
    whole = projector.certificate(w)
    assert large.supremum == whole.bound <= 2 * np.linalg.norm(projector.residual(w)) + 1e-9


@pytest.mark.slow
def test_gains_move_by_what_is_averaged_away():
    group = sq.groups.so(3)
    rep = 2 * sq.reps.vector(group)
    projector = sq.projector("c", {"c": sq.reps.diagonal(rep)})
    w = np.random.default_rng(0).standard_normal(6)
    certificate = projector.certificate(w)
    worst = 0.0
    for g in random_elements(group, 200):
        rho = rep.matrix(g)
        worst = max(worst, np.linalg.norm(rho @ np.diag(w) @ rho.T - np.diag(w)))
    assert worst <= certificate.bound
    assert projector.certificate(projector(w)).bound < 1e-10
    assert projector.certificate().bound < 1e-10


def test_single_precision_filters_are_rebuilt():
    projector = dense("so3")
    w = np.random.default_rng(0).standard_normal((3, 3))
    through = jax.tree.map(lambda x: jax.numpy.asarray(x), projector)
    expected = projector.certificate(w).bound
    np.testing.assert_allclose(through.certificate(w).bound, expected, rtol=1e-12)


def test_what_makes_no_sense_is_refused():
    projector = dense("so3")
    w = np.zeros((3, 3))
    with pytest.raises(ValueError, match="flip"):
        projector.certificate(w, flip=True)
    with pytest.raises(ValueError, match="one of them"):
        projector.certificate(w, angle=0.1, within=0.1)
    with pytest.raises(ValueError, match="not both"):
        projector.certificate(w, element=np.eye(3), within=0.1)
    with pytest.raises(ValueError, match="not in SO"):
        projector.certificate(w, element=2 * np.eye(3))
    with pytest.raises(ValueError, match="within must be"):
        projector.certificate(w, within=-1.0)
    with pytest.raises(ValueError, match="NaN or infinite"):
        projector.certificate(np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match="does not fit"):
        projector.certificate(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="no Lie generators"):
        dense("s4").certificate(np.zeros((4, 4)), within=0.1)
    assert projector.certificate(w).bound == 0.0
