"""Builds of minutes: quick where mathematics allows it, otherwise told once after some seconds."""

import logging
import math
import time

import jax
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import _sizes, groups, reps

SO3, O3 = groups.so(3), groups.o(3)


def moving(n: int, *cycles: tuple[int, ...]) -> np.ndarray:
    p = np.arange(n)
    for cycle in cycles:
        p[list(cycle)] = np.roll(cycle, -1)
    return p


def on_blocks(p: np.ndarray, size: int) -> np.ndarray:
    return (size * p[:, None] + np.arange(size)).reshape(-1)


def two_halves(p: np.ndarray) -> np.ndarray:
    return np.concatenate([p, p + len(p)])


CHAINS = {
    "alternating": (
        [moving(100, (0, 1, 2)), moving(100, tuple(range(1, 100)))], math.factorial(100) // 2
    ),
    "symmetric": ([moving(100, (0, 1)), moving(100, tuple(range(100)))], math.factorial(100)),
    "dihedral": ([moving(150, tuple(range(150))), np.arange(150)[::-1]], 300),
    "a wreath product": (
        [
            moving(80, (0, 1)),
            on_blocks(moving(40, (0, 1)), 2),
            on_blocks(moving(40, tuple(range(40))), 2),
        ],
        2**40 * math.factorial(40),
    ),
    "one group on two halves": (
        [two_halves(moving(40, (0, 1))), two_halves(moving(40, tuple(range(40))))],
        math.factorial(40),
    ),
    "one sign on two orbits": (
        [
            two_halves(moving(40, (0, 1))), two_halves(moving(40, tuple(range(40)))),
            moving(80, (0, 1, 2)),
        ],
        math.factorial(40) ** 2 // 2,
    ),
    "many small orbits": ([moving(80, (2 * i, 2 * i + 1)) for i in range(40)], 2**40),
    "the identity": ([np.arange(100)], 1),
}  # fmt: skip


@pytest.mark.slow(5)
@pytest.mark.parametrize("name", CHAINS)
def test_groups_of_many_points_know_their_order_and_elements(name):
    generators, order = CHAINS[name]
    n = len(generators[0])
    G = groups.from_generators("G", discrete=generators)
    assert G.order == order
    product = np.arange(n)
    for i in np.random.default_rng(0).integers(len(generators), size=50):
        product = product[generators[i]]
    G.check(product)
    for g in np.asarray(G.sample(jax.random.key(0), 3)):
        G.check(g)
    if order < math.factorial(n):
        with pytest.raises(ValueError, match="not in G"):
            G.check(moving(n, (0, 1), (2, 3), (4, 5)) if order == 1 else moving(n, (0, 2)))


@pytest.mark.parametrize(
    ("group", "labels", "rank"),
    [(SO3, (300, 300), 1), (SO3, (40, 41), 0), (O3, ("30e", "30e"), 1), (O3, ("30e", "30o"), 0)],
)
def test_maps_between_irreducible_representations_follow_from_schur(group, labels, rank):
    i, o = (reps.irrep(group, label) for label in labels)
    P = sq.projector("i o", {"i": i, "o": o})
    assert P.rank() == rank
    w = np.random.default_rng(0).normal(size=(i.dim, o.dim))
    expected = rank * np.trace(w) / i.dim * np.eye(i.dim, o.dim)
    np.testing.assert_allclose(P(w), expected, atol=1e-8)


@pytest.mark.slow(6)
def test_long_tensors_are_decomposed_by_thin_matrices():
    """The invariants of V^8 under O(4) are spanned by the 105 pairings of 8 factors (Weyl)."""
    P = sq.projector("n", {"n": reps.tensor(groups.o(4), 4, 4)})
    assert P.rank() == 105
    e = np.eye(4)
    paired = np.einsum("ab,cd,ef,gh->abcdefgh", e, e, e, e).reshape(-1)
    crossed = np.einsum("ae,bf,cg,dh->abcdefgh", e, e, e, e).reshape(-1)
    for w in (paired, crossed):
        np.testing.assert_allclose(P(w), w, atol=1e-9)


def test_a_build_that_takes_long_says_so_once(monkeypatch, caplog):
    monkeypatch.setattr(_sizes, "PATIENCE", 0.02)
    with caplog.at_level(logging.INFO, "softeq_jax"):
        with _sizes.told("knitting a group", "take less wool"):
            time.sleep(0.1)
        with _sizes.told("knitting a sock", "take less wool"):
            pass
        time.sleep(0.1)
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warned == ["knitting a group: still working after 0.02 seconds; take less wool"]
    started = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    assert started == ["knitting a group", "knitting a sock"]


def signed(p: np.ndarray, signs: np.ndarray) -> np.ndarray:
    return np.eye(len(p))[:, np.argsort(p)] * signs


def hyperoctahedral(n: int) -> list[np.ndarray]:
    signs = np.r_[-1.0, np.ones(n - 1)]
    swap, turn = moving(n, (0, 1)), moving(n, tuple(range(n)))
    return [signed(swap, signs**2), signed(turn, signs**2), signed(np.arange(n), signs)]


LONG = {
    "projector of": lambda: sq.projector("i o", {"i": reps.vector(SO3), "o": reps.tensor(SO3, 7)}),
    "stabilizers of 2 permutations of 97 points": lambda: (
        groups.from_generators(
            "A", discrete=[moving(97, (0, 1, 2)), moving(97, tuple(range(97)))]
        ).order
    ),
    "products of 3 matrices of 5 x 5": lambda: groups.from_generators(
        "B", discrete=hyperoctahedral(5)
    ),
}


@pytest.mark.slow(6)
@pytest.mark.parametrize("what", LONG)
def test_builds_that_may_be_long_are_told(what, monkeypatch, caplog):
    monkeypatch.setattr(_sizes, "PATIENCE", 1e-4)
    with caplog.at_level(logging.WARNING, "softeq_jax"):
        LONG[what]()
    assert any(what in r.getMessage() and "seconds; " in r.getMessage() for r in caplog.records)


def test_lists_of_products_of_large_matrices_are_refused_as_they_grow():
    before = sq.memory_limit(2**22)
    try:
        with pytest.raises(sq.TooLargeError, match=r"products of matrices of 30 x 30"):
            groups.from_generators("B", discrete=hyperoctahedral(30))
    finally:
        sq.memory_limit(before)
