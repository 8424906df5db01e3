"""The interface of an orthogonal representation of a planar group."""

import abc
import dataclasses
import functools
import math
import numbers
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import PlanarGroup


@dataclasses.dataclass(frozen=True, eq=False)
class Frequencies:
    """An orthonormal basis in which rotations and flips are as simple as they can be.

    In a pair of an even column a and an odd column b of frequency m, the rotation by t acts as

        a -> cos(m t) a + sin(m t) b,    b -> cos(m t) b - sin(m t) a,

    and the flip F fixes the even columns and negates the odd ones. A column without a partner is
    fixed by rotations (frequency 0) or, where only quarter turns act, negated by them
    (frequency 2). An unmatched column is fixed by rotations and negated by flips, for want of an
    even partner; it belongs to no finite frequency, which is recorded as -1.

    Attributes:
      basis: orthonormal columns, float64 ``[dim, dim]``.
      frequency: int ``[dim]``, at least 0, or -1 where unmatched.
      odd: bool ``[dim]``, whether the flip negates the column.
      partner: int ``[dim]``, index of the other column of the pair, -1 for a column without one.
      unmatched: bool ``[dim]``.
    """

    basis: np.ndarray
    frequency: np.ndarray
    odd: np.ndarray
    partner: np.ndarray
    unmatched: np.ndarray

    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices of the even columns that have a partner, of the partners, and frequencies."""
        even = np.flatnonzero((self.partner >= 0) & ~self.odd)
        return even, self.partner[even], self.frequency[even]


@dataclasses.dataclass(frozen=True, repr=False)
class Rep(abc.ABC):
    """An orthogonal representation of a planar group on arrays of a fixed shape.

    Immutable, and equal to (with the hash of) any other with the same content. Everything but
    ``apply`` is computed on the host in float64.

    Attributes:
      group: the group that acts.
    """

    group: PlanarGroup

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Lengths of the array axes that the representation acts on."""

    @abc.abstractmethod
    def frequencies(self) -> Frequencies:
        """The basis of rotations and flips; cached, with read-only arrays."""

    @abc.abstractmethod
    def _permutation(self, angle: float, flip: bool) -> np.ndarray | None:
        """Index with ``moved = x[..., index]`` for ``R(angle) F^flip``, None if there is none."""

    @property
    def dim(self) -> int:
        """Dimension, the product of ``shape``."""
        return math.prod(self.shape)

    @property
    def is_orthogonal(self) -> bool:
        """Whether every matrix is orthogonal: always, here."""
        return True

    @property
    @abc.abstractmethod
    def is_permutation(self) -> bool:
        """Whether every element of the group permutes the entries exactly."""

    @property
    def dual(self) -> "Rep":
        """The representation on linear functions, the same one as it is orthogonal."""
        return self

    @property
    def unmatched(self) -> np.ndarray:
        """Orthonormal columns, ``[dim, u]``, that rotations fix and flips negate for want of a
        partner; ``u = 0`` except on interpolated grids of even side."""
        frequencies = self.frequencies()
        return frequencies.basis[:, frequencies.unmatched]

    def matrix(self, g: Any) -> np.ndarray:
        """The matrix of a group element.

        Args:
          g: ``[2, 2]``, an element of the group (within 1e-6, so float32 will do).

        Returns:
          float64 ``[dim, dim]``, acting on the row-major flattening.

        Raises:
          ValueError: ``g`` is not in the group.
        """
        angle, flip = self.group.parameters(g)
        return np.ascontiguousarray(self._act(np.eye(self.dim), angle, flip).T)

    def lie_matrices(self) -> np.ndarray:
        """The skew derivative of ``matrix`` at the identity along each Lie generator,
        ``sum over pairs of m (b a^T - a b^T)``; float64 ``[k, dim, dim]``."""
        if not len(self.group.lie_generators):
            return np.zeros((0, self.dim, self.dim))
        frequencies = self.frequencies()
        even, odd, m = frequencies.pairs()
        half = (frequencies.basis[:, odd] * m) @ frequencies.basis[:, even].T
        return (half - half.T)[None]

    def discrete_matrices(self) -> np.ndarray:
        """The matrices of the discrete generators of the group; float64 ``[m, dim, dim]``."""
        matrices = [self.matrix(g) for g in self.group.discrete_generators]
        return np.array(matrices).reshape(-1, self.dim, self.dim)

    def apply(self, g: Any, x: Any, axes: Sequence[int] | None = None) -> Any:
        """The group element applied to an array, every other axis being a batch axis.

        Permutations are gathers and exact. A rotation that interpolates is
        ``x + B ((rot - 1) (B^T x))``, where B is the basis of ``frequencies`` and ``rot`` turns
        each of its pairs by m t.

        Args:
          g: ``[2, 2]``, an element of the group, concrete (not traced).
          x: an array; may be traced. A NumPy array is handled by NumPy, in its own precision
            (float64 stays float64), everything else by JAX. 16-bit floats are computed in
            float32; matrix products use the highest precision.
          axes: the axes of ``x`` to act on, one per entry of ``shape``. By default the trailing
            axes if they have this shape; for an image the two axes before the last if these
            have it instead (NHWC); else the last axis, if its length is ``dim``.

        Returns:
          An array with the shape and dtype of ``x``.

        Raises:
          ValueError: ``g`` is not in the group, or the axes cannot be told or do not fit.
          TypeError: ``g`` is traced, or ``x`` consists of integers and must be interpolated.
        """
        angle, flip = self.group.parameters(g)
        if not isinstance(x, np.ndarray):
            x = jnp.asarray(x)
        axes = self._resolve_axes(x.shape, axes)
        last = tuple(range(x.ndim - len(axes), x.ndim))
        xp = np if isinstance(x, np.ndarray) else jnp
        moved = xp.moveaxis(x, axes, last)
        flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], self.dim)
        return xp.moveaxis(self._act(flat, angle, flip).reshape(moved.shape), last, axes)

    def _resolve_axes(self, shape: tuple[int, ...], axes: Sequence[int] | None) -> tuple[int, ...]:
        r, ndim = len(self.shape), len(shape)
        trailing, channels_last = tuple(range(ndim - r, ndim)), tuple(range(ndim - r - 1, ndim - 1))
        if axes is not None:
            return self._check_axes(shape, tuple(axes))
        is_trailing = ndim >= r and shape[ndim - r :] == self.shape
        if r > 1 and ndim > r and shape[ndim - r - 1 : -1] == self.shape:
            leading = tuple(range(r))
            fits = [channels_last]
            fits += [trailing] if is_trailing else []
            fits += [leading] if leading != channels_last and shape[:r] == self.shape else []
            if len(fits) > 1:
                raise ValueError(
                    f"{self} fits an array of shape {shape} in {len(fits)} ways; choose one with "
                    + " or ".join(f"axes={axes}" for axes in fits)
                )
            return channels_last
        if is_trailing:
            return trailing
        if ndim and shape[-1] == self.dim:
            return (ndim - 1,)
        raise ValueError(
            f"{self} acts on arrays [..., {', '.join(map(str, self.shape))}] or "
            f"[..., {self.dim}], got shape {shape}; name the axes with axes="
        )

    def _check_axes(self, shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
        whole = all(isinstance(a, numbers.Integral) and -len(shape) <= a < len(shape) for a in axes)
        positive = tuple(int(a) % len(shape) for a in axes) if whole and shape else ()
        if len(positive) != len(self.shape) or len(set(positive)) != len(positive):
            raise ValueError(
                f"{self} needs axes= with {len(self.shape)} different axes of an array of shape "
                f"{shape}, got {axes}"
            )
        if tuple(shape[a] for a in positive) != self.shape:
            raise ValueError(
                f"{self} acts on axes of lengths {self.shape}, but axes {axes} of an array of "
                f"shape {shape} have lengths {tuple(shape[a] for a in positive)}"
            )
        return positive

    def _act(self, x: Any, angle: float, flip: bool) -> Any:
        """``R(angle) F^flip`` on the last axis, of length ``dim``."""
        index = self._permutation(angle, flip)
        if index is not None:
            return x[..., index]
        if flip:
            index = self._permutation(0.0, True)
            x = x[..., index] if index is not None else self._mix(x, 0.0, True)
        return self._mix(x, angle, False) if angle else x

    def _mix(self, x: Any, angle: float, flip: bool) -> Any:
        """The flip, or the rotation, through the basis of ``frequencies``."""
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            raise TypeError(f"{self} interpolates: the array must be floating, got {x.dtype}")
        wide = x if x.dtype.itemsize >= 4 else x.astype(np.float32)
        real = np.zeros((), wide.dtype).real.dtype  # of the basis, also when x is complex
        f = self.frequencies()
        basis = f.basis.astype(real, copy=False)
        matmul = np.matmul if isinstance(x, np.ndarray) else _matmul
        inside = matmul(wide, basis)
        if flip:
            moved = inside * np.where(f.odd, -2, 0).astype(real)
        else:
            angles = np.where(f.partner < 0, 0, f.frequency) * angle
            cos_minus_1 = (-2 * np.sin(angles / 2) ** 2).astype(real)  # without cancellation
            sin = np.where(f.odd, np.sin(angles), -np.sin(angles)).astype(real)
            moved = inside * cos_minus_1 + inside[..., f.partner] * sin
        return (wide + matmul(moved, basis.T)).astype(x.dtype)


_matmul = functools.partial(jnp.matmul, precision="highest")


def read_only(*arrays: np.ndarray) -> Frequencies:
    """``Frequencies`` of these arrays, which become read-only."""
    for array in arrays:
        array.setflags(write=False)
    return Frequencies(*arrays)


def check_group(group: Any, what: str) -> PlanarGroup:
    """The group, if it is one; TypeError otherwise."""
    if not isinstance(group, PlanarGroup):
        raise TypeError(
            f"{what} needs a group, such as groups.so(2) or groups.from_name('c4'), got {group!r}"
        )
    return group


def check_size(n: Any, what: str, least: int = 1) -> int:
    """``n`` as an int, if it is a whole number that is large enough; ValueError otherwise."""
    if isinstance(n, bool | np.bool_) or not isinstance(n, numbers.Integral) or n < least:
        raise ValueError(f"{what} must be an integer of at least {least}, got {n!r}")
    return int(n)
