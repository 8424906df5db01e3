r"""Joint spectral filters of planar groups: real arithmetic, one small matrix per acting axis.

In the frequency basis of each axis the weight has singles (fixed or negated by the generating
rotation) and pairs (even a, odd b) of frequency m. Two pairs with coefficients c_aa .. c_bb
recombine into pairs of the sum and of the difference of their frequencies,

.. math::
   m_1 + m_2: \; (c_{aa} - c_{bb},\; c_{ab} + c_{ba}) / \sqrt 2, \qquad
   m_1 - m_2: \; (c_{aa} + c_{bb},\; c_{ba} - c_{ab}) / \sqrt 2,

so that the joint coefficients again are singles and pairs, and a third axis joins the same way.
Coefficients are ordered [singles, even halves, odd halves].
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from softeq_jax.projections._filter import (
    Array,
    along,
    as_dtype,
    chosen,
    filter_class,
    static,
)
from softeq_jax.reps import Rep

_FFT_LENGTH = 256
_FUSED = 160


class Half(NamedTuple):
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


class Joint(NamedTuple):
    """Frequencies of joint coefficients; pairs have signed frequencies, both halves the same.

    Attributes:
      half: the shape.
      frequency: int ``[n]``.
      odd: bool ``[n]``.
      unmatched: bool ``[n]``.
    """

    half: Half
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
class SpectralFilter:
    """Per-axis transform, recombination of pairs, a mask, and back.

    Attributes:
      bases: orthonormal columns ``[d, d]`` of each axis, ordered [singles, even, odd]; an empty
        array for an axis that is transformed by the FFT.
      index: int ``[n]``, level of each joint coefficient.
      halves: the shape of the coefficients of each axis.
    """

    bases: tuple[Array, ...]
    index: Array
    halves: tuple[Half, ...] = static()

    def removed(self, w: Array, dropped: Array) -> Array:
        """``T^T (dropped * (T w))`` with the orthogonal joint transform T."""
        inside = self.analysis(w)
        return self.synthesis(chosen(dropped, self.index, w)[:, None] * inside)

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

    def reindexed(self, to_global: np.ndarray) -> "SpectralFilter":
        """The same filter with indices into the levels of the whole projector."""
        return dataclasses.replace(self, index=to_global[self.index])


def axis_frequencies(atom: Rep) -> tuple[np.ndarray, Joint]:
    """The columns of one atom in the order [singles, even, odd], and their frequencies.

    Long cyclic shifts have no columns (an empty array): they are transformed by the FFT.
    """
    if getattr(atom, "is_cyclic_shift", False) and atom.dim >= _FFT_LENGTH:
        return np.zeros((0, 0)), _fourier_joint(atom.dim)
    f = atom.frequencies()
    even, odd, frequency = f.pairs()
    single = np.flatnonzero(f.partner < 0)
    order = np.concatenate([single, even, odd])
    half = Half(tuple(bool(flag) for flag in f.odd[single]), len(even))
    single_frequency = np.where(f.unmatched[single], 0, f.frequency[single])
    joint = Joint(
        half,
        np.concatenate([single_frequency, frequency, frequency]),
        f.odd[order],
        f.unmatched[order],
    )
    return f.basis[:, order], joint


@functools.lru_cache(maxsize=64)
def joint_frequencies(atoms: tuple[Rep, ...]) -> Joint:
    """The frequencies of the tensor product of atoms, in the order of ``analysis``."""
    total = axis_frequencies(atoms[0])[1]
    for atom in atoms[1:]:
        total = _joined(total, axis_frequencies(atom)[1])
    return total


def spectral_parts(atoms: tuple[Rep, ...]) -> tuple[tuple[np.ndarray, ...], tuple[Half, ...]]:
    """Bases and shapes for a ``SpectralFilter``; small products are one axis with a joint basis."""
    parts = [axis_frequencies(atom) for atom in atoms]
    bases = tuple(basis for basis, _ in parts)
    halves = tuple(joint.half for _, joint in parts)
    n = math.prod(atom.dim for atom in atoms)
    if len(atoms) == 1 or n > _FUSED or any(not len(basis) for basis in bases):
        return bases, halves
    joint = SpectralFilter(bases, np.zeros(n, int), halves).analysis(np.eye(n)).T
    return (np.ascontiguousarray(joint),), (functools.reduce(joined_half, halves),)


def joined_half(a: Half, b: Half) -> Half:
    """Shape of the coefficients after joining two axes."""
    odd = tuple(x != y for x in a.odd for y in b.odd)
    return Half(odd, a.singles * b.pairs + a.pairs * b.singles + 2 * a.pairs * b.pairs)


def _joined(a: Joint, b: Joint) -> Joint:
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
    return Joint(
        half,
        np.concatenate([outer(np.add, (f1, f2)), pairs, pairs]),
        np.concatenate([np.array(half.odd, dtype=bool), np.zeros(p, bool), np.ones(p, bool)]),
        np.concatenate([outer(np.logical_or, (u1, u2)), unpaired, unpaired]),
    )


def _join(c: Array, a: Half, b: Half) -> Array:
    """``[n1, n2, M]`` to the joint coefficients ``[n1 n2, M]``."""
    xp = np if isinstance(c, np.ndarray) else jnp
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


def _part(c: Array, a: Half, b: Half) -> Array:
    """The inverse of ``_join``: ``[n1 n2, M]`` to ``[n1, n2, M]``."""
    xp = np if isinstance(c, np.ndarray) else jnp
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
    xp = np if isinstance(even, np.ndarray) else jnp
    return xp.where(flipped, odd, even), xp.where(flipped, -even, odd)


def _exchange_back(even: Array, odd: Array, flipped: np.ndarray) -> tuple[Array, Array]:
    if not flipped.any():
        return even, odd
    xp = np if isinstance(even, np.ndarray) else jnp
    return xp.where(flipped, -odd, even), xp.where(flipped, even, odd)


def _transform(basis: Array, tensor: Array, axis: int) -> Array:
    if basis.shape[0]:
        return along(as_dtype(basis, tensor).T, tensor, axis)
    xp = np if isinstance(tensor, np.ndarray) else jnp
    n = tensor.shape[axis]
    c = xp.fft.rfft(xp.moveaxis(tensor, axis, 0), axis=0) / math.sqrt(n)
    pairs, root = (n - 1) // 2, math.sqrt(2.0)
    ends = [c[:1].real] + ([c[-1:].real] if n % 2 == 0 else [])
    out = xp.concatenate([*ends, root * c[1 : pairs + 1].real, -root * c[1 : pairs + 1].imag])
    return xp.moveaxis(out.astype(tensor.dtype), 0, axis)


def _inverse(basis: Array, tensor: Array, axis: int) -> Array:
    if basis.shape[0]:
        return along(as_dtype(basis, tensor), tensor, axis)
    xp = np if isinstance(tensor, np.ndarray) else jnp
    n = tensor.shape[axis]
    moved = xp.moveaxis(tensor, axis, 0)
    ends, pairs, root = 2 - n % 2, (n - 1) // 2, math.sqrt(0.5)
    even, odd = moved[ends : ends + pairs], moved[ends + pairs :]
    pieces = [moved[:1] + 0j, root * (even - 1j * odd)]
    pieces += [moved[1:2] + 0j] if ends == 2 else []
    out = xp.fft.irfft(xp.concatenate(pieces) * math.sqrt(n), n=n, axis=0)
    return xp.moveaxis(out.astype(tensor.dtype), 0, axis)


def _fourier_joint(n: int) -> Joint:
    """Frequencies of the coefficients of the real FFT of a cyclic shift of length n."""
    m = np.arange(1, (n - 1) // 2 + 1)
    ends = [0, n // 2] if n % 2 == 0 else [0]
    half = Half((False,) * len(ends), len(m))
    no = np.zeros(n, dtype=bool)
    odd = np.arange(n) >= len(ends) + len(m)
    return Joint(half, np.concatenate([ends, m, m]), odd, no)
