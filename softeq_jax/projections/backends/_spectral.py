r"""Frequencies of the plane: a small real matrix for each acting axis, a mask, and back.

In the frequency basis of each axis the weight has singles (fixed or negated by the generating
rotation) and pairs (even a, odd b) of frequency m. Two pairs with coefficients c_aa .. c_bb
recombine into pairs of the sum and of the difference of their frequencies,

.. math::
   m_1 + m_2: \; (c_{aa} - c_{bb},\; c_{ab} + c_{ba}) / \sqrt 2, \qquad
   m_1 - m_2: \; (c_{aa} + c_{bb},\; c_{ba} - c_{ab}) / \sqrt 2,

so that the joint coefficients again are singles and pairs, and a third axis joins the same way.
Coefficients are ordered [singles, even halves, odd halves].
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from softeq_jax._sizes import require_room
from softeq_jax.groups import PlanarGroup
from softeq_jax.projections._filter import (
    Array,
    TransformFilter,
    along,
    as_dtype,
    filter_class,
    library,
    static,
)
from softeq_jax.projections.backends._atoms import Atoms, BuiltBlock, named
from softeq_jax.reps import Frequencies, Rep

_FFT_LENGTH = 256
_FUSED = 160


class HalfShape(NamedTuple):
    """Shape of the coefficients of an axis, or of several that were joined.

    Attributes:
      odd: for each single, whether the flip negates it.
      pairs: number of pairs.
    """

    odd: tuple[bool, ...]
    pairs: int

    @property
    def singles(self) -> int:
        return len(self.odd)


class JointFrequencies(NamedTuple):
    """Frequencies of joint coefficients; pairs have signed frequencies, both halves the same.

    Attributes:
      half: the shape.
      frequency: int ``[n]``.
      odd: bool ``[n]``.
      unmatched: bool ``[n]``.

    Example:
      >>> import softeq_jax as sq
      >>> I = sq.reps.image(sq.groups.so(2), (3, 3))
      >>> found = sq.projections.backends.joint_frequencies((I,))
      >>> sorted(found.frequency.tolist())
      [0, 0, 0, 1, 1, 2, 2, 3, 3]
    """

    half: HalfShape
    frequency: np.ndarray
    odd: np.ndarray
    unmatched: np.ndarray

    @property
    def partner(self) -> np.ndarray:
        """int ``[n]``, the other half of each pair, -1 for singles."""
        s, p = self.half.singles, self.half.pairs
        even = np.arange(s, s + p)
        return np.concatenate([np.full(s, -1), even + p, even])


@filter_class
class SpectralFilter(TransformFilter):
    """Per-axis transform, recombination of pairs, a mask, and back.

    Attributes:
      bases: orthonormal columns ``[d, d]`` of each axis, ordered [singles, even, odd]; an empty
        array for an axis that is transformed by the FFT.
      index: int ``[n]``, level of each joint coefficient.
      halves: the shape of the coefficients of each axis.

    Example:
      >>> import softeq_jax as sq
      >>> I = sq.reps.image(sq.groups.so(2), (3, 3))
      >>> (found,) = sq.projector("h w", {"h w": I}).filters
      >>> type(found).__name__, found.index.shape
      ('SpectralFilter', (9,))
    """

    bases: tuple[Array, ...]
    index: Array
    halves: tuple[HalfShape, ...] = static()

    def analysis(self, w: Array) -> Array:
        """The joint coefficients ``T w``, ``[n, M]``."""
        dims = [half.singles + 2 * half.pairs for half in self.halves]
        tensor = w.reshape(*dims, -1)
        for axis, basis in enumerate(self.bases):
            tensor = _transform(basis, tensor, axis)
        half = self.halves[0]
        for i, other in enumerate(self.halves[1:], start=1):
            rest = math.prod(dims[i + 1 :])
            tensor = tensor.reshape(-1, dims[i], rest * w.shape[1])
            tensor = _join(tensor, half, other)
            half = joined_half(half, other)
        return tensor.reshape(-1, w.shape[1])

    def synthesis(self, c: Array) -> Array:
        """The inverse of ``analysis``."""
        dims = [half.singles + 2 * half.pairs for half in self.halves]
        shapes = [self.halves[0]]
        for other in self.halves[1:]:
            shapes.append(joined_half(shapes[-1], other))
        tensor = c
        for i in range(len(dims) - 1, 0, -1):
            tensor = tensor.reshape(math.prod(dims[: i + 1]), -1)
            tensor = _part(tensor, shapes[i - 1], self.halves[i])
        tensor = tensor.reshape(*dims, -1)
        for axis, basis in enumerate(self.bases):
            tensor = _inverse(basis, tensor, axis)
        return tensor.reshape(c.shape)


FLIP_LEVEL = 2.0 / math.pi
"""Level of a flip-odd vector that every rotation of the group fixes."""


def block(atoms: Atoms, complete: bool) -> BuiltBlock:
    """All levels of a tensor product of representations of a group of the plane."""
    group, n = atoms[0].group, math.prod(atom.dim for atom in atoms)
    instead = "divide the weight, or name fewer of its axes"
    require_room(40 * n, f"the frequencies of {named(atoms)}, of dimension {n},", instead)
    resolved = all(is_shift(atom) or atom.frequencies() is not None for atom in atoms)
    if not resolved or not isinstance(group, PlanarGroup):
        raise ValueError(f"the spectral back end needs a group of the plane, got {named(atoms)}")
    bases, shapes = spectral_parts(atoms)
    joint = joint_frequencies(atoms)
    m, odd = np.abs(joint.frequency), joint.odd
    last = 2 * (int(m.max()) + 1)
    code = np.where(joint.unmatched, last, 2 * m + odd)
    codes = np.arange(last)
    sigma = planar_levels(group.rotations, group.has_flip, codes // 2, codes % 2 == 1)
    sizes = np.bincount(code, minlength=last + 1)
    present = np.flatnonzero(sizes)
    values, place = np.unique(np.append(sigma, np.inf)[present], return_inverse=True)
    index = np.zeros(last + 1, int)
    index[present] = place
    counts = np.bincount(place, weights=sizes[present]).astype(int)
    return BuiltBlock(SpectralFilter(bases, index[code], shapes), values, counts)


def rotation_level(rotations: int | None, frequency: np.ndarray) -> np.ndarray:
    """Level of angular frequencies under SO(2) (``rotations=None``) or C_n.

    Args:
      rotations: n for C_n, None for every angle.
      frequency: integer array, any shape.

    Returns:
      float64 array of the same shape. Frequencies that C_n cannot tell apart (m, -m, m + n) get
      the same float to the bit.
    """
    m = np.abs(np.asarray(frequency))
    if rotations is None:
        return m.astype(np.float64)
    m = m % rotations
    m = np.minimum(m, rotations - m)
    return rotations / math.pi * np.sin(math.pi * m / rotations)


def planar_levels(
    rotations: int | None, has_flip: bool, frequency: np.ndarray, odd: np.ndarray
) -> np.ndarray:
    """Levels of frequencies and parities; flip-odd vectors that rotations fix get 2 / pi."""
    sigma = rotation_level(rotations, frequency)
    return np.where((sigma == 0.0) & odd, FLIP_LEVEL, sigma) if has_flip else sigma


def axis_frequencies(atom: Rep) -> JointFrequencies:
    """The frequencies of one atom in the order [singles, even, odd].

    Raises:
      ValueError: it has none in the plane.
    """
    if is_shift(atom):
        return _fourier_joint(atom.dim)
    f = _found(atom)
    order, frequency = _order(f), f.pairs()[2]
    single = order[: len(order) - 2 * len(frequency)]
    half = HalfShape(tuple(bool(flag) for flag in f.odd[single]), len(frequency))
    single_frequency = np.where(f.unmatched[single], 0, f.frequency[single])
    return JointFrequencies(
        half,
        np.concatenate([single_frequency, frequency, frequency]),
        f.odd[order],
        f.unmatched[order],
    )


def _axis_basis(atom: Rep) -> np.ndarray:
    """The columns of one atom in the order of ``axis_frequencies``.

    Long cyclic shifts have none (an empty array): they are transformed by the FFT.
    """
    if is_shift(atom):
        return np.zeros((0, 0))
    f = _found(atom)
    return f.basis[:, _order(f)]


def _order(f: Frequencies) -> np.ndarray:
    even, odd, _ = f.pairs()
    return np.concatenate([np.flatnonzero(f.partner < 0), even, odd])


def _found(atom: Rep) -> Frequencies:
    f = atom.frequencies()
    if f is None:
        raise ValueError(f"{atom!r} is not resolved into frequencies of the plane")
    return f


def is_shift(atom: Rep) -> bool:
    """Whether an axis is a long cyclic shift, which the FFT transforms without a basis."""
    return getattr(atom, "is_cyclic_shift", False) and atom.dim >= _FFT_LENGTH


@functools.lru_cache(maxsize=64)
def joint_frequencies(atoms: Atoms) -> JointFrequencies:
    """The frequencies of the tensor product of atoms, in the order of ``analysis``.

    Example:
      >>> import softeq_jax as sq
      >>> C = sq.reps.circle(sq.groups.so(2), 3)
      >>> found = sq.projections.backends.joint_frequencies((C, C))
      >>> sorted(abs(found.frequency).tolist())
      [0, 0, 0, 1, 1, 1, 1, 2, 2]
    """
    total = axis_frequencies(atoms[0])
    for atom in atoms[1:]:
        total = _joined(total, axis_frequencies(atom))
    return total


def spectral_parts(atoms: Atoms) -> tuple[tuple[np.ndarray, ...], tuple[HalfShape, ...]]:
    """Bases and shapes for a ``SpectralFilter``; small products are one axis with a joint basis."""
    bases = tuple(_axis_basis(atom) for atom in atoms)
    halves = tuple(axis_frequencies(atom).half for atom in atoms)
    n = math.prod(atom.dim for atom in atoms)
    if len(atoms) == 1 or n > _FUSED or any(not len(basis) for basis in bases):
        return bases, halves
    joint = SpectralFilter(bases, np.zeros(n, int), halves).analysis(np.eye(n)).T
    return (np.ascontiguousarray(joint),), (functools.reduce(joined_half, halves),)


def joined_half(a: HalfShape, b: HalfShape) -> HalfShape:
    """Shape of the coefficients after joining two axes."""
    odd = tuple(x != y for x in a.odd for y in b.odd)
    return HalfShape(odd, a.singles * b.pairs + a.pairs * b.singles + 2 * a.pairs * b.pairs)


def _joined(a: JointFrequencies, b: JointFrequencies) -> JointFrequencies:
    s1, p1, s2, p2 = a.half.singles, a.half.pairs, b.half.singles, b.half.pairs
    f1, g1 = a.frequency[:s1], a.frequency[s1 : s1 + p1]
    f2, g2 = b.frequency[:s2], b.frequency[s2 : s2 + p2]
    u1, v1 = a.unmatched[:s1], a.unmatched[s1 : s1 + p1]
    u2, v2 = b.unmatched[:s2], b.unmatched[s2 : s2 + p2]

    def outer(op: np.ufunc, *each: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.concatenate([op.outer(x, y).reshape(-1) for x, y in each])

    pairs = np.concatenate(
        [outer(np.add, (f1, g2), (g1, f2), (g1, g2)), outer(np.subtract, (g1, g2))]
    )
    unpaired = outer(np.logical_or, (u1, v2), (v1, u2), (v1, v2), (v1, v2))
    half = joined_half(a.half, b.half)
    p = half.pairs
    return JointFrequencies(
        half,
        np.concatenate([outer(np.add, (f1, f2)), pairs, pairs]),
        np.concatenate([np.array(half.odd, dtype=bool), np.zeros(p, bool), np.ones(p, bool)]),
        np.concatenate([outer(np.logical_or, (u1, u2)), unpaired, unpaired]),
    )


def _join(c: Array, a: HalfShape, b: HalfShape) -> Array:
    """``[n1, n2, M]`` to the joint coefficients ``[n1 n2, M]``."""
    xp = library(c)
    s1, p1, s2, p2 = a.singles, a.pairs, b.singles, b.pairs
    m = c.shape[2]
    e1, o1, e2, o2 = (
        slice(s1, s1 + p1),
        slice(s1 + p1, None),
        slice(s2, s2 + p2),
        slice(s2 + p2, None),
    )
    left = _exchange(c[:s1, e2], c[:s1, o2], np.array(a.odd, bool)[:, None, None])
    right = _exchange(c[e1, :s2], c[o1, :s2], np.array(b.odd, bool)[None, :, None])
    half = math.sqrt(0.5)
    ee, eo, oe, oo = c[e1, e2], c[e1, o2], c[o1, e2], c[o1, o2]
    plus, minus = ((ee - oo) * half, (eo + oe) * half), ((ee + oo) * half, (oe - eo) * half)
    even = [x[0].reshape(-1, m) for x in (left, right, plus, minus)]
    odd = [x[1].reshape(-1, m) for x in (left, right, plus, minus)]
    return xp.concatenate([c[:s1, :s2].reshape(-1, m), *even, *odd])


def _part(c: Array, a: HalfShape, b: HalfShape) -> Array:
    """The inverse of ``_join``: ``[n1 n2, M]`` to ``[n1, n2, M]``."""
    xp = library(c)
    s1, p1, s2, p2 = a.singles, a.pairs, b.singles, b.pairs
    m = c.shape[1]
    pairs = [(s1, p2), (p1, s2), (p1, p2), (p1, p2)]
    shapes = [(s1, s2), *pairs, *pairs]
    ends = np.cumsum([x * y for x, y in shapes])
    pieces = [
        c[end - x * y : end].reshape(x, y, m) for (x, y), end in zip(shapes, ends, strict=True)
    ]
    singles, le, re, pe, me, lo, ro, po, mo = pieces
    odd1, odd2 = np.array(a.odd, bool)[:, None, None], np.array(b.odd, bool)[None, :, None]
    se, so = _exchange_back(le, lo, odd1)
    es, os = _exchange_back(re, ro, odd2)
    half = math.sqrt(0.5)
    ee, oo = (pe + me) * half, (me - pe) * half
    eo, oe = (po - mo) * half, (po + mo) * half
    rows = [
        xp.concatenate([singles, se, so], axis=1),
        xp.concatenate([es, ee, eo], axis=1),
        xp.concatenate([os, oe, oo], axis=1),
    ]
    return xp.concatenate(rows, axis=0)


def _exchange(even: Array, odd: Array, flipped: np.ndarray) -> tuple[Array, Array]:
    """A pair times a single: a flip-odd single makes b the even half and -a the odd one."""
    if not flipped.any():
        return even, odd
    xp = library(even)
    return xp.where(flipped, odd, even), xp.where(flipped, -even, odd)


def _exchange_back(even: Array, odd: Array, flipped: np.ndarray) -> tuple[Array, Array]:
    if not flipped.any():
        return even, odd
    xp = library(even)
    return xp.where(flipped, -odd, even), xp.where(flipped, even, odd)


def _transform(basis: Array, tensor: Array, axis: int) -> Array:
    if basis.shape[0]:
        return along(as_dtype(basis, tensor).T, tensor, axis)
    xp = library(tensor)
    n = tensor.shape[axis]
    c = xp.fft.rfft(xp.moveaxis(tensor, axis, 0), axis=0) / math.sqrt(n)
    pairs, root = (n - 1) // 2, math.sqrt(2.0)
    ends = [c[:1].real] + ([c[-1:].real] if n % 2 == 0 else [])
    out = xp.concatenate([*ends, root * c[1 : pairs + 1].real, -root * c[1 : pairs + 1].imag])
    return xp.moveaxis(out.astype(tensor.dtype), 0, axis)


def _inverse(basis: Array, tensor: Array, axis: int) -> Array:
    if basis.shape[0]:
        return along(as_dtype(basis, tensor), tensor, axis)
    xp = library(tensor)
    n = tensor.shape[axis]
    moved = xp.moveaxis(tensor, axis, 0)
    ends, pairs, root = 2 - n % 2, (n - 1) // 2, math.sqrt(0.5)
    even, odd = moved[ends : ends + pairs], moved[ends + pairs :]
    pieces = [moved[:1] + 0j, root * (even - 1j * odd)]
    pieces += [moved[1:2] + 0j] if ends == 2 else []
    out = xp.fft.irfft(xp.concatenate(pieces) * math.sqrt(n), n=n, axis=0)
    return xp.moveaxis(out.astype(tensor.dtype), 0, axis)


def _fourier_joint(n: int) -> JointFrequencies:
    """Frequencies of the coefficients of the real FFT of a cyclic shift of length n."""
    m = np.arange(1, (n - 1) // 2 + 1)
    ends = [0, n // 2] if n % 2 == 0 else [0]
    half = HalfShape((False,) * len(ends), len(m))
    no = np.zeros(n, dtype=bool)
    odd = np.arange(n) >= len(ends) + len(m)
    return JointFrequencies(half, np.concatenate([ends, m, m]), odd, no)
