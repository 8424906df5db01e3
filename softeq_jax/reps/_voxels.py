"""Rotations and reflections of cubes of voxels; exact, orthogonal.

Voxels are flattened row-major. The one with indices (a, b, c) has the coordinates
``(x, y, z) = (a, b, c) - (k - 1) / 2`` about the middle: a matrix of the group acts on the three
array axes in their order.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import frozen, whole
from softeq_jax._sizes import told
from softeq_jax.groups import Group, OrthogonalGroup
from softeq_jax.reps._acting_group import check_group
from softeq_jax.reps._irreps import (
    SphericalIrrep,
    harmonic_generators,
    harmonic_rotation,
    rotation_axes,
    rotation_vector,
)
from softeq_jax.reps._matrices import EXACT, Move, matmul, require_matrices
from softeq_jax.reps._rep import Rep
from softeq_jax.reps._voxel_basis import LARGEST, VoxelBasis, moved_index, voxel_basis


@dataclasses.dataclass(frozen=True, repr=False)
class Voxels(Rep):
    """The action on the voxels of a volume. Made by ``voxels``.

    Attributes:
      sides: of the volume, along (x, y, z).

    Example:
      >>> import softeq_jax as sq
      >>> X = sq.reps.voxels(sq.groups.octahedral(), (2, 2, 2))
      >>> X.shape, X.is_permutation
      ((2, 2, 2), True)
    """

    sides: tuple[int, int, int] = (1, 1, 1)

    @property
    def formula(self) -> str:
        return "Voxels[{}x{}x{}]".format(*self.sides)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sides

    @property
    def is_orthogonal(self) -> bool:
        return True

    @property
    def is_permutation(self) -> bool:
        return self.dim == 1 or _permutes(self.group)

    @property
    def is_trivial(self) -> bool:
        return self.dim == 1 or (self.is_permutation and super().is_trivial)

    @property
    def unmatched(self) -> np.ndarray:
        """Orthonormal columns, ``[dim, u]``, that rotations fix for want of a multiplet: none for
        permutations, odd sides and groups of rotations, at least ``k^2`` for other groups on even
        sides."""
        if self.is_permutation or self.sides[0] % 2:
            return np.zeros((self.dim, 0))
        return self._basis().unmatched

    def harmonics(self) -> list[tuple[SphericalIrrep, np.ndarray]] | None:
        """For SO(3) and O(3) ``(irreducible representation, its copies [dim, copies, 2 l + 1])``:
        orthonormal columns that, with the unmatched ones, span the voxels. None for other groups.
        """
        if not isinstance(self.group, OrthogonalGroup):
            return None
        natural = 0 if self.group.special else 1
        return [
            (SphericalIrrep(self.group, l, natural * (-1) ** l), columns)
            for l, columns in self._basis().multiplets()
        ]

    def _basis(self) -> VoxelBasis:
        k = self.sides[0]
        with told(f"building the rotations of {k}x{k}x{k} voxels", "smaller sides are faster"):
            return voxel_basis(k, self._is_apart())

    def _is_apart(self) -> bool:
        """Whether groups of rotations have columns of their own here."""
        return self.sides[0] % 2 == 0 and _is_proper(self.group)

    def signed_permutation(self, g: np.ndarray) -> Move | None:
        g = self.group.dense(g)
        nearest = np.rint(g)
        if np.max(np.abs(g - nearest)) > EXACT:
            return None
        central = abs(np.trace(nearest)) == 3  # 1 and the inversion, which move the unmatched too
        if not (self.is_permutation or central) and self.unmatched.size:
            return None
        return moved_index(self.sides, nearest), np.ones(self.dim, np.int8)

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        require_matrices(self, 2)
        return np.ascontiguousarray(self._act(np.eye(self.dim), g).T)

    def lie_matrices(self) -> np.ndarray:
        """The skew derivative of ``matrix`` along each Lie generator; float64 ``[k, dim, dim]``."""
        count = len(self.group.lie_generators)
        require_matrices(self, 3 + count)
        if self.dim == 1 or not count:
            return np.zeros((count, self.dim, self.dim))
        axes = rotation_axes(self.group.lie_generators)
        return np.tensordot(axes, _turning(self.sides[0], self._is_apart()), 1)

    def _has_lie_action(self) -> bool:
        return self.dim > 1 and len(self.group.lie_generators) > 0

    def _act(self, x: Any, g: np.ndarray) -> Any:
        move = self.signed_permutation(g)
        if move is not None:
            return x[..., move[0]]
        return self._turn(x, self.group.dense(g))

    def _turn(self, x: Any, g: np.ndarray) -> Any:
        """An orthogonal matrix through the columns U: ``x + U ((W(g) - 1) (U^T x))``."""
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            raise TypeError(f"{self} interpolates: the array must be floating, got {x.dtype}")
        wide = x if x.dtype.itemsize >= 4 else x.astype(np.float32)
        real = np.zeros((), wide.dtype).real.dtype  # of the columns, also when x is complex
        basis, axis_angle, inverts = self._basis(), rotation_vector(g), np.linalg.det(g) < 0
        columns = basis.columns.astype(real, copy=False)
        inside, changes, start = matmul(wide, columns), [], 0
        for l, copies in enumerate(basis.copies):
            d = 2 * l + 1
            if not copies:
                continue
            part = inside[..., start : start + copies * d]
            sign = -1.0 if inverts and l % 2 else 1.0
            turned = sign * harmonic_rotation(l, axis_angle) - np.eye(d)
            change = matmul(part.reshape(*part.shape[:-1], copies, d), turned.T.astype(real))
            changes.append(change.reshape(part.shape))
            start += copies * d
        changes.append(inside[..., start:] * np.where(inverts & basis.odd, -2, 0).astype(real))
        xp = np if isinstance(x, np.ndarray) else jnp
        moved = wide + matmul(xp.concatenate(changes, axis=-1), columns.T)
        return moved.astype(x.dtype)


@functools.lru_cache(maxsize=256)
def _permutes(group: Group) -> bool:
    """Whether all elements are signed permutation matrices."""
    if len(group.lie_generators):
        return False
    generators = group.discrete_generators
    return bool(np.all(np.abs(generators - np.rint(generators)) <= EXACT))


@functools.lru_cache(maxsize=256)
def _is_proper(group: Group) -> bool:
    """Whether all elements are rotations."""
    return bool(np.all(np.linalg.det(group.discrete_generators) > 0))


@functools.lru_cache(maxsize=4)
def _turning(k: int, proper: bool) -> np.ndarray:
    """Derivatives of the rotations about x, y and z, ``[3, k^3, k^3]``, skew."""
    basis, n = voxel_basis(k, proper), k**3
    found = np.zeros((3, n, n))
    for l, columns in basis.multiplets():
        flat = columns.reshape(n, -1)
        for total, generator in zip(found, harmonic_generators(l), strict=True):
            total += (columns @ generator).reshape(n, -1) @ flat.T
    return frozen((found - np.swapaxes(found, 1, 2)) / 2.0)


def voxel_obstacle(group: Group, shape: tuple[int, ...]) -> str | None:
    """Why a group does not act on the voxels of a volume, or None where it does.

    Raises:
      ValueError: it is no group of orthogonal matrices of R^3.

    Example:
      >>> import softeq_jax as sq
      >>> sq.reps.voxel_obstacle(sq.groups.octahedral(), (3, 3, 3)) is None
      True
      >>> sq.reps.voxel_obstacle(sq.groups.octahedral(), (3, 3, 5))
      'Octahedral exchanges axes of different length: 3x3x5 voxels are no cube'
    """
    if group.d != 3 or group.is_complex or not group.is_orthogonal:
        raise ValueError(
            f"an action on voxels needs a group of orthogonal 3 x 3 matrices (SO(3), O(3), "
            f"Octahedral, FullOctahedral), got {group!r}"
        )
    sides = "x".join(map(str, shape))
    if _permutes(group):
        for g in np.abs(np.rint(group.discrete_generators)):
            if not np.array_equal(g @ np.array(shape), np.array(shape)):
                return f"{group!r} exchanges axes of different length: {sides} voxels are no cube"
        return None
    k = shape[0]
    if set(shape) != {k}:
        return f"rotations by any angle, as in {group!r}, need a cube, and {sides} voxels are none"
    if k > LARGEST:
        return (
            f"rotations of cubes by any angle were tried up to {LARGEST} voxels a side, not for "
            f"{sides} (what acts there exactly: Octahedral, FullOctahedral)"
        )
    if k == 2 and _is_proper(group):
        return (
            f"the corners of a 2x2x2 cube would have to turn like harmonics of degree 3, which is "
            f"no rotation of what they sample; take O(3), which leaves four patterns unmatched, "
            f"Octahedral or three voxels a side instead of {group!r}"
        )
    return None


def voxels(group: Group, shape: tuple[int, int, int]) -> Voxels:
    r"""The group acting on volumes of voxels by rotating and reflecting them.

    The signed permutation matrices that a group consists of (Octahedral, FullOctahedral and what
    lies in them) permute the voxels: that is all there is, and such a group acts on every volume
    that it maps to itself. For SO(3), O(3) and all other groups of orthogonal matrices the action
    is orthogonal, exactly a homomorphism, and *equal to these permutations* at the 48 (for SO(3):
    24) symmetries of the cube:

    **Theorem.** Let H <= G be compact, V an orthogonal representation of H, W one of G, and
    ``A: W -> V`` invertible with ``A W(h) = V(h) A`` for h in H. Then ``U = A (A^T A)^(-1/2)`` is
    orthogonal, and ``rho(g) = U W(g) U^T`` is an orthogonal representation of G on V with
    ``rho(h) = V(h)`` for h in H.

    *Proof.* ``W(h)^T A^T A W(h) = A^T V(h)^T V(h) A = A^T A``, so that ``A^T A`` and its inverse
    root commute with W(h). Hence ``U W(h) = A W(h) (A^T A)^(-1/2) = V(h) U``, and ``U^T U = 1``.
    So ``rho(g) rho(g') = U W(g) U^T U W(g') U^T = rho(g g')``, and
    ``rho(h) = V(h) U U^T = V(h)``. There is such an A if and only if V and W have the same
    character on H, and every extension of V to G arises so (with A = 1). []

    Here H is the octahedral group, V permutes the voxels, and W is a sum of spherical harmonics
    D^l of parity (-1)^l, so that levels are ``sqrt(l (l + 1))``. A is fitted to what smooth volumes
    do when they are turned (see ``_voxel_basis``).

    On *even* sides no representation of O(3) extends the permutations: the mirrors ``x -> -x`` and
    ``x <-> y`` are conjugate in O(3), but fix 0 and ``k^2`` voxels. At least ``k^2`` patterns (24
    for k = 4, 60 for k = 6) are *unmatched*: rotations fix them, the inversion acts as it should,
    their level is infinite, and at the 48 symmetries the action is the permutation on all others.
    SO(3) has no mirrors, and leaves none unmatched (its action is another one than that of O(3)).

    Args:
      group: of orthogonal 3 x 3 matrices. They act on (x, y, z), the three axes of the array.
      shape: the sides; equal, for all groups that exchange axes, and at most 9 for those that
        interpolate. A side of 2 is refused for SO(3): there its multiplets would be of degrees 0
        and 3, which turn nothing as it looks.

    Returns:
      A representation of this shape that prints as ``Voxels[3x3x3](O(3))``. Its columns are built
      within seconds when they are first needed, and kept.

    Raises:
      ValueError: the group does not act on such a volume.
      TypeError: ``group`` is no group.

    Example:
      >>> import numpy as np
      >>> from softeq_jax import groups, reps
      >>> G = groups.so(3)
      >>> R = reps.voxels(G, (3, 3, 3))
      >>> x = np.random.default_rng(0).normal(size=(3, 3, 3))
      >>> third = G.exp(np.array([2 * np.pi / 3, 0, 0]))  # about z
      >>> turned = R.apply(third, R.apply(third, R.apply(third, x)))
      >>> bool(abs(turned - x).max() < 1e-12)  # three turns by 120 degrees, and nothing is blurred
      True
    """
    check_group(group, "voxels")
    if not isinstance(shape, tuple | list) or len(shape) != 3:
        raise ValueError(f"voxels need a shape of three sides, got {shape!r}")
    a, b, c = (whole(side, "each side of voxels") for side in shape)
    if obstacle := voxel_obstacle(group, (a, b, c)):
        raise ValueError(f"voxels of {a}x{b}x{c}: {obstacle}")
    return Voxels(group, (a, b, c))
