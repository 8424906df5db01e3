"""Filters of one block of a weight: what every back end builds and every projector applies.

A block is a tensor product of *atoms* (representations that are not divided further), times batch
entries: ``[n, M]``, n the product of the dimensions of the atoms. A filter returns the part to
remove, ``sum_j dropped_j Pi_j w`` with the orthogonal projector ``Pi_j`` on level j. ``dropped`` is
indexed by the levels of the whole projector (its last entry is for what has no finite level), and
each filter carries the indices of its own levels.
"""

import abc
import dataclasses
import functools
from typing import Any, Self, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._arrays import Array, library, real_dtype

_matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def static() -> Any:
    """A field of a filter that is metadata of the pytree."""
    return dataclasses.field(metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static,))
def filter_class(cls: type) -> Any:
    """Decorator: a frozen dataclass that is a pytree, its ``static`` fields metadata."""
    frozen = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    return jax.tree_util.register_dataclass(frozen)


class Filter(abc.ABC):
    """A filter of blocks; ``index`` holds its levels, int of any shape."""

    index: Array

    @abc.abstractmethod
    def removed(self, w: Array, dropped: Array) -> Array:
        """``sum_j dropped_j Pi_j w`` for a block ``[n, M]``, by NumPy where w is a NumPy array."""

    def reindexed(self, to_global: np.ndarray) -> Self:
        """The same filter with indices into the levels of the whole projector."""
        return dataclasses.replace(self, index=to_global[np.asarray(self.index)])  # type: ignore


class Transform(Filter):
    """A filter that is diagonal after a unitary transform; ``index [n]`` of each coefficient."""

    @abc.abstractmethod
    def analysis(self, w: Array) -> Array:
        """The coefficients of a block, ``[n, M]``."""

    @abc.abstractmethod
    def synthesis(self, c: Array) -> Array:
        """The inverse of ``analysis``."""

    def removed(self, w: Array, dropped: Array) -> Array:
        """``U (dropped * (U^H w))``."""
        return self.synthesis(chosen(dropped, self.index, w)[:, None] * self.analysis(w))


class StrictFilter(Filter):
    """A filter that knows level 0 only; ``index [2]``: level 0, and everything else."""

    @abc.abstractmethod
    def invariant(self, w: Array) -> Array:
        """``P w``, the part on level 0."""

    def removed(self, w: Array, dropped: Array) -> Array:
        """``dropped_0 P w + dropped_1 (w - P w)``."""
        shares, kept = chosen(dropped, self.index, w), self.invariant(w)
        return shares[1] * (w - kept) + shares[0] * kept


@filter_class
class IdentityFilter(Filter):
    """A block on which the group acts trivially: all of it is level 0; ``index [1]``."""

    index: Array

    def removed(self, w: Array, dropped: Array) -> Array:
        """``dropped_0 w``."""
        return w * chosen(dropped, self.index, w)


def product(a: Array, b: Array) -> Array:
    """Matrix product at the highest precision, by NumPy where both are NumPy arrays."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.matmul(a, b)
    return _matmul(a, b)


def along(matrix: Array, tensor: Array, axis: int) -> Array:
    """``matrix`` applied along one axis of a tensor."""
    xp = library(tensor)
    moved = xp.moveaxis(tensor, axis, 0)
    out = product(matrix, moved.reshape(moved.shape[0], -1))
    return xp.moveaxis(out.reshape(matrix.shape[0], *moved.shape[1:]), 0, axis)


def as_dtype(constant: Array, w: Array) -> Array:
    """A constant in the dtype of w (real constants stay real), in the library of w."""
    kind = np.dtype(w.dtype)
    if not jnp.issubdtype(constant.dtype, jnp.complexfloating):
        kind = real_dtype(kind)
    return (np if isinstance(w, np.ndarray) else jnp).asarray(constant, kind)


def chosen(dropped: Array, index: Array, w: Array) -> Array:
    """``dropped[index]`` in the real dtype and the library of w."""
    xp = library(w)
    return xp.asarray(dropped)[xp.asarray(index)].astype(real_dtype(w.dtype))
