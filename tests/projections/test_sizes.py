"""Sizes: estimates before building, programs that projectors share, and weights without entries."""

import math

import jax
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import groups, orbits, reps
from softeq_jax.projections import _filter

SO2, SO3 = groups.so(2), groups.so(3)

TOO_LARGE = {
    "interpolated grid": lambda: sq.projector("h w", {"h w": reps.image(SO2, (224, 224))}),
    "levels of a large grid": lambda: sq.projector(
        "h w", {"h w": reps.image(groups.dihedral(4), (224, 224))}, softness=0.5, mask="hard"
    ),
    "circle": lambda: sq.projector("n", {"n": reps.circle(SO2, 100_000)}),
    "matrices of pixels": lambda: reps.image(groups.cyclic(4), (224, 224)).matrix(np.eye(2)),
    "Lie algebra": lambda: groups.so(300).lie_generators,
    "generators": lambda: sq.projector("i", {"i": reps.vector(groups.so(100))}),
    "tensor": lambda: reps.tensor(SO3, 12).matrix(np.eye(3)),
    "tensor without end": lambda: sq.projector("n", {"n": reps.tensor(SO3, 30)}),
    "copies": lambda: sq.projector("n", {"n": 10**9 * reps.vector(SO3)}),
    "samples": lambda: SO3.sample(0, 10**9),
    "elements": lambda: groups.from_generators("C", discrete=[np.roll(range(3000), 1)]).elements(),
    "orbit": lambda: orbits.orbit(
        reps.regular(groups.cyclic(40_000)), np.zeros(40_000, np.float32)
    ),
    "mean": lambda: orbits.average(
        lambda x: x, reps.vector(groups.cyclic(1000)), None
    )(np.zeros((10**6, 2), np.float32)),
    "distances": lambda: reps.trivial(SO2, 10**5).matrix(np.eye(2)),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_is_too_large_is_refused_with_its_size_and_a_way_out(name):
    with pytest.raises(
        sq.TooLargeError, match=r"needs about .*iB, above the limit of 4 GiB: "
    ) as e:
        TOO_LARGE[name]()
    assert isinstance(e.value, MemoryError)
    assert isinstance(e.value, ValueError)


def test_the_limit_can_be_raised_and_lowered():
    before = sq.memory_limit()
    assert before == 2**32
    assert sq.memory_limit(10) == before
    try:
        with pytest.raises(sq.TooLargeError, match="above the limit of 10 bytes"):
            reps.trivial(SO3, 12_345).matrix(np.eye(3))
    finally:
        assert sq.memory_limit(before) == 10
    for wrong in (0, -1, math.inf, math.nan, True):
        with pytest.raises(ValueError, match="number of bytes > 0"):
            sq.memory_limit(wrong)


@pytest.mark.slow(4)
@pytest.mark.parametrize("make", [groups.cyclic, groups.dihedral])
def test_a_fine_group_is_treated_as_finely_as_the_degree_needs(make):
    """A certificate is that of the circle, of which it is a subgroup; means are those of it."""
    fine, whole = make(10**9), groups.so(2) if make is groups.cyclic else groups.o(2)
    w = np.random.default_rng(0).normal(size=(5, 5, 2))
    found = []
    for group in (fine, whole):
        P = sq.projector("h w c", {"h w": reps.image(group, (5, 5)), "c": reps.vector(group)})
        local, top = P.certificate(w, within=0.3).bound, P.certificate(w).bound
        each = [P.certificate(w, angle=k * math.pi / 50).bound for k in range(100)]
        assert top >= max(each) - 1e-9
        found.append([P.rank(), local, top, P.certificate().bound, *P.levels()])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    image = reps.image(fine, (5, 5)), reps.image(whole, (5, 5))
    f = [orbits.average(lambda x: x**2, rep, rep)(w[..., 0].astype(np.float32)) for rep in image]
    np.testing.assert_allclose(f[0], f[1], atol=2e-5)
    assert fine.sample(jax.random.key(0), 3).shape == (3, 2, 2)


def test_large_permuted_grids_need_no_basis():
    P = sq.projector("h w", {"h w": reps.image(groups.cyclic(4), (64, 64))})
    w = np.random.default_rng(0).normal(size=(64, 64))
    expected = sum(np.rot90(w, k) for k in range(4)) / 4
    np.testing.assert_allclose(np.asarray(P(w)), expected, atol=1e-6)
    assert P.rank() == 32 * 32
    assert P.certificate(P(w)).bound < 1e-4


def test_projectors_of_one_structure_share_a_program():
    """301 of them held 540 MB: a program for each."""
    w = np.ones((9, 9), np.float32)
    sq.projector("h w", {"h w": reps.image(groups.cyclic(39), (9, 9))})(w)
    before = _filter.jitted_split_parts._cache_size()
    for n in range(40, 60):
        P = sq.projector("h w", {"h w": reps.image(groups.cyclic(n), (9, 9))})
        P(w)
    assert _filter.jitted_split_parts._cache_size() == before


EMPTY = {
    "kernels": ("h w i o", {"h w": reps.image(SO2, (3, 3))}, (3, 3, 0, 4)),
    "vectors": ("i o c", {"i": reps.vector(SO3), "o": reps.vector(SO3)}, (3, 3, 0)),
    "permuted": ("n c", {"n": reps.tokens(groups.cyclic(4), (20, 20))}, (400, 0)),
}


@pytest.mark.parametrize("name", EMPTY)
def test_weights_without_entries_stay_as_they_are(name):
    spec, acting, shape = EMPTY[name]
    P = sq.projector(spec, acting)
    for w in (np.zeros(shape, np.float32), np.zeros(shape)):
        kept, rest = P.split(w)
        assert kept.shape == rest.shape == shape
        found = P.certificate(w)
        assert found.certified
        assert found.bound == found.weight_norm == 0.0
    plan = sq.plan({"w": np.zeros(shape, np.float32)}, {"w": P})
    assert plan.project({"w": np.zeros(shape, np.float32)})["w"].shape == shape
