"""Rounded generators give the group that was meant, or say by how much they are off."""

import itertools
import warnings

import numpy as np
import pytest
from rounded_cases import ALGEBRAS, BLOCK, FINITE, FORMATS, J, turn

import softeq_jax as sq
from softeq_jax import groups


def made(**generators):
    """The group, and what was said."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        group = groups.from_generators("G", **generators)
    return group, [str(one.message) for one in said]


def ranks(group):
    v = sq.reps.vector(group)
    found = [sq.projector("i o", {"i": v.dual, "o": v}).rank(), sq.projector("a", {"a": v}).rank()]
    return [*found, *(sq.projector("a b", {"a": v, "b": v * v}).rank() for _ in [0] if v.dim < 5)]


@pytest.mark.parametrize(
    ("name", "form"),
    [pair for pair in itertools.product(FINITE, FORMATS) if pair != ("C5 x C7", "float16")],
)
def test_finite_groups_are_found_in_every_format(name, form):
    given, order = FINITE[name]
    rounded, warned = FORMATS[form]
    group, said = made(discrete=rounded(np.asarray(given)))
    exact = groups.from_generators("G", discrete=given)
    assert group.order == exact.order == order
    assert group.is_orthogonal == exact.is_orthogonal
    assert group.moved <= (2e-3 if warned else 1e-6)
    assert bool(said) == (group.moved > 1e-6)
    assert all("rounded" in text and f"{group.moved:.2g}" in text for text in said)
    assert (group.moved == 0.0) or f"moved by {group.moved:.2g}" in repr(group)
    # exactly a group: to rounding, and with the invariants of the one that was meant
    for h in group.discrete_generators:
        n = groups.matrix_order(h)
        power = np.linalg.matrix_power(h, n)
        np.testing.assert_allclose(power, np.eye(group.d), atol=1e-12)
    assert ranks(group) == ranks(exact)


@pytest.mark.parametrize("form", ["float32", "8 decimals", "4 decimals"])
@pytest.mark.parametrize("name", ALGEBRAS)
def test_lie_algebras_are_found_in_every_format(name, form):
    given, dimension = ALGEBRAS[name]
    rounded, warned = FORMATS[form]
    group, said = made(lie=rounded(given))
    exact = groups.from_generators("G", lie=given)
    assert len(group.lie_generators) == len(exact.lie_generators) == dimension
    assert group.is_compact == exact.is_compact
    assert bool(said) == (group.moved > 1e-6)
    assert warned or group.moved <= 1e-6
    a = group.lie_generators  # closed to rounding
    for x in a:
        for y in a:
            back = np.tensordot(group.coordinates(x @ y - y @ x), a, 1)
            np.testing.assert_allclose(back, x @ y - y @ x, atol=1e-11)
    assert ranks(group) == ranks(exact)
    solvable = ("torus turned", "shear oblique", "Heisenberg oblique", "affine oblique", "u(3)")
    assert (group.rounding == 0.0) == (name not in solvable)
    assert exact.rounding <= 1e-11


def test_double_precision_is_left_as_it_is():
    for given, _ in FINITE.values():
        group, said = made(discrete=given)
        assert said == []
        assert group.moved <= 1e-8
        if "dust" not in repr(given):
            np.testing.assert_allclose(group.discrete_generators, given, atol=1e-8)
    icosahedral = groups.icosahedral().discrete_generators
    group = groups.from_generators("G", discrete=icosahedral)
    np.testing.assert_array_equal(group.discrete_generators, icosahedral)


@pytest.mark.parametrize("n", [60, 360, 720])
def test_fine_rotations_in_single_precision(n):
    group, said = made(discrete=[turn(2 * np.pi / n).astype(np.float32)])
    assert (group.order, said) == (n, [])
    np.testing.assert_allclose(group.discrete_generators[0], turn(2 * np.pi / n), atol=1e-14)


@pytest.mark.parametrize("form", FORMATS)
def test_no_order_is_taken_from_coincidence(form):
    """710 turns by one radian are 113 whole ones but for 6e-5: not of order 710, and said so."""
    group, said = made(discrete=[FORMATS[form][0](turn(1.0))])
    assert group.order is None
    assert group.is_orthogonal
    assert any("not known to be finite" in text for text in said)
    v = sq.reps.vector(group)
    with pytest.warns(UserWarning, match="no levels"):
        p = sq.projector("i o", {"i": v, "o": v})
    assert p.rank() == 2
    np.testing.assert_allclose(p(np.eye(2)), np.eye(2), atol=1e-12)
    assert not p.certificate(np.eye(2)).certified
    assert not p.certificate().certified
    assert p.certificate(np.eye(2), element=group.discrete_generators[0]).bound < 1e-9
    exact, said = made(discrete=[turn(1.0)])
    assert (exact.order, said) == (None, [])


def test_angles_of_a_few_digits_are_told():
    group, said = made(discrete=[turn(2.0944)])
    assert group.order is None
    assert any("nearly of order 3" in text for text in said)
    for angle in (1.0, 0.3, 2.0, 0.1):
        assert made(discrete=[turn(angle)])[1] == []


@pytest.mark.parametrize("angle", [1e-3, 1e-5, 1e-7])
def test_small_rotations_still_rotate(angle):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for given in (turn(angle), turn(angle).astype(np.float32)):
            group = groups.from_generators("G", discrete=[given])
            v = sq.reps.vector(group)
            assert sq.projector("a", {"a": v}).rank() == 0
            assert sq.projector("i o", {"i": v, "o": v}).rank() == 2


def test_what_is_too_far_for_rounding_and_too_near_to_be_meant_is_refused():
    with pytest.raises(ValueError, match=r"discrete\[0\] of G is orthogonal to 0.0069 only.*exact"):
        made(discrete=[turn(2 * np.pi / 3).round(2)])
    squeeze = np.diag([1.01, 1 / 1.01])
    with pytest.raises(ValueError, match="orthogonal to 0.02 only"):
        made(discrete=[squeeze])
    group, said = made(discrete=[squeeze], exact=True)
    assert (group.order, group.is_orthogonal, said) == (None, False, [])
    np.testing.assert_array_equal(group.discrete_generators, [squeeze])


@pytest.mark.parametrize("decimals", [4, 6, 8])
def test_exact_generators_are_not_moved(decimals):
    given = turn(2 * np.pi / 3).round(decimals)
    group, said = made(discrete=[given], exact=True)
    assert (group.order, said, group.moved) == (None, [], 0.0)
    np.testing.assert_array_equal(group.discrete_generators, [given])


def test_shears_and_squeezes_are_not_taken_for_rounded():
    for given in ([[1.0, 1.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.3], [0.0, 1.0]]):
        group, said = made(discrete=[given])
        assert (group.order, said) == (None, [])
        np.testing.assert_array_equal(group.discrete_generators, [given])
    m = np.array([[1.1234567, 0.3], [0.7, 2.1]])
    group, said = made(discrete=[m @ np.array([[1.0, 1.0], [0.0, 1.0]]) @ np.linalg.inv(m)])
    assert (group.order, said) == (None, [])


def test_a_map_that_nearly_keeps_something_keeps_it():
    """Rows that sum to one but for single precision: the constant is invariant, not nothing."""
    rng = np.random.default_rng(0)
    rows = rng.uniform(size=(6, 6))
    rows = (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
    group, said = made(discrete=[rows])
    assert any("not known to be finite" in text for text in said)
    assert group.rounding > 0
    v = sq.reps.vector(group)
    with pytest.warns(UserWarning, match="no levels"):
        p = sq.projector("a", {"a": v})
    assert p.rank() == 1
    np.testing.assert_allclose(p(np.ones(6)), np.ones(6), atol=1e-6)


def test_discrete_and_lie_generators_are_rounded_together():
    rotations = groups.so(3).lie_generators.astype(np.float32)
    q, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    mirror = (q @ np.diag([1.0, 1.0, -1.0]) @ q.T).astype(np.float32)
    group, said = made(lie=rotations, discrete=[mirror])
    assert (len(group.lie_generators), group.is_compact, said) == (3, True, [])
    np.testing.assert_allclose(group.discrete_generators @ group.discrete_generators, [np.eye(3)],
                               atol=1e-13)  # fmt: skip
    swap = np.kron([[0.0, 1], [1, 0]], np.eye(2))
    torus, _ = made(lie=[BLOCK(J, 0 * J)], discrete=[swap.astype(np.float32)])
    assert len(torus.lie_generators) == 2


def test_brackets_that_no_algebra_has_are_refused():
    a = np.array([np.eye(4, k=1) * [0, 1, 0, 0], np.eye(4, k=-1) * [1, 0, 0, 0]]).astype(np.float32)
    noise = np.random.default_rng(0).normal(size=a.shape)
    group, _ = made(lie=(a + 0.1 * noise).round(4))  # far from closed: it is gl(4)
    assert len(group.lie_generators) == 16
