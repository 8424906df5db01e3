"""Theorems about projectors, for random pairs and triples of representations of every group.

Each test says for which groups it holds: all, compact, or abelian ones.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from projection_oracle import (
    COMPACT,
    NONCOMPACT,
    action,
    build,
    case_projector,
    character_rank,
    dense,
    entries_of,
    full_shape,
    generators,
    group_of,
    kernel_projector,
    moves,
    pairs,
    projector,
    random_weight,
)

import softeq_jax as sq

ALL = COMPACT + NONCOMPACT
SEEDS = st.integers(0, 2**31)


def few(n):
    return examples(fast=n, suppress_health_check=[HealthCheck.filter_too_much])


def cuts(p):
    """The projector at each of its levels, strictest first."""
    return [p.at(cutoff=float(level)) for level in p.levels()]


@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
@few(4)
def test_all_groups_the_projector_on_the_kernel_of_the_generators(name, data):
    """Theorem 1: idempotent, symmetric, its image is what every element fixes, Pythagoras."""
    case = data.draw(pairs([name]))
    p = case_projector(case)
    matrix = dense(p)
    np.testing.assert_allclose(matrix, kernel_projector(entries_of(p)), atol=1e-11)
    np.testing.assert_allclose(matrix @ matrix, matrix, atol=1e-11)
    np.testing.assert_allclose(matrix, matrix.conj().T, atol=1e-11)
    assert p.rank() == round(np.trace(matrix).real) == character_rank(case)
    rng = np.random.default_rng(data.draw(SEEDS))
    lie, discrete = generators(entries_of(p))
    for a in lie:
        np.testing.assert_allclose(a @ matrix, 0, atol=1e-10)
    for h in discrete:
        np.testing.assert_allclose(h @ matrix, matrix, atol=1e-10)
    for g in moves(group_of(name), rng):
        moved = action(p, g)
        np.testing.assert_allclose(moved @ matrix, matrix, atol=1e-10 * np.linalg.norm(moved, 2))
        # transpose-closed, hence P commutes with the action, for non-compact groups too
        np.testing.assert_allclose(matrix @ moved, matrix, atol=1e-10 * np.linalg.norm(moved, 2))
    w = random_weight(p, rng)
    kept, rest = p.split(w)
    squares = [np.linalg.norm(x) ** 2 for x in (w, kept, rest)]
    np.testing.assert_allclose(squares[0], squares[1] + squares[2], rtol=1e-12)
    np.testing.assert_allclose(np.vdot(kept, rest), 0, atol=1e-11 * squares[0])
    np.testing.assert_array_equal(p.residual(w), rest)
    np.testing.assert_allclose(kept + rest, w, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
@few(2)
def test_all_groups_soft_subspaces_are_nested_and_stable(name, data):
    """P_b P_b' = P_min(b, b'), P_b commutes with every element, limits 0 and 1 of the dial."""
    p = case_projector(data.draw(pairs([name], limit=100)))
    rng = np.random.default_rng(data.draw(SEEDS))
    elements = [action(p, g) for g in moves(group_of(name), rng, 2)]
    each = cuts(p)
    matrices = [dense(cut) for cut in each]
    assert [cut.rank() for cut in each] == np.cumsum(p.dimensions()).tolist()
    for matrix, before in zip(matrices[1:], matrices, strict=False):
        np.testing.assert_allclose(before @ matrix, before, atol=1e-10)
        assert np.trace(matrix).real > np.trace(before).real + 0.5
    for matrix in matrices:
        np.testing.assert_allclose(matrix @ matrix, matrix, atol=1e-10)
        for moved in elements:
            size = np.linalg.norm(moved, 2)
            np.testing.assert_allclose(moved @ matrix, matrix @ moved, atol=1e-10 * size)
    w = random_weight(p, rng)
    np.testing.assert_array_equal(each[-1](w), w)
    np.testing.assert_array_equal(p.at(softness=1.0)(w), w)
    np.testing.assert_allclose(p.at(softness=0.0)(w), p(w), atol=1e-12)
    np.testing.assert_allclose(p.at(cutoff=1e-9)(w), p(w), atol=1e-12)


@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
@few(3)
def test_all_groups_levels_bound_the_infinitesimal_action(name, data):
    """Theorem 5: ``||L w_b|| <= b ||w_b||`` for the Lie generators (orthonormal basis)."""
    p = case_projector(data.draw(pairs([name], limit=80)))
    lie, _ = generators(entries_of(p))
    if not len(lie):
        return
    casimir = np.einsum("kji,kjl->il", lie.conj(), lie)
    for cut in cuts(p):
        matrix, b = dense(cut), float(min(cut.cutoff, p.levels()[-1]))
        largest = np.linalg.eigvalsh(matrix.conj().T @ casimir @ matrix)[-1]
        assert largest <= b**2 * (1 + 1e-9) + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
@few(2)
def test_all_groups_naturality(name, data):
    """``P(B W C) = B P(W) C`` for equivariant B and C (transpose-closed, if non-compact)."""
    _, (a, b) = data.draw(pairs([name], limit=30).map(lambda case: (case[0], case[1][:2])))
    left, right = build(name, a), build(name, b)
    rng = np.random.default_rng(data.draw(SEEDS))

    def equivariant(rep):
        own = projector([rep, rep.dual])
        return np.asarray(own(random_weight(own, rng)))[..., 0]

    b, c = equivariant(left), equivariant(right.dual)
    p = projector([left, right.dual])
    w = random_weight(p, rng)[..., 0]
    outer = b @ np.asarray(p(w[..., None]))[..., 0] @ c.T
    np.testing.assert_allclose(np.asarray(p((b @ w @ c.T)[..., None]))[..., 0], outer, atol=1e-10)


@pytest.mark.parametrize("name", [n for n in COMPACT if group_of(n).is_finite])
@given(data=st.data())
@few(2)
def test_compact_groups_mean_square_and_sandwich_exactly(name, data):
    """Theorems 2 and 3: the mean of ``||g w - w||^2`` is ``2 ||N w||^2``; between sqrt 2 and 2."""
    p = case_projector(data.draw(pairs([name], limit=60)))
    w = random_weight(p, np.random.default_rng(data.draw(SEEDS)))
    rest = np.linalg.norm(p.residual(w))
    moved = [np.linalg.norm(p.act(g, w) - w) for g in group_of(name).elements()]
    np.testing.assert_allclose(np.mean(np.square(moved)), 2 * rest**2, atol=1e-10)
    assert np.sqrt(2) * rest <= max(moved) * (1 + 1e-9) + 1e-9
    assert max(moved) <= 2 * rest * (1 + 1e-9) + 1e-9
    mean = np.mean([p.act(g, w) for g in group_of(name).elements()], axis=0)
    np.testing.assert_allclose(p(w), mean, atol=1e-11)


@pytest.mark.parametrize("name", ["so2", "o2"])
def test_mean_square_of_planar_rotations_by_quadrature(name):
    group = group_of(name)
    image = sq.reps.image(group, (5, 5))
    p = projector([sq.reps.vector(group), 2 * sq.reps.vector(group) + sq.reps.circle(group, 7)])
    q = sq.projector("h w a z", {"h w": image, "a": sq.reps.vector(group)})
    rng = np.random.default_rng(0)
    for one in (p, q):
        w = random_weight(one, rng)
        rest = np.linalg.norm(one.residual(w))
        flips = [False, True] if group.has_flip else [False]
        elements = [group.element(2 * np.pi * i / 32, f) for i in range(32) for f in flips]
        moved = np.array([np.linalg.norm(one.act(g, w) - w) for g in elements])
        np.testing.assert_allclose(np.mean(moved**2), 2 * rest**2, rtol=1e-10)
        assert np.sqrt(2) * rest <= moved.max() * (1 + 1e-6)
        assert moved.max() <= 2 * rest * (1 + 1e-9)


def euler_nodes(degree):
    """Elements and weights that integrate polynomials of this degree on SO(3) exactly."""
    angles = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    x, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    found = []
    for beta, weight in zip(np.arccos(x), weights / 2, strict=True):
        for alpha in angles:
            for gamma in angles:
                found.append((turn(2, alpha) @ turn(0, beta) @ turn(2, gamma), weight))
    return found, len(angles) ** 2


def turn(axis, t):
    i, j = [k for k in range(3) if k != axis]
    g = np.eye(3)
    g[i, i] = g[j, j] = np.cos(t)
    g[i, j], g[j, i] = -np.sin(t), np.sin(t)
    return g


def test_mean_square_of_so3_by_quadrature():
    group = group_of("so3")
    reps = [sq.reps.vector(group), sq.reps.trivial(group) + sq.reps.irrep(group, 2)]
    p = projector(reps)
    w = random_weight(p, np.random.default_rng(1))
    nodes, count = euler_nodes(6)
    mean = sum(weight * p.act(g, w) for g, weight in nodes) / count
    np.testing.assert_allclose(p(w), mean, atol=1e-12)
    squares = sum(weight * np.linalg.norm(p.act(g, w) - w) ** 2 for g, weight in nodes) / count
    np.testing.assert_allclose(squares, 2 * np.linalg.norm(p.residual(w)) ** 2, rtol=1e-12)


@pytest.mark.slow
def test_mean_square_by_haar_samples():
    """Where no quadrature is at hand: within five standard errors."""
    for name in ("o4", "su3", "usp2", "so3 x s3"):
        group = group_of(name)
        v = sq.reps.vector(group)
        p = projector([v.dual, v])
        w = random_weight(p, np.random.default_rng(2))
        elements = np.asarray(group.sample(jax.random.key(0), 300))
        squares = np.array([np.linalg.norm(p.act(g, w) - w) ** 2 for g in elements])
        error = abs(squares.mean() - 2 * np.linalg.norm(p.residual(w)) ** 2)
        assert error < 5 * squares.std() / np.sqrt(len(squares)) + 1e-4


@pytest.mark.parametrize("name", ["s4", "octahedral", "d4", "c8", "c4 x d3"])
def test_word_length_bound(name):
    """Theorem 4a: ``||g w - w|| <= length(g) max_h ||h w - w||``, and it is attained by words."""
    group = group_of(name)
    v = sq.reps.vector(group)
    p = projector([v, v, v])
    w = random_weight(p, np.random.default_rng(3))
    step = max(np.linalg.norm(p.act(h, w) - w) for h in group.discrete_generators)
    slack = []
    for i, g in enumerate(group.elements()):
        length = len(group.words().spell(i))
        moved = np.linalg.norm(p.act(g, w) - w)
        assert moved <= length * step * (1 + 1e-12) + 1e-12
        slack += [moved / (length * step)] if length else []
    assert max(slack) > 0.99  # the generator that moves most


@pytest.mark.parametrize("name", ["so2", "so3", "o5", "su2", "su3", "usp2", "so2 x c4"])
def test_lie_bound(name):
    """Theorem 4b: ``||exp(t) w - w|| <= |t| ||L w||`` with all orthonormal Lie generators."""
    group = group_of(name)
    v = sq.reps.vector(group)
    p = projector([v, v.dual])
    rng = np.random.default_rng(4)
    w = random_weight(p, rng)
    lie, _ = generators([v, v.dual])
    size = np.sqrt(sum(np.linalg.norm(a @ w.reshape(-1)) ** 2 for a in lie))
    for scale in (1e-3, 0.3, 2.0):
        t = scale * rng.normal(size=len(lie))
        moved = np.linalg.norm(p.act(group.exp(t), w) - w)
        assert moved <= np.linalg.norm(t) * size * (1 + 1e-9)
    if len(lie) == 1:  # tight to first order
        moved = np.linalg.norm(p.act(group.exp([1e-5]), w) - w)
        np.testing.assert_allclose(moved, 1e-5 * size, rtol=1e-4)


def test_abelian_groups_move_by_the_sum_over_frequencies():
    """``||g_t w - w||^2 = sum_m 4 sin^2(m t / 2) ||w_m||^2`` with the differences of the cuts."""
    group = group_of("so2")
    p = sq.projector(
        "h w i o", {"h w": sq.reps.image(group, (5, 5)), "o": sq.reps.vector(group)}, softness=1.0
    )
    w = np.random.default_rng(5).standard_normal((5, 5, 2, 2))
    parts, before = [], np.zeros_like(w)
    for level in p.levels():
        kept = p.at(cutoff=level)(w)
        parts.append((level, np.linalg.norm(kept - before)))
        before = kept
    for t in (0.1, 1.0, 2.5):
        moved = np.linalg.norm(p.act(group.element(t), w) - w) ** 2
        expected = sum(4 * np.sin(m * t / 2) ** 2 * size**2 for m, size in parts)
        np.testing.assert_allclose(moved, expected, rtol=1e-11)


@pytest.mark.parametrize("names", [("so3", "s3"), ("c4", "d3"), ("su2", "c3"), ("so2", "c4")])
def test_product_groups_project_in_turn(names):
    """Theorem 10: ``P_{G x H} = P_G P_H = P_H P_G``, with the external tensor product."""
    group = sq.groups.product(*map(group_of, names))
    own = [sq.reps.vector(group_of(name)) for name in names]
    both = [sq.reps.factor(group, i, v) for i, v in enumerate(own)]
    rep = both[0] * both[1]
    p = projector([rep.dual, rep])
    rng = np.random.default_rng(6)
    w = random_weight(p, rng)
    a, b = own[0].dim, own[1].dim
    split = w.reshape(a, b, a, b)
    first = sq.projector("a b c d", {"a": own[0].dual, "c": own[0]})
    second = sq.projector("a b c d", {"b": own[1].dual, "d": own[1]})

    def apply(q, x):  # a real representation with complex weights: part by part
        if np.iscomplexobj(x) and not q.space.is_complex:
            return q(x.real) + 1j * q(x.imag)
        return q(x)

    expected = apply(second, apply(first, split))
    np.testing.assert_allclose(apply(first, apply(second, split)), expected, atol=1e-12)
    np.testing.assert_allclose(p(w), expected.reshape(w.shape), atol=1e-11)
    assert p.rank() == first.rank() * second.rank()
    # products add squares of levels
    squares = {round(x + y, 8) for x in first.levels() ** 2 for y in second.levels() ** 2}
    assert {round(x, 8) for x in p.levels() ** 2} == squares


def test_coset_factorization():
    """Theorem 10: P of D4 is the mean of C4's P over the cosets."""
    group, sub = group_of("d4"), sq.groups.cyclic(4)
    v, u = sq.reps.vector(group), sq.reps.vector(sub)
    whole, part = projector([v, v, v, v]), projector([u, u, u, u])
    w = random_weight(whole, np.random.default_rng(7))
    inner = part(w)
    flip = group.element(flip=True)
    np.testing.assert_allclose(whole(w), (inner + whole.act(flip, inner)) / 2, atol=1e-13)


def test_subgroups_keep_more():
    """``P_G = P_G P_H`` for a subgroup H of G, and the rank does not decrease."""
    chain = [sq.groups.o(3), sq.groups.so(3), sq.groups.octahedral()]
    matrices = []
    for group in chain:
        v = sq.reps.restrict(sq.reps.vector(sq.groups.o(3)), group)
        matrices.append(dense(projector([v, v, v, v])))
    for larger, smaller in itertools.pairwise(matrices):
        np.testing.assert_allclose(larger @ smaller, larger, atol=1e-11)
    assert [round(np.trace(m)) for m in matrices] == [3, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["so3", "d4", "s4", "su2", "lorentz"])
def test_gradients(name):
    """The gradient of ``f(P w)`` is ``P`` of f's gradient; of ``||N w||^2`` it is ``2 N w``."""
    v = sq.reps.vector(group_of(name))
    v = v.real if v.is_complex else v
    p = projector([v.dual, v], softness=0.4)
    rng = np.random.default_rng(8)
    w = jnp.asarray(random_weight(p, rng), jnp.float32)
    target = jnp.asarray(random_weight(p, rng), jnp.float32)
    gradient = jax.grad(lambda x: jnp.sum(jnp.sin(p(x)) * target))(w)
    np.testing.assert_allclose(gradient, p(jnp.cos(p(w)) * target), atol=2e-6)
    penalty = jax.grad(lambda x: jnp.sum(p.residual(x) ** 2))
    np.testing.assert_allclose(penalty(w), 2 * p.residual(w), atol=5e-6)
    at_zero = penalty(p(w))
    assert np.all(np.isfinite(at_zero))
    np.testing.assert_allclose(at_zero, 0, atol=1e-5)


def test_weights_split_in_two_are_the_two_penalties():
    """Theorem 8 by brute force: the best split W = A + B with A equivariant."""
    v = sq.reps.vector(group_of("so3"))
    p = projector([v, v])
    w = random_weight(p, np.random.default_rng(9))
    a, b = 0.7, 2.3
    kept, rest = p.split(w)
    basis = np.linalg.svd(dense(p))[0][:, : p.rank()]
    stacked = np.concatenate([np.sqrt(a) * basis, np.sqrt(b) * basis])
    target = np.concatenate([np.zeros(9), np.sqrt(b) * w.reshape(-1)])
    _, (least,), *_ = np.linalg.lstsq(stacked, target, rcond=None)
    expected = a * b / (a + b) * np.linalg.norm(kept) ** 2 + b * np.linalg.norm(rest) ** 2
    np.testing.assert_allclose(least, expected, rtol=1e-12)


def test_degenerate_representations():
    """Trivial group or action: identity; nothing in common: zero; one number."""
    rng = np.random.default_rng(10)
    for name in ("trivial", "c1"):
        v = sq.reps.vector(group_of(name))
        p = projector([v, v])
        w = random_weight(p, rng)
        np.testing.assert_array_equal(p(w), w)
        assert (p.rank(), p.softness) == (4, 1.0)
    for name in ("so3", "lorentz", "s3"):
        p = projector([sq.reps.trivial(group_of(name), 2), 3 * sq.reps.trivial(group_of(name))])
        w = random_weight(p, rng)
        np.testing.assert_array_equal(p(w), w)
    so3 = group_of("so3")
    p = projector([sq.reps.irrep(so3, 1), sq.reps.irrep(so3, 2)])
    assert p.rank() == 0
    np.testing.assert_allclose(p(random_weight(p, rng)), 0, atol=1e-13)
    sign = projector([sq.reps.irrep(sq.groups.cyclic(2), 1)])
    np.testing.assert_allclose(sign(np.ones((1, 1))), 0, atol=1e-15)
    assert full_shape(sign.space, 1) == (1, 1)


def test_disconnected_groups_need_their_discrete_generator():
    """The Levi-Civita tensor is SO(3)-invariant and not O(3)-invariant."""
    ranks = {}
    for name in ("so3", "o3", "so+(1,3)", "lorentz"):
        v = sq.reps.vector(group_of(name))
        ranks[name] = projector([v] * group_of(name).d).rank()
    assert ranks == {"so3": 1, "o3": 0, "so+(1,3)": 4, "lorentz": 3}


def test_non_orthogonal_bases_are_projected_orthogonally():
    """The plain average is oblique there; P is the orthogonal projector on the same space."""
    group = sq.groups.cyclic(3)
    skew = np.array([[1.0, 0.7], [0.0, 1.0]])
    h = skew @ group.discrete_generators[0] @ np.linalg.inv(skew)
    rep = sq.reps.from_generators(group, discrete=[h])
    assert not rep.is_orthogonal
    for p in (projector([rep.dual, rep]), projector([rep, rep]), projector([rep + rep, rep.dual])):
        matrix = dense(p)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
        np.testing.assert_allclose(matrix, kernel_projector(entries_of(p)), atol=1e-12)
        with pytest.raises(ValueError, match="no levels above 0"):
            p.at(softness=0.5)
    with pytest.raises(ValueError, match="orthogonal"):
        projector([rep.dual, rep], backend="mean")
