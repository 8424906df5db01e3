"""Levels, dials and masks: the documented values; they depend on nothing but the action."""

import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from projection_oracle import (
    COMPACT,
    action,
    case_projector,
    dense,
    group_of,
    moves,
    pairs,
    projector,
    random_weight,
)

import softeq_jax as sq

PI = np.pi


def squares(p):
    """``{sigma^2: dimension}``, rounded."""
    found = zip(np.round(p.levels() ** 2, 9), p.dimensions(), strict=True)
    return {float(v): int(d) for v, d in found}


def test_so3_levels_are_sqrt_l_l_plus_1():
    so3 = group_of("so3")
    for degree in range(5):
        p = projector([sq.reps.irrep(so3, degree)])
        assert squares(p) == {degree * (degree + 1): 2 * degree + 1}
    v = sq.reps.vector(so3)
    assert squares(projector([v, v])) == {0: 1, 2: 3, 6: 5}
    assert squares(projector([v * v, v * v])) == {0: 3, 2: 18, 6: 30, 12: 21, 20: 9}


def test_planar_levels():
    for name, n in (("c3", 3), ("c4", 4), ("c7", 7), ("c12", 12)):
        p = projector([sq.reps.regular(group_of(name))])
        m = np.arange(n // 2 + 1)
        np.testing.assert_allclose(p.levels(), n / PI * np.abs(np.sin(PI * m / n)), atol=1e-14)
    u, w = (sq.reps.irrep(group_of("c5"), m) for m in (1, 2))
    # 1 + 2 = 3 is as far from 0 as 2 in C5, and not in SO(2)
    np.testing.assert_allclose(
        projector([u, w]).levels(), 5 / PI * np.sin(PI * np.array([1, 2]) / 5)
    )
    assert squares(projector([sq.reps.irrep(group_of("so2"), m) for m in (1, 2)])) == {1: 2, 9: 2}
    image = sq.reps.image(group_of("d4"), (16, 16))
    p = sq.projector("h w z", {"h w": image})
    np.testing.assert_allclose(p.levels(), [0, 2 / PI, 2 * np.sqrt(2) / PI, 4 / PI])
    np.testing.assert_allclose(p.levels()[1:], [0.6366, 0.9003, 1.2732], atol=5e-5)
    # A1, A2, E and B1 + B2: characters of the pixels
    assert p.dimensions().tolist() == [36, 28, 128, 64]
    o2 = projector([sq.reps.vector(group_of("o2"))] * 2)
    np.testing.assert_allclose(o2.levels(), [0, 2 / PI, 2])
    assert o2.dimensions().tolist() == [1, 1, 2]


def test_orthogonal_and_unitary_levels():
    v = sq.reps.vector(group_of("o5"))
    assert squares(projector([v, v])) == {0: 1, 6: 10, 10: 14}
    v = sq.reps.vector(group_of("so5"))
    assert squares(projector([v, v * v])) == {4: 15, 6: 10, 12: 70, 18: 30}
    u = sq.reps.vector(group_of("su2"))
    for k in range(1, 5):  # spins of k spin-1/2, as often as in the Clebsch-Gordan series
        found = squares(projector([u] * k))
        spins = np.arange(k / 2, -0.1, -1.0)
        assert list(found) == sorted(float(j * (j + 1)) for j in spins)
        assert sum(found.values()) == 2**k
        assert found[float(k / 2 * (k / 2 + 1))] == k + 1
    real = squares(projector([u.real, u.real]))
    assert real == {0: 4, 2: 12}
    u = sq.reps.vector(group_of("su3"))
    assert squares(projector([u, u.dual])) == {0: 1, 3: 8}
    assert squares(projector([u])) == {round(4 / 3, 9): 3}
    u = sq.reps.vector(group_of("usp2"))
    assert squares(projector([u, u])) == {0: 1, 2: 5, 3: 10}
    sign = projector([sq.reps.vector(group_of("o3"))] * 3)
    np.testing.assert_allclose(sign.levels() ** 2, [(2 / PI) ** 2, 2, 6, 12])


def test_levels_of_symmetric_groups_follow_characters():
    """A transposition: ``c^2 2 (1 - chi / d)`` with c = 2 / 2 pi, on the parts of regular(S4)."""
    p = projector([sq.reps.regular(group_of("s4"))])
    ratio = {
        "4": (1, 1, 1),
        "31": (1, 3, 9),
        "22": (0, 2, 4),
        "211": (-1, 3, 9),
        "1111": (-1, 1, 1),
    }
    expected = {round((1 / PI) ** 2 * 2 * (1 - x / d), 9): n for x, d, n in ratio.values()}
    assert squares(p) == dict(sorted(expected.items()))


@pytest.mark.parametrize("cut", ["cutoff", "softness"])
def test_central_levels_are_stable_and_stacked_ones_are_not(cut):
    """O(5), V (x) V at sqrt 6: the stack of generators has a basis-dependent cut there."""
    v = sq.reps.vector(group_of("o5"))
    dial = {"cutoff": np.sqrt(6)} if cut == "cutoff" else {"softness": 10 / 24}
    central = projector([v, v], **dial)
    stacked = projector([v, v], convention="stacked", cutoff=np.sqrt(6))
    assert central.rank() == 11
    assert 1 < stacked.rank() < 25
    rng = np.random.default_rng(0)
    worst = {"central": 0.0, "stacked": 0.0}
    for g in moves(group_of("o5"), rng, 4):
        moved = action(central, g)
        for name, p in (("central", central), ("stacked", stacked)):
            matrix = dense(p)
            worst[name] = max(worst[name], np.abs(moved @ matrix - matrix @ moved).max())
    assert worst["central"] < 1e-12
    assert worst["stacked"] > 0.05


def mixed(basis, rng):
    """Other generators of the same Lie algebra: an invertible mixture of a basis."""
    k = len(basis)
    mixture = rng.normal(size=(k, k)) + 2 * np.eye(k)
    return np.tensordot(mixture, basis, 1)


@pytest.mark.parametrize("name", ["so3", "o3", "so4", "su2", "su3", "so+(1,3)"])
@given(seed=st.integers(0, 2**31))
@examples(fast=1)
def test_levels_do_not_depend_on_the_basis_of_the_algebra(name, seed):
    group, rng = group_of(name), np.random.default_rng(seed)
    lie, discrete = group.lie_generators, group.discrete_generators
    h = group.exp(rng.normal(size=len(lie)) * 0.3)
    discrete = [h @ g @ np.linalg.inv(h) for g in discrete] if group.is_compact else discrete
    given_ = {"lie": mixed(lie, rng), **({"discrete": np.array(discrete)} if len(discrete) else {})}
    other = sq.groups.from_generators("other", **given_)
    v, u = sq.reps.vector(group), sq.reps.vector(other)
    p, q = projector([v.dual, v]), projector([u.dual, u])
    np.testing.assert_allclose(q.levels(), p.levels(), atol=1e-9)
    assert q.dimensions().tolist() == p.dimensions().tolist()
    for level in p.levels():
        cut = dense(p.at(cutoff=level))
        np.testing.assert_allclose(dense(q.at(cutoff=level)), cut, atol=1e-10)


@pytest.mark.parametrize("name", ["s4", "octahedral", "d4", "icosahedral"])
def test_levels_do_not_depend_on_the_choice_of_generators(name):
    """Conjugated generators, and others of the same conjugacy classes."""
    group, rng = group_of(name), np.random.default_rng(1)
    elements, generators = group.elements(), group.discrete_generators
    own = sq.groups.from_generators("own", discrete=generators)
    v = sq.reps.vector(own)
    p = projector([v, v, v])
    h = elements[rng.integers(len(elements))]
    conjugate = [h @ g @ h.T for g in generators]
    others = [*generators, *conjugate, generators[0].T]
    for given_ in (conjugate, others):
        u = sq.reps.vector(sq.groups.from_generators("other", discrete=np.array(given_)))
        q = projector([u, u, u])
        np.testing.assert_allclose(q.levels(), p.levels(), atol=1e-12)
        for level in p.levels():
            cut = dense(p.at(cutoff=level))
            np.testing.assert_allclose(dense(q.at(cutoff=level)), cut, atol=1e-11)


@pytest.mark.parametrize("name", ["so3", "o3", "s4", "octahedral", "su2"])
def test_an_orthogonal_change_of_coordinates_moves_the_projector_along(name):
    """``P' = Q P Q^T`` at every level, with Q on the group's own space."""
    group, rng = group_of(name), np.random.default_rng(2)
    x = rng.normal(size=(group.d, group.d))
    if group.is_complex:
        x = x + 1j * rng.normal(size=x.shape)
    q, _ = np.linalg.qr(x)
    lie = q @ group.lie_generators @ q.conj().T
    discrete = group.discrete_generators
    if name == "s4":  # the levels of S_n are those of its transpositions
        discrete = np.eye(4)[:, [[1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 3, 2]]].swapaxes(0, 1)
    discrete = q @ discrete @ q.conj().T
    parts = {"lie": lie} if len(lie) else {}
    parts |= {"discrete": discrete} if len(discrete) else {}
    turned = sq.groups.from_generators("turned", **parts)
    v, u = sq.reps.vector(group), sq.reps.vector(turned)
    p, r = projector([v, v, v]), projector([u, u, u])
    whole = np.kron(np.kron(q, q), q)
    np.testing.assert_allclose(r.levels(), p.levels(), atol=1e-10)
    for level in p.levels():
        expected = whole @ dense(p.at(cutoff=level)) @ whole.conj().T
        np.testing.assert_allclose(dense(r.at(cutoff=level)), expected, atol=1e-10)


def test_a_planar_factor_of_a_product_has_the_same_levels():
    """D4 alone and D4 x 1 go through different back ends."""
    d4, one = group_of("d4"), sq.groups.symmetric(1)
    both = sq.groups.product(d4, one)
    v = sq.reps.vector(d4)
    u = sq.reps.factor(both, 0, v)
    for count in (2, 3):
        p, q = projector([v] * count), projector([u] * count)
        assert type(p.filters[0]) is not type(q.filters[0])
        np.testing.assert_allclose(q.levels(), p.levels(), atol=1e-12)
        for level in p.levels():
            cut = dense(p.at(cutoff=level))
            np.testing.assert_allclose(dense(q.at(cutoff=level)), cut, atol=1e-12)


# --- dials


@pytest.mark.slow
@given(case=pairs(COMPACT, limit=60), softness=st.floats(0, 1))
@examples(fast=60)
def test_softness_keeps_whole_levels_and_reports_what_it_kept(case, softness):
    strict = case_projector(case)
    cut = strict.at(softness=softness)
    assert set(np.unique(cut.host_dropped())) <= {0.0, 1.0}
    again = cut.at(softness=cut.softness)
    np.testing.assert_array_equal(again.host_dropped(), cut.host_dropped())
    assert (again.rank(), again.softness, again.cutoff) == (cut.rank(), cut.softness, cut.cutoff)
    again = strict.at(cutoff=cut.cutoff)
    assert (again.rank(), again.softness) == (cut.rank(), cut.softness)
    n0, n = strict.rank(), strict.dim
    ranks = np.cumsum(strict.dimensions())
    ranks = np.union1d([n0], ranks[ranks >= n0])
    if n0 == n or softness == 1.0:
        assert (cut.rank(), cut.softness) == (n, 1.0)
    else:
        shares = (ranks[ranks < n] - n0) / (n - n0)
        distance = np.abs(shares - softness)
        nearest = np.flatnonzero(distance <= distance.min() + 1e-12)[0]  # ties to the stricter
        assert cut.rank() == ranks[nearest]
        np.testing.assert_allclose(cut.softness, shares[nearest], atol=1e-15)


@pytest.mark.parametrize("softness", [0.5, 1 / 6, 0.25])
def test_ties_go_to_the_stricter_level(softness):
    """Shares 0, 1/3, 2/3, and 0, 2/5 (of 1 + 2 + 2 dimensions: 0, 1/2)."""
    so2 = group_of("so2")
    irrep = [sq.reps.irrep(so2, m) for m in range(4)]
    thirds = projector([irrep[0] + irrep[1] + irrep[2] + irrep[3]])
    halves = projector([irrep[0] + irrep[1] + irrep[2]])
    expected = {0.5: (3, 3), 1 / 6: (1, 1), 0.25: (3, 1)}[softness]
    assert (thirds.at(softness=softness).rank(), halves.at(softness=softness).rank()) == expected


def test_softness_one_is_the_identity_and_nothing_else_is():
    for name in ("s4", "so3", "lorentz", "su2", "d4"):
        v = sq.reps.vector(group_of(name))
        p = projector([v.dual, v, v.dual])
        w = random_weight(p, np.random.default_rng(0)) * 1e30
        full = p.at(softness=1.0)
        np.testing.assert_array_equal(full(w), w)
        np.testing.assert_array_equal(full.residual(w), 0 * w)
        assert (full.softness, full.rank(), full.cutoff) == (1.0, p.dim, np.inf)
        below = p.at(softness=np.nextafter(1.0, 0.0))
        assert below.rank() < p.dim
        assert below.softness < 1.0
        top = p.at(cutoff=p.levels()[-1])
        assert (top.softness, top.cutoff) == (1.0, np.inf)


@pytest.mark.parametrize("mask", ["heat", "resolvent"])
def test_smooth_masks_follow_their_formula(mask):
    formula = {
        "heat": lambda s, b: np.exp(-(s**2) / (2 * b**2)),
        "resolvent": lambda s, b: 1 / (1 + (s / b) ** 2),
    }[mask]
    for name in ("so3", "s4", "o3", "sp1"):
        v = sq.reps.vector(group_of(name))
        strict = projector([v.dual, v, v])
        smooth = strict.at(cutoff=1.3, mask=mask)
        values = formula(strict.levels(), 1.3)
        np.testing.assert_allclose(smooth.factors(), values, rtol=1e-12)
        np.testing.assert_allclose(smooth.rank(), values @ strict.dimensions(), rtol=1e-12)
        np.testing.assert_allclose(np.trace(dense(smooth)), smooth.rank(), rtol=1e-12)
        for softness in (0.05, 0.5, 0.95):
            cut = strict.at(softness=softness, mask=mask)
            np.testing.assert_allclose(cut.softness, softness, rtol=1e-9)
            again = cut.at(softness=cut.softness)
            np.testing.assert_allclose(again.host_dropped(), cut.host_dropped(), rtol=1e-9)
        with pytest.raises(ValueError, match=f"smooth mask '{mask}'"):
            smooth.split(random_weight(strict, np.random.default_rng(0)))
        # the bounds sup sigma f(sigma): .607 b and b / 2
        largest = (strict.levels() * values).max()
        assert largest <= {"heat": np.exp(-0.5), "resolvent": 0.5}[mask] * 1.3 + 1e-12
        zero = strict.at(softness=0.0, mask=mask)
        np.testing.assert_array_equal(zero.host_dropped(), strict.host_dropped())


def test_a_strict_projector_upgrades_to_what_a_soft_build_gives():
    for name, limit in (("s4", 3), ("so3", 4), ("d3", 3), ("su2", 4), ("s5", 3)):
        v = sq.reps.vector(group_of(name))
        for softness in (0.3, 0.8):
            up = projector([v] * limit).at(softness=softness)
            direct = projector([v] * limit, softness=softness)
            assert (up.rank(), up.cutoff, up.softness) == (
                direct.rank(), direct.cutoff, direct.softness
            )  # fmt: skip
            w = random_weight(direct, np.random.default_rng(0))
            np.testing.assert_allclose(up(w), direct(w), atol=1e-12)
            down = up.at(softness=0.0)
            np.testing.assert_allclose(down(w), projector([v] * limit)(w), atol=1e-12)


def test_an_upgraded_identity_stays_the_identity():
    v = sq.reps.vector(group_of("s5"))
    full = projector([v] * 4, softness=1.0)
    assert not full.spectrum.complete
    assert len(full.levels()) == 7
    np.testing.assert_array_equal(full.factors(), np.ones(7))
    assert full.softness == 1.0


@pytest.mark.slow
def test_levels_are_data():
    """Another level compiles nothing, levels stack under vmap, and travel through jit."""
    for name, power in (("so3", 3), ("d4", 3), ("su2", 2)):
        v = sq.reps.vector(group_of(name))
        p = projector([v.dual, *[v] * (power - 1)], softness=0.4)
        dtype = jnp.complex64 if p.space.is_complex else jnp.float32
        w = jnp.asarray(random_weight(p, np.random.default_rng(0)), dtype)
        chex.clear_trace_counter()
        apply = jax.jit(chex.assert_max_traces(lambda q, x: q(x), n=1))
        each = [p.at(cutoff=float(b)) for b in (*p.levels(), np.inf)]
        each += [p.at(cutoff=0.7, mask="hard"), p.at(softness=0.0)]
        for q in each:
            np.testing.assert_allclose(apply(q, w), q(w), atol=2e-6)
        stacked = jax.tree.map(lambda *x: jnp.stack([jnp.asarray(y) for y in x]), *each)
        swept = jax.vmap(lambda q, x: q(x), in_axes=(0, None))(stacked, w)
        for i, q in enumerate(each):
            np.testing.assert_allclose(swept[i], q(w), atol=3e-6)


def test_groups_without_levels():
    """Rubik's cube: strict and identity only, with a warning that points at the caller."""
    group = sq.groups.rubiks_cube()
    v = sq.reps.vector(group)
    with pytest.warns(UserWarning, match="only the strict projector") as caught:
        p = sq.projector("i o", {"i": v.dual, "o": v})
    assert caught[0].filename == __file__
    w = np.random.default_rng(0).standard_normal((48, 48))
    np.testing.assert_allclose(p(p(w)), p(w), atol=1e-12)
    assert (p.softness, p.cutoff) == (0.0, 0.0)
    for call in (
        lambda: p.at(softness=0.5),
        lambda: p.at(cutoff=1.0),
        lambda: p.at(cutoff=1.0, mask="heat"),
        p.levels,
        p.factors,
    ):
        with pytest.raises(ValueError, match="no levels above 0"):
            call()
    np.testing.assert_array_equal(p.at(softness=1.0)(w), w)
    assert p.at(softness=0.0).rank() == p.rank()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        full = sq.projector("i o", {"i": v, "o": v}, softness=1.0)
        with pytest.raises(ValueError, match="no levels above 0"):
            sq.projector("i o", {"i": v, "o": v}, softness=0.5)
    np.testing.assert_array_equal(full(w), w)


def brute_force_orbits(moves, n):
    """Orbits of ordered pairs under permutations of n points, by flooding."""
    label = -np.ones((n, n), int)
    count = 0
    for i in range(n):
        for j in range(n):
            if label[i, j] >= 0:
                continue
            front = [(i, j)]
            label[i, j] = count
            while front:
                a, b = front.pop()
                for move in moves:
                    c, d = move[a], move[b]
                    if label[c, d] < 0:
                        label[c, d] = count
                        front.append((c, d))
            count += 1
    return count, label


@pytest.mark.slow
def test_rank_of_the_rubiks_cube():
    """V -> V has rank 9, counted without the library.

    Stickers fall into two orbits, 24 of corners and 24 of edges, so there are 2 mixed orbits of
    pairs. A pair of corner stickers is equal, on one corner (two orbits: the next clockwise and
    the next anticlockwise), or on two corners (one orbit: other corners turn independently); a
    pair of edge stickers is equal, on one edge, or on two edges. 4 + 3 + 2 = 9.
    """
    faces = {}
    for axis in range(3):
        for side in (1, -1):
            for u in (-1, 0, 1):
                for v in (-1, 0, 1):
                    if (u, v) != (0, 0):
                        point = np.insert(np.array([u, v]), axis, 2 * side)
                        faces[tuple(int(x) for x in point)] = len(faces)
    assert len(faces) == 48
    turns = []
    for axis in range(3):
        a, b = [k for k in range(3) if k != axis]
        for side in (1, -1):
            move = np.arange(48)
            for point, i in faces.items():
                if point[axis] * side >= 1:
                    turned = list(point)
                    turned[a], turned[b] = -point[b], point[a]
                    move[i] = faces[tuple(turned)]
            assert sorted(move) == list(range(48))
            assert np.sum(move != np.arange(48)) == 20
            turns.append(move)
    count, label = brute_force_orbits(turns, 48)
    assert count == 9
    sizes = sorted(np.bincount(label.reshape(-1)).tolist())
    assert sizes == sorted([24, 24, 24, 24 * 21, 24, 24, 24 * 22, 24 * 24, 24 * 24])
    group = sq.groups.rubiks_cube()
    own = [np.argmax(h, axis=0) for h in group.discrete_generators]
    assert brute_force_orbits(own, 48)[0] == 9
    v = sq.reps.vector(group)
    with pytest.warns(UserWarning, match="no levels"):
        assert sq.projector("i o", {"i": v, "o": v}).rank() == 9
    # the same group, generated by my tables
    mine = sq.groups.from_generators("Cube", discrete=np.array(turns))
    assert mine.order == group.order == 43_252_003_274_489_856_000


@pytest.mark.parametrize(("name", "power", "rank"), [
    ("s3", 4, 14), ("s4", 4, 15), ("s5", 4, 15), ("s8", 4, 15), ("s3", 5, 41),
    ("o3", 4, 3), ("o5", 4, 3), ("so3", 4, 3), ("so3", 5, 6), ("so3", 6, 15), ("o3", 6, 15),
    ("su2", 4, 2), ("su2", 6, 5), ("su3", 3, 1), ("usp2", 4, 3), ("so4", 4, 4), ("so2", 4, 6),
])  # fmt: skip
def test_ranks_known_by_counting(name, power, rank):
    """Truncated Bell, Brauer, Riordan, Catalan numbers: invariants of the powers of V."""
    v = sq.reps.vector(group_of(name))
    assert projector([v] * power).rank() == rank
