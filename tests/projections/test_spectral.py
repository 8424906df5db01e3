"""Joint frequencies of planar groups: recombination, the FFT, flips, unmatched patterns."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from projection_oracle import dense, group_of, kernel_projector, kron, projector, random_weight

import softeq_jax as sq
from softeq_jax.projections.backends import SpectralFilter

NAMES = ("c1", "c2", "c3", "c4", "c5", "c6", "c8", "d1", "d2", "d3", "d4", "d5", "d6", "so2", "o2")


def leaves(group, size):
    """Small planar representations of every kind."""
    found = {
        "vector": lambda: sq.reps.vector(group),
        "circle": lambda: sq.reps.circle(group, size),
        "image": lambda: sq.reps.image(group, (size % 3 + 1,) * 2),
        "sum": lambda: sq.reps.vector(group) + sq.reps.trivial(group) + sq.reps.circle(group, 3),
        "copies": lambda: 2 * sq.reps.vector(group),
        "product": lambda: sq.reps.vector(group) * sq.reps.vector(group),
    }
    n = group.rotations
    found["irrep"] = lambda: sq.reps.irrep(group, 1 if n is None or n > 2 else 0)
    if group.is_finite:
        found["regular"] = lambda: sq.reps.regular(group)
    if group.has_flip:
        found["sign"] = lambda: sq.reps.irrep(group, (0, -1))
    return found


@st.composite
def planar(draw):
    group = group_of(draw(st.sampled_from(NAMES)))
    reps, n = [], 1
    for _ in range(draw(st.integers(1, 3))):
        rep = leaves(group, draw(st.integers(1, 9)))[
            draw(st.sampled_from(sorted(leaves(group, 1))))
        ]
        rep = rep()
        if n * rep.dim <= 180:
            reps.append(rep)
            n *= rep.dim
    return reps or [sq.reps.vector(group)]


def level_matrices(reps):
    """``{sigma: projector}`` by complex eigenvectors of one rotation, then by the flip."""
    group = reps[0].group
    n = np.prod([rep.dim for rep in reps])
    if group.rotations is None:
        total = 0
        for i, rep in enumerate(reps):
            eyes = [np.eye(other.dim) for other in reps]
            eyes[i] = rep.lie_matrices()[0]
            total = total + kron(eyes)
        values, vectors = np.linalg.eigh(1j * total)
        sigma = np.abs(np.round(values))
    else:
        turn = kron([rep.matrix(group.element(2 * np.pi / group.rotations)) for rep in reps])
        values, vectors = np.linalg.eigh(turn + turn.T)  # 2 cos of the angle
        angle = np.arccos(np.clip(values / 2, -1, 1))
        m = np.round(angle * group.rotations / (2 * np.pi))
        sigma = group.rotations / np.pi * np.sin(np.pi * m / group.rotations)
    found = {}
    for value in np.unique(np.round(sigma, 9)):
        columns = vectors[:, np.abs(sigma - value) < 1e-6]
        found[float(value)] = (columns @ columns.conj().T).real
    if group.has_flip:
        flip = kron([rep.matrix(group.element(flip=True)) for rep in reps])
        fixed = found.pop(0.0, np.zeros((n, n)))
        found[0.0] = fixed @ (np.eye(n) + flip) / 2
        found[round(2 / np.pi, 9)] = found.get(round(2 / np.pi, 9), 0) + fixed @ (
            np.eye(n) - flip
        ) / 2  # fmt: skip
    return found


@given(planar())
@examples(fast=120)
def test_every_level_is_that_of_the_complex_eigenvectors(reps):
    """Where all patterns are matched, for every planar group and up to three axes."""
    if any(rep.unmatched.shape[1] for rep in reps):
        return
    p = projector(reps, softness=1.0)
    expected = level_matrices(reps)
    before = np.zeros((p.dim, p.dim))
    for level, dimension in zip(p.levels(), p.dimensions(), strict=True):
        cut = dense(p.at(cutoff=level))
        own = expected[min(expected, key=lambda x: abs(x - level))]
        assert dimension == round(np.trace(own))
        np.testing.assert_allclose(cut - before, own, atol=1e-9)
        before = cut
    np.testing.assert_allclose(before, np.eye(p.dim), atol=1e-12)


@given(planar())
@examples(fast=60)
def test_the_joint_transform_is_orthogonal(reps):
    """Unmatched patterns included: they have no finite level and only the identity keeps them."""
    p = projector(reps, backend="spectral", softness=1.0)
    for filter_ in p.filters:
        if not isinstance(filter_, SpectralFilter):
            continue
        n = np.prod([half.singles + 2 * half.pairs for half in filter_.halves])
        inside = filter_.analysis(np.eye(n))
        np.testing.assert_allclose(inside @ inside.T, np.eye(n), atol=1e-12)
        dropped = np.zeros(len(p.spectrum.values) + 1)
        np.testing.assert_allclose(filter_.removed(np.eye(n), dropped + 1), np.eye(n), atol=1e-12)
        np.testing.assert_allclose(filter_.removed(np.eye(n), dropped), 0, atol=1e-12)
    assert p.dim == p.spectrum.total


def test_two_vectors_recombine_as_the_formula_says():
    """((c_aa - c_bb), (c_ab + c_ba)) / sqrt 2 turns by m1 + m2, ((c_aa + c_bb), ..) by m1 - m2."""
    so2 = group_of("so2")
    for m1, m2 in ((1, 1), (2, 1), (1, 3)):
        a, b = sq.reps.irrep(so2, m1), sq.reps.irrep(so2, m2)
        p = projector([a, b])
        w = np.random.default_rng(0).standard_normal((2, 2, 1))
        levels = sorted({m1 + m2, abs(m1 - m2)})
        assert p.levels().tolist() == levels
        lower = p.at(cutoff=levels[0])(w)[..., 0] if levels[0] else p(w)[..., 0]
        c = w[..., 0]
        expected = np.array([[c[0, 0] + c[1, 1], c[0, 1] - c[1, 0]],
                             [c[1, 0] - c[0, 1], c[0, 0] + c[1, 1]]]) / 2  # fmt: skip
        np.testing.assert_allclose(lower, expected, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n"), [("c256", 256), ("c257", 257)])
def test_long_cyclic_shifts_by_the_fft(name, n):
    group = group_of(name)
    circle, vector = sq.reps.circle(group, n), sq.reps.vector(group)
    for first in (circle, sq.reps.regular(group)):
        p = projector([first])
        assert p.filters[0].bases[0].size == 0
        np.testing.assert_allclose(dense(p), np.full((n, n), 1 / n), atol=1e-13)
        m = np.arange(n // 2 + 1)
        np.testing.assert_allclose(p.levels(), n / np.pi * np.sin(np.pi * m / n), atol=1e-12)
        # a low-pass filter, as a circulant matrix
        cut = dense(p.at(cutoff=float(p.levels()[5])))
        distance = np.subtract.outer(np.arange(n), np.arange(n))
        dirichlet = (1 + 2 * sum(np.cos(2 * np.pi * m * distance / n) for m in range(1, 6))) / n
        np.testing.assert_allclose(cut, dirichlet, atol=1e-12)
    both = projector([circle, vector])
    assert both.rank() == 2
    np.testing.assert_allclose(dense(both), kernel_projector([circle, vector]), atol=1e-10)
    two = projector([vector, circle, vector])
    w = random_weight(two, np.random.default_rng(0))
    g = group.element(2 * np.pi * 7 / n)
    soft = two.at(softness=0.3)
    np.testing.assert_allclose(two.act(g, soft(w)), soft(two.act(g, w)), atol=1e-11)
    single = np.asarray(soft(jnp.asarray(w, jnp.float32)))
    np.testing.assert_allclose(single, soft(w), atol=3e-6)


@pytest.mark.parametrize("name", ["so2", "c12", "c5", "o2", "d8"])
@pytest.mark.parametrize("k", [2, 4, 6])
def test_unmatched_patterns_of_even_grids(name, k):
    """Removed by every cut below the identity, kept by the identity; softness ignores them."""
    image = sq.reps.image(group_of(name), (k, k))
    p = sq.projector("h w z", {"h w": image})
    u = image.unmatched
    assert p.spectrum.infinite == u.shape[1]
    for cut in [p, *(p.at(cutoff=b) for b in p.levels()), p.at(softness=0.999)]:
        if cut.softness < 1:
            np.testing.assert_allclose(dense(cut) @ u, 0, atol=1e-12)
    np.testing.assert_allclose(dense(p.at(softness=1.0)), np.eye(k * k), atol=0)
    if u.shape[1]:
        top = p.at(cutoff=float(p.levels()[-1]))
        assert top.rank() == k * k - u.shape[1]
        assert 1 - 1e-12 < top.softness < 1
        again = p.at(softness=top.softness)
        assert again.rank() == top.rank()
    with_vector = sq.projector(
        "h w c z", {"h w": image, "c": sq.reps.vector(group_of(name))}, softness=1.0
    )
    assert with_vector.spectrum.infinite == 2 * u.shape[1]


@pytest.mark.parametrize("name", ["so2", "o2"])
def test_unmatched_patterns_of_a_circle(name):
    circle = sq.reps.circle(group_of(name), 8)
    p = projector([circle])
    assert p.rank() == 1
    assert p.levels().tolist() == [0, 1, 2, 3]
    pattern = np.where(np.arange(8) % 2, -1.0, 1.0)[:, None]
    np.testing.assert_allclose(p.at(cutoff=3.0)(pattern), 0, atol=1e-14)
    np.testing.assert_array_equal(p.at(softness=1.0)(pattern), pattern)


def test_no_array_is_larger_than_its_axis():
    """h w i o of a 7x7 kernel with 16 vectors: 49 x 49, 2 x 2, and one index per coefficient."""
    so2 = group_of("so2")
    v = sq.reps.vector(so2)
    p = sq.projector(
        "h w i o", {"h w": sq.reps.image(so2, (7, 7)), "i": 16 * v, "o": 16 * v}, cutoff=1.0
    )
    sizes = [np.size(leaf) for leaf in jax.tree.leaves(p.filters)]
    assert max(sizes) == 49 * 49
    assert len(p.filters) == 1
    w = np.random.default_rng(0).standard_normal((7, 7, 32, 32))
    g = so2.element(0.7)
    np.testing.assert_allclose(p.act(g, p(w)), p(p.act(g, w)), atol=1e-11)


def test_flip_odd_singles():
    """A sign representation turns pairs into pairs with the halves exchanged."""
    o2 = group_of("o2")
    sign, v = sq.reps.irrep(o2, (0, -1)), sq.reps.vector(o2)
    for reps in itertools.permutations([sign, v, v, sign], 4):
        p = projector(list(reps))
        np.testing.assert_allclose(dense(p), kernel_projector(list(reps)), atol=1e-12)
    cross = projector([sign, v, v])
    np.testing.assert_allclose(cross.levels(), [0, 2 / np.pi, 2])
    # the invariant is the cross product, up to the sign convention of the representation
    np.testing.assert_allclose(np.abs(dense(cross)[1]), [0, 0.5, 0.5, 0], atol=1e-14)
