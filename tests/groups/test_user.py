"""Groups from generators alone, and products."""

import math

import jax
import numpy as np
import pytest
import scipy.linalg
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax import groups

J = np.array([[0.0, -1.0], [1.0, 0.0]])
BLOCK = scipy.linalg.block_diag
SWAP = np.kron([[0.0, 1], [1, 0]], np.eye(2))


@pytest.mark.parametrize(
    "build", [lambda: groups.so(3), lambda: groups.so(5), lambda: groups.su(2),
              lambda: groups.su(3), lambda: groups.usp(2), lambda: groups.lorentz(True, True),
              lambda: groups.sp(2)]
)  # fmt: skip
@examples(fast=5)
@given(seed=st.integers(0, 10**6))
def test_the_basis_depends_on_the_algebra_alone(build, seed):
    known = build()
    rng = np.random.default_rng(seed)
    k = len(known.lie_generators)
    reference = groups.from_generators("G", lie=known.lie_generators)
    mixed = np.tensordot(rng.normal(size=(k, k)), known.lie_generators, 1)
    for lie in (mixed, 1e3 * mixed, rng.permutation(known.lie_generators), mixed[:3]):
        group = groups.from_generators("G", lie=lie)
        assert len(group.lie_generators) == k
        np.testing.assert_allclose(group.lie_generators, reference.lie_generators, atol=1e-7)
    # the same span, and orthonormal
    for a in reference.lie_generators:
        back = np.tensordot(known.coordinates(a), known.lie_generators, 1)
        np.testing.assert_allclose(back, a, atol=1e-12)
    scale = 2.0 if reference.is_complex else 0.5
    a = reference.lie_generators
    np.testing.assert_allclose(scale * np.einsum("aij,bij->ab", a.conj(), a).real, np.eye(k),
                               atol=1e-12)  # fmt: skip


def test_rotations_come_back_in_the_built_in_basis():
    for n in (3, 4, 5):
        known = groups.so(n).lie_generators
        group = groups.from_generators("G", lie=known[[*range(n - 1)]] * 3.0)
        np.testing.assert_allclose(group.lie_generators, known, atol=1e-12)
        assert group.is_compact
        assert group.is_orthogonal
        assert group.is_connected
        assert group.order is None


CASES = {
    "SO(3)": {"lie": groups.so(3).lie_generators[:2]},
    "O(3)": {
        "lie": groups.so(3).lie_generators[:2],
        "discrete": [-np.eye(3), np.diag([1.0, 1, -1])],
    },
    "icosahedral in SO(3)": {
        "lie": groups.so(3).lie_generators,
        "discrete": groups.icosahedral().discrete_generators,
    },
    "SU(2)": {"lie": groups.su(2).lie_generators[1:]},
    "winding": {"lie": [BLOCK(J, 2 * J)]},
    "winding (2, 5)": {"lie": [BLOCK(2 * J, 5 * J)]},
    "torus by swap": {"lie": [BLOCK(J, 0 * J)], "discrete": [SWAP, np.diag([-1.0, 1, 1, 1])]},
    "Lorentz": {
        "lie": groups.lorentz().lie_generators[3:],
        "discrete": groups.lorentz().discrete_generators,
    },
    "Sp(4,R)": {"lie": groups.sp(2).lie_generators},
    "shifts": {"lie": [[[0.0, 1], [0, 0]]]},
    "affine line": {"lie": [[[0.0, 1], [0, 0]], [[1.0, 0], [0, 0]]]},
    "GL+(2)": {"lie": [np.diag([1.0, 0]), [[0, 1.0], [0, 0]], [[0, 0], [1.0, 0]]]},
}
COMPONENTS = {"O(3)": 2, "torus by swap": 8, "Lorentz": 4}
NON_COMPACT = ("Lorentz", "Sp(4,R)", "shifts", "affine line", "GL+(2)")
BUILT = {name: groups.from_generators(name, **case) for name, case in CASES.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@examples(fast=6)
@given(seed=st.integers(0, 10**6))
def test_factor_reproduces_the_element(name, seed):
    group = BUILT[name]
    rng = np.random.default_rng(seed)
    k, m = len(group.lie_generators), len(group.discrete_generators)
    size = 0.6 if name in NON_COMPACT else 2.0
    g = group.exp(size * rng.normal(size=k))
    for _ in range(6 if m else 0):
        g = g @ group.discrete_generators[rng.integers(m)]
    g = g @ group.exp(size * rng.normal(size=k))
    np.testing.assert_allclose(group.compose(group.factor(g)), g, atol=1e-9)
    if np.linalg.cond(g) < 20:  # rounding to single precision grows with the condition number
        assert group.contains(g.astype(np.complex64 if group.is_complex else np.float32))


@pytest.mark.parametrize("name", CASES)
def test_flags_and_components(name):
    group = BUILT[name]
    assert group.is_compact == (name not in NON_COMPACT)
    assert group.is_connected == (COMPONENTS.get(name, 1) == 1)
    with pytest.raises(ValueError, match="infinitely many"):
        group.elements()
    message = "not compact" if name in NON_COMPACT else r"no uniform \(Haar\) sampler"
    with pytest.raises(ValueError, match=message):
        group.sample(jax.random.key(0), 2)
    outside = np.diag([-2.0] + [0.5] * (group.d - 1))
    assert not group.contains(outside)


@pytest.mark.slow
def test_members_that_are_no_members():
    half = groups.so(4).exp([1.0, 0, 0, 0, 0, 0])
    with pytest.raises(ValueError, match="not in winding.*differs by"):
        BUILT["winding"].check(half)
    assert not BUILT["winding"].contains(BLOCK(np.eye(2), -np.eye(2)))
    assert BUILT["winding"].contains(BLOCK(-np.eye(2), np.eye(2)))
    assert not BUILT["SO(3)"].contains(-np.eye(3))
    assert not BUILT["shifts"].contains(np.diag([1.0, 2.0]))


def test_levels_of_groups_with_components():
    ((lie, flips),) = BUILT["torus by swap"].level_factors()
    assert lie.lie == (0, 1)
    assert len(flips.classes) == 2  # the swap and the reflection
    assert all(c.weight == pytest.approx(1 / math.pi**2) for c in flips.classes)
    assert [len(c.elements) for c in flips.classes] == [2, 2]  # as in D_4
    ((lie, *rest),) = BUILT["icosahedral in SO(3)"].level_factors()
    assert rest == []
    ((lie, flips),) = BUILT["O(3)"].level_factors()
    assert [len(c.elements) for c in flips.classes] == [1]
    assert BUILT["shifts"].level_factors() is None


@pytest.mark.parametrize(
    ("build", "order"), [(groups.octahedral, 24), (groups.icosahedral, 60)]
)  # fmt: skip
def test_polyhedral_groups(build, order):
    group = build()
    elements = group.elements()
    assert group.order == order
    np.testing.assert_allclose(np.linalg.det(elements), 1, atol=1e-12)
    # turns by pi / 3 of a turn / 4 or 5: counted by their traces
    traces, counts = np.unique(np.trace(elements, axis1=1, axis2=2).round(6), return_counts=True)
    golden = (1 + math.sqrt(5)) / 2
    expected = (
        {-1: 9, 0: 8, 1: 6, 3: 1}
        if order == 24
        else {1 - golden: 12, -1: 15, 0: 20, golden: 12, 3: 1}
    )
    np.testing.assert_allclose(traces, sorted(expected), atol=1e-5)
    np.testing.assert_array_equal(counts, [expected[key] for key in sorted(expected)])


def test_full_octahedral_group():
    """The rotations of a cube and their negatives, under both written names."""
    group, rotations = groups.full_octahedral(), groups.octahedral().elements()
    assert group.order == 48
    assert all(group.contains(g) and group.contains(-g) for g in rotations)
    assert groups.from_name("Oh") == groups.from_name(str(group)) == group


def test_finite_groups_that_are_not_orthogonal_or_not_real():
    oblique = groups.from_generators("Z3", discrete=[[[0.0, -1.0], [1.0, -1.0]]])
    assert (oblique.order, oblique.is_compact, oblique.is_orthogonal) == (3, True, False)
    assert oblique.sample(jax.random.key(0), 3).shape == (3, 2, 2)
    quaternions = groups.from_generators("Q8", discrete=[[[1j, 0], [0, -1j]], [[0, 1], [-1, 0]]])
    assert (quaternions.order, quaternions.is_complex) == (8, True)
    assert quaternions.is_orthogonal
    empty = groups.from_generators("1", discrete=np.zeros((0, 3, 3)))
    assert (empty.order, empty.d, empty.level_factors()) == (1, 3, ())
    assert groups.from_generators("1", lie=np.zeros((2, 3, 3))).order == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("discrete", "compact"),
    [
        ([groups.so(2).element(1.0)], True),
        ([np.diag([2.0, 0.5])], False),
        ([[[1.0, 1.0], [0.0, 1.0]]], False),
    ],
)
def test_groups_that_are_not_known_to_be_finite(discrete, compact):
    group = groups.from_generators("Z", discrete=discrete)
    assert group.order is None
    assert not group.is_connected
    assert group.is_compact == compact
    assert group.level_factors() is None
    with pytest.raises(ValueError, match="not known to be finite"):
        group.elements()
    with pytest.raises(ValueError, match="not known to be finite|not compact"):
        group.sample(jax.random.key(0), 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give lie=, discrete= or both"),
        ({"discrete": [np.eye(2), np.diag([1.0, 0.0])]}, r"discrete\[1\] is not invertible.*to 0$"),
        ({"discrete": [np.eye(2), np.full((2, 2), np.nan)]}, r"discrete\[1\] has entries"),
        ({"lie": [J, np.full((2, 2), np.inf)]}, r"lie\[1\] has entries"),
        ({"discrete": [np.eye(2), np.eye(3)]}, r"shapes \[\(2, 2\), \(3, 3\)\]"),
        ({"discrete": np.zeros((1, 2, 3))}, r"got shape \(1, 2, 3\)"),
        ({"discrete": np.eye(2)}, r"got shape \(2, 2\)"),
        ({"lie": J}, r"got shape \(2, 2\)"),
        ({"lie": [J], "discrete": [np.eye(3)]}, r"lie has matrices of shape \(2, 2\)"),
        ({"discrete": [[0, 1, 2], [0, 0, 2]]}, r"discrete\[1\] is no permutation of 0 .. 2"),
        ({"discrete": [[1, 2, 3]]}, r"discrete\[0\] is no permutation of 0 .. 2"),
        ({"discrete": [["a"]]}, "of numbers"),
    ],
)
def test_bad_generators(arguments, message):
    with pytest.raises(ValueError, match=message):
        groups.from_generators("G", **arguments)


@pytest.mark.parametrize("name", ["", None, 3])
def test_bad_names(name):
    with pytest.raises(ValueError, match="not empty"):
        groups.from_generators(name, lie=[J])


def test_products():
    group = groups.product(groups.su(2), groups.cyclic(4), groups.o(3))
    assert repr(group) == "SU(2) \u00d7 C4 \u00d7 O(3)"
    assert (group.d, group.order, group.is_complex) == (7, None, True)
    assert (len(group.lie_generators), len(group.discrete_generators)) == (6, 2)
    rng = np.random.default_rng(0)
    parts = [f.exp(rng.normal(size=len(f.lie_generators))) for f in group.factors]
    whole = np.eye(7, dtype=complex)
    for i, g in enumerate(parts):
        whole = whole @ group.embed(i, g)
    for i, g in enumerate(parts):
        np.testing.assert_array_equal(group.component(i, whole), g)
        assert group.component(i, whole).dtype == group.factors[i].dtype
    assert group.embed(1, groups.cyclic(4).elements()).shape == (4, 7, 7)
    # a product is flat
    nested = groups.product(groups.product(groups.su(2), groups.cyclic(4)), groups.o(3))
    assert nested == group


def test_elements_of_a_product_are_ordered_like_itertools():
    c, s = groups.cyclic(3), groups.symmetric(3)
    group = groups.product(c, s)
    for i in range(3):
        for j in range(6):
            g = group.elements()[6 * i + j]
            np.testing.assert_array_equal(group.component(0, g), c.elements()[i])
            np.testing.assert_array_equal(group.component(1, g), s.elements()[j])


def test_bad_products():
    with pytest.raises(ValueError, match="at least two factors, got 1"):
        groups.product(groups.so(2))
    with pytest.raises(TypeError, match="takes groups, got 4"):
        groups.product(groups.so(2), 4)


@pytest.mark.slow
@pytest.mark.parametrize("h", [2.0 * np.eye(2), groups.so(2).element(1.0), BLOCK(-1.0, 3.0)])
def test_short_words_of_generators_of_infinite_order_are_elements(h):
    group = groups.from_generators("Z", discrete=[h])
    inverse = np.linalg.inv(h)
    for g in (np.eye(2), h, inverse, h @ h, np.linalg.matrix_power(inverse, 3)):
        np.testing.assert_array_equal(group.check(g), g)
        assert group.contains(g.astype(np.float32))
    for n in range(5):
        power = np.linalg.matrix_power(h, n)
        assert group.factor(power).word == (0,) * n
        np.testing.assert_allclose(group.compose(group.factor(power)), power)
    with pytest.raises(ValueError, match="inverse of a generator"):
        group.factor(inverse)
    with pytest.raises(ValueError, match="more than 64 components"):
        group.check(h + 0.01)
    np.testing.assert_array_equal(sq.reps.vector(group).matrix(inverse), inverse)


def test_inverses_of_finite_order_are_spelled_beside_infinite_ones():
    turn, shift = groups.so(2).element(2 * np.pi / 3), np.diag([2.0, 3.0])
    group = groups.from_generators("G", discrete=[turn, shift])
    g = shift @ turn.T @ shift
    assert group.factor(g).word == (1, 0, 0, 1)
    np.testing.assert_allclose(group.compose(group.factor(g)), g, atol=1e-12)
    # and with a Lie algebra: stretches of one plane, rotations of another
    h = BLOCK(2.0 * np.eye(2), np.eye(2))
    mixed = groups.from_generators("G", lie=[BLOCK(0 * J, J)], discrete=[h])
    g = mixed.exp([0.7]) @ h @ h
    np.testing.assert_allclose(mixed.compose(mixed.factor(g)), g, atol=1e-9)


@pytest.mark.slow
def test_representations_by_generators_of_an_infinite_dihedral_group():
    flips = [np.diag([1.0, -1.0]), groups.so(2).element(1.0) @ np.diag([1.0, -1.0])]
    group = groups.from_generators("D", discrete=flips)
    rep = sq.reps.from_generators(group, discrete=-np.array(flips))
    np.testing.assert_allclose(rep.matrix(flips[0] @ flips[1]), flips[0] @ flips[1], atol=1e-12)
