"""Filters of two axes by Schur's lemma: per-axis isotypic bases and one small matrix per pair."""

import dataclasses
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from softeq_jax.projections._filter import Array, as_dtype, chosen, filter_class, product, static


class Batch(NamedTuple):
    """Pairs of types of one shape, filtered together.

    Attributes:
      left: ``(first column, number of types, multiplicity p, dimension d)``.
      right: ``(first column, number of types, multiplicity q, dimension e)``.
      pairs: ``(type on the left, type on the right)`` of each pair.
    """

    left: tuple[int, int, int, int]
    right: tuple[int, int, int, int]
    pairs: tuple[tuple[int, int], ...]


@filter_class
class PairFilter:
    r"""A tensor product of two representations, each written in isotypic columns.

    The block of the types (s, t) is ``[p, d, q, e]`` with multiplicities p and q: the filter acts
    on ``[d, e]`` alone, by columns ``kept`` ``[d e, c]`` and their levels. With all columns
    (``d e = c``) every level is known; with the invariants alone, level 0.

    Attributes:
      left: ``[n1, n1]`` columns, type by type, each ``(copy, component)``.
      right: ``[n2, n2]``.
      kept: for each batch, orthonormal bases ``[pairs, d e, c]``, padded by zeros.
      index: for each batch, levels int ``[pairs, c]``.
      rest: int ``[1]``, the level of everything that no column spans.
      batches: the pairs that have columns.
      axes: permutation that brings the atoms into the order (left group, right group).
      dims: dimensions of the atoms as given.
    """

    left: Array
    right: Array
    kept: tuple[Array, ...]
    index: tuple[Array, ...]
    rest: Array
    batches: tuple[Batch, ...] = static()
    axes: tuple[int, ...] = static()
    dims: tuple[int, ...] = static()

    def removed(self, w: Array, dropped: Array) -> Array:
        """``dropped_rest w`` corrected on what the columns span."""
        xp = np if isinstance(w, np.ndarray) else jnp
        m = w.shape[1]
        order = (*self.axes, len(self.dims))
        n1, n2 = self.left.shape[0], self.right.shape[0]
        tensor = w.reshape(*self.dims, m).transpose(order)
        shape = tensor.shape
        left, right = as_dtype(self.left, w), as_dtype(self.right, w)
        inside = product(left.conj().T, tensor.reshape(n1, n2 * m)).reshape(n1, n2, m)
        inside = xp.moveaxis(inside, 1, 0).reshape(n2, n1 * m)
        inside = xp.moveaxis(product(right.conj().T, inside).reshape(n2, n1, m), 0, 1)
        rest = chosen(dropped, self.rest, w)
        out = inside * rest
        for kept, index, batch in zip(self.kept, self.index, self.batches, strict=True):
            (i, s, p, d), (j, t, q, e) = batch.left, batch.right
            rows, columns = slice(i, i + s * p * d), slice(j, j + t * q * e)
            block = inside[rows, columns].reshape(s, p, d, t, q, e, m)
            block = block.transpose(0, 3, 2, 5, 1, 4, 6).reshape(s, t, d * e, p * q * m)
            a, b = (np.array(each) for each in zip(*batch.pairs, strict=True))
            everywhere = len(batch.pairs) == s * t
            flat = block.reshape(s * t, d * e, -1) if everywhere else block[a, b]
            basis = as_dtype(kept, w)
            share = chosen(dropped, index, w)[:, :, None]
            inner = product(xp.swapaxes(basis.conj(), 1, 2), flat)
            if kept.shape[1] == kept.shape[2]:
                new = product(basis, share * inner)
            else:
                new = rest * flat + product(basis, (share - rest) * inner)
            block = new if everywhere else _set(block * rest, (a, b), new)
            block = block.reshape(s, t, d, e, p, q, m).transpose(0, 4, 2, 1, 5, 3, 6)
            out = _set(out, (rows, columns), block.reshape(s * p * d, t * q * e, m))
        out = xp.moveaxis(product(left, out.reshape(n1, n2 * m)).reshape(n1, n2, m), 1, 0)
        out = product(right, out.reshape(n2, n1 * m)).reshape(n2, n1, m)
        out = xp.moveaxis(out, 0, 1).reshape(shape)
        return out.transpose(np.argsort(order)).reshape(w.shape)

    def reindexed(self, to_global: np.ndarray) -> "PairFilter":
        """The same filter with indices into the levels of the whole projector."""
        index = tuple(to_global[one] for one in self.index)
        return dataclasses.replace(self, index=index, rest=to_global[self.rest])


def _set(x: Array, where: tuple, value: Array) -> Array:
    if isinstance(x, np.ndarray):
        x[where] = value
        return x
    return x.at[where].set(value)


def halves(dims: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The division of atoms into two groups with the smallest larger dimension, in order."""
    best, size = None, math.inf
    for bits in range(1, 2 ** (len(dims) - 1)):
        right = tuple(i for i in range(len(dims)) if bits >> (len(dims) - 1 - i) & 1)
        left = tuple(i for i in range(len(dims)) if i not in right)
        larger = max(math.prod(dims[i] for i in left), math.prod(dims[i] for i in right))
        contiguous = left + right == tuple(range(len(dims)))
        if larger < size or (larger == size and contiguous):
            best, size = (left, right), larger
    return best
