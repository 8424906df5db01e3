"""What every group promises, checked for all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups

FINITE = [
    *("trivial", "c5", "c8", "d1", "d2", "d6", "so1", "o1", "su1", "s1", "s2", "s3", "s5"),
    *("octahedral", "oh", "icosahedral", "s3 x c4", "d3 x octahedral x c2"),
]
COMPACT = [
    *("so2", "o2", "so3", "so4", "so7", "o3", "o5", "su2", "su3", "su4", "usp1", "usp2", "usp3"),
    *("so2 x c4", "su2 x o3", "so3 x so3 x s3", "usp1 x icosahedral"),
]
NONCOMPACT = [
    *("sp1", "sp2", "sp3", "o13", "so13", "o+13", "so+13"),
    *("o13 x s3 x o2", "sp1 x su2"),
]
SAMPLED = ["so2", "o2", "so3", "o5", "su3", "usp3", "su2 x o3"]  # compiling takes long
LARGE = ["s9", "s12", "rubik", "s9 x s9"]
ALL = [*FINITE, *COMPACT, *NONCOMPACT, *LARGE]

group_of = functools.lru_cache(groups.from_name)


def random_element(group, rng, size=1.0):
    """A product of two exponentials with a long word of discrete generators between them."""
    g = group.exp(size * rng.normal(size=len(group.lie_generators)))
    for _ in range(12 if len(group.discrete_generators) else 0):
        g = g @ group.discrete_generators[rng.integers(len(group.discrete_generators))]
    return g @ group.exp(size * rng.normal(size=len(group.lie_generators)))


@pytest.mark.parametrize("name", ALL)
def test_names_are_read_back(name):
    group = group_of(name)
    assert repr(group) == group.name
    assert groups.from_name(group.name) == group
    assert hash(groups.from_name(group.name)) == hash(group)
    assert len({group_of(other) for other in ALL}) == len(ALL)


@pytest.mark.parametrize("name", ALL)
def test_shapes_types_and_flags(name):
    group = group_of(name)
    assert group.dtype == (np.complex128 if group.is_complex else np.float64)
    for array in (group.lie_generators, group.discrete_generators):
        assert array.shape[1:] == (group.d, group.d)
        assert array.dtype == group.dtype
        assert not array.flags.writeable
    assert group.is_complex == any(part in name for part in ("su", "usp"))
    assert group.is_compact == (name not in NONCOMPACT)
    assert group.is_orthogonal == group.is_compact
    assert group.is_finite == (name in FINITE or name in LARGE)
    assert group.is_finite == (len(group.lie_generators) == 0)
    for h in group.discrete_generators:
        assert group.contains(h)
    gram = np.swapaxes(group.discrete_generators.conj(), 1, 2) @ group.discrete_generators
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(group.d), gram.shape), atol=1e-14)


@pytest.mark.parametrize("name", [*COMPACT, *NONCOMPACT])
def test_lie_generators_are_orthonormal_and_closed(name):
    group = group_of(name)
    basis = group.lie_generators
    for factor in getattr(group, "factors", (group,)):
        # 2 tr on complex groups and on the one whose compact dual is complex
        scale = 2.0 if factor.is_complex or factor.name.startswith("Sp") else 0.5
        a = factor.lie_generators
        gram = scale * np.einsum("aij,bij->ab", a.conj(), a).real
        np.testing.assert_allclose(gram, np.eye(len(a)), atol=1e-14)
    brackets = np.einsum("aij,bjk->abik", basis, basis)
    brackets = brackets - np.swapaxes(brackets, 0, 1)
    k = len(basis)
    constants = np.array([[group.coordinates(brackets[a, b]) for b in range(k)] for a in range(k)])
    back = np.tensordot(constants, basis, 1)
    np.testing.assert_allclose(back, brackets, atol=1e-14)
    if group.is_compact:
        # antisymmetric in the first two by construction, so totally if in the last two
        np.testing.assert_allclose(constants, -np.swapaxes(constants, 1, 2), atol=1e-14)
        np.testing.assert_allclose(basis, -np.swapaxes(basis.conj(), 1, 2), atol=0)
    else:
        adjoint = np.swapaxes(basis.conj(), 1, 2)
        np.testing.assert_allclose(
            np.abs(np.einsum("aij,bij->ab", adjoint.conj(), basis)).sum(1),
            np.einsum("aij,aij->a", basis.conj(), basis).real,
            atol=1e-14,
        )


@pytest.mark.parametrize("name", [*COMPACT, *NONCOMPACT])
def test_casimir_of_the_defining_representation_commutes_with_the_group(name):
    group = group_of(name)
    adjoint = np.swapaxes(group.lie_generators.conj(), 1, 2)
    casimir = np.sum(adjoint @ group.lie_generators, axis=0)
    np.testing.assert_allclose(casimir, np.diag(np.diag(casimir)), atol=1e-14)
    g = random_element(group, np.random.default_rng(0))
    np.testing.assert_allclose(g @ casimir, casimir @ g, atol=1e-11 * np.abs(g).max())


@pytest.mark.parametrize(
    ("name", "casimir"),
    [
        ("so3", 2),
        ("so5", 4),
        ("su2", 3 / 4),
        ("su3", 4 / 3),
        ("usp1", 3 / 4),
        ("usp2", 5 / 4),
        ("sp1", 3 / 4),
        ("sp2", 5 / 4),
        ("so+13", 3),
    ],
)
def test_casimir_values(name, casimir):
    basis = group_of(name).lie_generators
    value = np.sum(np.swapaxes(basis.conj(), 1, 2) @ basis, axis=0)
    np.testing.assert_allclose(value, casimir * np.eye(len(value)), atol=1e-14)


@pytest.mark.parametrize("name", FINITE)
def test_elements_form_a_group(name):
    group = group_of(name)
    elements = group.elements()
    assert elements.shape == (group.order, group.d, group.d)
    assert not elements.flags.writeable
    order = np.random.default_rng(0).permutation(group.order)
    np.testing.assert_array_equal(group.indices(elements[order]), order)
    for h in [*group.discrete_generators, elements[-1]]:
        # multiplication by an element permutes the elements
        assert len(set(group.indices(elements @ h))) == group.order
    group.indices(np.linalg.inv(elements))
    np.testing.assert_array_equal(
        group.indices(elements.astype(np.complex64) if group.is_complex else jnp.asarray(elements)),
        np.arange(group.order),
    )


@pytest.mark.parametrize("name", FINITE)
def test_words_spell_the_elements(name):
    group = group_of(name)
    words = group.words()
    assert np.sum(words.parent < 0) == 1
    for i in range(0, group.order, max(1, group.order // 50)):
        factorization = group.factor(group.elements()[i])
        assert factorization.tangents == ()
        assert factorization.word == words.spell(i)
        np.testing.assert_allclose(group.compose(factorization), group.elements()[i], atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in ALL if n != "rubik"])
@examples(fast=5)
@given(seed=st.integers(0, 2**32 - 1))
def test_factor_reproduces_the_element(name, seed):
    group = group_of(name)
    g = random_element(group, np.random.default_rng(seed), 0.5 if name in NONCOMPACT else 2.0)
    factorization = group.factor(g)
    assert len(factorization.tangents) == (0 if group.is_finite else 2 if name in NONCOMPACT else 1)
    assert all(t.shape == (len(group.lie_generators),) for t in factorization.tangents)
    np.testing.assert_allclose(group.compose(factorization), g, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["d6", "so1", "su1", "s5", "icosahedral", *SAMPLED, *LARGE])
def test_samples_are_elements(name):
    group = group_of(name)
    sample = jax.jit(group.sample, static_argnums=1)(jax.random.key(0), 20)
    assert sample.shape == (20, group.d, group.d)
    assert sample.dtype == (jnp.complex64 if group.is_complex else jnp.float32)
    for g in np.asarray(sample):
        checked = group.check(g)
        assert checked.dtype == group.dtype
        np.testing.assert_array_equal(checked, g)
    if group.order != 1:
        assert np.abs(sample[1:] - sample[0]).max() > 0.1


@pytest.mark.parametrize("name", NONCOMPACT)
def test_samples_of_non_compact_groups_are_refused(name):
    with pytest.raises(ValueError, match=r"not compact \((boosts|it stretches)"):
        group_of(name).sample(jax.random.key(0), 3)


@pytest.mark.parametrize(
    ("name", "order"),
    [("s9", 362880), ("rubik", 43252003274489856000), ("s9 x s9", 362880**2)],
)
def test_large_groups_are_not_listed(name, order):
    group = group_of(name)
    assert group.order == order
    for call in (group.elements, group.words, lambda: group.index(np.eye(group.d))):
        with pytest.raises(ValueError, match=f"has {order} elements, more than the 50000"):
            call()


@pytest.mark.parametrize("name", [*COMPACT, *NONCOMPACT])
def test_infinite_groups_are_not_listed(name):
    with pytest.raises(ValueError, match="infinitely many elements"):
        group_of(name).elements()


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_element_is_refused(name):
    group = group_of(name)
    eye = np.eye(group.d, dtype=group.dtype)
    for bad, message in [
        (1.001 * eye, r"0.00[12]|multiples|orthogonal|unitary|metric|differs|permutation"),
        (np.eye(group.d + 1), "got shape"),
        (eye[None], "got shape"),
        (np.full((group.d, group.d), np.nan), "finite entries"),
        (eye.astype(str), "matrix, got"),
    ]:
        assert not group.contains(bad)
        with pytest.raises(ValueError, match=message):
            group.check(bad)
        with pytest.raises(ValueError, match=message):
            group.factor(bad)
    with pytest.raises(TypeError, match="outside jit"):
        jax.jit(lambda g: group.check(g))(eye)
    with pytest.raises(ValueError, match="coordinates of shape"):
        group.exp(np.zeros(len(group.lie_generators) + 1))


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("so3", -np.eye(3), "determinant is -1"),
        ("so3", np.diag([1.0, 1.0, 0.5]), r"not orthogonal \(by 0.75\)"),
        ("o3", 1j * np.eye(3), "real"),
        ("su2", np.diag([1j, 1j]), r"determinant is not 1 \(by 2\)"),
        ("usp2", np.diag([1j, 1, 1, 1]), "J differs|differs from J"),
        ("sp1", np.diag([2.0, 2.0]), r"differs from J \(by 3\)"),
        ("so+13", -np.eye(4), "reverses time"),
        ("so13", np.diag([-1.0, 1, 1, 1]), "determinant is -1"),
        ("o13", np.diag([2.0, 1, 1, 1]), r"changes the metric \(by 3\)"),
        ("s3", np.array([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]]), "no permutation"),
        ("s3", np.array([[0.0, 0, 0], [1, 1, 0], [0, 0, 1]]), "no permutation"),
        ("rubik", np.eye(48)[[1, 0, *range(2, 48)]], "no product of its generators"),
        ("icosahedral", np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), "nearest element differs"),
        ("octahedral", -np.eye(3), "nearest element differs by 1"),
        ("so3 x so2", np.ones((5, 5)), "not block-diagonal"),
        ("su2 x so2", np.diag([1, 1, 1j, 1j]), "block 1 is not real"),
        ("so3 x so2", np.diag([-1.0, -1, -1, 1, 1]), "determinant is -1"),
    ],
)
def test_why_an_element_is_refused(name, bad, message):
    group = group_of(name)
    assert not group.contains(bad)
    with pytest.raises(ValueError, match=message):
        group.check(bad)


def test_index_says_which_matrix_is_wrong():
    group = group_of("icosahedral")
    gs = group.elements()[:5].copy()
    gs[3] += 1e-4
    with pytest.raises(
        ValueError, match="matrix 3 is no element of Icosahedral.*differs by 0.0001"
    ):
        group.indices(gs)
    gs[3] -= 1e-4 - 5e-6
    np.testing.assert_array_equal(group.indices(gs), np.arange(5))


@pytest.mark.parametrize("build", ["so", "o", "su", "usp", "sp", "symmetric", "cyclic"])
@pytest.mark.parametrize("n", [0, -2, 2.0, True, "3", None])
def test_sizes_are_positive_integers(build, n):
    with pytest.raises(ValueError, match="positive integer"):
        getattr(groups, build)(n)


def test_names_that_are_read_in_several_ways():
    assert groups.from_name("o13") == groups.from_name("lorentz") == groups.from_name("O(1,3)")
    assert groups.from_name("so(13)").d == 13
    assert groups.from_name("sp2") == groups.from_name("Sp(4,R)") == groups.sp(2)
    assert groups.from_name("s8").order == 40320
    assert groups.from_name("SO(2) \u00d7 C4") == groups.product(groups.so(2), groups.cyclic(4))
    for name in ("sp(3,r)", "so(1,2)", "c4 x ", "su", "x", "usp"):
        with pytest.raises(ValueError, match="even dimension|unknown group"):
            groups.from_name(name)
