"""Rotations and flips of the plane: C_n, D_n, SO(2) and O(2)."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import frozen, whole
from softeq_jax.groups._group import INDEX_TOLERANCE, LISTABLE, TOLERANCE, Group, concrete
from softeq_jax.groups._levels import ConjugacyClass, Factorization, Stage, Words

_TURN = 2.0 * math.pi
_FINEST = 2**22  # rotations of which samples, in single precision, are multiples of the step
_ANGLE_TOLERANCE = 1e-6  # for angles, which may have been rounded to float32


def _rotation(angle: float) -> np.ndarray:
    """``[[cos, -sin], [sin, cos]]``, with exact entries at the multiples of 90 degrees."""
    quarter = angle / (math.pi / 2)
    nearest = round(quarter)
    if abs(quarter - nearest) < 5e-15:
        c, s = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[nearest % 4]
    else:
        c, s = math.cos(angle), math.sin(angle)
    # adding 0.0 turns a negative zero into a positive one
    return np.array([[c, -s], [s, c]]) + 0.0


def _flip() -> np.ndarray:
    """The left-right flip ``diag(-1, 1)``."""
    return np.diag([-1.0, 1.0])


@dataclasses.dataclass(frozen=True, repr=False)
class PlanarGroup(Group):
    """Rotations of R^2 about the origin, with or without flips.

    The plane has x to the right and y up. Every element is ``R(t) F^flip`` with the
    counter-clockwise rotation ``R(t) = [[cos t, -sin t], [sin t, cos t]]`` and the left-right
    flip ``F = diag(-1, 1)``; the two obey ``F R(t) F = R(-t)``.

    Attributes:
      name: how the group prints.
      rotations: number of rotations (n for C_n and D_n), or None when every angle is allowed.
      has_flip: whether the flip belongs to the group.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.PlanarGroup("C4", rotations=4)
      >>> np.round(G.element(np.pi / 2) @ [1, 0])  # x to the right, y up
      array([0., 1.])
    """

    rotations: int | None = None
    has_flip: bool = False

    @property
    def d(self) -> int:
        return 2

    @property
    def lie_generators(self) -> np.ndarray:
        return _lie_generators(self)

    @property
    def discrete_generators(self) -> np.ndarray:
        return _discrete_generators(self)

    @property
    def order(self) -> int | None:
        if self.rotations is None:
            return None
        return self.rotations * (2 if self.has_flip else 1)

    @property
    def is_connected(self) -> bool:
        return not self.has_flip and self.rotations in (None, 1)

    def elements(self) -> np.ndarray:
        """All elements, float64 ``[order, 2, 2]``: the rotations by ``2 pi j / n`` for
        ``j = 0 .. n-1``, followed, where there are flips, by the same rotations times F.

        Raises:
          ValueError: the group is infinite, or has more than 50 000 elements.
        """
        return super().elements()

    def _elements(self) -> np.ndarray:
        return _elements(self)

    def _sample(self, key: Any, n: int) -> jax.Array:
        if self.order is not None and self.order <= LISTABLE:
            return super()._sample(key, n)
        angle_key, flip_key = jax.random.split(key)
        if self.rotations is None or self.rotations > _FINEST:  # floats cannot tell them apart
            angle = jax.random.uniform(angle_key, (n,), maxval=_TURN)
        else:
            angle = jax.random.randint(angle_key, (n,), 0, self.rotations) * (
                _TURN / self.rotations
            )
        c, s = jnp.cos(angle), jnp.sin(angle)
        sign = jnp.ones((n,), c.dtype)
        if self.has_flip:
            sign = jnp.where(jax.random.bernoulli(flip_key, 0.5, (n,)), -sign, sign)
        rows = jnp.stack([c * sign, -s], axis=-1), jnp.stack([s * sign, c], axis=-1)
        return jnp.stack(rows, axis=-2)

    def element(self, angle: float = 0.0, flip: bool = False) -> np.ndarray:
        """The matrix ``R(angle) F^flip``.

        Args:
          angle: counter-clockwise, in radians, of any size; for C_n and D_n a multiple of
            ``2 pi / n`` within 1e-6, which is then taken to be that multiple.
          flip: whether the left-right flip acts first.

        Returns:
          float64 ``[2, 2]``; the entries at multiples of 90 degrees are exactly 0, 1 and -1.

        Raises:
          ValueError: the group has no such element.
        """
        angle = float(angle)
        if not math.isfinite(angle):
            raise ValueError(f"the angle must be finite, got {angle}")
        if flip and not self.has_flip:
            raise ValueError(f"{self} has no flips")
        given = angle
        if abs(angle) > _TURN:
            angle = math.atan2(math.sin(angle), math.cos(angle))
        if self.rotations is not None:
            step = _TURN / self.rotations
            j = round(angle / step)
            if abs(angle - j * step) > _ANGLE_TOLERANCE:
                raise ValueError(
                    f"{self} has no rotation by {given} rad ({math.degrees(given):.6g} degrees): "
                    f"its angles are the multiples of {360 / self.rotations:.6g} degrees"
                )
            angle = _multiple(j, self.rotations)
        rotation = _rotation(angle)
        return rotation @ _flip() + 0.0 if flip else rotation

    def parameters(self, g: Any) -> tuple[float, bool]:
        """The ``(angle, flip)`` with ``g = R(angle) F^flip``: the inverse of ``element``.

        Args:
          g: an array ``[2, 2]`` of concrete numbers; single precision is enough.

        Returns:
          The angle in ``[0, 2 pi)``, for C_n and D_n the exact multiple of ``2 pi / n``, and
          whether ``g`` is a reflection.

        Raises:
          ValueError: ``g`` is no element of the group (tolerance 1e-6 per entry).
          TypeError: ``g`` is a JAX tracer; representations are built outside ``jit``.
        """
        return self._parameters(concrete(g, self))

    def _parameters(self, g: np.ndarray) -> tuple[float, bool]:
        if not np.all(np.abs(g @ g.T - np.eye(2)) <= 3 * TOLERANCE):
            raise ValueError(f"{g.tolist()} is not orthogonal, so it is not in {self}")
        flip = bool(g[0, 0] * g[1, 1] - g[0, 1] * g[1, 0] < 0)
        if flip and not self.has_flip:
            raise ValueError(f"{g.tolist()} is a reflection, and {self} has no flips")
        r = g @ _flip() if flip else g
        angle = math.atan2(r[1, 0] - r[0, 1], r[0, 0] + r[1, 1]) % _TURN
        if self.rotations is not None:
            angle = _multiple(round(angle * self.rotations / _TURN), self.rotations)
        angle = angle if angle < _TURN else 0.0  # a tiny negative angle rounds up to 2 pi
        if np.max(np.abs(r - _rotation(angle))) > TOLERANCE:
            raise ValueError(
                f"{g.tolist()} turns by an angle that is not in {self}: its angles are the "
                f"multiples of {360 / (self.rotations or 1):.6g} degrees"
            )
        return angle, flip

    def _verify(self, g: np.ndarray) -> None:
        self._parameters(g)

    def _indices(self, gs: np.ndarray) -> np.ndarray:
        flip = np.linalg.det(gs) < 0
        r = np.where(flip[:, None, None], gs @ _flip(), gs)
        angle = np.arctan2(r[:, 1, 0] - r[:, 0, 1], r[:, 0, 0] + r[:, 1, 1])
        n = self._require_rotations()
        index = np.rint(angle * n / _TURN).astype(int) % n
        index += np.where(flip & self.has_flip, n, 0)
        found = np.abs(_elements(self)[index] - gs).max(axis=(1, 2)) <= INDEX_TOLERANCE
        return np.where(found, index, -1)

    @functools.cached_property
    def _words(self) -> Words:
        n = self._require_rotations()
        parent, generator = np.arange(-1, n - 1), np.zeros(n, int)
        generator[0] = -1
        if self.has_flip:
            parent = np.concatenate([parent, np.arange(n)])
            generator = np.concatenate([generator, np.full(n, len(self.discrete_generators) - 1)])
        return Words(frozen(parent), frozen(generator))

    def _require_rotations(self) -> int:
        if self.rotations is None:
            raise ValueError(f"{self} has rotations by every angle, which cannot be listed")
        return self.rotations

    def _factor(self, g: np.ndarray) -> Factorization:
        angle, flip = self._parameters(g)
        if self.rotations is not None:
            j = round(angle * self.rotations / _TURN)
            return Factorization((), self.words().spell(j + (self.rotations if flip else 0)))
        angle = angle - _TURN if angle > math.pi else angle
        return Factorization((np.array([angle]),), (0,) if flip else ())

    def level_factors(self) -> tuple[tuple[Stage, ...], ...]:
        """SO(2) by its Lie generator, C_n by its rotation; the flips of O(2) and D_n come after
        them, on what the rotations fix."""
        stages = []
        if self.rotations is None:
            stages.append(Stage((0,), ()))
        elif self.rotations > 1:
            r = self.discrete_generators[0]
            turns = [r, r.T] if self.has_flip and self.rotations > 2 else [r]
            turning = ConjugacyClass((self.rotations / _TURN) ** 2, frozen(np.stack(turns)))
            stages.append(Stage((), (turning,)))
        if self.has_flip:
            stages.append(Stage((), (ConjugacyClass((2 / _TURN) ** 2, frozen(_flip()[None])),)))
        return (tuple(stages),) if stages else ()


def _multiple(j: int, n: int) -> float:
    """``2 pi (j mod n) / n``, rounded the same way wherever it is needed."""
    return _TURN * (j % n) / n


@functools.lru_cache(maxsize=64)
def _lie_generators(group: PlanarGroup) -> np.ndarray:
    if group.rotations is None:
        return frozen(np.array([[[0.0, -1.0], [1.0, 0.0]]]))
    return frozen(np.zeros((0, 2, 2)))


@functools.lru_cache(maxsize=64)
def _discrete_generators(group: PlanarGroup) -> np.ndarray:
    generators = []
    if group.rotations is not None and group.rotations > 1:
        generators.append(_rotation(_TURN / group.rotations))
    if group.has_flip:
        generators.append(_flip())
    return frozen(np.array(generators).reshape(-1, 2, 2))


@functools.lru_cache(maxsize=64)
def _elements(group: PlanarGroup) -> np.ndarray:
    n = group._require_rotations()
    turns = np.stack([_rotation(_multiple(j, n)) for j in range(n)])
    return frozen(np.concatenate([turns, turns @ _flip() + 0.0]) if group.has_flip else turns)


def trivial() -> PlanarGroup:
    """The group of the identity alone, acting on the plane; prints as ``1``.

    Example:
      >>> import softeq_jax as sq
      >>> sq.groups.trivial().elements()
      array([[[1., 0.],
              [0., 1.]]])
    """
    return PlanarGroup("1", rotations=1)


def cyclic(n: int) -> PlanarGroup:
    """C_n: the rotations by multiples of ``2 pi / n``; ValueError unless n is an int >= 1.

    Example:
      >>> from softeq_jax import groups
      >>> G = groups.cyclic(4)
      >>> G.order, len(G.elements())
      (4, 4)
      >>> G.element(3.14159265 / 2).round()
      array([[ 0., -1.],
             [ 1.,  0.]])
    """
    n = whole(n, "n in cyclic(n)")
    return PlanarGroup(f"C{n}", rotations=n)


def dihedral(n: int) -> PlanarGroup:
    """D_n: C_n and the flip, 2n elements; D_1 is the flip alone. ValueError as in ``cyclic``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.dihedral(4)
      >>> G.order, G.contains(np.diag([-1, 1]))
      (8, True)
    """
    n = whole(n, "n in dihedral(n)")
    return PlanarGroup(f"D{n}", rotations=n, has_flip=True)
