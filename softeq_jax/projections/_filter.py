"""Filters: of one block, as every back end builds them, and of a whole weight, block by block.

A block ``[n, M]`` is a tensor product of *atoms* (representations that are not divided further)
of dimension n, times batch entries. A filter returns the part to remove, ``sum_j dropped_j Pi_j w``
with the orthogonal projector ``Pi_j`` on level j. ``dropped`` is indexed by the levels of the whole
projector, last what has no finite level; each filter carries the indices of its own.
"""

import abc
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Self, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.projections._space import Arrangement, Axis, Piece

Array = jax.Array | np.ndarray
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


class TransformFilter(Filter):
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
    is_real = not jnp.issubdtype(constant.dtype, jnp.complexfloating)
    return library(w).asarray(constant, real_dtype(w.dtype) if is_real else w.dtype)


def chosen(dropped: Array, index: Array, w: Array) -> Array:
    """``dropped[index]`` in the real dtype and the library of w."""
    xp = library(w)
    return xp.asarray(dropped)[xp.asarray(index)].astype(real_dtype(w.dtype))


def library(x: Any) -> Any:
    """``numpy`` for a NumPy array, which keeps its precision, else ``jax.numpy``."""
    return np if isinstance(x, np.ndarray) else jnp


def real_dtype(dtype: Any) -> np.dtype:
    """The dtype of the real part of numbers of a dtype."""
    return np.zeros((), dtype).real.dtype


Filters = tuple[Filter, ...]
"""One filter for each combination of the terms of the axes, the last axis fastest."""


def removed_part(layout: Arrangement, filters: Filters, w: Array, dropped: Array) -> Array:
    """``w - P w`` of an array with this layout, ``dropped`` being one minus the mask.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> P = sq.projector("i o", {"i": V, "o": V})
      >>> w = np.diag([1.0, 2.0, 6.0])
      >>> np.diag(sq.projections.removed_part(P.space.layout, P.filters, w, P.dropped))
      array([-2., -1.,  3.])
    """
    return map_blocks(layout, filters, w, lambda filter_, block: filter_.removed(block, dropped))


def split_parts(
    filters: Filters, dropped: Array, w: Array, *, layout: Arrangement
) -> tuple[Array, Array]:
    """``(P w, w - P w)`` in the dtype of w; w to the bit where nothing is dropped."""
    xp = library(w)
    work = w.astype(jnp.promote_types(w.dtype, jnp.float32))
    removed = removed_part(layout, filters, work, dropped)
    full = xp.all(xp.asarray(dropped) == 0)
    removed = xp.where(full, xp.zeros_like(removed), removed)
    kept = xp.where(full, work, work - removed)
    return kept.astype(w.dtype), removed.astype(w.dtype)


jitted_split_parts = jax.jit(split_parts, static_argnames="layout")
"""``split_parts`` as one program for each layout, shapes and kind of filters: projectors of one
structure share it, whatever arrays they hold. JAX keeps it (2 to 4 MiB) until
``jax.clear_caches()``."""


def map_blocks(
    layout: Arrangement, filters: Filters, w: Array, of_block: Callable[[Filter, Array], Array]
) -> Array:
    """The array whose blocks are those of w, each passed through a function of it; an array without
    entries as it is."""
    if w.size == 0:
        return w
    xp = library(w)
    positions, each = layout
    front = range(len(positions))
    moved = xp.moveaxis(w, positions, front)
    batch = math.prod(moved.shape[len(positions) :])
    tensor = moved.reshape(*(one.dim for one in each), batch)
    orders = [one.order for one in each]
    for axis, order in enumerate(orders):
        tensor = tensor if order is None else xp.take(tensor, order, axis=axis)
    remaining = iter(filters)

    def block(pieces: tuple[Piece, ...], x: Array) -> Array:
        return _block(pieces, x, lambda flat: of_block(next(remaining), flat))

    tensor = _walk(each, block, tensor, ())
    for axis, order in enumerate(orders):
        tensor = tensor if order is None else xp.take(tensor, np.argsort(order), axis=axis)
    return xp.moveaxis(tensor.reshape(moved.shape), front, positions)


def _walk(each: tuple[Axis, ...], block: Callable, x: Array, chosen: tuple[Piece, ...]) -> Array:
    axis = len(chosen)
    if axis == len(each):
        return block(chosen, x)
    xp = library(x)
    pieces, start = [], 0
    for piece in each[axis].pieces:
        stop = start + piece.size
        whole = start == 0 and stop == x.shape[axis]
        part = x if whole else x[(slice(None),) * axis + (slice(start, stop),)]
        pieces.append(_walk(each, block, part, (*chosen, piece)))
        start = stop
    return pieces[0] if len(pieces) == 1 else xp.concatenate(pieces, axis=axis)


def _block(pieces: tuple[Piece, ...], x: Array, of_flat: Callable[[Array], Array]) -> Array:
    """One block as ``[n, M]``: atoms come first, copies join the batch."""
    shape, atoms, batch = [], [], []
    for piece in pieces:
        batch.append(len(shape))
        shape.append(piece.copies)
        for dim in piece.dims:
            atoms.append(len(shape))
            shape.append(dim)
    order = (*atoms, *batch, len(shape))
    split = x.reshape(*shape, x.shape[-1]).transpose(order)
    n = math.prod(shape[i] for i in atoms)
    out = of_flat(split.reshape(n, x.size // n)).reshape(split.shape)
    return out.transpose(np.argsort(order)).reshape(x.shape)
