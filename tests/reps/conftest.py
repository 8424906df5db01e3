"""What every representation must obey, checked against its own matrices and scipy's exponential."""

import functools
import math

import numpy as np
import pytest
import scipy.linalg

from softeq_jax import groups


def _elements(group, n, seed=0):
    """Random products of exponentials and of discrete generators."""
    rng, found = np.random.default_rng(seed), []
    lie, discrete = group.lie_generators, group.discrete_generators
    for _ in range(n):
        g = np.eye(group.d)
        for _ in range(3):
            t = rng.normal(size=len(lie)) / max(1, len(lie)) ** 0.5
            g = g @ scipy.linalg.expm(np.tensordot(t, lie, 1)) if len(lie) else g
            for i in rng.integers(len(discrete), size=rng.integers(1, 6) if len(discrete) else 0):
                g = g @ discrete[i]
        found.append(g)
    return found


def _numbers(rep, *shape, seed=0):
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(*shape, rep.dim))
    return real + 1j * rng.normal(size=real.shape) if rep.is_complex else real


def _kron_of_atoms(term, g):
    blocks = [atom.matrix(g) for atom in term.atoms]
    return np.kron(np.eye(term.multiplicity), functools.reduce(np.kron, blocks, np.eye(1)))


def _check_frequencies(rep, gs):
    f = rep.frequencies()
    basis, sign = f.basis, np.where(f.odd, -1, 1)
    np.testing.assert_allclose(basis.T @ basis, np.eye(rep.dim), atol=1e-12)
    for array in (f.basis, f.frequency, f.odd, f.partner, f.unmatched):
        assert not array.flags.writeable
    even, odd, m = f.pairs()
    np.testing.assert_array_equal(f.partner[odd], even)
    np.testing.assert_array_equal(f.frequency[odd], m)
    assert f.odd[odd].all()
    assert not f.odd[even].any()
    assert len(even) * 2 + (f.partner < 0).sum() == rep.dim
    np.testing.assert_array_equal(f.frequency[f.unmatched], -1)
    assert (f.frequency[~f.unmatched] >= 0).all()
    for g in gs:
        angle, flip = rep.group.parameters(g)
        m = np.where(f.unmatched, 0, f.frequency)
        sin = np.where(f.partner < 0, 0, np.sin(m * angle) * sign)
        turned = basis * np.cos(m * angle) + basis[:, f.partner] * sin
        expected = turned @ (basis * (sign if flip else 1)).T
        np.testing.assert_allclose(rep.matrix(g), expected, atol=1e-11)


def _obeys(rep, tolerance=1e-10, seed=0):
    group = rep.group
    gs = _elements(group, 4, seed)
    mats = [rep.matrix(g) for g in gs]
    scale = max(1.0, max(np.abs(m).max() for m in mats)) ** 2

    def close(found, expected):
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)

    assert rep.dim == math.prod(rep.shape)
    for m in mats:
        assert m.shape == (rep.dim, rep.dim)
        assert m.dtype == rep.dtype
    close(rep.matrix(np.eye(group.d)), np.eye(rep.dim))
    for i, j in ((0, 1), (1, 2), (2, 3), (3, 3)):
        close(rep.matrix(gs[i] @ gs[j]), mats[i] @ mats[j])
    lie = rep.lie_matrices()
    assert lie.shape == (len(group.lie_generators), rep.dim, rep.dim)
    for a, matrix in zip(group.lie_generators, lie, strict=True):
        close(rep.matrix(scipy.linalg.expm(0.7 * a)), scipy.linalg.expm(0.7 * matrix))
    discrete = rep.discrete_matrices()
    assert discrete.shape == (len(group.discrete_generators), rep.dim, rep.dim)
    for h, matrix in zip(group.discrete_generators, discrete, strict=True):
        close(rep.matrix(h), matrix)

    if rep.is_orthogonal:
        for m in mats:
            close(m @ m.conj().T, np.eye(rep.dim))
    permutes = all(
        np.all(np.isin(m, (0, 1))) and np.all(m.sum(0) == 1) and np.all(m.sum(1) == 1)
        for m in (m.round(12) for m in mats)
    )
    assert permutes or not rep.is_permutation
    assert not (rep.is_trivial and max(np.abs(m - np.eye(rep.dim)).max() for m in mats) > 1e-9)

    x = _numbers(rep, 2)
    for g, m in zip(gs, mats, strict=True):
        close(rep.apply(g, x), x @ m.T)
        move = rep.signed_permutation(group.check(g))
        if move is not None:
            close(np.eye(rep.dim)[move[0]] * move[1][:, None], m)

    seen = []
    for term, index in rep.terms():
        size = math.prod(atom.dim for atom in term.atoms)
        assert index.shape == (term.multiplicity, size)
        flat = index.reshape(-1)
        seen.append(flat)
        for g, m in zip(gs[:2], mats, strict=False):
            close(m[np.ix_(flat, flat)], _kron_of_atoms(term, g))
            outside = np.setdiff1d(np.arange(rep.dim), flat)
            assert not np.any(np.abs(m[np.ix_(flat, outside)]) > tolerance * scale)
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(rep.dim))

    pairing = rep.dual
    for g, m in zip(gs, mats, strict=True):
        close(pairing.matrix(g).T @ m, np.eye(rep.dim))
    planar = isinstance(group, groups.PlanarGroup)
    if not planar or not rep.is_orthogonal or rep.is_complex:
        assert rep.frequencies() is None
    elif rep.frequencies() is not None:
        _check_frequencies(rep, gs)
        assert rep.unmatched.shape[1] == rep.frequencies().unmatched.sum()
    assert rep in {rep}
    assert repr(rep) == f"{rep.formula}({group})" or repr(rep) == f"({rep.formula})({group})"


@pytest.fixture(scope="session")
def obeys():
    """``obeys(rep)`` asserts the laws that every representation obeys."""
    return _obeys


@pytest.fixture(scope="session")
def elements():
    """``elements(group, n, seed)``: random elements in double precision."""
    return _elements
