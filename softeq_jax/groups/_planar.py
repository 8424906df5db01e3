"""Rotations and flips of the plane: C_n, D_n, SO(2) and O(2)."""

import dataclasses
import functools
import math
import numbers
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups._group import Group, frozen

_TURN = 2.0 * math.pi
_ANGLE_TOLERANCE = 1e-6  # for angles, which may have been rounded to float32
_MATRIX_TOLERANCE = 1e-6  # for matrices, which may have been rounded to float32
_NAMES = "'trivial', 'c<n>' (c4), 'd<n>' (d4), 'so2' or 'SO(2)', 'o2' or 'O(2)'"


def _rotation(angle: float) -> np.ndarray:
    """``[[cos, -sin], [sin, cos]]``, with exact entries at the multiples of 90 degrees."""
    quarter = angle / (math.pi / 2)
    nearest = round(quarter)
    if abs(quarter - nearest) < 1e-14 * max(1.0, abs(quarter)):
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
          ValueError: the group is infinite.
        """
        if not self.is_finite:
            raise ValueError(
                f"{self} has infinitely many elements, which cannot be listed; "
                "draw some with sample(key, n), or use a finite subgroup such as C8 or D8"
            )
        return _elements(self)

    def sample(self, key: Any, n: int) -> jax.Array:
        """``n`` independent uniform elements.

        Args:
          key: a JAX PRNG key.
          n: how many.

        Returns:
          ``[n, 2, 2]`` in the default JAX float dtype. Works under ``jit`` (with ``n`` static).
        """
        n = _whole(n, "the number of samples")
        if self.is_finite:
            return jax.random.choice(key, jnp.asarray(self.elements()), (n,))
        angle_key, flip_key = jax.random.split(key)
        angle = jax.random.uniform(angle_key, (n,), maxval=_TURN)
        c, s = jnp.cos(angle), jnp.sin(angle)
        sign = jnp.ones((n,), c.dtype)
        if self.has_flip:
            sign = jnp.where(jax.random.bernoulli(flip_key, 0.5, (n,)), -sign, sign)
        rows = jnp.stack([c * sign, -s], axis=-1), jnp.stack([s * sign, c], axis=-1)
        return jnp.stack(rows, axis=-2)

    def element(self, angle: float = 0.0, flip: bool = False) -> np.ndarray:
        """The matrix ``R(angle) F^flip``.

        Args:
          angle: counter-clockwise, in radians; for C_n and D_n a multiple of ``2 pi / n`` within
            1e-6, which is then taken to be that multiple.
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
        if self.rotations is not None:
            step = _TURN / self.rotations
            j = round(angle / step)
            if abs(angle - j * step) > _ANGLE_TOLERANCE:
                raise ValueError(
                    f"{self} has no rotation by {angle} rad ({math.degrees(angle):.6g} degrees): "
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
        if isinstance(g, jax.core.Tracer):
            raise TypeError(
                "a group element must be a concrete matrix, but it is being traced; "
                "compute it outside jit, vmap and grad (the array it acts on may be traced)"
            )
        g = np.asarray(g)
        if g.shape != (2, 2) or g.dtype.kind not in "fiuV":
            raise ValueError(
                f"an element of {self} is a real [2, 2] matrix, got shape {g.shape}, {g.dtype}"
            )
        g = g.astype(np.float64)
        if not np.all(np.abs(g @ g.T - np.eye(2)) <= 3 * _MATRIX_TOLERANCE):
            raise ValueError(f"{g.tolist()} is not orthogonal, so it is not in {self}")
        flip = bool(g[0, 0] * g[1, 1] - g[0, 1] * g[1, 0] < 0)
        if flip and not self.has_flip:
            raise ValueError(f"{g.tolist()} is a reflection, and {self} has no flips")
        r = g @ _flip() if flip else g
        angle = math.atan2(r[1, 0] - r[0, 1], r[0, 0] + r[1, 1]) % _TURN
        if self.rotations is not None:
            angle = _multiple(round(angle * self.rotations / _TURN), self.rotations)
        angle = angle if angle < _TURN else 0.0  # a tiny negative angle rounds up to 2 pi
        if np.max(np.abs(r - _rotation(angle))) > _MATRIX_TOLERANCE:
            raise ValueError(
                f"{g.tolist()} turns by an angle that is not in {self}: its angles are the "
                f"multiples of {360 / (self.rotations or 1):.6g} degrees"
            )
        return angle, flip

    def contains(self, g: Any) -> bool:
        """Whether ``g`` is an element, within 1e-6 per entry."""
        try:
            self.parameters(g)
        except ValueError:
            return False
        return True


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
    turns = np.stack([_rotation(_multiple(j, group.rotations)) for j in range(group.rotations)])
    return frozen(np.concatenate([turns, turns @ _flip() + 0.0]) if group.has_flip else turns)


def _whole(n: Any, what: str) -> int:
    if isinstance(n, bool | np.bool_) or not isinstance(n, numbers.Integral) or n < 1:
        raise ValueError(f"{what} must be a positive integer, got {n!r}")
    return int(n)


def trivial() -> PlanarGroup:
    """The group of the identity alone, acting on the plane; prints as ``1``."""
    return PlanarGroup("1", rotations=1)


def cyclic(n: int) -> PlanarGroup:
    """C_n: the rotations by multiples of ``2 pi / n``; ValueError unless n is an int >= 1."""
    n = _whole(n, "n in cyclic(n)")
    return PlanarGroup(f"C{n}", rotations=n)


def dihedral(n: int) -> PlanarGroup:
    """D_n: C_n and the flip, 2n elements; D_1 is the flip alone. ValueError as in ``cyclic``."""
    n = _whole(n, "n in dihedral(n)")
    return PlanarGroup(f"D{n}", rotations=n, has_flip=True)


def so(n: int) -> PlanarGroup:
    """SO(n), all rotations of R^n; ValueError unless n is 2, the only case so far."""
    if _whole(n, "n in so(n)") != 2:
        raise ValueError(f"so(n) is available for n = 2 only, got {n}")
    return PlanarGroup("SO(2)")


def o(n: int) -> PlanarGroup:
    """O(n), rotations and reflections; ValueError unless n is 2, the only case so far."""
    if _whole(n, "n in o(n)") != 2:
        raise ValueError(f"o(n) is available for n = 2 only, got {n}")
    return PlanarGroup("O(2)", has_flip=True)


def from_name(name: str) -> PlanarGroup:
    """The group with a written name, as in configs; upper and lower case are the same.

    Args:
      name: ``trivial`` (or ``1``), ``c4``, ``d4``, ``so2`` or ``SO(2)``, ``o2`` or ``O(2)``.

    Raises:
      ValueError: there is no such name, or no such group.
    """
    text = name.strip().lower() if isinstance(name, str) else ""
    if text in ("trivial", "1"):
        return trivial()
    match = re.fullmatch(r"(c|d|so|o)(\d+|\(\d+\))", text, flags=re.ASCII)
    if match is None:
        raise ValueError(f"unknown group {name!r}; accepted names are {_NAMES}")
    build = {"c": cyclic, "d": dihedral, "so": so, "o": o}[match[1]]
    return build(int(match[2].strip("()")))
