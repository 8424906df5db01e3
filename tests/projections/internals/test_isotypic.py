"""Schur's lemma: isotypic columns, commutants of real, complex and quaternionic type."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from projection_oracle import (
    COMPACT,
    NONCOMPACT,
    build,
    dense,
    group_of,
    kernel_projector,
    pairs,
    projector,
)

import softeq_jax as sq
from softeq_jax.projections._choose import splitting
from softeq_jax.projections.backends._atoms import generators
from softeq_jax.projections.backends._decompose import decompose, invariants

PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def v(name):
    return sq.reps.vector(group_of(name))


@pytest.mark.slow
@given(case=pairs(COMPACT + NONCOMPACT, limit=60), seed=st.integers(0, 2**31))
@examples(fast=60)
def test_isotypic_columns(case, seed):
    """They are unitary, each copy transforms alike, and each is irreducible."""
    name, (tree, *_) = case
    g = generators(build(name, tree))
    types = decompose(g, seed)
    columns = [t.columns.reshape(g.dim, -1) for t in types]
    whole = np.concatenate(columns, axis=1)
    np.testing.assert_allclose(whole.conj().T @ whole, np.eye(g.dim), atol=1e-10)
    for t in types:
        for copy in np.moveaxis(t.columns, 1, 0):
            for matrices, own in zip(g, t.generators, strict=True):
                np.testing.assert_allclose(matrices @ copy, copy @ own, atol=1e-9)
    # the number of commuting matrices, counted in two ways
    commutant = np.linalg.matrix_rank(kernel_projector(both(build(name, tree))), 1e-8)
    expected = 0
    for t in types:
        kind = len(invariants(t.generators, t.generators.dual))
        assert kind in ((1,) if g.lie.dtype.kind == "c" else (1, 2, 4))
        expected += kind * t.columns.shape[1] ** 2
    assert expected == commutant
    for i, s in enumerate(types):
        for t in types[i + 1 :]:
            assert len(invariants(s.generators, t.generators.dual)) == 0


def both(rep):
    return [rep, rep.dual]


@pytest.mark.parametrize(
    ("rep", "kind"),
    [
        (lambda: v("so3"), 1),
        (lambda: v("o5"), 1),
        (lambda: v("icosahedral"), 1),
        (lambda: v("c5"), 2),
        (lambda: v("so2"), 2),
        (lambda: v("su3").real, 2),
        (lambda: v("su2").real, 4),
        (lambda: v("usp2").real, 4),
        (lambda: v("su2"), 1),
        (lambda: v("lorentz"), 1),
        (lambda: v("sp2"), 1),
    ],
)
def test_types_of_commutants(rep, kind):
    """Real, complex and quaternionic irreducible representations: ranks 1, 2 and 4."""
    rep = rep()
    for backend in ("isotypic", "gram"):
        p = projector([rep.dual, rep], backend=backend)
        assert p.rank() == kind
        np.testing.assert_allclose(dense(p), kernel_projector([rep.dual, rep]), atol=1e-11)
    three = projector([3 * rep.dual, rep + rep])
    assert three.rank() == 6 * kind


def test_the_quaternions_commute_with_su2():
    """The invariants of V.real -> V.real are 1, i, j, k: an algebra with these products."""
    rep = v("su2").real
    p = projector([rep.dual, rep])
    matrices = np.linalg.svd(dense(p))[0][:, :4].T.reshape(4, 4, 4)
    inside = dense(p)
    for a in matrices:
        for b in matrices:
            product = (a @ b).reshape(-1)
            np.testing.assert_allclose(inside @ product, product, atol=1e-12)
    # traceless ones square to minus a multiple of the identity
    basis = [m - np.trace(m) / 4 * np.eye(4) for m in matrices]
    for m in basis:
        square = m @ m
        np.testing.assert_allclose(square, square[0, 0] * np.eye(4), atol=1e-12)
        assert square[0, 0] <= 1e-12


def test_complex_maps_of_su2():
    """V -> V over the complex numbers: multiples of the identity, complex weights only."""
    rep = v("su2")
    p = sq.projector("i o", {"i": rep.dual, "o": rep})
    rng = np.random.default_rng(0)
    w = rng.standard_normal((2, 2)) + 1j * rng.standard_normal((2, 2))
    np.testing.assert_allclose(p(w), np.trace(w) / 2 * np.eye(2), atol=1e-14)
    assert (p.rank(), p.dim) == (1, 4)
    with pytest.raises(TypeError, match="complex"):
        p(w.real)
    # V (x) V has the singlet, V (x) dual(V) the trace
    singlet = sq.projector("a b", {"a": rep, "b": rep})(w)
    np.testing.assert_allclose(singlet, (w - w.T) / 2, atol=1e-14)


def test_pauli_matrices_are_a_vector():
    """SU(2)-equivariant maps from spin 1 to V (x) dual(V) are multiples of the Pauli matrices."""
    su2, so3 = group_of("su2"), group_of("so3")
    rotation = sq.reps.restrict(v("so3"), su2, double_cover)
    assert rotation.group == su2
    p = sq.projector("a i o", {"a": rotation, "i": v("su2").dual, "o": v("su2")})
    assert p.rank() == 1
    w = np.einsum("aio->aoi", PAULI).astype(complex)
    np.testing.assert_allclose(p(w), w, atol=1e-10)
    assert so3.contains(double_cover(su2.exp([0.3, -1.0, 0.5])))


def double_cover(g):
    """R with ``g sigma_b g^H = sum_a R_ab sigma_a``."""
    moved = g @ PAULI @ np.conj(np.swapaxes(g, -1, -2))
    return np.einsum("aij,bji->ab", PAULI, moved).real / 2


def test_invariants_of_equal_dimension_but_different_type():
    """d = 3 twice in the octahedral group, and irreducible parts that are conjugate in C5."""
    group = group_of("octahedral")
    sign = sq.reps.from_generators(group, discrete=[[[-1.0]], [[1.0]]])
    first, second = v("octahedral"), v("octahedral") * sign
    assert projector([first, second]).rank() == 0
    assert projector([first, first]).rank() == 1
    c5 = group_of("c5")
    one, two = sq.reps.irrep(c5, 1), sq.reps.irrep(c5, 2)
    for backend in ("isotypic", "gram", "spectral", "mean"):
        assert projector([one, two], backend=backend).rank() == 0
        assert projector([one, one], backend=backend).rank() == 2
        assert projector([one * one, two], backend=backend).rank() == 2


@pytest.mark.parametrize(("degrees", "rank"), [((8, 9), 0), ((8, 8), 1), ((3, 8, 8), 1)])
def test_large_irreducible_pairs(degrees, rank):
    """Beyond the size at which all levels are kept, with and without invariants."""
    reps = [sq.reps.irrep(group_of("so3"), degree) for degree in degrees]
    p = projector(reps)
    assert p.rank() == rank
    w = np.random.default_rng(0).standard_normal((*(rep.dim for rep in reps), 1))
    kept = p(w)
    np.testing.assert_allclose(p(kept), kept, atol=1e-11)
    g = group_of("so3").exp([0.3, -0.7, 1.1])
    np.testing.assert_allclose(p.act(g, kept), kept, atol=1e-10)
    assert (np.linalg.norm(kept) > 1e-3) == (rank > 0)


def test_sixth_powers():
    """Matrix-free sizes: dimension 4096, Brauer counting (14 and 5 of 15 for small groups)."""
    for name, rank in (("usp2", 14), ("lorentz", 15), ("su2", 5)):
        assert projector([v(name)] * 6).rank() == rank


@pytest.mark.parametrize("name", ["octahedral", "s4", "d4", "icosahedral"])
def test_the_regular_representation_contains_everything(name):
    """rank(regular -> V) = dim V, rank(regular -> regular) = |G|, by the pair filter."""
    group = group_of(name)
    regular = sq.reps.regular(group)
    for backend in (None, "isotypic"):
        for rep in (v(name), v(name) * v(name), sq.reps.trivial(group, 3)):
            assert projector([regular, rep], backend=backend).rank() == rep.dim
        assert projector([regular, regular], backend=backend).rank() == group.order


def test_builds_repeat():
    """The random elements of the commutant come from a fixed seed."""
    reps = [v("so3") * v("so3"), v("so3") * v("so3")]
    p = projector(reps, backend="isotypic")
    again = splitting.__wrapped__(p.space, False, "isotypic", "central").filters[0]
    np.testing.assert_array_equal(p.filters[0].left, again.left)
