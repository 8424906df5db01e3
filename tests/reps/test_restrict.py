"""Restriction to subgroups, pull-back along homomorphisms, factors of products."""

import math

import numpy as np
import pytest

from softeq_jax import groups, reps


def _about_z(g):
    return np.block([[g, np.zeros((2, 1))], [np.zeros((1, 2)), np.eye(1)]])


def _with_determinant(g):
    return np.block([[g, np.zeros((2, 1))], [np.zeros((1, 2)), np.full((1, 1), np.linalg.det(g))]])


def _adjoint(g):
    su2 = groups.su(2)
    moved = [su2.coordinates(g @ a @ g.conj().T) for a in su2.lie_generators]
    return np.stack(moved, axis=1)


def _conjugated(g):
    return g.conj()


def _squared(g):
    return g @ g


def _scaled(g):
    return _about_z(2 * g)


def _same(g):
    return g


def _agrees(restricted, parent, embed, elements, tolerance=1e-12):
    for g in elements(restricted.group, 4):
        expected = parent.matrix(g if embed is None else embed(g))
        np.testing.assert_allclose(restricted.matrix(g), expected, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("parent", ["so2", "o2", "c8", "d8", "d12"])
@pytest.mark.parametrize("child", ["1", "c2", "c3", "c4", "c8", "d1", "d2", "d4", "so2"])
def test_planar_subgroups(parent, child, obeys, elements):
    big, small = groups.from_name(parent), groups.from_name(child)
    inside = (small.has_flip <= big.has_flip) and (
        big.rotations is None
        or (small.rotations is not None and big.rotations % small.rotations == 0)
    )
    v = reps.vector(big)
    if not inside:
        with pytest.raises(ValueError, match="is not in"):
            reps.restrict(v, small)
        return
    found = [
        v, reps.image(big, (3, 3)), reps.image(big, (4, 4)), reps.tokens(big, (2, 2), 1),
        reps.circle(big, 6), reps.circle(big, 8), reps.circle(big, 5), reps.irrep(big, 1),
        reps.irrep(big, 2), reps.irrep(big, 3), reps.irrep(big, 0), reps.trivial(big, 2),
        2 * v + v * reps.image(big, (2, 2)), reps.points(big, 2),
    ]  # fmt: skip
    if big.has_flip:
        found.append(reps.irrep(big, (0, -1)))
    if big.is_finite:
        found.append(reps.irrep(big, (big.rotations // 2, -1) if big.has_flip else 4))
        found.append(reps.regular(big))
    for rep in found:
        restricted = reps.restrict(rep, small)
        assert restricted.group == small
        assert restricted.shape == rep.shape
        _agrees(restricted, rep, None, elements)
        obeys(restricted)


def test_the_same_kind_where_the_actions_are_alike():
    so2, o2, c4, c8, d4 = (groups.from_name(name) for name in ("so2", "o2", "c4", "c8", "d4"))
    same = [
        (reps.image(so2, (5, 5)), reps.image(c4, (5, 5))),
        (reps.image(so2, (6, 6)), reps.image(c8, (6, 6))),
        (reps.image(so2, (6, 6)), reps.image(groups.cyclic(2), (6, 6))),
        (reps.image(o2, (6, 6)), reps.image(so2, (6, 6))),
        (reps.image(d4, (6, 6)), reps.image(c4, (6, 6))),
        (reps.tokens(o2, (5, 5), 1), reps.tokens(d4, (5, 5), 1)),
        (reps.vector(o2), reps.vector(c4)),
        (reps.trivial(o2, 3), reps.trivial(c4, 3)),
        (reps.circle(so2, 9), reps.circle(groups.cyclic(3), 9)),
        (reps.circle(so2, 8), reps.circle(groups.cyclic(4), 8)),
        (reps.circle(so2, 8), reps.circle(groups.cyclic(3), 8)),
        (reps.irrep(o2, 1), reps.irrep(c4, 1)),
        (reps.irrep(so2, 9), reps.irrep(c8, 1)),
        (reps.irrep(o2, (0, -1)), reps.irrep(d4, (0, -1))),
        (reps.irrep(d4, (2, -1)), reps.irrep(c4, 2)),
        (
            2 * reps.vector(o2) + reps.image(o2, (3, 3)),
            2 * reps.vector(c4) + reps.image(c4, (3, 3)),
        ),
        (reps.restrict(reps.image(so2, (4, 4)), c8), reps.image(c8, (4, 4))),
    ]
    for rep, expected in same:
        assert reps.restrict(rep, expected.group) == expected
    rep = reps.vector(so2)
    assert reps.restrict(rep, so2) is rep
    for rep, group in [
        (reps.image(so2, (6, 6)), c4),
        (reps.circle(so2, 4), c4),
        (reps.irrep(so2, 3), c4),
        (reps.irrep(so2, 2), c4),
    ]:
        restricted = reps.restrict(rep, group)
        assert isinstance(restricted, reps.Restricted)
        assert restricted.frequencies() is rep.frequencies()
        assert repr(restricted) == f"Res[{rep!r}]({group})"
    twice = reps.restrict(reps.restrict(reps.image(so2, (6, 6)), c8), c4)
    assert twice.unmatched.shape == (36, 3)


def test_single_precision_elements_are_what_they_are_meant_to_be():
    restricted = reps.restrict(reps.image(groups.so(2), (6, 6)), groups.cyclic(4))
    turn = groups.so(2).element(math.pi / 2).astype(np.float32) + 1e-7
    np.testing.assert_array_equal(
        restricted.matrix(turn), restricted.matrix(groups.so(2).element(math.pi / 2))
    )


@pytest.mark.parametrize(
    ("parent", "child", "embed"),
    [
        ("so3", "so2", _about_z), ("so3", "c5", _about_z), ("so3", "o2", _with_determinant),
        ("o3", "d3", _about_z), ("so3", "su2", _adjoint), ("su2", "su2", _conjugated),
        ("so2", "so2", _squared), ("o3", "so3", None), ("lorentz", "lorentz", _same),
    ],
)  # fmt: skip
def test_pull_backs(parent, child, embed, obeys, elements):
    big, small = groups.from_name(parent), groups.from_name(child)
    found = [reps.vector(big), reps.vector(big).dual * reps.vector(big)]
    if parent == "so3":
        found.append(reps.irrep(big, 3))
    if parent == "o3":
        found.append(reps.irrep(big, "2o"))
    if big.is_complex:
        found.append(reps.vector(big).real)
    for rep in found:
        restricted = reps.restrict(rep, small, embed)
        assert restricted.dim == rep.dim
        _agrees(restricted, rep, embed, elements, 1e-11)
        obeys(restricted)
        assert restricted == reps.restrict(rep, small, embed)
        assert hash(restricted) == hash(reps.restrict(rep, small, embed))


def test_harmonics_hold_every_frequency_once():
    """Degree l restricted to rotations about z is the sum of the frequencies 0 to l."""
    rep = reps.restrict(reps.irrep(groups.so(3), 4), groups.so(2), _about_z)
    assert sorted(rep.frequencies().frequency) == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    # for m > 0 in steps of (sin, cos): closed-form matrices of the rotation by t
    t, matrix = 0.7, np.zeros((9, 9))
    matrix[4, 4] = 1
    for m in range(1, 5):
        c, s = 4 + m, 4 - m
        matrix[[c, s], [c, s]] = math.cos(m * t)
        matrix[s, c], matrix[c, s] = math.sin(m * t), -math.sin(m * t)
    np.testing.assert_allclose(rep.matrix(groups.so(2).element(t)), matrix, atol=1e-14)


def test_the_differential_is_exact():
    so3, su2 = groups.so(3), groups.su(2)
    v = reps.vector(so3)
    restricted = reps.restrict(v, su2, _adjoint)
    brackets = np.stack([_adjoint_derivative(su2, a) for a in su2.lie_generators])
    np.testing.assert_allclose(restricted.lie_matrices(), brackets, atol=1e-12)
    turned = reps.restrict(v, groups.so(2), _about_z).lie_matrices()[0]
    np.testing.assert_allclose(turned, [[0, -1, 0], [1, 0, 0], [0, 0, 0]], atol=1e-13)


def _adjoint_derivative(group, a):
    moved = [group.coordinates(a @ b - b @ a) for b in group.lie_generators]
    return np.stack(moved, axis=1)


def test_vectors_of_subgroups_of_matrices():
    o3 = groups.o(3)
    assert reps.restrict(reps.vector(o3), groups.so(3)) == reps.vector(groups.so(3))
    assert reps.restrict(reps.vector(o3), groups.octahedral()) == reps.vector(groups.octahedral())
    w = reps.vector(groups.lorentz())
    proper = groups.lorentz(special=True, orthochronous=True)
    assert reps.restrict(w * w.dual, proper) == reps.tensor(proper, 1, 1)


@pytest.mark.parametrize(
    ("parent", "child", "embed", "message"),
    [
        ("so3", "so2", None, r"2 x 2 matrices, not of 3 x 3; give the map .* embed="),
        ("so3", "so2", _same, r"must be 3 x 3 matrices.*got shape \(2, 2\)"),
        ("so3", "o3", None, r"O\(3\) is not in SO\(3\): discrete generator 0.*determinant"),
        ("so3", "c4", _scaled, "discrete generator 0: .*not orthogonal"),
        ("so3", "so2", _scaled, "no homomorphism"),
        ("o2", "o2", _squared, "embed is no homomorphism.* by 0"),
        ("d4", "so2", None, "Lie generator 0 leaves the Lie algebra"),
    ],
)
def test_maps_that_do_not_embed(parent, child, embed, message):
    rep = reps.vector(groups.from_name(parent))
    with pytest.raises(ValueError, match=message):
        reps.restrict(rep, groups.from_name(child), embed)


def test_restrict_names_wrong_arguments():
    v = reps.vector(groups.so(3))
    for call in (
        lambda: reps.restrict(groups.so(3), groups.so(3)),
        lambda: reps.restrict(v, "so2"),
        lambda: reps.restrict(v, groups.so(2), np.eye(3)),
    ):
        with pytest.raises(TypeError, match="needs a|must be a function"):
            call()


def test_factors_of_products(obeys, elements):
    so3, d3, su2 = groups.so(3), groups.dihedral(3), groups.su(2)
    group = groups.product(so3, d3, su2)
    a = reps.factor(group, 0, reps.irrep(so3, 2))
    b = reps.factor(group, 1, reps.regular(d3) + 2 * reps.vector(d3))
    c = reps.factor(group, 2, reps.vector(su2))
    for rep in (a, b, c, a * b, b + c, c.dual, c.real, a * c):
        obeys(rep)
    for g in elements(group, 3):
        parts = [group.component(i, g) for i in range(3)]
        np.testing.assert_array_equal(a.matrix(g), reps.irrep(so3, 2).matrix(parts[0]))
        np.testing.assert_allclose(c.matrix(g), parts[2], atol=1e-14)
        outer = np.kron(reps.irrep(so3, 2).matrix(parts[0]), b.matrix(g))
        np.testing.assert_allclose((a * b).matrix(g), outer, atol=1e-14)
    assert [len(a.lie_matrices()), len(b.discrete_matrices())] == [6, 2]
    assert not a.lie_matrices()[3:].any()
    assert reps.factor(group, 0, reps.trivial(so3, 3)) == reps.trivial(group, 3)
    assert isinstance(b, reps.Sum)
    assert b.is_orthogonal
    assert reps.factor(group, 1, reps.regular(d3)).is_permutation
    assert repr(a) == f"irrep[2](SO(3))@0({group})"
    assert a == reps.factor(group, 0, reps.irrep(so3, 2))
    assert a != reps.factor(groups.product(so3, so3), 1, reps.irrep(so3, 2))


def test_factors_that_do_not_exist():
    so3, so2 = groups.so(3), groups.so(2)
    group, v = groups.product(so3, so2), reps.vector(so3)
    for i in (2, -1, 0.0, True, None):
        with pytest.raises(ValueError, match="has factors 0 to 1, got"):
            reps.factor(group, i, v)
    with pytest.raises(ValueError, match=r"factor 1 .* is SO\(2\), but V\(SO\(3\)\) represents"):
        reps.factor(group, 1, v)
    with pytest.raises(TypeError, match="needs a direct product"):
        reps.factor(so3, 0, v)
    with pytest.raises(TypeError, match="needs a representation"):
        reps.factor(group, 0, so3)
