"""Groups that are built as a user would build them: from generators alone.

Each of these needs only its generators and ``from_generators``; order, elements, words, samples
and levels follow.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from softeq_jax.groups._group import Group
from softeq_jax.groups._user import from_generators


def octahedral() -> Group:
    """The 24 rotations of a cube in R^3: a quarter turn about z, a third of a turn about
    (1, 1, 1)."""
    turns = [_turn((0, 0, 1), 4), _turn((1, 1, 1), 3)]
    return from_generators("Octahedral", discrete=np.rint(turns))


def icosahedral() -> Group:
    """The 60 rotations of an icosahedron in R^3 with vertices (0, +-1, +-golden ratio) and their
    cyclic permutations: a fifth of a turn about a vertex, a third of a turn about a face."""
    golden = (1 + math.sqrt(5)) / 2
    turns = [_turn((0, 1, golden), 5), _turn((1, 1, 1), 3)]
    return from_generators("Icosahedral", discrete=np.array(turns))


def rubiks_cube() -> Group:
    """The group of Rubik's cube: six face turns, as permutations of its 48 moving stickers.

    A sticker is a cell of the 3x3x3 cube, with coordinates -1, 0 and 1, and the outward normal
    that it faces. A turn of a face rotates the stickers of the cells in its layer. The order is
    43 252 003 274 489 856 000, so elements cannot be listed; membership, the order and uniform
    samples come from a stabilizer chain.
    """
    stickers = [
        (cell, axis)
        for cell in itertools.product((-1, 0, 1), repeat=3)
        for axis in range(3)
        if cell[axis] != 0 and np.count_nonzero(cell) > 1
    ]
    place = {sticker: i for i, sticker in enumerate(stickers)}
    turns = []
    for axis, side in itertools.product(range(3), (1, -1)):
        rotation = np.rint(_turn(side * np.eye(3)[axis], 4)).astype(int)
        turn = []
        for cell, face in stickers:
            if cell[axis] == side:
                turned = tuple((rotation @ cell).tolist())
                moved = (turned, int(np.flatnonzero(rotation[:, face])[0]))
            else:
                moved = (cell, face)
            turn.append(place[moved])
        turns.append(turn)
    return from_generators("Rubik", discrete=np.array(turns))


def _turn(axis: Sequence[float], n: int) -> np.ndarray:
    """Rotation of R^3 by ``2 pi / n`` about an axis, counter-clockwise."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = 2 * math.pi / n
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
