"""Ranks and projectors of EMLP 1.0.3, and of the published code of tunable soft equivariance."""

import collections
import itertools

import numpy as np
import pytest
from projection_oracle import dense, group_of, projector

import softeq_jax as sq

C4 = sq.groups.cyclic(4)


def t(name, p):
    return sq.reps.tensor(group_of(name), p)


def emlp(golden_dir, name):
    golden = np.load(golden_dir / "emlp" / f"{name}.npz")
    return int(golden["rank"]), golden["projector"], int(golden["dim_in"]), int(golden["dim_out"])


EMLP = {
    "SO_3__T1__T1": lambda: (t("so3", 1), t("so3", 1)),
    "SO_3__T2__T2": lambda: (t("so3", 2), t("so3", 2)),
    "O_3__T2__T2": lambda: (t("o3", 2), t("o3", 2)),
    "S_5__T2__T2": lambda: (t("s5", 2), t("s5", 2)),
    "Lorentz_O_1_3__T2__T2": lambda: (t("lorentz", 2), t("lorentz", 2)),
    "Z_8__V__V": lambda: (sq.reps.regular(sq.groups.cyclic(8)),) * 2,
}


@pytest.mark.parametrize("name", EMLP)
def test_emlp_ranks_and_projectors(golden_dir, name):
    """A map W ``[out, in]`` lives in V_out (x) dual(V_in); vec is row-major."""
    rank, reference, dim_in, dim_out = emlp(golden_dir, name)
    source, target = EMLP[name]()
    assert (source.dim, target.dim) == (dim_in, dim_out)
    p = projector([target, source.dual])
    assert p.rank() == rank
    np.testing.assert_allclose(dense(p), reference, atol=2e-6)


def test_emlp_direct_sum(golden_dir):
    """O(5): 2 T1 + T0 -> T2; EMLP may order the terms of a sum as it likes."""
    rank, reference, _, _ = emlp(golden_dir, "O_5__2T1_T0__T2")
    v, one = t("o5", 1), t("o5", 0)
    orders = [2 * v + one, one + 2 * v]
    found = [projector([t("o5", 2), source.dual]) for source in orders]
    assert [p.rank() for p in found] == [rank, rank]
    assert min(np.abs(dense(p) - reference).max() for p in found) < 2e-6


def test_emlp_regular_representation_of_d4(golden_dir):
    """D_4 with EMLP's own order of the elements, which its projector reveals.

    The projector averages over the orbits of pairs, that is over the classes ``a^-1 b``. The
    permutations that keep each of these classes are the group; from them the projector is rebuilt.
    """
    rank, reference, _, _ = emlp(golden_dir, "D_4__regular_V__V")
    _, labels = np.unique(np.round(reference, 4), axis=0, return_inverse=True)
    labels = labels.reshape(8, 8)
    assert len(np.unique(labels)) == rank == 8
    # the image of point 0 determines the rest: where row 0 has a label, row p has it too
    moves = [[int(np.flatnonzero(labels[p] == label)[0]) for label in labels[0]] for p in range(8)]
    group = sq.groups.from_generators("D4 of EMLP", discrete=np.array(moves))
    assert group.order == 8
    v = sq.reps.vector(group)
    np.testing.assert_allclose(dense(projector([v, v])), reference, atol=2e-6)
    own = sq.reps.regular(sq.groups.dihedral(4))
    orders = collections.Counter(
        next(i for i in range(1, 9) if np.allclose(np.linalg.matrix_power(g, i), np.eye(len(g))))
        for g in itertools.chain(own.group.elements(), group.elements())
    )
    assert orders == {1: 2, 2: 10, 4: 4}  # both are D4: five involutions, two of order 4
    assert projector([own, own]).rank() == rank


@pytest.mark.parametrize("k", [4, 7])
def test_softeq_invariant_kernels_of_c4(golden_dir, k):
    """Singular values, ranks and the projectors at softness 0 and 1 of the SVD construction."""
    golden = np.load(golden_dir / "softeq" / f"inv_C4_{k}x{k}.npz")
    image = sq.reps.image(C4, (k, k))
    strict = sq.projector("h w z", {"h w": image})
    full = strict.at(softness=1.0)
    for side in "wx":
        np.testing.assert_allclose(dense(strict), golden[f"svd_s0.0_hardmask_{side}"], atol=5e-6)
        np.testing.assert_allclose(dense(full), golden[f"svd_s1.0_hardmask_{side}"], atol=5e-6)
    stacked = sq.projector("h w z", {"h w": image}, convention="stacked")
    for p in (strict, stacked):
        values = np.repeat(p.levels(), p.dimensions())
        np.testing.assert_allclose(np.sort(golden["svd_values"]), values, atol=2e-5)
        assert p.rank() == round(np.trace(golden["svd_s0.0_hardmask_w"]))
    # in between, the reference cuts through multiplets: compare the bound that its cut keeps
    d = golden["D"]
    for softness in (0.5, 0.9):
        reference = golden[f"svd_s{softness}_hardmask_w"]
        rank = round(np.trace(reference))
        kept = np.linalg.norm(d.T @ reference, 2)
        level = strict.levels()[np.searchsorted(np.cumsum(strict.dimensions()), rank)]
        np.testing.assert_allclose(kept, level, atol=1e-4)
        assert strict.at(cutoff=level).rank() >= rank


def test_softeq_matrices_of_rotations(golden_dir):
    """R and F of C4 are ours, and (R - 1) / (2 pi / 4) is their D."""
    golden = np.load(golden_dir / "softeq" / "image_actions.npz")
    d4 = sq.groups.dihedral(4)
    for k in (3, 4, 7, 8):
        image = sq.reps.image(d4, (k, k))
        turns = [image.matrix(d4.element(s * np.pi / 2)) for s in (1, -1)]
        assert min(np.abs(r - golden[f"R_k{k}_n4"]).max() for r in turns) < 1e-6
        np.testing.assert_allclose(image.matrix(d4.element(flip=True)), golden[f"F_k{k}"])
    d = np.load(golden_dir / "softeq" / "inv_C4_4x4.npz")["D"]
    np.testing.assert_allclose(d, (golden["R_k4_n4"] - np.eye(16)) / (np.pi / 2), atol=1e-6)


@pytest.mark.parametrize(("key", "name"), [("rotation", "c4"), ("roto_reflection", "d4")])
def test_softeq_equivariant_filters(golden_dir, key, name):
    """Strict maps between 4x4 images, as operators on row-major vec(W [out, in])."""
    golden = np.load(golden_dir / "softeq" / "eq_C4_4x4_to_4x4.npz")
    image = sq.reps.image(group_of(name), (4, 4))
    p = sq.projector("o p i j z", {"o p": image, "i j": image})
    assert p.rank() == round(np.trace(golden[f"{key}_s0.0"])) == {"c4": 64, "d4": 36}[name]
    np.testing.assert_allclose(dense(p), golden[f"{key}_s0.0"], atol=5e-6)


def test_softeq_kronecker_spectrum(golden_dir):
    """Singular values and null space of the explicit Kronecker matrix, vec column-major."""
    golden = np.load(golden_dir / "softeq" / "eq_C4_4x4_to_4x4.npz")
    image = sq.reps.image(C4, (4, 4))
    values = np.sort(golden["kron_values"])
    for convention in ("central", "stacked"):
        p = sq.projector("i j o p z", {"o p": image, "i j": image}, convention=convention)
        own = np.repeat(p.levels(), p.dimensions())
        np.testing.assert_allclose(values, own, atol=1e-5)
        columns = golden["kron_basis"]
        order = np.argsort(golden["kron_values"])
        null = columns[:, order[: p.rank()]]
        np.testing.assert_allclose(dense(p), null @ null.T, atol=5e-6)


@pytest.mark.parametrize(("key", "name"), [("4", "c4"), ("8", "c8"), ("-1", "so2")])
def test_softeq_planar_vectors(golden_dir, key, name):
    golden = np.load(golden_dir / "softeq" / "vec2d_rotation.npz")
    v = sq.reps.vector(group_of(name))
    np.testing.assert_allclose(dense(projector([v, v])), golden[f"eq_n{key}_s0.0"], atol=2e-6)
    assert projector([v, v]).rank() == 2
    strict = projector([v])
    # with hardFalse the published code keeps one direction of a plane that has no invariants
    np.testing.assert_allclose(dense(strict), golden[f"inv_n{key}_s0.0_hardTrue"], atol=2e-6)
    assert strict.rank() == 0
