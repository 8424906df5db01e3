"""Filters of direct products whose factors act on different axes: one transform for each factor.

The level operators of the factors commute, so that the transforms of the factors, each on its own
axes, are one joint transform, and ``sigma^2`` is the sum over the factors.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from softeq_jax.projections._filter import Array, TransformFilter, filter_class, library, static
from softeq_jax.projections.backends._atoms import Atoms, BuiltBlock
from softeq_jax.reps import OnFactor


@filter_class
class FactoredFilter(TransformFilter):
    """Joint transform by the factors of a direct product, a mask, and back.

    Attributes:
      parts: the transform of each factor that acts.
      index: int ``[n]``, level of each joint coefficient, those of the first part slowest.
      axes: permutation that brings the atoms into the order of the parts.
      dims: dimensions of the atoms as given.
      sizes: dimension of each part.
    """

    parts: tuple[TransformFilter, ...]
    index: Array
    axes: tuple[int, ...] = static()
    dims: tuple[int, ...] = static()
    sizes: tuple[int, ...] = static()

    def analysis(self, w: Array) -> Array:
        """The joint coefficients, those of the first part slowest."""
        tensor = w.reshape(*self.dims, -1).transpose((*self.axes, len(self.dims)))
        return self._each(lambda part, x: part.analysis(x), tensor).reshape(w.shape)

    def synthesis(self, c: Array) -> Array:
        """The inverse of ``analysis``."""
        order = (*self.axes, len(self.dims))
        shape = (*(self.dims[i] for i in self.axes), -1)
        out = self._each(lambda part, x: part.synthesis(x), c).reshape(shape)
        return out.transpose(np.argsort(order)).reshape(c.shape)

    def _each(self, step: Callable[[TransformFilter, Array], Array], x: Array) -> Array:
        xp = library(x)
        x = x.reshape(*self.sizes, -1)
        for i, part in enumerate(self.parts):
            front = xp.moveaxis(x, i, 0)
            moved = step(part, front.reshape(front.shape[0], -1))
            x = xp.moveaxis(moved.reshape(front.shape), 0, i)
        return x


def block(atoms: Atoms, of_factor: Callable[[Atoms], BuiltBlock | None]) -> BuiltBlock | None:
    """The block of atoms that each act through one factor of a direct product.

    Args:
      atoms: the atoms.
      of_factor: from the atoms of one factor, as representations of that factor, to the block of
        a transform that knows all levels, or None.

    Returns:
      The block, or None where it does not apply.
    """
    factors = [atom for atom in atoms if isinstance(atom, OnFactor)]
    if len(factors) < len(atoms):
        return None
    positions = sorted({atom.position for atom in factors})
    axes = [[i for i, atom in enumerate(factors) if atom.position == p] for p in positions]
    found, transforms = [], []
    for group in axes:
        part = of_factor(tuple(factors[i].part for i in group))
        if part is None or not isinstance(part.filter, TransformFilter):
            return None
        found.append(part)
        transforms.append(part.filter)
    squares = [part.levels[np.asarray(part.filter.index)] ** 2 for part in found]
    sigma = np.sqrt(functools.reduce(np.add.outer, squares).reshape(-1))
    values, index, counts = np.unique(sigma, return_inverse=True, return_counts=True)
    filter_ = FactoredFilter(
        tuple(transforms),
        index.reshape(-1),
        tuple(i for group in axes for i in group),
        tuple(atom.dim for atom in atoms),
        tuple(math.prod(atoms[i].dim for i in group) for group in axes),
    )
    return BuiltBlock(filter_, values, counts)
