"""How gains transform."""

import math

import jax
import numpy as np
import pytest

from softeq_jax import groups, reps


def _signs(group):
    return np.linalg.det(group.discrete_generators)[:, None, None].round()


def _cases():
    d4, c3, so2, so3, s3 = (groups.from_name(n) for n in ("d4", "c3", "so2", "so3", "s3"))
    oct_ = groups.octahedral()
    signed = [
        reps.vector(d4),
        reps.vector(d4) * reps.vector(d4),
        reps.irrep(d4, (2, -1)),
        3 * reps.vector(oct_) + reps.regular(oct_),
        reps.points(oct_, 2),
        reps.vector(groups.product(d4, oct_)),
        reps.vector(d4) + reps.image(d4, (2, 2)),
        reps.from_generators(s3, discrete=_signs(s3) * reps.vector(s3).discrete_matrices()),
    ]
    mixed = [
        reps.vector(c3),
        reps.vector(c3) + reps.regular(c3),
        reps.vector(so3) + 2 * reps.trivial(so3),
        2 * reps.irrep(so3, 2),
        reps.vector(so2) * reps.vector(so2),
        reps.irrep(groups.dihedral(5), 2) + reps.irrep(groups.dihedral(5), (0, -1)),
        reps.vector(groups.lorentz()),
        reps.vector(groups.su(2)) + reps.trivial(groups.su(2)),
    ]
    return signed, mixed


@pytest.mark.slow
@pytest.mark.parametrize("rep", _cases()[0], ids=repr)
def test_gains_of_signed_permutations(rep, obeys):
    gains = reps.diagonal(rep)
    assert gains.is_permutation
    assert gains.shape == rep.shape
    obeys(gains)
    d = np.random.default_rng(0).normal(size=rep.dim)
    for g in rep.group.sample(jax.random.key(0), 4):
        m = rep.matrix(np.asarray(g))
        moved = m @ np.diag(d) @ m.T
        np.testing.assert_allclose(np.diag(gains.apply(g, d)), moved, atol=1e-12)


@pytest.mark.parametrize("rep", _cases()[1], ids=repr)
def test_gains_of_entries_that_are_mixed(rep, elements):
    """The invariant diagonal matrices, by linear algebra: D with [rho(g), D] = 0."""
    gains = reps.diagonal(rep)
    assert isinstance(gains, reps.Gains)
    assert gains.is_gains
    assert gains.shape == rep.shape
    rows = []
    for g in elements(rep.group, 4):
        m = rep.matrix(g)
        for i in range(rep.dim):  # of D = e_i e_i^T
            unit = np.zeros((rep.dim, rep.dim))
            unit[i, i] = 1
            rows.append((m @ unit - unit @ m).reshape(-1))
    equations = np.array(rows).reshape(-1, rep.dim, rep.dim**2)
    equations = np.moveaxis(equations, 1, 2).reshape(-1, rep.dim)
    labels = gains.labels
    constant = np.eye(labels.max() + 1)[labels]
    np.testing.assert_allclose(equations @ constant, 0, atol=1e-10)
    rank = np.linalg.matrix_rank(equations, tol=1e-8)
    assert rep.dim - rank == labels.max() + 1
    np.testing.assert_array_equal(np.unique(labels, return_index=True)[1], _first(labels))
    assert not labels.flags.writeable


def _first(labels):
    """Labels are numbered in the order they first occur."""
    found = [int(np.argmax(labels == k)) for k in range(labels.max() + 1)]
    assert found == sorted(found)
    return found


def test_gains_have_no_matrices():
    so3 = groups.so(3)
    gains = reps.diagonal(reps.vector(so3) + reps.trivial(so3))
    assert repr(gains) == "Gains[V + 1](SO(3))"
    np.testing.assert_array_equal(gains.labels, [0, 0, 0, 1])
    ((term, index),) = gains.terms()
    assert (term.multiplicity, term.atoms, index.shape) == (1, (gains,), (1, 4))
    for call in (
        lambda: gains.matrix(np.eye(3)),
        gains.lie_matrices,
        lambda: gains.apply(np.eye(3), np.ones(4)),
    ):
        with pytest.raises(ValueError, match="has no matrices.*constant on its components"):
            call()
    assert gains.frequencies() is None
    assert gains.dual == gains
    assert gains == reps.diagonal(reps.vector(so3) + reps.trivial(so3))
    assert not hasattr(reps.vector(so3), "is_gains")
    assert not gains.is_trivial
    assert not gains.is_permutation


def test_gains_that_need_no_change():
    d4 = groups.dihedral(4)
    for rep in (reps.image(d4, (3, 3)), reps.regular(d4), reps.trivial(d4, 3)):
        assert reps.diagonal(rep) is rep
    v = reps.vector(d4)
    assert repr(reps.diagonal(v)) == "|V|(D4)"
    assert repr(reps.diagonal(2 * v + reps.regular(d4))) == "(2·|V| + regular)(D4)"
    assert reps.diagonal(v) == reps.diagonal(v)
    assert reps.diagonal(reps.diagonal(v)) == reps.diagonal(v)
    assert isinstance(reps.diagonal(reps.vector(groups.dihedral(8))), reps.Gains)
    assert reps.diagonal(v).apply(d4.element(math.pi / 2), np.array([1, 2])).tolist() == [2, 1]
    with pytest.raises(TypeError, match="needs a representation"):
        reps.diagonal(d4)
