"""A certificate is never below the movement: groups beyond the plane, against the worst weights.

The action of an element is written out as a matrix, so that the weights which it moves most, by an
operator norm, are known: for one element, over a neighbourhood, over the group, and a priori.
"""

import functools
import math

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax import groups, reps

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # dials that meet no level

QUATERNIONS = np.array([[[1j, 0], [0, -1j]], [[0, 1], [-1, 0]]])
SLANTED = np.array([[1.0, 0.7], [0.0, 0.5]])
"""A change of basis after which orthogonal matrices are orthogonal no more."""


def unitary(n):
    """U(n), as a user gives it: a basis of the skew Hermitian matrices."""
    basis = []
    for i in range(n):
        for j in range(i, n):
            unit = np.zeros((n, n), complex)
            unit[i, j] = 1.0
            basis += [unit - unit.T] if i < j else []
            basis += [1j * (unit + unit.T)]
    return groups.from_generators(f"U({n})", lie=np.array(basis))


def slanted(matrices):
    return SLANTED @ np.asarray(matrices) @ np.linalg.inv(SLANTED)


def turns(n):
    t = math.tau / n
    return np.array([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]])


def maps(v, w=None):
    return {"i": v.dual, "o": v if w is None else w}


def own(group, make=maps):
    return lambda: make(reps.vector(group()))


def skewed(group, lie=None, discrete=None):
    """A group by orthogonal matrices on an axis where they are not."""
    return lambda: maps(reps.from_generators(group, lie=lie, discrete=discrete))


def torus(*charges):
    """A torus on vectors, one for each row of charges."""
    group = groups.product(*[groups.so(2)] * len(charges[0]))
    lines = [
        functools.reduce(
            lambda a, b: a * b,
            [
                reps.factor(group, i, reps.irrep(groups.so(2), abs(m)))
                for i, m in enumerate(row)
                if m
            ],
        )
        for row in charges
    ]
    return {"v": functools.reduce(lambda a, b: a + b, lines)}


SO2 = np.array([[[0.0, -1.0], [1.0, 0.0]]])
MIRROR = np.diag([1.0, -1.0])
CASES = {
    "SO(3)": own(lambda: groups.so(3)),
    "SO(3) tensors": own(lambda: groups.so(3), lambda v: {"v": v * v + 2 * v}),
    "SO(3) irreps": lambda: maps(*(reps.irrep(groups.so(3), l) for l in (2, 3))),
    "O(3)": own(lambda: groups.o(3), lambda v: {"i": v * v, "o": v + reps.trivial(v.group)}),
    "O(3) voxels": lambda: {"d h w": reps.voxels(groups.o(3), (3, 3, 3))},
    "O(3) even voxels, with unmatched": lambda: {
        "d h w": reps.voxels(groups.o(3), (2, 2, 2)),
        "o": reps.vector(groups.o(3)),
    },
    "O(4)": own(lambda: groups.o(4)),
    "SO(5)": own(lambda: groups.so(5)),
    "SU(2)": own(lambda: groups.su(2), lambda v: {"i": v.dual, "o": v, "c": v}),
    "SU(3)": own(lambda: groups.su(3)),
    "USp(4)": own(lambda: groups.usp(2)),
    "U(1)": own(lambda: unitary(1), lambda v: {"v": v * v + v}),
    "U(2)": own(lambda: unitary(2), lambda v: {"a": v * v, "b": v}),
    "U(3)": own(lambda: unitary(3)),
    "S3": own(lambda: groups.symmetric(3), lambda v: {"i": v, "o": v, "c": v}),
    "S5": own(lambda: groups.symmetric(5)),
    "S7": own(lambda: groups.symmetric(7)),
    "S9": own(lambda: groups.symmetric(9)),
    "icosahedral": own(groups.icosahedral, lambda v: {"v": v * v + v}),
    "octahedral": lambda: {"v": reps.regular(groups.octahedral())},
    "quaternions": own(lambda: groups.from_generators("Q8", discrete=QUATERNIONS)),
    "reflections": own(lambda: groups.from_generators("mirror", discrete=MIRROR[None])),
    "dihedral": own(lambda: groups.from_generators("D5", discrete=np.array([turns(5), MIRROR]))),
    "slanted C3": own(lambda: groups.from_generators("C3'", discrete=slanted([turns(3)]))),
    "skewed C5": skewed(
        groups.from_generators("C5", discrete=turns(5)[None]), discrete=slanted([turns(5)])
    ),
    "skewed SO(2)": skewed(groups.from_generators("turns", lie=SO2), lie=slanted(SO2)),
    "SO(3) x C4": lambda: (
        lambda g: maps(
            reps.factor(g, 0, reps.vector(groups.so(3))),
            reps.factor(g, 1, reps.regular(groups.cyclic(4))),
        )
    )(groups.product(groups.so(3), groups.cyclic(4))),
    "O(2) x O(3)": own(lambda: groups.product(groups.o(2), groups.o(3))),
    "torus 1": own(lambda: groups.from_generators("T", lie=SO2), lambda v: {"v": v * v * v + v}),
    "torus 2": lambda: torus((1, 0), (0, 1), (2, -3), (1, 1)),
    "torus 3": lambda: torus((1, 1, 0), (0, 1, 2), (1, 0, -1)),
    "torus 4": lambda: torus((1, 1, 0, 0), (0, 0, 1, 1)),
    "Lorentz": own(groups.lorentz),
    "Lorentz vectors": own(groups.lorentz, lambda v: {"v": v * v}),
    "SO+(1,3)": own(lambda: groups.lorentz(special=True, orthochronous=True)),
    "Sp(2,R)": own(lambda: groups.sp(1), lambda v: {"i": v.dual, "o": v, "c": v}),
    "Sp(4,R)": own(lambda: groups.sp(2)),
    "shears": own(lambda: groups.from_generators("shears", lie=[[[0.0, 1.0], [0.0, 0.0]]])),
    "scalings": own(lambda: groups.from_generators("scalings", lie=[[[1.0, 0.0], [0.0, 0.5]]])),
}
DIALS = [
    {"cutoff": 0.0},
    {"cutoff": 1.5},
    {"softness": 0.5},
    {"softness": 1.0},
    {"cutoff": 1.0, "mask": "heat"},
    {"cutoff": 1.0, "mask": "resolvent"},
]


WITHOUT_LEVELS = {"slanted C3", "skewed C5", "skewed SO(2)", "shears"}
"""They have the strict projector and the identity alone."""


@functools.cache
def projector_of(case, dial):
    axes = CASES[case]()
    return sq.projector(" ".join([*axes, "z"]), axes, **DIALS[dial])


def written_out(projector, g):
    """``rho(g)`` on all axes, ``[n, n]``."""
    return functools.reduce(np.kron, [e.rep.matrix(g) for e in projector.space.entries])


@functools.cache
def mask_of(case, dial):
    """P as a matrix ``[n, n]``."""
    projector = projector_of(case, dial)
    n, space = projector.dim, projector.space
    one = np.eye(n, dtype=np.complex128 if space.is_complex else np.float64)
    shape = [size for entry in space.entries for size in entry.rep.shape]
    return np.asarray(projector(one.reshape(*shape, n))).reshape(n, n)


def element(group, rng):
    """An element: exponentials of lengths of all sizes, and a word of generators."""
    g = np.eye(group.d, dtype=group.dtype)
    k, longest = len(group.lie_generators), math.pi if group.is_compact else 1.5
    if k:
        for _ in range(rng.integers(1, 3)):
            g = g @ group.exp(tangent(k, longest * 10.0 ** -rng.choice([0, 0, 1, 4, 8]), rng))
    if len(group.discrete_generators):
        for i in rng.integers(len(group.discrete_generators), size=rng.integers(0, 6)):
            g = g @ group.discrete_generators[i]
    return g


def tangent(k, length, rng):
    t = rng.standard_normal(k) * rng.choice([1.0, 1.0, 1e-3], k)
    return length * t / np.linalg.norm(t)


def weight(projector, step, rng, single):
    """A weight ``[n, 2]`` that ``step [n, n]`` moves most, hardly, or as it comes; of any size."""
    noise = rng.standard_normal((len(step), 2))
    if projector.space.is_complex:
        noise = noise + 1j * rng.standard_normal(noise.shape)
    _, _, right = np.linalg.svd(step)
    kind = rng.integers(4)
    if kind == 0:
        w = right[:2].conj().T if len(step) > 1 else noise
    elif kind == 1:
        w = right[-2:].conj().T if len(step) > 1 else noise
        w = w + 10.0 ** rng.uniform(-12, -6) * noise[:, : w.shape[1]]
    elif kind == 2:  # the largest singular vector alone, beside noise of all sizes
        w = right[:1].conj().T @ np.ones((1, 2)) + 10.0 ** rng.uniform(-12, 0) * noise
    else:
        w = noise
    w = w * 10.0 ** rng.choice([0, 0, -12, 9] if single else [0, 0, -140, 140])
    kinds = (np.complex64, np.float32) if single else (np.complex128, np.float64)
    return w.astype(kinds[0] if projector.space.is_complex else kinds[1])


def check(case, dial, seed, single):
    """Every question about one projector, for the weights that are moved most.

    The certificate equals the movement under one element, which it is said to compute exactly.
    """
    dial = dial if case not in WITHOUT_LEVELS else 3 * (dial % 2)  # strict, or the identity
    projector, rng = projector_of(case, dial), np.random.default_rng(seed)
    mask, group, n = mask_of(case, dial), projector.space.group, projector.dim
    shape = [size for entry in projector.space.entries for size in entry.rep.shape]
    k = len(group.lie_generators)

    def certificate(w=None, **question):
        return projector.certificate(None if w is None else w.reshape(*shape, 2), **question)

    def below(step, found, w=None):
        wide = np.eye(n) if w is None else w.astype(np.complex128 if w.dtype.kind == "c" else float)
        truth = np.linalg.norm(step @ mask, 2) if w is None else np.linalg.norm(step @ wide)
        size = 1.0 if w is None else np.linalg.norm(wide)
        rounding = 1e-13 * size * (1.0 + np.linalg.norm(step, 2))
        assert not found.certified or truth <= found.bound + rounding, (truth, found)
        return truth, size

    one = np.eye(n)
    g = element(group, rng)
    step = written_out(projector, g) - one
    w = weight(projector, step, rng, single)
    found = certificate(w, element=g)
    assert found.certified
    truth, size = below(step, found, w)
    assert found.bound <= truth + 1e-11 * size * (1.0 + np.linalg.norm(step, 2))
    below(step, certificate(element=g))
    below(step, certificate(w), w)
    below(step, certificate())
    if not k:
        return
    radius = 10.0 ** -rng.choice([0.0, 0.5, 1.0, 3.0, 7.0]) * rng.choice([0.3, 1.0, math.pi])
    t = tangent(k, radius, rng)
    w = weight(projector, written_out(projector, group.exp(t)) - one, rng, single)
    a_priori = certificate(within=radius)
    for _ in range(
        3
    ):  # the direction in which this weight is moved fastest, the worst weight there
        step = written_out(projector, group.exp(t)) - one
        below(step, certificate(w, within=radius), w)
        below(step, a_priori)
        flat = [written_derivative(projector, i) @ w for i in range(k)]
        gram = np.real([[np.vdot(a, b) for b in flat] for a in flat])
        t = radius * np.linalg.eigh(gram)[1][:, -1]
    step = written_out(projector, group.exp(t)) - one
    below(step, certificate(w, within=radius), w)


def written_derivative(projector, i):
    """``d rho`` of one Lie generator on all axes, ``[n, n]``."""
    lies = [entry.rep.lie_matrices()[i] for entry in projector.space.entries]
    ones = [np.eye(len(lie)) for lie in lies]
    return sum(
        functools.reduce(np.kron, [*ones[:j], lie, *ones[j + 1 :]]) for j, lie in enumerate(lies)
    )


TRIED = {
    "case": st.sampled_from(sorted(CASES)),
    "dial": st.integers(0, len(DIALS) - 1),
    "seed": st.integers(0, 2**32 - 1),
    "single": st.booleans(),
}


@given(**TRIED)
@examples(fast=300, sweep=300)
def test_a_certificate_is_never_below_the_movement_of_any_group(case, dial, seed, single):
    check(case, dial, seed, single)


@pytest.mark.slow(20)
@given(**TRIED)
@examples(fast=200, sweep=10_000)
def test_no_weight_of_many_more_is_moved_further_than_certified(case, dial, seed, single):
    check(case, dial, seed, single)


@pytest.mark.parametrize(
    "squares", [(2.019647068719059, 1.663769634369510), (1.0, 1.0), (1.0, 1e-9)]
)
def test_a_torus_with_its_largest_movement_at_half_a_turn(squares):
    """Odd frequencies alone: -1 there, as curved as can be, where every cell beside it is lower."""
    group = groups.from_generators("T", lie=SO2)
    v = reps.vector(group)
    projector = sq.projector("v", {"v": v + v * v * v}, softness=1.0)
    w = np.zeros(10)
    w[:2], w[2:] = squares[0], squares[1] * np.arange(8)
    found = projector.certificate(w)
    assert 2 * np.linalg.norm(w) <= found.bound <= 2 * np.linalg.norm(w) * (1 + 1e-8)
