"""Sums, products, multiples, duals and realifications."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups, reps


@functools.lru_cache(maxsize=1)
def _pools():
    """Some representations of each of several groups."""
    d4, so2, o2 = groups.dihedral(4), groups.so(2), groups.o(2)
    so3, su2, lorentz, sp = groups.so(3), groups.su(2), groups.lorentz(), groups.sp(2)
    s4 = groups.symmetric(4)
    pools = [
        [reps.vector(d4), reps.image(d4, (3, 3)), reps.regular(d4), reps.irrep(d4, (2, -1))],
        [reps.vector(so2), reps.image(so2, (4, 4)), reps.circle(so2, 6), reps.irrep(so2, 3)],
        [reps.vector(o2), reps.tokens(o2, (2, 2), 1), reps.irrep(o2, (0, -1)), reps.circle(o2, 5)],
        [reps.vector(so3), reps.irrep(so3, 2), reps.points(so3, 2)],
        [reps.vector(su2), reps.vector(su2).real, reps.vector(su2).dual],
        [reps.vector(lorentz), reps.vector(lorentz).dual, reps.tensor(lorentz, 1, 1)],
        [reps.vector(sp), reps.vector(sp).dual],
        [reps.vector(s4), reps.regular(s4)],
    ]
    return [[*pool, reps.trivial(pool[0].group, 2)] for pool in pools]


POOLS = range(8)


@st.composite
def _composites(draw):
    pool = _pools()[draw(st.sampled_from(POOLS))]
    rep = draw(st.sampled_from(pool))
    for _ in range(draw(st.integers(1, 4))):
        step = draw(st.sampled_from(["+", "*", "n", "dual", "real"]))
        other = draw(st.sampled_from(pool))
        if step == "+":
            made = rep + other if draw(st.booleans()) else other + rep
        elif step == "*":
            made = rep * other if draw(st.booleans()) else other * rep
        elif step == "n":
            made = draw(st.integers(1, 3)) * rep
        else:
            made = rep.dual if step == "dual" else rep.real
        rep = made if made.dim <= 40 else rep
    return rep


@given(rep=_composites())
@examples(fast=40)
def test_laws_of_any_composite(rep, obeys):
    obeys(rep, 1e-9)


@pytest.mark.parametrize("pool", POOLS)
def test_matrices_of_composites(pool, elements):
    a, b = _pools()[pool][:2]
    zero = np.zeros((a.dim, b.dim))
    for g in elements(a.group, 2):
        x, y = a.matrix(g), b.matrix(g)
        np.testing.assert_array_equal((a + b).matrix(g), np.block([[x, zero], [zero.T, y]]))
        np.testing.assert_array_equal((a * b).matrix(g), np.kron(x, y))
        np.testing.assert_array_equal((3 * a).matrix(g), np.kron(np.eye(3), x))
        np.testing.assert_allclose(a.dual.matrix(g), np.linalg.inv(x).T, atol=1e-12)
        stacked = np.block([[x.real, -x.imag], [x.imag, x.real]]) if a.is_complex else x
        np.testing.assert_array_equal(a.real.matrix(g), stacked)


def test_the_index_of_the_first_factor_is_the_slower_one(elements):
    so3 = groups.so(3)
    a, b = reps.vector(so3), reps.irrep(so3, 2)
    x, y = np.arange(3.0) + 1, np.arange(5.0) - 2
    (g,) = elements(so3, 1)
    moved = (a * b).apply(g, np.outer(x, y).reshape(-1)).reshape(3, 5)
    np.testing.assert_allclose(moved, np.outer(a.apply(g, x), b.apply(g, y)), atol=1e-13)
    np.testing.assert_allclose(
        (a + 2 * b).apply(g, np.concatenate([x, y, y])),
        np.concatenate([a.apply(g, x), b.apply(g, y), b.apply(g, y)]),
        atol=1e-13,
    )


@pytest.mark.parametrize("name", ["lorentz", "sp", "su"])
def test_pairing_of_a_vector_with_a_dual_vector_is_invariant(name, elements):
    group = {"lorentz": groups.lorentz, "sp": lambda: groups.sp(2), "su": lambda: groups.su(2)}
    v = reps.vector(group[name]())
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, v.dim)) + (1j * rng.normal(size=(2, v.dim)) if v.is_complex else 0)
    for g in elements(v.group, 5):
        moved = v.dual.apply(g, y) @ v.apply(g, x)
        np.testing.assert_allclose(moved, y @ x, atol=1e-11 * np.abs(v.matrix(g)).max() ** 2)
        # a linear map is equivariant if it is invariant in V_in.dual (x) V_out
        tensor = (v.dual * v).apply(g, np.eye(v.dim).reshape(-1).astype(v.dtype))
        np.testing.assert_allclose(tensor, np.eye(v.dim).reshape(-1), atol=1e-10)
    assert v.dual.dual == v
    assert (v * v.dual).dual == v.dual * v
    assert (v + v.dual).dual == v.dual + v
    assert (2 * v).dual == 2 * v.dual
    assert v.dual != v


def test_realifications_of_mixed_sums():
    su2 = groups.su(2)
    v = reps.vector(su2)
    mixed = v + reps.trivial(su2, 2)
    assert mixed.real.dim == 8
    (term, index), (fixed, rest) = mixed.real.terms()
    assert (term.multiplicity, term.atoms) == (1, (v.real,))
    np.testing.assert_array_equal(index, [[0, 1, 4, 5]])
    assert (fixed.multiplicity, fixed.atoms) == (4, ())
    np.testing.assert_array_equal(rest, [[2], [3], [6], [7]])
    assert v.real.real == v.real
    assert repr(v.real) == "Re[V](SU(2))"
    assert repr(mixed.real) == "Re[V + 2·1](SU(2))"


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
def test_apply_of_numpy_and_jax_arrays(pool, elements):
    a, b = _pools()[pool][:2]
    rep = 2 * a + a * b
    (g,) = elements(rep.group, 1, seed=3)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, rep.dim))
    x = x + 1j * rng.normal(size=x.shape) if rep.is_complex else x
    expected = x @ rep.matrix(g).T
    scale = np.abs(expected).max()
    narrow = x.astype(np.complex64 if rep.is_complex else np.float32)
    on_host = rep.apply(g, narrow)
    assert isinstance(on_host, np.ndarray)
    assert on_host.dtype == narrow.dtype
    np.testing.assert_allclose(on_host, expected, atol=1e-5 * scale)
    traced = jax.jit(lambda x: rep.apply(g, x))(narrow)
    assert traced.dtype == narrow.dtype
    np.testing.assert_allclose(traced, expected, atol=1e-5 * scale)
    np.testing.assert_allclose(
        rep.apply(g, np.moveaxis(x, 1, 0), axes=(0,)),
        np.moveaxis(expected, 1, 0),
        atol=1e-12 * scale,
    )
    if not rep.is_complex:
        short = rep.apply(g, jnp.asarray(x, jnp.bfloat16))
        assert short.dtype == jnp.bfloat16
        np.testing.assert_allclose(short.astype(np.float32), expected, atol=0.1 * scale)


def test_integers_are_moved_by_signed_permutations_alone():
    d4, d8, su2 = groups.dihedral(4), groups.dihedral(8), groups.su(2)
    rep = reps.vector(d4) * reps.image(d4, (3, 3)) + reps.vector(d4)
    x = np.arange(20)
    for g in d4.elements():
        moved = rep.apply(g, x)
        assert moved.dtype == x.dtype
        np.testing.assert_array_equal(moved, rep.matrix(g) @ x)
        np.testing.assert_array_equal(rep.apply(g, jnp.asarray(x)), moved)
    turn = d8.element(np.pi / 4)
    with pytest.raises(TypeError, match="must be floating"):
        reps.vector(d8).apply(turn, np.arange(2))
    with pytest.raises(TypeError, match=r"needs complex arrays.*\.real"):
        reps.vector(su2).apply(su2.exp([0.3, 0, 0]), np.ones(2))


def test_flags():
    d4, lorentz = groups.dihedral(4), groups.lorentz()
    image, v, regular = reps.image(d4, (3, 3)), reps.vector(d4), reps.regular(d4)
    assert (image * regular + 2 * image).is_permutation
    assert not (image + v).is_permutation
    assert not (image * v).is_permutation
    sign = reps.irrep(d4, (0, -1))
    assert not sign.is_permutation
    assert not sign.is_trivial
    assert (sign * sign).is_permutation
    assert (sign * sign).is_trivial
    assert not (sign * sign * v).is_trivial
    assert reps.trivial(d4, 2).is_trivial
    assert (2 * reps.trivial(d4) + sign * sign).is_trivial
    w = reps.vector(lorentz)
    assert not (w + reps.trivial(lorentz)).is_orthogonal
    assert not (w * w.dual).is_orthogonal
    assert (image * v).is_orthogonal
    assert not reps.image(groups.so(2), (3, 3)).is_trivial


def test_large_products_are_judged_by_their_parts():
    so2 = groups.so(2)
    rep = reps.image(so2, (20, 20)) * reps.image(so2, (20, 20))  # a matrix would take 200 GB
    assert not rep.is_permutation
    assert not rep.is_trivial
    assert rep.is_orthogonal
    assert [term.atoms for term, _ in rep.terms()] == [rep.parts]


def test_names():
    lorentz, d4 = groups.lorentz(), groups.dihedral(4)
    v, w = reps.vector(lorentz), reps.vector(d4)
    assert repr(3 * v + v * v.dual) == "(3·V + V⊗V*)(O(1,3))"
    assert repr((v + v) * v) == "((V + V)⊗V)(O(1,3))"
    assert repr(2 * (v + v)) == "2·(V + V)(O(1,3))"
    assert repr(2 * (v * v)) == "2·(V⊗V)(O(1,3))"
    assert repr(2 * w) == "2·V(D4)"
    assert repr(w + reps.trivial(d4, 3)) == "(V + 3·1)(D4)"
    assert repr(reps.tensor(lorentz, 2, 1)) == "(V⊗V⊗V*)(O(1,3))"


def test_composites_are_values():
    d4 = groups.dihedral(4)
    v, image = reps.vector(d4), reps.image(d4, (3, 3))
    again = reps.vector(groups.from_name("d4"))
    assert v + image == again + image
    assert hash(v * image) == hash(again * image)
    assert 2 * v == v * 2 == np.int64(2) * v
    assert 2 * (3 * v) == 6 * v
    assert (v + image) + v == v + (image + v)
    assert (v * image) * v == v * (image * v)
    assert len({v + v, v * v, 2 * v, v + image, image + v, image * v, v * image}) == 7
    with pytest.raises(dataclasses.FrozenInstanceError):
        (2 * v).multiplicity = 3
    for rep in (v + v, v * v, 3 * v, v):
        rep.lie_matrices()[...] = 7.0
        rep.discrete_matrices()[...] = 7.0
        rep.matrix(np.eye(2))[...] = 7.0
        np.testing.assert_array_equal(rep.matrix(np.eye(2)), np.eye(rep.dim))
    np.testing.assert_array_equal(v.discrete_matrices(), d4.discrete_generators)


@pytest.mark.parametrize("n", [0, -1, True])
def test_multiplicities_are_positive(n):
    v = reps.vector(groups.so(3))
    with pytest.raises(ValueError, match=r"multiplicity of V\(SO\(3\)\).*positive integer, got"):
        n * v


def test_things_that_do_not_combine():
    v, w = reps.vector(groups.so(3)), reps.vector(groups.o(3))
    with pytest.raises(ValueError, match=r"different groups.*V\(SO\(3\)\) \+ V\(O\(3\)\)"):
        v + w
    with pytest.raises(ValueError, match=r"different groups.*V\(SO\(3\)\) \* V\(O\(3\)\)"):
        v * w
    for bad in (1.5, "V", None):
        with pytest.raises(TypeError):
            v * bad
        with pytest.raises(TypeError):
            v + bad
    with pytest.raises(ValueError, match="p must be an integer of at least 0"):
        reps.tensor(groups.so(3), -1)
    with pytest.raises(ValueError, match=r"got shape \(2, 7\)"):
        (2 * v).apply(np.eye(3), np.zeros((2, 7)))
    with pytest.raises(ValueError, match=r"not in SO\(3\)"):
        (2 * v).matrix(-np.eye(3))


def test_frequencies_of_sums_and_products():
    so2 = groups.so(2)
    image, circle, v = reps.image(so2, (4, 4)), reps.circle(so2, 6), reps.vector(so2)
    both = image + 2 * circle
    assert both.unmatched.shape == (28, 4)
    assert sorted((v * v).frequencies().frequency) == [0, 0, 2, 2]
    assert (image * v).frequencies() is None  # unmatched columns have no frequency to add
    assert reps.vector(groups.so(3)).frequencies() is None
    assert reps.vector(groups.so(3)).unmatched.shape == (3, 0)
