"""Representations of planar groups that know their frequencies in closed form."""

import abc
from typing import Any

import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import PlanarGroup
from softeq_jax.reps._acting_group import check_group
from softeq_jax.reps._frequencies import Frequencies
from softeq_jax.reps._matrices import matmul, require_matrices
from softeq_jax.reps._rep import Rep


class PlanarRep(Rep):
    """An orthogonal representation of a planar group, acting through its frequencies.

    Rotations that are no permutation act as ``x + B ((rot - 1) (B^T x))`` with the basis B of
    ``frequencies``, where ``rot`` turns each pair by m t.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> C = sq.reps.circle(sq.groups.so(2), 7)
      >>> isinstance(C, sq.reps.PlanarRep)
      True
      >>> turned = C.matrix(C.group.element(0.3))
      >>> bool(np.allclose(turned @ turned.T, np.eye(7)))
      True
    """

    group: PlanarGroup

    @abc.abstractmethod
    def frequencies(self) -> Frequencies:
        """The basis of rotations and flips; cached, with read-only arrays."""

    @abc.abstractmethod
    def _permutation(self, angle: float, flip: bool) -> np.ndarray | None:
        """Index with ``moved = x[..., index]`` for ``R(angle) F^flip``, None if there is none."""

    @property
    def is_orthogonal(self) -> bool:
        return True

    @property
    def is_trivial(self) -> bool:
        if self.group.order == 1:
            return True
        if self.is_permutation:
            return super().is_trivial
        frequencies = self.frequencies()
        turned = frequencies.frequency
        if self.group.rotations is not None:
            turned = turned % self.group.rotations
        return not (turned.any() or (self.group.has_flip and frequencies.odd.any()))

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        require_matrices(self, 2)
        return np.ascontiguousarray(self._act(np.eye(self.dim), g).T)

    def signed_permutation(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        index = self._permutation(*self.group.parameters(g))
        return None if index is None else (index, np.ones(self.dim))

    def _has_lie_action(self) -> bool:
        return len(self.group.lie_generators) > 0 and bool(np.any(self.frequencies().partner >= 0))

    def lie_matrices(self) -> np.ndarray:
        """The skew derivative of ``matrix`` at the identity along each Lie generator,
        ``sum over pairs of m (b a^T - a b^T)``; float64 ``[k, dim, dim]``."""
        if not len(self.group.lie_generators):
            return np.zeros((0, self.dim, self.dim))
        require_matrices(self, 3)
        frequencies = self.frequencies()
        even, odd, m = frequencies.pairs()
        half = (frequencies.basis[:, odd] * m) @ frequencies.basis[:, even].T
        return (half - half.T)[None]

    def _act(self, x: Any, g: np.ndarray) -> Any:
        angle, flip = self.group.parameters(g)
        index = self._permutation(angle, flip)
        if index is not None:
            return x[..., index]
        if flip:
            index = self._permutation(0.0, True)
            x = x[..., index] if index is not None else self._turn(x, 0.0, True)
        return self._turn(x, angle, False) if angle else x

    def _turn(self, x: Any, angle: float, flip: bool) -> Any:
        """The flip, or the rotation, through the basis of ``frequencies``."""
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            raise TypeError(f"{self} interpolates: the array must be floating, got {x.dtype}")
        wide = x if x.dtype.itemsize >= 4 else x.astype(np.float32)
        real = np.zeros((), wide.dtype).real.dtype  # of the basis, also when x is complex
        f = self.frequencies()
        basis = f.basis.astype(real, copy=False)
        inside = matmul(wide, basis)
        if flip:
            moved = inside * np.where(f.odd, -2, 0).astype(real)
        else:
            angles = np.where(f.unmatched, 0, f.frequency) * angle
            cos_minus_1 = (-2 * np.sin(angles / 2) ** 2).astype(real)  # without cancellation
            sin = np.where(f.odd, np.sin(angles), -np.sin(angles))
            sin = np.where(f.partner < 0, 0.0, sin).astype(real)
            moved = inside * cos_minus_1 + inside[..., f.partner] * sin
        return (wide + matmul(moved, basis.T)).astype(x.dtype)


class PlanarMatrices(PlanarRep):
    """A small representation of a planar group that gives its matrices in closed form."""

    @abc.abstractmethod
    def _matrix(self, g: np.ndarray) -> np.ndarray: ...

    def signed_permutation(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        return Rep.signed_permutation(self, g)

    def _permutation(self, angle: float, flip: bool) -> np.ndarray | None:
        return None

    def _act(self, x: Any, g: np.ndarray) -> Any:
        return Rep._act(self, x, g)


def check_planar(group: Any, what: str) -> PlanarGroup:
    """The group, if it is one of rotations and flips of the plane; ValueError for another group,
    TypeError for no group."""
    if not isinstance(check_group(group, what), PlanarGroup):
        raise ValueError(
            f"{what} needs a group of the plane (C_n, D_n, SO(2), O(2)), got {group!r}"
        )
    return group
