"""Groups by name: those that configs write, and a small zoo built from generators alone.

Groups of the zoo need only their generators and ``named``; order, elements, words,
samples and levels follow.
"""

import itertools
import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from softeq_jax.groups._classical import o, so, su, usp
from softeq_jax.groups._group import Group
from softeq_jax.groups._noncompact import lorentz, sp
from softeq_jax.groups._permutation import symmetric
from softeq_jax.groups._planar import cyclic, dihedral, trivial
from softeq_jax.groups._product import product
from softeq_jax.groups._user import named


def octahedral() -> Group:
    """The 24 rotations of a cube in R^3: a quarter turn about z, a third of a turn about
    (1, 1, 1).

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.octahedral()
      >>> G.order, G.contains(np.diag([-1, -1, 1])), G.contains(np.diag([-1, 1, 1]))
      (24, True, False)
    """
    turns = [_turn((0, 0, 1), 4), _turn((1, 1, 1), 3)]
    return named("Octahedral", discrete=np.rint(turns))


def full_octahedral() -> Group:
    """All 48 symmetries of a cube in R^3: its rotations and the inversion.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.full_octahedral()
      >>> G.order, G.contains(-np.eye(3))
      (48, True)
    """
    turns = [_turn((0, 0, 1), 4), _turn((1, 1, 1), 3), -np.eye(3)]
    return named("FullOctahedral", discrete=np.rint(turns))


def icosahedral() -> Group:
    """The 60 rotations of an icosahedron in R^3 with vertices (0, +-1, +-golden ratio) and their
    cyclic permutations: a fifth of a turn about a vertex, a third of a turn about a face.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.icosahedral()
      >>> G.order, sorted({sq.groups.matrix_order(g) for g in G.elements()})
      (60, [1, 2, 3, 5])
    """
    golden = (1 + math.sqrt(5)) / 2
    turns = [_turn((0, 1, golden), 5), _turn((1, 1, 1), 3)]
    return named("Icosahedral", discrete=np.array(turns))


def rubiks_cube() -> Group:
    """The group of Rubik's cube: six face turns, as permutations of its 48 moving stickers.

    A sticker is a cell of the 3x3x3 cube, with coordinates -1, 0 and 1, and the outward normal
    that it faces. A turn of a face rotates the stickers of the cells in its layer. The order is
    43 252 003 274 489 856 000, so elements cannot be listed; membership, the order and uniform
    samples come from a stabilizer chain.

    Example:
      >>> import softeq_jax as sq
      >>> sq.groups.rubiks_cube().order
      43252003274489856000
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
    return named("Rubik", discrete=np.array(turns))


def _turn(axis: Sequence[float], n: int) -> np.ndarray:
    """Rotation of R^3 by ``2 pi / n`` about an axis, counter-clockwise."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = 2 * math.pi / n
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


_WORDS: dict[str, Callable[[], Group]] = {
    "trivial": trivial,
    "1": trivial,
    "lorentz": lorentz,
    "icosahedral": icosahedral,
    "octahedral": octahedral,
    "fulloctahedral": full_octahedral,
    "oh": full_octahedral,
    "rubik": rubiks_cube,
}
_FAMILIES: dict[str, Callable[[int], Group]] = {
    "c": cyclic,
    "d": dihedral,
    "s": symmetric,
    "so": so,
    "o": o,
    "su": su,
    "usp": usp,
}
_KNOWN = (
    "'trivial', 'c<n>' (c4), 'd<n>' (d4), 's<n>' (s8), 'so2' or 'SO(2)', 'o2' or 'O(2)', 'su2', "
    "'usp2', 'sp2' or 'Sp(4,R)', 'lorentz' or 'o13' or 'O(1,3)', 'SO(1,3)', 'O+(1,3)', "
    "'SO+(1,3)', 'icosahedral', 'octahedral', 'fulloctahedral' or 'oh', 'rubik', and products such "
    "as 'SO(2) x C4'"
)


def from_name(name: str) -> Group:
    """The group with a written name, as in configs; upper and lower case are the same.

    Args:
      name: ``trivial`` (or ``1``), ``c4``, ``d4``, ``s8``, ``so3`` or ``SO(3)``, ``o5``, ``su2``,
        ``usp2``, ``sp2`` or ``Sp(4,R)``, ``lorentz`` or ``O(1,3)`` or ``o13``, ``so13``,
        ``o+(1,3)``, ``so+(1,3)``, ``icosahedral``, ``octahedral``, ``fulloctahedral`` (or ``oh``),
        ``rubik``; or some of these joined by `` x ``. SO(13) and O(13) are written with
        parentheses.

    Raises:
      ValueError: there is no such name, or no such group.

    Example:
      >>> import softeq_jax as sq
      >>> sq.groups.from_name("SO(3)"), sq.groups.from_name("c4 x s3").order
      (SO(3), 24)
    """
    text = name.strip().lower() if isinstance(name, str) else ""
    parts = re.split(r"\s+[x\u00d7]\s+", text)
    found = [_single(part, name) for part in parts]
    return found[0] if len(found) == 1 else product(*found)


def _single(text: str, name: object) -> Group:
    if text in _WORDS:
        return _WORDS[text]()
    if match := re.fullmatch(r"(s?)o(\+?)(13|\(1, ?3\))", text):
        return lorentz(special=bool(match[1]), orthochronous=bool(match[2]))
    if match := re.fullmatch(r"sp(\d+)|sp\((\d+), ?r\)", text, flags=re.ASCII):
        size = int(match[1] or match[2])
        if match[2] and size % 2:
            raise ValueError(f"Sp(2n,R) has an even dimension, got {name!r}")
        return sp(size if match[1] else size // 2)
    match = re.fullmatch(r"(c|d|s|so|o|su|usp)(\d+|\(\d+\))", text, flags=re.ASCII)
    if match is None:
        raise ValueError(f"unknown group {name!r}; accepted names are {_KNOWN}")
    return _FAMILIES[match[1]](int(match[2].strip("()")))
