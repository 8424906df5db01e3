"""Weight certificates: never below the measured movement, and equal to it where they say so."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq

GROUPS = ("c2", "c4", "d4", "c8", "d3", "so2", "o2")


def projector_of(name, k):
    return sq.projector("h w c", {"h w": sq.reps.image(sq.groups.from_name(name), (k, k))})


def rep_of(projector):
    return projector.space.entries[0].rep


def matrix_of(projector):
    """P on the flattened grid."""
    rep = rep_of(projector)
    return projector(np.eye(rep.dim).reshape(*rep.shape, -1)).reshape(rep.dim, -1)


def movement(rep, g, w):
    flat = w.reshape(rep.dim, -1)
    return np.linalg.norm(rep.matrix(g) @ flat - flat)


@pytest.mark.slow
@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("k", [3, 4, 7])
def test_200_random_weights_per_level_never_move_more_than_certified(name, k):
    """At every level: 200 weights, and elements of the group, the equality and all three scopes."""
    strict = projector_of(name, k)
    rep, group = rep_of(strict), strict.space.group
    rng = np.random.default_rng(k)
    flips = [False, True] if group.has_flip else [False]
    if group.is_finite:
        step = 2 * np.pi / group.rotations
        asked = [(j * step, f) for j in range(group.rotations) for f in flips]
    else:
        angles = np.concatenate([np.linspace(0, np.pi, 7), rng.uniform(-np.pi, np.pi, 4)])
        asked = [(t, f) for t in angles for f in flips]
    for level in strict.levels():
        cut = strict.at(cutoff=level)
        matrix = matrix_of(cut)
        raw = rng.standard_normal((200, rep.dim))
        weights = raw @ matrix
        norms = np.linalg.norm(weights, axis=1)
        stacked = weights.T.reshape(k, k, 200)
        per_weight = [cut.certificate(stacked[..., i : i + 1]) for i in range(200)]
        suprema = np.array([c.supremum for c in per_weight])
        a_priori = cut.certificate()
        for t, flip in asked:
            moved = (rep.matrix(group.element(t, flip)) - np.eye(rep.dim)) @ weights.T
            measured = np.linalg.norm(moved, axis=0)
            assert np.all(measured <= suprema)
            assert np.all(measured <= a_priori.bound * np.linalg.norm(raw, axis=1))
            element = cut.certificate(stacked, angle=t, flip=flip)
            total = np.linalg.norm(moved)
            assert total <= element.bound
            np.testing.assert_allclose(element.bound, total, atol=2e-11 * max(norms.sum(), 1))
            promised = cut.certificate(angle=t, flip=flip).bound
            assert np.all(measured <= promised * np.linalg.norm(raw, axis=1))


@given(st.sampled_from(GROUPS), st.integers(2, 8), st.floats(-3, 3), st.integers(0, 2**31))
@examples(fast=60)
def test_the_exact_movement_implies_the_general_bounds(name, k, t, seed):
    """``movement <= min(2 ||N w||, |t| ||L w||)``; theorem 3: ``||N w|| <= sup <= 2 ||N w||``."""
    strict = projector_of(name, k)
    group, rep = strict.space.group, rep_of(strict)
    w = np.random.default_rng(seed).standard_normal((k, k, 2))
    certificate = strict.certificate(w)
    n = strict.residual(w).reshape(rep.dim, -1)
    unmatched = rep.unmatched @ (rep.unmatched.T @ n)
    if not group.has_flip:
        n = n - unmatched
    size = np.linalg.norm(n)
    assert size - 1e-9 <= certificate.supremum <= 2 * size + 1e-9
    if not group.is_finite:
        lie = rep.lie_matrices()[0] @ w.reshape(rep.dim, -1)
        element = strict.certificate(w, angle=t)
        assert element.bound <= min(2 * size, abs(t) * np.linalg.norm(lie)) + 1e-9
        assert element.bound <= strict.certificate(w, within=abs(t)).bound + 1e-12
        assert element.bound <= certificate.supremum


def test_suprema_of_continuous_groups_are_safe_and_tight():
    rng = np.random.default_rng(0)
    for name in ("so2", "o2"):
        projector = projector_of(name, 8)
        rep, group = rep_of(projector), projector.space.group
        w = rng.standard_normal((8, 8, 1))
        flips = [False, True] if group.has_flip else [False]
        angles = np.linspace(0, 2 * np.pi, 721)
        exact = max(movement(rep, group.element(t, f), w) for t in angles for f in flips)
        supremum = projector.certificate(w).supremum
        assert exact <= supremum <= 1.002 * exact
        limit = 0.6
        angles = np.linspace(0, limit, 301)
        exact = max(movement(rep, group.element(t), w) for t in angles)
        local = projector.certificate(w, within=limit)
        assert exact <= local.bound <= 1.01 * exact
        assert (local.scope, local.angle) == ("local", limit)


def test_a_priori_bound_of_a_cut_is_attained():
    projector = projector_of("so2", 7).at(cutoff=3.0)
    for t in (0.1, 0.5, 1.0, 2.0):
        bound = projector.certificate(angle=t).bound
        moved = rep_of(projector).matrix(projector.space.group.element(t)) - np.eye(49)
        worst = np.linalg.norm(moved @ matrix_of(projector), 2)
        np.testing.assert_allclose(bound, worst, rtol=1e-9)
    assert projector.at(cutoff=0.0).certificate().bound < 1e-11
    heat = projector.at(cutoff=2.0, mask="heat")
    expected = max(np.exp(-(m**2) / 8) * 2 * np.sin(min(m * 0.5, np.pi) / 2) for m in range(10))
    np.testing.assert_allclose(heat.certificate(within=0.5).bound, expected, rtol=1e-9)


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("k", [2, 3, 4, 7])
def test_strict_cuts_promise_zero_and_no_promise_is_exceeded(name, k):
    strict = projector_of(name, k)
    assert strict.certificate().bound < 1e-11
    group, rep = strict.space.group, rep_of(strict)
    flips = [False, True] if group.has_flip else [False]
    step = 2 * np.pi / (group.rotations or 7)
    for cut in (strict.at(softness=0.4), strict.at(softness=0.6, mask="heat")):
        matrix = matrix_of(cut)
        suprema = []
        for t in step * np.arange(group.rotations or 7):
            for flip in flips:
                g = rep.matrix(group.element(t, flip)) - np.eye(rep.dim)
                norm = np.linalg.norm(g @ matrix, 2)
                bound = cut.certificate(angle=t, flip=flip).bound
                assert norm <= bound <= norm + 1e-9 * max(norm, 1)
                suprema.append(norm)
        assert max(suprema) <= cut.certificate().bound


def test_fields_say_what_is_certified():
    projector = projector_of("c4", 3)
    w = np.random.default_rng(0).standard_normal((3, 3, 1))
    certificate = projector.certificate(w, angle=np.pi / 2)
    assert certificate.certified
    assert (certificate.norm, certificate.scope) == ("frobenius", "element")
    np.testing.assert_allclose(certificate.angle, np.pi / 2)
    np.testing.assert_allclose(certificate.relative, certificate.bound / np.linalg.norm(w))
    assert projector.certificate(w).scope == "global"
    assert sq.projections.combine({}).bound == 0.0


def test_single_precision_angles_are_understood():
    projector = projector_of("c4", 3)
    w = np.random.default_rng(0).standard_normal((3, 3, 1))
    exact = projector.certificate(w, angle=np.pi / 2).bound
    assert projector.certificate(w, angle=np.float32(np.pi / 2)).bound == exact


def test_certificates_of_different_elements_do_not_add():
    projector = projector_of("c4", 3)
    w = np.ones((3, 3, 1))
    parts = {"a": projector.certificate(w), "b": projector.certificate(w, angle=np.pi)}
    with pytest.raises(ValueError, match="one group element"):
        sq.projections.combine(parts)


def test_elements_outside_the_group_are_refused():
    c4, so2 = projector_of("c4", 3), projector_of("so2", 3)
    w = np.ones((3, 3, 1))
    with pytest.raises(ValueError, match="C4"):
        c4.certificate(w, angle=0.5)
    with pytest.raises(ValueError, match=r"SO\(2\)"):
        so2.certificate(w, angle=0.5, flip=True)
    with pytest.raises(ValueError, match="drop angle"):
        so2.certificate(w, angle=0.5, within=0.5)
    with pytest.raises(ValueError, match="within must be"):
        so2.certificate(w, within=-0.5)


def c4_by_two_back_ends():
    """One projector with exact frequencies, one without: their certificates are made apart."""
    image = sq.reps.image(sq.groups.cyclic(4), (3, 3))
    return [sq.projector("h w c", {"h w": image}, backend=name) for name in ("spectral", "orbits")]


@pytest.mark.parametrize("off", [0.0, 5e-7, -5e-7])
def test_back_ends_understand_one_angle_alike(off):
    """Within rounding of a multiple of the step it is that multiple, whoever is asked."""
    w = np.random.default_rng(0).standard_normal((3, 3, 2))
    for turns in (1, 2, 3, -1, -3):
        asked = [
            p.certificate(w, angle=turns * np.pi / 2 + off, flip=False)
            for p in c4_by_two_back_ends()
        ]
        assert asked[0].angle == asked[1].angle
        assert asked[0].angle == pytest.approx(turns * np.pi / 2, abs=1e-15)
        assert asked[0].bound == pytest.approx(asked[1].bound, rel=1e-9)
        both = sq.projections.combine(dict(zip("ab", asked, strict=True)))
        assert both.bound == pytest.approx(np.sqrt(2) * asked[0].bound, rel=1e-9)
        certificates = [p.certificate(angle=turns * np.pi / 2 + off) for p in c4_by_two_back_ends()]
        assert certificates[0].angle == certificates[1].angle == asked[0].angle


@pytest.mark.parametrize("within", [np.inf, np.nan, -0.1])
def test_back_ends_refuse_one_neighbourhood_alike(within):
    so3 = sq.projector("a", {"a": sq.reps.vector(sq.groups.so(3))})
    so2 = projector_of("so2", 3)
    for projector in (*c4_by_two_back_ends(), so2, so3):
        shape = tuple(n for entry in projector.space.entries for n in entry.rep.shape)
        w = np.ones((*shape, *(1,) * (len(projector.space.names) - len(shape))))
        for weight in (w, None):
            with pytest.raises(ValueError, match="within must be a finite angle >= 0"):
                projector.certificate(weight, within=within)


def test_an_unknown_part_of_a_question_is_named():
    with pytest.raises(TypeError, match=r"unknown option 'degrees'.*element, angle, flip, within"):
        projector_of("so2", 3).certificate(np.ones((3, 3, 1)), degrees=30.0)


def test_weights_of_the_wrong_kind_are_refused_as_by_the_projector():
    real = sq.projector("a", {"a": sq.reps.vector(sq.groups.so(3))})
    unitary = sq.projector("a", {"a": sq.reps.vector(sq.groups.su(2))})
    planar = projector_of("c4", 3)
    for projector, w, message in (
        (real, np.ones(3) * (1 + 1j), "real floating-point, got complex128"),
        (real, np.ones(3, int), "real floating-point, got int"),
        (unitary, np.ones(2), "complex, got float64"),
        (planar, np.ones((3, 3, 1), np.complex64), "real floating-point, got complex64"),
    ):
        with pytest.raises(TypeError, match=message):
            projector(w)
        with pytest.raises(TypeError, match=message):
            projector.certificate(w)
    assert unitary.certificate(np.ones(2, complex)).bound > 0
    assert real.certificate(np.ones(3, np.float16)).bound > 0


def test_angles_of_planar_and_other_groups_do_not_mix():
    params = {"a": np.ones((3, 3, 1)), "b": np.ones(3)}
    so3 = sq.projector("a", {"a": sq.reps.vector(sq.groups.so(3))})
    plan = sq.plan(params, {"a": projector_of("so2", 3), "b": so3})
    with pytest.raises(ValueError, match=r"one element .*'a'.*another group \('b'\).*within="):
        plan.certificate(params, angle=0.1)
    assert plan.certificate(params, within=0.1).certified
