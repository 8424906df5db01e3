"""Weights on voxels: projectors, certificates, penalties and relaxation, against definitions."""

import itertools

import jax
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax import groups, reps

O3, SO3 = groups.o(3), groups.so(3)
OCTAHEDRAL, FULL = groups.octahedral(), groups.full_octahedral()
BOTH = pytest.mark.parametrize("group", [O3, SO3], ids=str)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # dials that meet no level


def random(group, rng):
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q)) if group == SO3 else q


def kernel(group, k, **dials):
    """Of a convolution from vectors to vectors."""
    axes = {"d h w": reps.voxels(group, (k, k, k)), "i": reps.vector(group)}
    return sq.projector("d h w i o", axes | {"o": reps.vector(group)}, **dials)


@pytest.mark.parametrize(
    ("group", "rank"), [(O3, 6), (SO3, 8), (FULL, 8), (OCTAHEDRAL, 12)], ids=str
)
def test_kernels_from_vectors_to_vectors_on_27_voxels(group, rank):
    """Of l = 0, 0, 0, 0, 1, 1, 2, 2, 3: ``x -> f(r) x`` four times and ``(x . v) x`` twice, and
    under SO(3) ``x x v`` twice."""
    assert kernel(group, 3).rank() == rank


@BOTH
@pytest.mark.parametrize("k", [3, 5])
def test_ranks_follow_from_multiplicities(group, k):
    """D^1 (x) D^1 is D^0 + D^1 + D^2, all even; voxels of degree l have the parity (-1)^l."""
    copies = {irrep.degree: c.shape[1] for irrep, c in reps.voxels(group, (k, k, k)).harmonics()}
    expected = copies[0] + copies[2] + (copies[1] if group == SO3 else 0)
    assert kernel(group, k).rank() == expected


@BOTH
@given(k=st.sampled_from([2, 3, 4]), seed=st.integers(0, 99), cut=st.sampled_from([0.0, 2.0]))
@examples(fast=8)
def test_projectors_commute_and_strict_ones_are_invariant(group, k, seed, cut):
    rng = np.random.default_rng(seed)
    k = 3 if k == 2 and group == SO3 else k
    p, g = kernel(group, k, cutoff=cut), random(group, rng)
    w = rng.normal(size=(k, k, k, 3, 3))
    kept = p(w)
    np.testing.assert_allclose(p(p.act(g, w)), p.act(g, kept), atol=1e-12)
    np.testing.assert_allclose(p(kept), kept, atol=1e-12)
    if cut == 0.0:
        np.testing.assert_allclose(p.act(g, kept), kept, atol=1e-12)


@BOTH
@pytest.mark.parametrize("k", [3, 4])
def test_levels_of_volumes(group, k):
    p = sq.projector("d h w", {"d h w": reps.voxels(group, (k, k, k))}, cutoff=2.0)
    l = np.arange(len(p.levels()))
    np.testing.assert_allclose(p.levels(), np.sqrt(l * (l + 1.0)))
    rep = reps.voxels(group, (k, k, k))
    expected = [c.shape[1] * irrep.dim for irrep, c in rep.harmonics()]
    assert p.dimensions().tolist() == expected
    assert p.rank() == expected[0] + expected[1]


def test_every_cutoff_commutes_with_the_symmetries_of_the_cube():
    """Off the unmatched the 48 act as permutations, which every level keeps; the unmatched go."""
    rng = np.random.default_rng(0)
    for k, cutoff in itertools.product((3, 4), (0.0, 1.5, 2.5)):
        p = sq.projector("d h w", {"d h w": reps.voxels(O3, (k, k, k))}, cutoff=cutoff)
        w = rng.normal(size=(k, k, k))
        for g in FULL.elements()[::7]:
            act = reps.voxels(FULL, (k, k, k)).apply
            np.testing.assert_allclose(p(act(g, w)), act(g, p(w)), atol=1e-12)


@pytest.mark.parametrize("k", [2, 4])
def test_unmatched_patterns_are_kept_by_the_identity_alone(k):
    rep = reps.voxels(O3, (k, k, k))
    p = sq.projector("d h w", {"d h w": rep})
    u = rep.unmatched.T.reshape(-1, k, k, k)
    for one in (p, p.at(cutoff=100.0), p.at(softness=0.9, mask="heat")):
        np.testing.assert_allclose(jax.vmap(one)(u), 0.0, atol=1e-6)
    np.testing.assert_array_equal(p.at(softness=1.0)(u[0]), u[0])
    assert p.levels()[0] == 0.0


def test_back_ends_agree_on_unmatched_patterns():
    """Dense eigenvectors, and one matrix for each pair of types."""
    v = reps.vector(O3)
    axes = {"d h w": reps.voxels(O3, (2, 2, 2)), "i": v, "o": v}
    w = np.random.default_rng(0).normal(size=(2, 2, 2, 3, 3))
    dense, pairs = (
        sq.projector("d h w i o", axes, softness=0.5, backend=name) for name in ("gram", "isotypic")
    )
    np.testing.assert_allclose(dense.levels(), pairs.levels(), atol=1e-9)
    assert dense.dimensions().tolist() == pairs.dimensions().tolist()
    for cutoff in (0.0, *dense.levels()[1:3]):
        one, other = dense.at(cutoff=float(cutoff)), pairs.at(cutoff=float(cutoff))
        assert one.rank() == other.rank()
        np.testing.assert_allclose(one(w), other(w), atol=1e-12)
    with pytest.raises(ValueError, match="4 unmatched patterns"):
        sq.projector("d h w i o", axes, backend="krylov")


@BOTH
@given(k=st.sampled_from([3, 4]), seed=st.integers(0, 99), cut=st.sampled_from([0.0, 2.0]))
@examples(fast=6)
def test_certificates_are_not_below_the_movement(group, k, seed, cut):
    rng = np.random.default_rng(seed)
    p = kernel(group, k, cutoff=cut)
    w = rng.normal(size=(k, k, k, 3, 3))
    t = rng.normal(size=3)
    t = t / np.linalg.norm(t) * rng.uniform(0.0, 3.0)
    turn, any_g = group.exp(t), random(group, rng)

    def movement(g, w):
        return np.linalg.norm(p.act(g, w) - w)

    assert movement(any_g, w) <= p.certificate(w).bound
    assert movement(turn, w) <= p.certificate(w, within=np.linalg.norm(t)).bound
    exact = p.certificate(w, element=any_g).bound
    assert movement(any_g, w) <= exact <= movement(any_g, w) + 1e-9
    promised = p.certificate().bound * np.linalg.norm(w)
    assert movement(any_g, p(w)) <= promised + 1e-9


def test_rule_of_convolution_kernels():
    rng = np.random.default_rng(0)
    weights = {
        "a": rng.normal(size=(3, 3, 3, 2, 4)),
        "pointwise": rng.normal(size=(1, 1, 1, 2, 4)),
        "flat": rng.normal(size=(3, 3, 1, 2, 4)),
        "large": rng.normal(size=(11, 11, 11, 1, 1)),
        "image": rng.normal(size=(3, 3, 2, 4)),
    }
    with pytest.warns(UserWarning, match="need a cube") as told:
        plan = sq.plan(weights, {"*": sq.convolution_rule(O3)})
    assert "tried up to 9 voxels a side" in "".join(str(one.message) for one in told)
    assert [path for path, _, _ in plan.planned(weights)] == ["a"]
    found = plan.project(weights)
    expected = sq.projector("d h w i o", {"d h w": reps.voxels(O3, (3, 3, 3))})(weights["a"])
    np.testing.assert_allclose(found["a"], expected)
    other = sq.convolution_rule(O3, axes="o i d h w")(
        "a", np.moveaxis(weights["a"], (4, 3), (0, 1))
    )
    assert other.rank() == plan.planned(weights)[0][1].rank() == 4
    permuted = sq.convolution_rule(FULL)("large", weights["large"])
    assert permuted.rank() == 56  # orbits of 11^3 voxels under 48 symmetries
    with pytest.raises(ValueError, match="flat.*need a cube"):
        sq.plan(weights, {"*": sq.convolution_rule(O3, misfits="refused")})
    with pytest.raises(ValueError, match=r"group of the plane .*got O\(3\)"):
        sq.convolution_rule(O3, axes="h w i o")
    with pytest.raises(ValueError, match=r"orthogonal 3 x 3 matrices .*got C4"):
        sq.convolution_rule(groups.cyclic(4), axes="d h w i o")
    with pytest.raises(ValueError, match="or five, d, h and w, got 'a h w i o'"):
        sq.convolution_rule(O3, axes="a h w i o")


def test_penalties_and_relaxation_of_kernels_on_voxels():
    rng = np.random.default_rng(0)
    params = {"conv": {"kernel": rng.normal(size=(3, 3, 3, 2, 2))}}
    plan = sq.plan(params, {"**/kernel": sq.convolution_rule(SO3)})
    (_, p, w), *_ = plan.planned(params)
    residual = np.sum((w - p(w)) ** 2)
    assert float(sq.regularizers.projection_penalty(plan, params)) == pytest.approx(residual, 1e-5)
    lie = reps.voxels(SO3, (3, 3, 3)).lie_matrices() @ w.reshape(27, 4)
    assert float(sq.regularizers.lie_penalty(plan, params)) == pytest.approx(np.sum(lie**2), 1e-5)
    half = sq.relaxation.relax(plan, params, 0.5)["conv"]["kernel"]
    np.testing.assert_allclose(half, 0.5 * (w + p(w)), atol=1e-6)
    ended = sq.relaxation.finish(plan, sq.relaxation.branches(plan, params))
    np.testing.assert_allclose(p(ended["conv"]["kernel"]), ended["conv"]["kernel"], atol=1e-5)
