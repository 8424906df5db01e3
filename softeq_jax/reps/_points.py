"""Clouds of points, and functions on a set of points that a group maps to itself."""

import dataclasses
import functools
from typing import Any

import numpy as np

from softeq_jax._checks import whole
from softeq_jax.groups import Group
from softeq_jax.reps._acting_group import check_group
from softeq_jax.reps._matrices import permutation_matrix
from softeq_jax.reps._plain import vector
from softeq_jax.reps._rep import Multiple, Rep

_TOLERANCE = 1e-6  # of positions, relative to the largest coordinate


@dataclasses.dataclass(frozen=True, repr=False)
class Points(Multiple):
    """A cloud of points, of shape ``(n, d)``. Made by ``points``.

    Example:
      >>> import softeq_jax as sq
      >>> X = sq.reps.points(sq.groups.so(3), 5)
      >>> X, X.shape, X.dim
      (Points[5·V](SO(3)), (5, 3), 15)
    """

    @property
    def formula(self) -> str:
        return f"Points[{super().formula}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.multiplicity, self.parts[0].dim)


def points(group: Group, n: int) -> Points:
    """Clouds of n points, each of which is moved by the group's own matrices.

    Args:
      group: any group, of d x d matrices.
      n: number of points.

    Returns:
      A representation of shape ``(n, d)`` that prints as ``Points[5·V](SO(3))``.

    Raises:
      ValueError: n is no positive integer.
      TypeError: ``group`` is no group.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> X = sq.reps.points(sq.groups.cyclic(2), 2)
      >>> X.apply(X.group.elements()[1], np.array([[1.0, 2.0], [3.0, 4.0]]))
      array([[-1., -2.],
             [-3., -4.]])
    """
    v = vector(group)
    return Points(group, (v,), whole(n, "the number of points"))


@dataclasses.dataclass(frozen=True, repr=False)
class PointSet(Rep):
    """Functions on a finite set of points. Made by ``permutation``.

    Attributes:
      points: the points.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.octahedral()
      >>> corners = np.argwhere(np.ones((2, 2, 2))) * 2 - 1
      >>> sq.reps.permutation(G, corners).is_permutation
      True
    """

    points: tuple[tuple[complex, ...], ...] = ()

    @property
    def formula(self) -> str:
        return f"Functions[{len(self.points)} points]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.points),)

    @property
    def is_orthogonal(self) -> bool:
        return True

    @property
    def is_permutation(self) -> bool:
        return True

    @functools.cached_property
    def _array(self) -> np.ndarray:
        return np.array(self.points)

    def signed_permutation(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = _images(self._array, self.group.dense(g))[0]
        return np.argsort(images), np.ones(self.dim, np.int8)

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return permutation_matrix(self, self.signed_permutation(g)[0])

    def lie_matrices(self) -> np.ndarray:
        return np.zeros((len(self.group.lie_generators), self.dim, self.dim))


def permutation(group: Group, points: Any) -> PointSet:
    """Functions on a set of points that the group maps to itself: ``(g f)(p) = f(g^-1 p)``.

    Such as the vertices of a polyhedron under its rotations, or the ring of neighbors of a grid
    point. (For a permutation group, ``vector`` is the action on the permuted things.)

    Args:
      group: a group of d x d matrices; a Lie group may only fix all points.
      points: ``[n, d]``, all different.

    Returns:
      A representation by permutations, of shape ``(n,)``.

    Raises:
      ValueError: wrong shape or numbers, two equal points, or a generator of the group that moves
        a point to where no point is.
      TypeError: ``group`` is no group.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> R = sq.reps.permutation(sq.groups.cyclic(4), [[1, 0], [0, 1], [-1, 0], [0, -1]])
      >>> R.apply(R.group.elements()[1], np.arange(4))  # a quarter turn
      array([3, 0, 1, 2])
    """
    check_group(group, "permutation")
    array = np.asarray(points)
    kinds, field = ("fiuc", "numbers") if group.is_complex else ("fiu", "real numbers")
    if array.ndim != 2 or array.shape[1:] != (group.d,) or not len(array):
        raise ValueError(f"points of {group} are an array [n, {group.d}], got shape {array.shape}")
    if array.dtype.kind not in kinds or not np.all(np.isfinite(array)):
        raise ValueError(f"points of {group} need finite {field}, got {array.dtype}")
    array = array.astype(group.dtype)
    scale = max(float(np.abs(array).max()), 1e-300)
    if len(array) > 1:
        apart, nearest = _tree(array).query(_real(array), k=2)
        i = int(np.argmin(apart[:, 1]))
        if apart[i, 1] <= 4 * _TOLERANCE * scale:
            i, j = sorted((i, int(nearest[i][nearest[i] != i][0])))
            raise ValueError(
                f"points must differ, but points {i} and {j} are {apart[i].max():.2g} apart"
            )
    drift = np.linalg.norm(array @ np.swapaxes(group.lie_generators, 1, 2), axis=2)
    if drift.size and drift.max() > _TOLERANCE * scale:
        i = np.unravel_index(np.argmax(drift), drift.shape)[1]
        raise ValueError(
            f"{group} moves point {i} continuously (with velocity {drift.max():.3g}), so no finite "
            "set with it is mapped to itself"
        )
    for k, h in enumerate(map(group.dense, group.letters())):
        _, missed = _images(array, h)
        if missed.max() > _TOLERANCE * scale:
            i = int(np.argmax(missed))
            raise ValueError(
                f"{group} does not map the points to themselves: generator {k} moves point {i}, "
                f"{array[i].tolist()}, to {(h @ array[i]).tolist()}, which is {missed[i]:.3g} from "
                "the nearest point"
            )
    return PointSet(group, tuple(tuple(p) for p in array.tolist()))


def _images(points: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which point is nearest to each moved point, and how far away it is."""
    apart, nearest = _tree(points).query(_real(points @ g.T))
    return nearest, apart


def _tree(points: np.ndarray) -> Any:
    from scipy.spatial import KDTree

    return KDTree(_real(points))


def _real(points: np.ndarray) -> np.ndarray:
    """The real and imaginary parts of complex coordinates."""
    if not np.iscomplexobj(points):
        return points
    return np.concatenate([np.real(points), np.imag(points)], axis=-1)
