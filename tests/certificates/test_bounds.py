"""The theorems as functions: random weights and elements never exceed them."""

import itertools
import math

import jax
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax import certificates as ct

GROUPS = {
    "so3": sq.groups.so(3),
    "o3": sq.groups.o(3),
    "o5": sq.groups.o(5),
    "su2": sq.groups.su(2),
    "s4": sq.groups.symmetric(4),
    "d6": sq.groups.dihedral(6),
    "icosahedral": sq.groups.icosahedral(),
    "so3xc4": sq.groups.product(sq.groups.so(3), sq.groups.cyclic(4)),
    "c4xc3": sq.groups.product(sq.groups.cyclic(4), sq.groups.cyclic(3)),
    "lorentz": sq.groups.lorentz(),
    "sp4": sq.groups.sp(2),
}
COMPACT = [name for name, group in GROUPS.items() if group.is_compact]
FINITE = [name for name, group in GROUPS.items() if group.is_finite]
LIE = [name for name in GROUPS if name not in FINITE]


def dense(name, **dial):
    v = sq.reps.vector(GROUPS[name])
    return sq.projector("i o", {"i": v.dual, "o": v}, **dial)


def random_weight(projector, rng):
    shape = tuple(entry.rep.dim for entry in projector.space.entries)
    w = rng.standard_normal(shape)
    return w + 1j * rng.standard_normal(shape) if projector.space.is_complex else w


def movement(projector, g, w):
    return np.linalg.norm(projector.act(g, w) - w)


def draw(group, n, rng):
    """Elements; of non-compact groups products of exponentials and discrete generators."""
    if group.is_finite:
        return group.elements()[rng.integers(group.order, size=n)]
    if group.is_compact:
        with jax.enable_x64(True):
            return np.asarray(group.sample(jax.random.key(rng.integers(2**31)), n))
    k, h = len(group.lie_generators), [np.eye(group.d), *group.discrete_generators]
    return np.stack([group.exp(rng.standard_normal(k)) @ h[i % len(h)] for i in range(n)])


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPACT)
def test_sandwich_and_the_mean_square_identity(name):
    """Theorem 2 exactly (finite groups) or within four standard errors; theorem 3 both sides."""
    rng = np.random.default_rng(0)
    projector = dense(name)
    group = projector.space.group
    w = random_weight(projector, rng)
    gs = group.elements() if group.is_finite else draw(group, 400, rng)
    squares = np.array([movement(projector, g, w) ** 2 for g in gs])
    lower, upper = ct.sandwich(projector, w)
    residual = np.linalg.norm(projector.residual(w))
    np.testing.assert_allclose([lower, upper], [math.sqrt(2) * residual, 2 * residual], rtol=1e-9)
    expected = 2 * residual**2
    if group.is_finite:
        np.testing.assert_allclose(squares.mean(), expected, rtol=1e-10)
        assert lower <= math.sqrt(squares.max()) * (1 + 1e-12)
    else:
        assert abs(squares.mean() - expected) <= 4 * squares.std() / 20
    assert math.sqrt(squares.max()) <= upper


@pytest.mark.slow
@pytest.mark.parametrize("name", GROUPS)
def test_element_bounds_are_never_exceeded_over_200_draws(name):
    rng = np.random.default_rng(1)
    projector = dense(name)
    group = projector.space.group
    w = random_weight(projector, rng)
    reasons = set()
    for g in draw(group, 200, rng):
        exact = movement(projector, g, w)
        bound = ct.element_bound(projector, w, g)
        assert exact <= bound.bound
        reasons.add(bound.reason)
        if not group.is_finite and not projector.space.group.factor(g).word:
            assert (
                exact <= ct.lie_bound(projector, w, group.factor(g).tangents[0])
                or len(group.factor(g).tangents) > 1
            )
    if name == "c4xc3":
        assert reasons == {"exact movement"}
    if name == "so3":
        assert reasons & {"theorem 3: 2 ||N w||", "theorem 4: exponentials and letters"}


@pytest.mark.parametrize("name", FINITE)
def test_word_bounds(name):
    rng = np.random.default_rng(2)
    projector = dense(name)
    group = projector.space.group
    w = random_weight(projector, rng)
    defects = ct.generator_defects(projector, w)
    for h, defect in zip(group.discrete_generators, defects, strict=True):
        np.testing.assert_allclose(defect, movement(projector, h, w))
    diameter = ct.diameter(group)
    for g in draw(group, 50, rng):
        bound = ct.word_bound(projector, w, g)
        assert movement(projector, g, w) <= bound <= diameter * defects.max() * (1 + 1e-9)
    word = tuple(rng.integers(len(defects), size=4))
    g = np.eye(group.d)
    for i in word:
        g = g @ group.discrete_generators[i]
    assert movement(projector, g, w) <= ct.word_bound(projector, w, word)


def test_words_of_non_orthogonal_actions_carry_the_norms_before_them():
    """S_3 on the plane in an oblique basis: the plain sum of defects is exceeded."""
    s3 = sq.groups.from_generators("S3", discrete=[[1, 0, 2], [1, 2, 0]])
    oblique = np.array([[1.0, 0, 0], [5.0, 1, 0], [0, 0, 1]])
    rep = sq.reps.from_generators(
        s3,
        discrete=[
            oblique @ h @ np.linalg.inv(oblique) for h in sq.reps.vector(s3).discrete_matrices()
        ],
    )
    projector = sq.projector("o", {"o": rep})
    rng = np.random.default_rng(0)
    for word in itertools.product(range(2), repeat=3):
        g = np.linalg.multi_dot([s3.discrete_generators[i] for i in word])
        for _ in range(20):
            w = rng.standard_normal(3)
            assert movement(projector, g, w) <= ct.word_bound(projector, w, word)
    # the worst w for h h: the movement u = h w - w is stretched by 1 + h
    h = rep.matrix(s3.discrete_generators[1])
    inside = np.linalg.svd(h - np.eye(3))[0][:, :2]
    u = inside @ np.linalg.svd((h + np.eye(3)) @ inside)[2][0]
    w = np.linalg.pinv(h - np.eye(3)) @ u
    exact = movement(projector, s3.discrete_generators[1] @ s3.discrete_generators[1], w)
    assert exact > 2 * 2 * ct.generator_defects(projector, w)[1]
    assert exact <= ct.word_bound(projector, w, (1, 1))
    with pytest.raises(ValueError, match="orthogonal"):
        ct.sandwich(projector, w)


@pytest.mark.parametrize("name", LIE)
def test_lie_bounds_and_their_first_order(name):
    rng = np.random.default_rng(3)
    projector = dense(name)
    group = projector.space.group
    k = len(group.lie_generators)
    w = random_weight(projector, rng)
    total = ct.lie_norm(projector, w)
    for radius in (1e-3, 0.3, 1.5):
        ball = ct.lie_bound(projector, w, radius)
        for _ in range(70):
            t = rng.standard_normal(k)
            t *= radius / np.linalg.norm(t)
            exact = movement(projector, group.exp(t), w)
            one = ct.lie_bound(projector, w, t)
            assert exact <= one <= ball * (1 + 1e-12)
            if group.is_compact:
                assert one <= radius * total * (1 + 1e-9)
            if radius == 1e-3:
                assert exact >= 0.99 * one
    with pytest.raises(ValueError, match="Lie generators"):
        ct.lie_bound(projector, w, np.zeros(k + 1))
    with pytest.raises(ValueError, match="radius"):
        ct.lie_bound(projector, w, -1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["so3", "su2", "sp4", "lorentz"])
@pytest.mark.parametrize("mask", ["hard", "heat", "resolvent"])
def test_cutoff_bounds(name, mask):
    rng = np.random.default_rng(4)
    strict = dense(name)
    level = strict.levels()[1]
    cut = strict.at(cutoff=level, mask=mask)
    group = strict.space.group
    shares = {"hard": 1.0, "heat": math.exp(-0.5), "resolvent": 0.5}
    for radius in (0.1, 0.5):
        bound = ct.cutoff_bound(cut, norm=2.0, radius=radius)
        if group.is_compact:
            assert bound.bound <= 2.0 * radius * shares[mask] * level * (1 + 1e-9)
        for _ in range(70):
            w = random_weight(strict, rng)
            w *= 2.0 / np.linalg.norm(w)
            t = rng.standard_normal(len(group.lie_generators))
            g = group.exp(t * radius / np.linalg.norm(t))
            assert movement(cut, g, cut(w)) <= bound.bound
            assert np.linalg.norm(cut(w)) <= 2.0 * (1 + 1e-12)
    if group.is_compact:
        whole = ct.cutoff_bound(cut)
        assert whole.is_vacuous == (mask == "hard")
        assert not ct.cutoff_bound(cut, radius=0.1).is_vacuous
    else:
        with pytest.raises(ValueError, match="diameter"):
            ct.cutoff_bound(cut)


def test_cutoff_bounds_of_finite_groups_are_refused():
    with pytest.raises(ValueError, match="conjugacy"):
        ct.cutoff_bound(dense("s4"), radius=1.0)


@pytest.mark.parametrize("name", ["so3", "su2", "o5", "s4", "so3xc4"])
def test_gap_bounds_the_moving_part(name):
    rng = np.random.default_rng(5)
    projector = dense(name)
    for _ in range(20):
        w = random_weight(projector, rng)
        level, bound = ct.gap(projector, w)
        residual = np.linalg.norm(projector.residual(w))
        assert residual <= bound
        assert level == projector.levels()[1]
        if name in ("so3", "su2"):
            assert residual <= ct.lie_norm(projector, w) / level * (1 + 1e-9)
    assert math.isnan(ct.gap(projector).moving_norm)


def test_diameters():
    g = sq.groups
    assert ct.diameter(g.so(2)) == ct.diameter(g.so(3)) == math.pi
    np.testing.assert_allclose(ct.diameter(g.so(5)), math.pi * math.sqrt(2))
    np.testing.assert_allclose(ct.diameter(g.su(2)), 2 * math.pi)
    np.testing.assert_allclose(ct.diameter(g.usp(1)), ct.diameter(g.su(2)))
    np.testing.assert_allclose(ct.diameter(g.su(3)), math.pi * math.sqrt(2 * (3 - 1 / 3)))
    np.testing.assert_allclose(ct.diameter(g.product(g.so(3), g.su(2))), math.pi * math.sqrt(5))
    assert [ct.diameter(g.cyclic(n)) for n in (1, 2, 5, 8)] == [0, 1, 2, 4]
    assert ct.diameter(g.dihedral(4)) == 3
    assert ct.diameter(g.product(g.cyclic(4), g.cyclic(3))) == 3
    for bad, why in (
        (g.o(3), "components"),
        (g.lorentz(), "not compact"),
        (g.symmetric(12), "listed"),
    ):
        with pytest.raises(ValueError, match=why):
            ct.diameter(bad)


@pytest.mark.slow
@pytest.mark.parametrize(
    "group", [sq.groups.so(4), sq.groups.su(3), sq.groups.su(4), sq.groups.usp(2)], ids=str
)
def test_diameters_are_reached_and_not_exceeded(group):
    """``|t|`` of shortest logarithms of random elements; -1 or a primitive root is farthest."""
    diameter = ct.diameter(group)
    lengths = [
        np.linalg.norm(group.factor(g).tangents[0])
        for g in draw(group, 100, np.random.default_rng(0))
    ]
    assert max(lengths) <= diameter * (1 + 1e-9)
    far = -np.eye(group.d)
    if str(group) == "SU(3)":
        far = np.exp(2j * np.pi / 3) * np.eye(3)
    far = far.astype(group.dtype)
    np.testing.assert_allclose(np.linalg.norm(group.factor(far).tangents[0]), diameter, rtol=1e-6)


@pytest.mark.slow
@given(st.sampled_from(COMPACT), st.integers(0, 2**31))
@examples(fast=40)
def test_element_bounds_are_consistent(name, seed):
    rng = np.random.default_rng(seed)
    projector = dense(name)
    w = random_weight(projector, rng)
    g = draw(projector.space.group, 1, rng)[0]
    bound = ct.element_bound(projector, w, g)
    exact = projector.certificate(w, element=g).bound
    assert exact <= bound.bound * (1 + 1e-9) + 1e-11
    assert bound.bound <= ct.sandwich(projector, w).upper * (1 + 1e-9)


def test_weights_and_elements_are_checked():
    projector = dense("so3")
    with pytest.raises(ValueError, match="NaN or infinite"):
        ct.sandwich(projector, np.full((3, 3), np.inf))
    with pytest.raises(ValueError, match="does not fit"):
        ct.lie_norm(projector, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="real"):
        ct.lie_norm(projector, np.zeros((3, 3), complex))
    with pytest.raises(ValueError, match="not in"):
        ct.element_bound(projector, np.zeros((3, 3)), -np.eye(3))
    with pytest.raises(ValueError, match="indices"):
        ct.word_bound(dense("o3"), np.zeros((3, 3)), (1,))
    g = GROUPS["o3"].exp(np.array([0.1, 0, 0]))
    with pytest.raises(ValueError, match="element_bound"):
        ct.word_bound(dense("o3"), np.zeros((3, 3)), g)
    with pytest.raises(ValueError, match="Haar"):
        ct.sandwich(dense("sp4"), np.zeros((4, 4)))


def test_groups_too_large_to_list():
    group = sq.groups.symmetric(12)
    v = sq.reps.vector(group)
    projector = sq.projector("i o", {"i": v, "o": v})
    w = np.random.default_rng(0).standard_normal((12, 12))
    g = np.eye(12)[np.random.default_rng(1).permutation(12)]
    exact = movement(projector, g, w)
    bound = ct.element_bound(projector, w, g)
    assert exact <= bound.bound
    assert bound.reason == "theorem 3: 2 ||N w||"
    assert exact <= projector.certificate(w, element=g).bound <= projector.certificate(w).bound
    assert projector.certificate(element=g).bound < 1e-9
    assert projector.at(softness=1.0).certificate(element=g).bound <= 2.0 + 1e-9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*no levels above 0")
@pytest.mark.parametrize("h", [2.0 * np.eye(2), sq.groups.so(2).element(1.0)])
def test_generators_of_infinite_order_have_defects(h):
    v = sq.reps.vector(sq.groups.from_generators("Z", discrete=[h]))
    projector = sq.projector("i o", {"i": v.dual, "o": v}, backend="gram")
    mixed = sq.projector("a", {"a": v}, backend="gram")
    w = np.arange(4.0).reshape(2, 2)
    exact = np.linalg.norm(h @ w @ np.linalg.inv(h) - w)
    np.testing.assert_allclose(ct.generator_defects(projector, w), [exact], atol=1e-12)
    x = np.ones(2)
    (one,) = ct.generator_defects(mixed, x)
    np.testing.assert_allclose(one, np.linalg.norm(h @ x - x), rtol=1e-12)
    size = np.linalg.norm(h, 2)
    np.testing.assert_allclose(ct.word_bound(mixed, x, [0, 0, 0]), one * (1 + size + size**2))
    assert movement(mixed, h @ h, x) <= ct.word_bound(mixed, x, [0, 0])


@pytest.mark.parametrize("name", GROUPS)
def test_generator_defects_are_movements(name):
    projector = dense(name)
    w = random_weight(projector, np.random.default_rng(5))
    expected = [movement(projector, h, w) for h in GROUPS[name].discrete_generators]
    np.testing.assert_allclose(ct.generator_defects(projector, w), expected, atol=1e-12)


def test_cutoff_bounds_take_a_norm():
    projector = dense("so3", cutoff=1.0)
    for wrong in (np.ones((3, 3)), [1.0], "1", 1j):
        with pytest.raises(ValueError, match=r"expects the norm \|\|w\|\|.*got"):
            ct.cutoff_bound(projector, wrong)
    with pytest.raises(ValueError, match="expects a radius"):
        ct.cutoff_bound(projector, 1.0, np.ones(3))
    expected = ct.cutoff_bound(projector, 2.0, 0.5)
    assert ct.cutoff_bound(projector, np.float32(2.0), np.array(0.5)) == expected


def test_finite_groups_have_no_lie_generators_to_move_by():
    V = sq.reps.vector(sq.groups.cyclic(4))
    assert ct.lie_norm(sq.projector("i o", {"i": V, "o": V}), np.ones((2, 2))) == 0.0
