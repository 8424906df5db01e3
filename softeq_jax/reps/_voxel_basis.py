r"""The orthonormal columns in which the voxels of a cube turn as spherical harmonics.

``voxels`` states the theorem. Here H is the group O_h of the 48 symmetries of a cube (or its 24
rotations), V the permutation of the ``k^3`` voxels, W a sum of ``n_l`` copies of each ``D^l``, and
an isometry U from W to V is sought that commutes with H and turns volumes as well as can be:

1. *Prior.* What is turned are Gaussians of unit norm, .8 and 1.15 voxels wide, in a uniform
   direction at a distance uniform in ``[0, max(.6, k/2 - 1)]`` from the middle. With
   ``z = r rho / s^2`` and modified spherical Bessel functions i_l,

   .. math:: e^{-|x - c|^2 / 2 s^2}
             = 4 \pi e^{-(r - \rho)^2 / 2 s^2} \sum_l e^{-z} i_l(z) \sum_m Y_{lm}(x) Y_{lm}(c),

   so that a random Gaussian is ``sum_l B_l y_l`` with sampled columns B_l (radial profile times
   harmonics) and uncorrelated coefficients y_l of variance 1.
2. *Multiplicities.* The n_l take the a-th principal profile of degree l for its energy
   (eigenvalue of the Gram matrix of B_l); the types of H must come out as often as in V, or, where
   that cannot be (O(3) on even sides), at most as often. An integer program decides.
3. *Procrustes.* ``E ||U W(g) U^T f - g f||^2`` over g and the prior is least where
   ``sum_l (2 l + 1) ||M_l||^2`` is largest, ``M_l[a, n] = mean_m (U^T B)[(l,a,m), (l,n,m)]``.
   Alternately M from U, and U as the polar factor of ``B M^T``, never decreases it. As U commutes
   with H, all that happens inside the types of H, on one column of each copy.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from softeq_jax._checks import frozen
from softeq_jax.reps._irreps import harmonic_rotation, harmonic_values, rotation_vector

LARGEST = 9
"""The largest side for which the construction was tried."""
_WIDTHS = (0.8, 1.15)
_HIGHEST = (0, 0, 3, 6, 9, 11, 13, 14, 16, 17)  # degree, for each side
_ROUNDS = 8
_GAP = 1e-9  # of the integer program, relative


class VoxelBasis(NamedTuple):
    """Orthonormal columns on the voxels of a cube.

    Attributes:
      columns: float64 ``[n, n]``: for each degree l its copies after one another, of ``2 l + 1``
        columns (m = -l .. l) each; last the unmatched columns.
      copies: ``n_l`` for l = 0, 1, ...
      odd: bool ``[u]``, whether the inversion negates an unmatched column.
    """

    columns: np.ndarray
    copies: tuple[int, ...]
    odd: np.ndarray

    def multiplets(self) -> list[tuple[int, np.ndarray]]:
        """``(l, columns [n, copies, 2 l + 1])`` for each degree that occurs."""
        found, start = [], 0
        for l, copies in enumerate(self.copies):
            stop = start + copies * (2 * l + 1)
            if copies:
                found.append((l, self.columns[:, start:stop].reshape(-1, copies, 2 * l + 1)))
            start = stop
        return found

    @property
    def unmatched(self) -> np.ndarray:
        """``[n, u]``."""
        return self.columns[:, self.columns.shape[1] - len(self.odd) :]


class _Type(NamedTuple):
    """An irreducible type of H: in each copy, column i is ``P_i1`` of column 1 with the matrix
    units ``P_ij = d / |H| sum_h tau(h)_ij rho(h)``.

    Attributes:
      voxels: ``[n, p, d]``, its copies among the voxels.
      degrees: for each l its copies in D^l, ``[2 l + 1, r, d]``.
      odd: whether the inversion negates it.
    """

    voxels: np.ndarray
    degrees: list[np.ndarray]
    odd: bool


@functools.lru_cache(maxsize=16)
def voxel_basis(k: int, proper: bool) -> VoxelBasis:
    """The columns for a cube of side k, read-only: for O(3), which leaves some unmatched if k is
    even, or (``proper``, even k > 2) for SO(3) alone, which leaves none."""
    if k == 1:
        return VoxelBasis(frozen(np.ones((1, 1))), (1,), frozen(np.zeros(0, bool)))
    points, symmetries = voxel_centers((k, k, k)), lattice_symmetries(proper)
    profiles = [_principal_profiles(l, points, k) for l in range(_HIGHEST[k] + 1)]
    types = _types(points, symmetries, len(profiles))
    energies = np.stack([(2 * l + 1) * np.sum(b**2, axis=0) for l, b in enumerate(profiles)])
    copies = _multiplicities(energies, types, exactly=proper or k % 2 == 1)
    return _fitted(points, profiles, [kind for kind in types if kind.voxels.shape[1]], copies)


def voxel_centers(shape: tuple[int, ...]) -> np.ndarray:
    """Coordinates of the voxels about the middle, row-major, float64 ``[n, 3]``."""
    axes = [np.arange(side) - (side - 1) / 2 for side in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def lattice_symmetries(proper: bool = False) -> np.ndarray:
    """The 48 signed permutation matrices, or the 24 of determinant 1; ``[., 3, 3]``."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if not proper or np.linalg.det(matrix) > 0:
                found.append(matrix)
    return np.stack(found)


def moved_index(shape: tuple[int, ...], symmetry: np.ndarray) -> np.ndarray:
    """The index with ``moved = x[..., index]`` for ``(g f)(x) = f(g^-1 x)`` and a signed
    permutation matrix g that maps the volume to itself; int ``[n]``."""
    sources = voxel_centers(shape) @ symmetry  # g^-1 x, row by row
    at = np.rint(sources + (np.array(shape) - 1) / 2).astype(np.int64)
    return np.asarray(np.ravel_multi_index(tuple(at.T), shape))


def _principal_profiles(l: int, points: np.ndarray, k: int) -> np.ndarray:
    """Radial profiles of degree l at the points, ``[n, q]``: those of the prior, turned to their
    principal axes, the strongest first."""
    from scipy.special import ive

    nodes, weights = np.polynomial.legendre.leggauss(6 + k // 3)
    distances = (nodes + 1.0) / 2.0 * max(0.6, k / 2.0 - 1.0)
    r = np.linalg.norm(points, axis=1)[:, None]
    found = []
    for width in _WIDTHS:
        z = r * distances / width**2
        safe = np.where(z > 0.0, z, 1.0)
        bessel = np.where(z > 0.0, ive(l + 0.5, safe) * np.sqrt(np.pi / 2.0 / safe), float(l == 0))
        shape = np.exp(-0.5 * ((r - distances) / width) ** 2) * bessel
        found.append(shape * np.sqrt(4.0 * np.pi * weights / 4.0 / width**3))
    profiles = np.concatenate(found, axis=1)
    _, vectors = np.linalg.eigh(profiles.T @ profiles)
    return profiles @ vectors[:, ::-1]


def _irreducible(symmetries: np.ndarray) -> list[np.ndarray]:
    """The matrices ``[h, d, d]`` of the real irreducible types of H: A1, A2, E, T1, T2 of the
    rotations, each even and odd where H holds the inversion; all of real type."""
    sign = np.linalg.det(symmetries)[:, None, None]
    plain = np.abs(symmetries)  # permutes the three axes of the cube
    alternating = np.linalg.det(plain)[:, None, None]
    plane = np.array([[1.0, 1.0], [-1.0, 1.0], [0.0, -2.0]]) / np.sqrt([2.0, 6.0])
    turning = symmetries * sign
    even = [
        np.ones_like(sign),
        alternating,
        plane.T @ plain @ plane,
        turning,
        turning * alternating,
    ]
    return even + [one * sign for one in even] if np.any(sign < 0) else even


def _types(points: np.ndarray, symmetries: np.ndarray, degrees: int) -> list[_Type]:
    k = round(len(points) ** (1 / 3))
    moves = np.stack([moved_index((k, k, k), h) for h in symmetries])
    turns = [(rotation_vector(h), np.linalg.det(h) < 0) for h in symmetries]
    harmonics = [
        np.stack([harmonic_rotation(l, t) * (-1) ** (l * inverts) for t, inverts in turns])
        for l in range(degrees)
    ]
    found = []
    for kind in _irreducible(symmetries):
        shares = kind[:, :, 0] * kind.shape[1] / len(symmetries)
        each = [_copies(np.tensordot(shares.T, matrices, 1)) for matrices in harmonics]
        odd = bool(kind[np.argmin(np.trace(symmetries, axis1=1, axis2=2)), 0, 0] < 0)
        found.append(_Type(_voxel_copies(moves, shares), each, odd))
    return found


def _voxel_copies(moves: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The copies of a type among the voxels, orbit by orbit, ``[n, p, d]``.

    Args:
      moves: index of each symmetry, int ``[h, n]``.
      shares: ``d / |H| tau(h)_i1``, ``[h, d]``.
    """
    first, n = moves.min(axis=0), moves.shape[1]
    found = []
    for voxel in np.unique(first):
        orbit = np.flatnonzero(first == voxel)
        places = np.searchsorted(orbit, moves[:, orbit])
        units = np.zeros((shares.shape[1], len(orbit), len(orbit)))
        for share, place in zip(shares, places, strict=True):
            units[:, np.arange(len(orbit)), place] += share[:, None]
        columns = np.zeros((n, *(inside := _copies(units)).shape[1:]))
        columns[orbit] = inside
        found.append(columns)
    return np.concatenate(found, axis=1)


def _copies(units: np.ndarray) -> np.ndarray:
    """``[n, p, d]`` from the matrix units ``P_i1``, ``[d, n, n]``."""
    values, vectors = np.linalg.eigh((units[0] + units[0].T) / 2.0)
    return np.stack([unit @ vectors[:, values > 0.5] for unit in units], axis=2)


def _multiplicities(energies: np.ndarray, types: list[_Type], exactly: bool) -> np.ndarray:
    """``n_l``, int ``[degrees]``, from the energies ``[degrees, q]``: the sum of those that are
    taken is the largest at which every type of H occurs as often as among the voxels, or at most
    as often."""
    from scipy.optimize import milp

    occurs = np.array([[one.shape[1] for one in kind.degrees] for kind in types], float)
    there = np.array([kind.voxels.shape[1] for kind in types], float)
    each = np.repeat(occurs, energies.shape[1], axis=1)
    found = milp(
        -energies.reshape(-1),
        constraints=(each, there if exactly else np.zeros(len(there)), there),
        integrality=np.ones(energies.size),
        bounds=(0, 1),
        options={"mip_rel_gap": _GAP},
    )
    if found.x is None:
        raise ValueError(f"no multiplicities were found for the voxels: {found.message}")
    return np.rint(found.x.reshape(energies.shape).sum(axis=1)).astype(int)


def _fitted(
    points: np.ndarray, profiles: list[np.ndarray], types: list[_Type], copies: np.ndarray
) -> VoxelBasis:
    """The columns after rounds of alternating Procrustes."""
    harmonics = [harmonic_values(l, points) for l in range(len(profiles))]
    sampled = [  # U^T B is made of these: [p, q, r], copies among voxels, profiles, copies in D^l
        [
            np.einsum("np,nq,nm,mr->pqr", kind.voxels[:, :, 0], b, y, one[:, :, 0], optimize=True)
            for b, y, one in zip(profiles, harmonics, kind.degrees, strict=True)
        ]
        for kind in types
    ]
    mixing = [np.eye(n, b.shape[1]) for n, b in zip(copies, profiles, strict=True)]
    for _ in range(_ROUNDS):
        isometries = [_isometry(parts, mixing) for parts in sampled]
        mixing = [np.zeros_like(one) for one in mixing]
        for kind, parts, isometry in zip(types, sampled, isometries, strict=True):
            for l, (part, own) in enumerate(zip(parts, isometry, strict=True)):
                share = kind.voxels.shape[2] / (2 * l + 1)
                mixing[l] += share * np.einsum("par,pqr->aq", own, part)
    n = len(points)
    columns = [np.zeros((n, m, 2 * l + 1)) for l, m in enumerate(copies)]
    left, odd = [], []
    for kind, parts in zip(types, sampled, strict=True):
        isometry = _isometry(parts, mixing)
        for l, own in enumerate(isometry):
            one = kind.degrees[l]
            columns[l] += np.einsum("npi,par,mri->nam", kind.voxels, own, one, optimize=True)
        taken = _flat(isometry)
        rest = np.linalg.svd(taken)[0][:, taken.shape[1] :]
        left.append(np.einsum("npi,pu->nui", kind.voxels, rest).reshape(n, -1))
        odd.append(np.full(left[-1].shape[1], kind.odd))
    found = np.concatenate([*(one.reshape(n, -1) for one in columns), *left], axis=1)
    return VoxelBasis(frozen(found), tuple(copies.tolist()), frozen(np.concatenate(odd)))


def _isometry(sampled: list[np.ndarray], mixing: list[np.ndarray]) -> list[np.ndarray]:
    """U in one type, ``[p, n_l, r]`` for each l: the polar factor of ``B M^T``."""
    wide = [np.einsum("pqr,aq->par", b, m) for b, m in zip(sampled, mixing, strict=True)]
    left, _, right = np.linalg.svd(_flat(wide), full_matrices=False)
    ends = np.cumsum([math.prod(one.shape[1:]) for one in wide])[:-1]
    pieces = np.split(left @ right, ends, axis=1)
    return [piece.reshape(one.shape) for piece, one in zip(pieces, wide, strict=True)]


def _flat(parts: list[np.ndarray]) -> np.ndarray:
    """``[p, n_l, r]`` for each l, side by side."""
    return np.concatenate([x.reshape(len(x), math.prod(x.shape[1:])) for x in parts], axis=1)
