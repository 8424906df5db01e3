"""Rotations and flips of pixel grids, as images and as rows of tokens; exact, orthogonal.

Pixels are flattened row-major, ``p = row * width + col``. On a square grid of side k they have
coordinates ``x = col - c`` and ``y = c - row`` about the center ``c = (k - 1) / 2``. The quarter
turn R (counter-clockwise, as ``np.rot90``) and the left-right flip F permute them and generate D4,
whose one-dimensional types are A1, A2 (R = +1), B1, B2 (R = -1), where 1 is fixed by F and 2 is
negated; E is the two-dimensional type. What maps a rectangle to itself are the half turn and the
flips: C1, C2, D1 (left-right) and D2 act there, and no other group.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import numpy as np

from softeq_jax._checks import whole
from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.reps._frequencies import Frequencies, read_only, require_basis
from softeq_jax.reps._planar import PlanarRep, check_planar
from softeq_jax.reps._terms import Term


@dataclasses.dataclass(frozen=True, repr=False)
class Grid(PlanarRep):
    """The action on the pixels of a grid, after ``prefix`` entries that nothing moves.

    The base of ``GridImage`` and ``GridTokens``, which differ in how the entries lie in an array.

    Attributes:
      height, width: the sides of the grid.
      prefix: number of fixed entries before the pixels.
    """

    height: int = 1
    width: int = 1
    prefix: int = 0

    @property
    def is_permutation(self) -> bool:
        return self.group.rotations in (1, 2, 4) or self.height == self.width == 1

    def terms(self) -> list[tuple[Term, np.ndarray]]:
        if not self.prefix or self.is_trivial:
            return super().terms()
        fixed, moved = np.arange(self.prefix)[:, None], np.arange(self.prefix, self.dim)[None]
        grid = dataclasses.replace(self, prefix=0)
        return [(Term(self.prefix, ()), fixed), (Term(1, (grid,)), moved)]

    @property
    def unmatched(self) -> np.ndarray:
        matched = self.is_permutation or self.height % 2
        return np.zeros((self.dim, 0)) if matched else super().unmatched

    def frequencies(self) -> Frequencies:
        instead = "take fewer pixels; strict projection under C1, C2, C4, D1, D2, D4 needs no basis"
        require_basis(self.dim, f"{self.formula}", instead)
        return _grid_frequencies(self.height, self.width, self.is_permutation, self.prefix)

    def _permutation(self, angle: float, flip: bool) -> np.ndarray | None:
        if not self.is_permutation and angle:
            return None
        quarters = round(angle / (math.pi / 2)) if self.height * self.width > 1 else 0
        index = turned_index(self.height, self.width, quarters, flip)
        fixed = np.arange(self.prefix, dtype=np.int32)
        return np.concatenate([fixed, index + np.int32(self.prefix)])


@dataclasses.dataclass(frozen=True, repr=False)
class GridImage(Grid):
    """Pixels as two array axes, ``(height, width)``. Made by ``image``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> I = sq.reps.image(sq.groups.cyclic(4), (2, 2))
      >>> I.apply(I.group.elements()[1], np.array([[0, 1], [2, 3]]))  # as np.rot90
      array([[1, 3],
             [0, 2]])
    """

    @property
    def formula(self) -> str:
        return f"Image[{self.height}x{self.width}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.height, self.width)


@dataclasses.dataclass(frozen=True, repr=False)
class GridTokens(Grid):
    """Pixels as one array axis, ``(prefix + height * width,)``. Made by ``tokens``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> T = sq.reps.tokens(sq.groups.cyclic(4), (2, 2), prefix=1)
      >>> T.apply(T.group.elements()[1], np.array([9, 0, 1, 2, 3]))
      array([9, 1, 3, 0, 2])
    """

    @property
    def formula(self) -> str:
        prefix = f"{self.prefix}+" if self.prefix else ""
        return f"Tokens[{prefix}{self.height}x{self.width}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.prefix + self.height * self.width,)


@functools.lru_cache(maxsize=16)
def _grid_frequencies(height: int, width: int, permutation: bool, prefix: int) -> Frequencies:
    if height != width:
        columns = mirror_columns(height, width)
    else:
        columns = permutation_columns(height) if permutation else snapped_columns(height)
    return read_only(*with_prefix(columns, prefix))


def grid_obstacle(group: Group, shape: tuple[int, int]) -> str | None:
    """Why a group does not act on the pixels of a grid, or None where it does: on every square,
    and on other rectangles if it has no rotations but the half turn.

    Raises:
      ValueError: it is no group of the plane.

    Example:
      >>> import softeq_jax as sq
      >>> sq.reps.grid_obstacle(sq.groups.cyclic(4), (3, 3)) is None
      True
      >>> sq.reps.grid_obstacle(sq.groups.cyclic(4), (3, 4))
      'rotations by 90 degrees, as in C4, do not map a 3 x 4 grid to itself ...'
    """
    height, width = shape
    turns = check_planar(group, "an action on a grid").rotations
    if height == width or turns in (1, 2):
        return None
    angle = "any angle" if turns is None else f"{360 / turns:.6g} degrees"
    return (
        f"rotations by {angle}, as in {group!r}, do not map a {height} x {width} grid to itself "
        "(what does: C2, D1, D2)"
    )


def _sides(group: Any, shape: Any, what: str) -> tuple[PlanarGroup, int, int]:
    """The checked group with the height and the width of a grid that it acts on."""
    planar = check_planar(group, what)
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ValueError(f"{what} needs a shape (height, width), got {shape!r}")
    height, width = (whole(n, f"each side of {what}") for n in shape)
    if obstacle := grid_obstacle(planar, (height, width)):
        raise ValueError(f"{what} needs a square grid: {obstacle}")
    return planar, height, width


def image(group: Group, shape: tuple[int, int]) -> GridImage:
    """The group acting on images by rotating and flipping them.

    The rotation by +90 degrees is ``np.rot90(x, 1)``, counter-clockwise as it is seen, and the
    flip reverses each row. For C1, C2, C4, D1, D2 and D4 that is all there is, and the action
    is a permutation. For every other group the rotation by t is ``exp(t A)``, with the sinc
    derivative of a rotation as A, and A's frequencies moved to the integers that quarter turns
    allow. So the action is orthogonal, an exact homomorphism, and agrees with the permutations,
    except on the ``k / 2`` *unmatched* patterns that exist for even k: there is no orthogonal
    action of O(2) that extends the permutations to them, and all rotations leave them fixed.

    Args:
      group: a group of rotations of the plane.
      shape: ``(height, width)``, which differ for C1, C2, D1 and D2 only: those map a rectangle to
        itself. The flip of D1 is left-right, ``np.fliplr``; up-down is in D2.

    Returns:
      A representation of this shape that prints as ``Image[7x7](SO(2))``.

    Raises:
      ValueError: the group does not map such a grid to itself.
      TypeError: ``group`` is no group.

    Example:
      >>> import numpy as np
      >>> from softeq_jax import groups, reps
      >>> G = groups.so(2)
      >>> I = reps.image(G, (7, 7))
      >>> x = np.random.default_rng(0).normal(size=(7, 7))
      >>> third = G.element(2 * np.pi / 3)
      >>> turned = I.apply(third, I.apply(third, I.apply(third, x)))
      >>> bool(abs(turned - x).max() < 1e-12)  # three turns by 120 degrees, and nothing is blurred
      True
    """
    return GridImage(*_sides(group, shape, "image"))


def tokens(group: Group, shape: tuple[int, int], prefix: int = 0) -> GridTokens:
    """The same action on a sequence of tokens, as in a vision transformer.

    Args:
      group: a group of rotations of the plane.
      shape: ``(height, width)``, the grid of the tokens, which follow each other row by row; as
        for ``image``.
      prefix: number of tokens in front (class tokens, registers) that are left in place.

    Returns:
      A representation of shape ``(prefix + k * k,)`` that prints as ``Tokens[1+14x14](C4)``.

    Raises:
      ValueError: the group does not map such a grid to itself; ``prefix`` is negative or no int.
      TypeError: ``group`` is no group.

    Example:
      >>> import softeq_jax as sq
      >>> T = sq.reps.tokens(sq.groups.cyclic(4), (14, 14), prefix=1)
      >>> T, T.shape, T.is_permutation
      (Tokens[1+14x14](C4), (197,), True)
    """
    return GridTokens(*_sides(group, shape, "tokens"), whole(prefix, "prefix", least=0))


class Columns(NamedTuple):
    """Orthonormal columns that block-diagonalize rotations and the flip.

    Attributes:
      basis: float64 ``[n, n]``.
      frequency: int ``[n]``, -1 for an unmatched column.
      odd: bool ``[n]``, whether the flip negates the column.
      partner: int ``[n]``, the other column of the pair, -1 without one.
      unmatched: bool ``[n]``.
    """

    basis: np.ndarray
    frequency: np.ndarray
    odd: np.ndarray
    partner: np.ndarray
    unmatched: np.ndarray


class Types(NamedTuple):
    """Orthonormal float64 columns ``[k * k, .]`` of each D4 type; of E the flip-even half."""

    a1: np.ndarray
    a2: np.ndarray
    b1: np.ndarray
    b2: np.ndarray
    e: np.ndarray


def turned_index(height: int, width: int, quarters: int, flip: bool) -> np.ndarray:
    """Index of ``R^quarters F^flip``: the moved image is ``x[..., index]``; int32 ``[n]``."""
    grid = np.arange(height * width, dtype=np.int32).reshape(height, width)
    return np.rot90(grid[:, ::-1] if flip else grid, quarters).reshape(-1)


def d4_types(k: int) -> Types:
    """Splits the pixels by D4 type, one orbit at a time.

    For a pixel vector e and signs (s, f) the projection ``sum_j s^j R^j (e + f F e)`` is a vector
    of type A1, A2, B1, B2 for (s, f) = (+,+), (+,-), (-,+), (-,-), and ``(1 + F)(1 - R^2) R^j e``
    a flip-even vector of type E. With one pixel of the octant ``0 <= x <= y`` for each orbit, the
    vectors that neither vanish nor repeat are:

    * 0 < x < y, an orbit of eight: one of each type, two of E;
    * x = y > 0 (F e = R e): A1, B2 and one of E;  x = 0 < y (F e = e): A1, B1 and one of E;
    * the center: A1.
    """
    col, row = np.meshgrid(np.arange(k), np.arange(k))
    x, y = (2 * col - (k - 1)).reshape(-1), ((k - 1) - 2 * row).reshape(-1)  # doubled: integers

    def images(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pixels R^j e (first) and R^j F e (second) of each orbit, ``[orbits, 4]`` each."""

        def moved(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            turns = ((x, y), (-y, x), (-x, -y), (y, -x))
            return np.stack([(k - 1 - v) // 2 * k + (u + k - 1) // 2 for u, v in turns], axis=1)

        return moved(x[mask], y[mask]), moved(-x[mask], y[mask])

    def columns(pixels: np.ndarray, signs: list[int], length: int) -> np.ndarray:
        """One column per orbit, with the given signs on its pixels and ``length`` non-zeros."""
        out = np.zeros((k * k, len(pixels)))
        out[pixels, np.arange(len(pixels))[:, None]] = np.array(signs) / np.sqrt(length)
        return out

    general, mirrored = images((x > 0) & (x < y))
    both = np.concatenate([general, mirrored], axis=1)
    diagonal, _ = images((x > 0) & (x == y))
    axis, _ = images((x == 0) & (y > 0))
    center, _ = images((x == 0) & (y == 0))
    plus, minus = [1, 1, 1, 1], [1, -1, 1, -1]
    negated, alternated = [-s for s in plus], [-s for s in minus]
    a1 = [columns(both, plus + plus, 8), columns(diagonal, plus, 4), columns(axis, plus, 4)]
    a1.append(columns(center[:, :1], [1], 1))
    a2 = [columns(both, plus + negated, 8)]
    b1 = [columns(both, minus + minus, 8), columns(axis, minus, 4)]
    b2 = [columns(both, minus + alternated, 8), columns(diagonal, minus, 4)]
    e = [
        columns(np.hstack([general[:, ::2], mirrored[:, ::2]]), [1, -1, 1, -1], 4),
        columns(np.hstack([general[:, 1::2], mirrored[:, 1::2]]), [1, -1, -1, 1], 4),
        columns(diagonal, [1, 1, -1, -1], 4),
        columns(axis[:, ::2], [1, -1], 2),
    ]
    return Types(*(np.concatenate(parts, axis=1) for parts in (a1, a2, b1, b2, e)))


def _rotate_generator(columns: np.ndarray, k: int) -> np.ndarray:
    """``A v`` for each column v: the skew generator ``A = y d/dx - x d/dy``.

    The derivative is that of the sinc interpolant, ``D[i, j] = (-1)^(i-j) / (i-j)``, zero on the
    diagonal. D is skew and acts along x where y is constant (and conversely), so A is skew.
    """
    i = np.arange(k)
    lag = i[:, None] - i[None, :]
    derivative = np.where(lag == 0, 0.0, (1.0 - 2.0 * (lag % 2)) / np.where(lag == 0, 1, lag))
    image = columns.reshape(k, k, -1)
    coordinate = i - (k - 1) / 2
    along_col = np.matmul(derivative, image)
    along_row = np.matmul(derivative, image.reshape(k, -1)).reshape(image.shape)
    moved = coordinate[None, :, None] * along_row - coordinate[:, None, None] * along_col
    return moved.reshape(columns.shape)


def _nearest(value: np.ndarray, residue: int) -> np.ndarray:
    """The integer nearest to each value that is ``residue`` modulo 4; the smaller one in a tie."""
    steps = (value - residue) / 4
    return residue + 4 * (np.sign(steps) * np.ceil(np.abs(steps) - 0.5)).astype(np.int64)


def _arrange(
    single: list[tuple[np.ndarray, int, bool]],
    even: np.ndarray,
    odd: np.ndarray,
    frequency: np.ndarray,
    unmatched: np.ndarray,
) -> Columns:
    """Joins unpaired columns, then (even, odd) pairs by frequency, then unmatched columns."""
    order = np.argsort(frequency, kind="stable")
    pairs = np.stack([even[:, order], odd[:, order]], axis=2).reshape(even.shape[0], -1)
    count = [columns.shape[1] for columns, _, _ in single]
    start, p, u = sum(count), len(frequency), unmatched.shape[1]
    values = np.repeat([m for _, m, _ in single], count)
    parities = np.repeat([flag for _, _, flag in single], count)
    partner = np.full(start + 2 * p + u, -1, dtype=np.int64)
    partner[start : start + 2 * p] = start + (np.arange(2 * p) ^ 1)
    return Columns(
        basis=np.concatenate([*(columns for columns, _, _ in single), pairs, unmatched], axis=1),
        frequency=np.concatenate([values, np.repeat(frequency[order], 2), np.full(u, -1)]),
        odd=np.concatenate([parities, np.tile([False, True], p), np.full(u, True)]).astype(bool),
        partner=partner,
        unmatched=np.arange(start + 2 * p + u) >= start + 2 * p,
    )


def permutation_columns(k: int) -> Columns:
    """Columns for the exact permutations of D4 and its subgroups: orbit vectors.

    A1 and A2 are unpaired of frequency 0, B1 and B2 unpaired of frequency 2, and E consists of
    pairs (a, R a) of frequency 1; nothing is unmatched.
    """
    types = d4_types(k)
    single = [(types.a1, 0, False), (types.a2, 0, True), (types.b1, 2, False), (types.b2, 2, True)]
    ones = np.ones(types.e.shape[1], dtype=np.int64)
    quarter = turned_index(k, k, 1, False)
    return _arrange(single, types.e, types.e[quarter], ones, np.zeros((k * k, 0)))


def mirror_columns(height: int, width: int) -> Columns:
    """Columns for the half turn and the flips of a rectangle: even and odd along each axis.

    The flip F reverses the rows, and the half turn both axes: it negates what is even along one
    and odd along the other, which has frequency 1 without a partner. Nothing is unmatched.
    """
    (vertical, above), (horizontal, odd) = _reversal(height), _reversal(width)
    n = height * width
    return Columns(
        basis=np.kron(vertical, horizontal),
        frequency=np.not_equal.outer(above, odd).reshape(-1).astype(np.int64),
        odd=np.tile(odd, height),
        partner=np.full(n, -1, dtype=np.int64),
        unmatched=np.zeros(n, dtype=bool),
    )


def _reversal(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal columns ``[n, n]`` that reversing a line fixes or, where odd ``[n]``, negates."""
    first, last = np.arange(n // 2), n - 1 - np.arange(n // 2)
    basis = np.zeros((n, n))
    basis[first, first] = basis[last, first] = math.sqrt(0.5)
    basis[first, last], basis[last, last] = math.sqrt(0.5), -math.sqrt(0.5)
    if n % 2:
        basis[n // 2, n // 2] = 1.0
    return basis, np.arange(n) >= n - n // 2


def snapped_columns(k: int) -> Columns:
    """Columns for rotations by any angle, with integer frequencies.

    The generator A maps A1 to A2, B1 to B2 and, with E = (e, R e), e to R e. Its singular values
    (for E: the signed eigenvalues of the symmetric ``(R e)^T A e``) are moved to the nearest
    frequency at which the quarter turn stays what it is on that type: m = 0 mod 4 (at least 4)
    on A, m = 2 mod 4 (at least 2) on B, and m = 1 mod 4 on E, where a negative m is the pair with
    its odd column negated. The surplus of A1 is fixed by every rotation. The surplus of B2,
    k / 2 columns for even k and none for odd k, has no even partner: it is unmatched.
    """
    types = d4_types(k)
    pairs = []
    surplus = {}
    for name, residue, even, odd in (("a", 0, types.a1, types.a2), ("b", 2, types.b1, types.b2)):
        left, value, right = np.linalg.svd(odd.T @ _rotate_generator(even, k))
        n = len(value)
        frequency = np.maximum(_nearest(value, residue), residue or 4)
        pairs.append((even @ right[:n].T, odd @ left[:, :n], frequency))
        surplus[name] = even @ right[n:].T if name == "a" else odd @ left[:, n:]
    turned = types.e[turned_index(k, k, 1, False)]
    coupling = turned.T @ _rotate_generator(types.e, k)
    value, vectors = np.linalg.eigh((coupling + coupling.T) / 2)
    signed = _nearest(value, 1)
    pairs.append((types.e @ vectors, (turned @ vectors) * np.sign(signed), np.abs(signed)))
    even, odd, frequency = (np.concatenate(parts, axis=-1) for parts in zip(*pairs, strict=True))
    return _arrange([(surplus["a"], 0, False)], even, odd, frequency, surplus["b"])


def with_prefix(columns: Columns, prefix: int) -> Columns:
    """The columns after ``prefix`` unit vectors that every element fixes."""
    if prefix == 0:
        return columns
    n = columns.basis.shape[0]
    basis = np.zeros((prefix + n, prefix + n))
    basis[:prefix, :prefix] = np.eye(prefix)
    basis[prefix:, prefix:] = columns.basis
    fixed = np.zeros(prefix, dtype=np.int64)
    no = np.zeros(prefix, dtype=bool)
    partner = np.where(columns.partner < 0, -1, columns.partner + prefix)
    return Columns(
        basis=basis,
        frequency=np.concatenate([fixed, columns.frequency]),
        odd=np.concatenate([no, columns.odd]),
        partner=np.concatenate([fixed - 1, partner]),
        unmatched=np.concatenate([no, columns.unmatched]),
    )
