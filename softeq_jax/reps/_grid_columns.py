"""Frequencies of pixel grids: orthonormal columns that block-diagonalize rotations and flips.

Pixels are flattened row-major, ``p = row * width + col``. On a square grid of side k they have
coordinates ``x = col - c`` and ``y = c - row`` about the center ``c = (k - 1) / 2``. The quarter
turn R (counter-clockwise, as ``np.rot90``) and the left-right flip F permute them and generate D4,
whose one-dimensional types are A1, A2 (R = +1), B1, B2 (R = -1), where 1 is fixed by F and 2 is
negated; E is the two-dimensional type.

Columns of a type are combinations of vectors that live on one orbit of pixels each, which are kept
as what they are: one number for each pixel.
"""

import math
from typing import NamedTuple

import numpy as np


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


class OrbitVectors(NamedTuple):
    """Orthonormal columns of which every pixel has a non-zero in one at most.

    Attributes:
      column: int ``[n]``, which one, for each pixel; any where there is none.
      value: float64 ``[n]``, the entry there; 0 where there is none.
      first: int ``[columns]``, a pixel of each.
    """

    column: np.ndarray
    value: np.ndarray
    first: np.ndarray

    def combined(self, weights: np.ndarray) -> np.ndarray:
        """The columns, combined by weights ``[columns, m]``; transposed, ``[m, n]``."""
        if not len(weights):
            return np.zeros((weights.shape[1], len(self.value)))
        rows = np.take(np.ascontiguousarray(weights.T), self.column, axis=1)
        rows *= self.value
        return rows

    def turned(self, index: np.ndarray) -> "OrbitVectors":
        """The columns with their pixels moved, ``x[index]``."""
        place = np.empty(len(index), np.int64)
        place[index] = np.arange(len(index))
        return OrbitVectors(self.column[index], self.value[index], place[self.first])


class Types(NamedTuple):
    """The columns of each D4 type; of E the flip-even half."""

    a1: OrbitVectors
    a2: OrbitVectors
    b1: OrbitVectors
    b2: OrbitVectors
    e: OrbitVectors


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

    def columns(*orbits: tuple[np.ndarray, list[int]]) -> OrbitVectors:
        """One column for each orbit, with the given signs on its pixels ``[orbits, length]``."""
        column, value = np.zeros(k * k, np.int64), np.zeros(k * k)
        first, start = [], 0
        for pixels, signs in orbits:
            column[pixels] = start + np.arange(len(pixels))[:, None]
            value[pixels] = np.array(signs) / np.sqrt(len(signs))
            first.append(pixels[:, 0])
            start += len(pixels)
        return OrbitVectors(column, value, np.concatenate(first))

    general, mirrored = images((x > 0) & (x < y))
    both = np.concatenate([general, mirrored], axis=1)
    diagonal, _ = images((x > 0) & (x == y))
    axis, _ = images((x == 0) & (y > 0))
    center, _ = images((x == 0) & (y == 0))
    plus, minus = [1, 1, 1, 1], [1, -1, 1, -1]
    negated, alternated = [-s for s in plus], [-s for s in minus]
    return Types(
        columns((both, plus + plus), (diagonal, plus), (axis, plus), (center[:, :1], [1])),
        columns((both, plus + negated)),
        columns((both, minus + minus), (axis, minus)),
        columns((both, minus + alternated), (diagonal, minus)),
        columns(
            (np.hstack([general[:, ::2], mirrored[:, ::2]]), [1, -1, 1, -1]),
            (np.hstack([general[:, 1::2], mirrored[:, 1::2]]), [1, -1, -1, 1]),
            (diagonal, [1, 1, -1, -1]),
            (axis[:, ::2], [1, -1]),
        ),
    )


def _coupling(to: OrbitVectors, of: OrbitVectors, k: int) -> np.ndarray:
    """``to^T A of`` for the skew generator ``A = y d/dx - x d/dy``, which maps the one type to the
    other; ``[columns of to, columns of of]``.

    The derivative is that of the sinc interpolant, ``D[i, j] = (-1)^(i-j) / (i-j)``, zero on the
    diagonal. D is skew and acts along x where y is constant (and conversely), so A is skew. ``A v``
    is a combination of the columns of ``to``, so one pixel of each says how much of it.
    """
    i = np.arange(k)
    lag = i[:, None] - i
    derivative = np.where(lag == 0, 0.0, (1.0 - 2.0 * (lag % 2)) / np.where(lag == 0, 1, lag))
    row, col = np.divmod(to.first, k)
    middle = (k - 1) / 2
    pixels = np.concatenate([row[:, None] * k + i, i * k + col[:, None]], axis=1)
    along_row = (middle - row)[:, None] * derivative[col]
    along_col = (col - middle)[:, None] * derivative[row]
    entries = np.concatenate([along_row, along_col], axis=1)
    entries = entries * of.value[pixels] / to.value[to.first][:, None]
    size = len(of.first)
    places = np.arange(len(to.first))[:, None] * size + of.column[pixels]
    total = np.bincount(places.ravel(), entries.ravel(), len(to.first) * size)
    return total[: len(to.first) * size].reshape(len(to.first), size)


def _nearest(value: np.ndarray, residue: int) -> np.ndarray:
    """The integer nearest to each value that is ``residue`` modulo 4; the smaller one in a tie."""
    steps = (value - residue) / 4
    return residue + 4 * (np.sign(steps) * np.ceil(np.abs(steps) - 0.5)).astype(np.int64)


class Combined(NamedTuple):
    """Columns that are combinations of orbit vectors."""

    vectors: OrbitVectors
    weights: np.ndarray

    @property
    def count(self) -> int:
        """How many there are."""
        return self.weights.shape[1]

    def put(self, rows: np.ndarray, where: np.ndarray | slice) -> None:
        """Writes them into rows of a transposed basis."""
        rows[where] = self.vectors.combined(self.weights)


def _whole(vectors: OrbitVectors) -> Combined:
    return Combined(vectors, np.eye(len(vectors.first)))


def _arrange(
    n: int,
    single: list[tuple[Combined, int, bool]],
    pairs: list[tuple[Combined, Combined, np.ndarray]],
    unmatched: Combined | None = None,
) -> Columns:
    """Joins unpaired columns, then (even, odd) pairs by frequency, then unmatched columns."""
    counts = [columns.count for columns, _, _ in single]
    start, rows = 0, np.empty((n, n))
    for columns, _, _ in single:
        columns.put(rows, slice(start, start + columns.count))
        start += columns.count
    frequency = np.concatenate([found for _, _, found in pairs])
    order, p = np.argsort(frequency, kind="stable"), len(frequency)
    place = np.empty(p, np.int64)
    place[order] = start + 2 * np.arange(p)
    stop = 0
    for even, odd, found in pairs:
        where = place[stop : stop + len(found)]
        even.put(rows, where)
        odd.put(rows, where + 1)
        stop += len(found)
    if unmatched is not None:
        unmatched.put(rows, slice(start + 2 * p, n))
    u = n - start - 2 * p
    values = np.repeat([m for _, m, _ in single], counts)
    parities = np.repeat([flag for _, _, flag in single], counts)
    partner = np.full(n, -1, dtype=np.int64)
    partner[start : start + 2 * p] = start + (np.arange(2 * p) ^ 1)
    return Columns(
        basis=rows.T,
        frequency=np.concatenate([values, np.repeat(frequency[order], 2), np.full(u, -1)]),
        odd=np.concatenate([parities, np.tile([False, True], p), np.full(u, True)]).astype(bool),
        partner=partner,
        unmatched=np.arange(n) >= start + 2 * p,
    )


def permutation_columns(k: int) -> Columns:
    """Columns for the exact permutations of D4 and its subgroups: orbit vectors.

    A1 and A2 are unpaired of frequency 0, B1 and B2 unpaired of frequency 2, and E consists of
    pairs (a, R a) of frequency 1; nothing is unmatched.
    """
    types = d4_types(k)
    singles = ((types.a1, 0, False), (types.a2, 0, True), (types.b1, 2, False), (types.b2, 2, True))
    even, odd = _whole(types.e), _whole(types.e.turned(turned_index(k, k, 1, False)))
    return _arrange(
        k * k,
        [(_whole(vectors), m, flag) for vectors, m, flag in singles],
        [(even, odd, np.ones(even.count, np.int64))],
    )


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
        left, value, right = np.linalg.svd(_coupling(odd, even, k))
        n = len(value)
        frequency = np.maximum(_nearest(value, residue), residue or 4)
        pairs.append((Combined(even, right[:n].T), Combined(odd, left[:, :n]), frequency))
        surplus[name] = Combined(even, right[n:].T) if name == "a" else Combined(odd, left[:, n:])
    turned = types.e.turned(turned_index(k, k, 1, False))
    coupling = _coupling(turned, types.e, k)
    value, vectors = np.linalg.eigh((coupling + coupling.T) / 2)
    signed = _nearest(value, 1)
    half = Combined(types.e, vectors), Combined(turned, vectors * np.sign(signed))
    pairs.append((*half, np.abs(signed)))
    return _arrange(k * k, [(surplus["a"], 0, False)], pairs, surplus["b"])


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
