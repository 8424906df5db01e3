"""Lists of transforms: circular shifts, rotations, and the elements of a group."""

import math

import jax
import numpy as np

from softeq_jax._checks import radians, whole
from softeq_jax.groups import Group
from softeq_jax.measures.finite._elements import Element, element
from softeq_jax.measures.finite._shifts import Shift, shift
from softeq_jax.measures.finite._turns import QuarterTurn, quarter_turn
from softeq_jax.measures.finite._warps import Rotation, rotation


def circular_shifts(max_shift: int, n: int, key: jax.Array) -> list[Shift]:
    """Circular shifts by whole pixels, uniform in ``[-max_shift, max_shift]`` along each axis.

    Args:
      max_shift: pixels of the input, at least 0.
      n: how many.
      key: a JAX key; the same key gives the same shifts.

    Raises:
      ValueError: a negative range, or n below 1.

    Example:
      >>> import jax, softeq_jax as sq
      >>> shifts = sq.measures.circular_shifts(2, 3, jax.random.key(0))
      >>> all(abs(each.dy) <= 2 and abs(each.dx) <= 2 for each in shifts), shifts[0].boundary
      (True, 'circular')
    """
    whole(n, "the number of transforms")
    whole(max_shift, "max_shift", 0)
    drawn = np.asarray(jax.random.randint(key, (n, 2), -max_shift, max_shift + 1))
    return [shift(int(dy), int(dx)) for dy, dx in drawn]


def uniform_rotations(
    n: int, key: jax.Array, limit: float = math.pi, interpolation: str = "bilinear"
) -> list[Rotation]:
    """Rotations by angles uniform in ``[-limit, limit]``.

    Args:
      n: how many.
      key: a JAX key.
      limit: radians, at most 2 pi; by default every angle of SO(2).
      interpolation: see ``rotation``.

    Raises:
      ValueError: n below 1, or a limit beyond 2 pi.

    Example:
      >>> import jax, softeq_jax as sq
      >>> turns = sq.measures.uniform_rotations(3, jax.random.key(0), limit=0.5)
      >>> all(abs(turn.angle) <= 0.5 for turn in turns)
      True
    """
    whole(n, "the number of transforms")
    limit = radians(limit, "limit")
    angles = np.asarray(jax.random.uniform(key, (n,), minval=-limit, maxval=limit))
    return [rotation(float(angle), interpolation) for angle in angles]


def cyclic_rotations(n: int) -> list[QuarterTurn | Rotation]:
    """The rotations by ``2 pi j / n``, j = 0 .. n-1; quarter turns are exact.

    Args:
      n: their number.

    Raises:
      ValueError: n below 1.

    Example:
      >>> import softeq_jax as sq
      >>> [each.name for each in sq.measures.cyclic_rotations(4)]
      ['quarter turn 0', 'quarter turn 1', 'quarter turn 2', 'quarter turn 3']
    """
    whole(n, "the number of transforms")
    return [
        quarter_turn(4 * j // n) if 4 * j % n == 0 else rotation(2 * math.pi * j / n)
        for j in range(n)
    ]


def group_transforms(group: Group) -> list[Element]:
    """Every element of a finite group, in the order of ``group.elements()``.

    Raises:
      ValueError: the group is infinite or too large to be listed.

    Example:
      >>> import softeq_jax as sq
      >>> len(sq.measures.group_transforms(sq.groups.dihedral(4)))
      8
    """
    return [element(group, g) for g in group.elements()]


def haar_transforms(group: Group, key: jax.Array, n: int) -> list[Element]:
    """Independent uniform elements of a compact group.

    Args:
      group: the group.
      key: a JAX key.
      n: how many.

    Raises:
      ValueError: n below 1, or no uniform sampler is known for the group.

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> moves = sq.measures.haar_transforms(sq.groups.so(2), jax.random.key(0), 2)
      >>> [round(float(np.linalg.det(each.matrix)), 4) for each in moves]
      [1.0, 1.0]
    """
    whole(n, "the number of transforms")
    return [element(group, g) for g in np.asarray(group.sample(key, n))]
