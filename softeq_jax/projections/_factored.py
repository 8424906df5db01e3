"""Filters of direct products whose factors act on different axes: one transform for each factor.

The level operators of the factors commute, so that the transforms of the factors, each on its own
axes, are one joint transform, and ``sigma^2`` is the sum over the factors.
"""

import dataclasses
import functools
import math

import jax.numpy as jnp
import numpy as np

from softeq_jax.projections._facts import Block
from softeq_jax.projections._filter import Array, DenseFilter, chosen, filter_class, static
from softeq_jax.projections._spectral import SpectralFilter
from softeq_jax.reps import OnFactor, Rep

Transform = SpectralFilter | DenseFilter


@filter_class
class FactoredFilter:
    """Joint transform by the factors of a direct product, a mask, and back.

    Attributes:
      parts: the transform of each factor that acts.
      index: int ``[n]``, level of each joint coefficient, those of the first part slowest.
      axes: permutation that brings the atoms into the order of the parts.
      dims: dimensions of the atoms as given.
      sizes: dimension of each part.
    """

    parts: tuple[Transform, ...]
    index: Array
    axes: tuple[int, ...] = static()
    dims: tuple[int, ...] = static()
    sizes: tuple[int, ...] = static()

    def removed(self, w: Array, dropped: Array) -> Array:
        """``T^H (dropped * (T w))``."""
        order = (*self.axes, len(self.dims))
        tensor = w.reshape(*self.dims, -1).transpose(order)
        shape = tensor.shape
        inside = self._each("analysis", tensor)
        masked = chosen(dropped, self.index, w)[:, None] * inside.reshape(w.shape)
        out = self._each("synthesis", masked).reshape(shape)
        return out.transpose(np.argsort(order)).reshape(w.shape)

    def _each(self, step: str, x: Array) -> Array:
        xp = np if isinstance(x, np.ndarray) else jnp
        x = x.reshape(*self.sizes, -1)
        for i, part in enumerate(self.parts):
            front = xp.moveaxis(x, i, 0)
            moved = getattr(part, step)(front.reshape(front.shape[0], -1))
            x = xp.moveaxis(moved.reshape(front.shape), 0, i)
        return x

    def reindexed(self, to_global: np.ndarray) -> "FactoredFilter":
        """The same filter with indices into the levels of the whole projector."""
        return dataclasses.replace(self, index=to_global[self.index])


def factored_block(atoms: tuple[Rep, ...], of_factor: object) -> Block | None:
    """The block of atoms that each act through one factor of a direct product.

    Args:
      atoms: the atoms.
      of_factor: from the atoms of one factor, as representations of that factor, to the block of
        a transform that knows all levels, or None.

    Returns:
      The block, or None where it does not apply.
    """
    if not all(isinstance(atom, OnFactor) for atom in atoms):
        return None
    positions = sorted({atom.position for atom in atoms})
    axes = [[i for i, atom in enumerate(atoms) if atom.position == p] for p in positions]
    found = [of_factor(tuple(atoms[i].part for i in group)) for group in axes]
    if any(block is None for block in found):
        return None
    squares = [values[np.asarray(part.index)] ** 2 for part, values, _ in found]
    sigma = np.sqrt(functools.reduce(np.add.outer, squares).reshape(-1))
    values, index, counts = np.unique(sigma, return_inverse=True, return_counts=True)
    sizes = tuple(math.prod(atoms[i].dim for i in group) for group in axes)
    filter_ = FactoredFilter(
        tuple(part for part, _, _ in found),
        index.reshape(-1),
        tuple(i for group in axes for i in group),
        tuple(atom.dim for atom in atoms),
        sizes,
    )
    return filter_, values, counts
