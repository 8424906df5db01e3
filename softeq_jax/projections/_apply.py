"""Application of filters to a weight: cut into blocks, filter each, put them together again."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._arrays import Array, library
from softeq_jax.projections._filter import Filter
from softeq_jax.projections._space import Segments, Space, segments
from softeq_jax.reps import Term

Filters = tuple[Filter, ...]
"""One filter for each combination of the terms of the axes, the last axis fastest."""


def removed_part(space: Space, filters: Filters, w: Array, dropped: Array) -> Array:
    """``w - P w`` of an array with the axes of a space, ``dropped`` being one minus the mask."""
    return _map_blocks(space, filters, w, lambda filter_, block: filter_.removed(block, dropped))


def coefficient_blocks(
    space: Space, filters: Filters, w: np.ndarray
) -> list[tuple[Filter, np.ndarray]]:
    """``(filter, block [n, M])`` of every block of a concrete array, for host computations."""
    found: list[tuple[Filter, Any]] = []

    def collect(filter_: Filter, block: Array) -> Array:
        found.append((filter_, block))
        return block

    _map_blocks(space, filters, w, collect)
    return found


def split_parts(filters: Filters, dropped: Array, w: Array, *, space: Space) -> tuple[Array, Array]:
    """``(P w, w - P w)`` in the dtype of w; w to the bit where nothing is dropped."""
    xp = library(w)
    work = w.astype(jnp.promote_types(w.dtype, jnp.float32))
    removed = removed_part(space, filters, work, dropped)
    full = xp.all(xp.asarray(dropped) == 0)
    removed = xp.where(full, xp.zeros_like(removed), removed)
    kept = xp.where(full, work, work - removed)
    return kept.astype(w.dtype), removed.astype(w.dtype)


jitted_split_parts = jax.jit(split_parts, static_argnames="space")


def _map_blocks(
    space: Space, filters: Filters, w: Array, of_block: Callable[[Filter, Array], Array]
) -> Array:
    """The array whose blocks are those of w, each passed through a function of it."""
    xp = library(w)
    reps = [entry.rep for entry in space.entries]
    front = range(len(space.positions))
    moved = xp.moveaxis(w, space.positions, front)
    tensor = moved.reshape(*(rep.dim for rep in reps), -1)
    each = [segments(rep) for rep in reps]
    for axis, one in enumerate(each):
        tensor = tensor if one.order is None else xp.take(tensor, one.order, axis=axis)
    remaining = iter(filters)

    def block(terms: tuple[Term, ...], x: Array) -> Array:
        return _block(terms, x, lambda flat: of_block(next(remaining), flat))

    tensor = _walk(each, block, tensor, ())
    for axis, one in enumerate(each):
        tensor = tensor if one.back is None else xp.take(tensor, one.back, axis=axis)
    return xp.moveaxis(tensor.reshape(moved.shape), front, space.positions)


def _walk(each: list[Segments], block: Callable, x: Array, terms: tuple[Term, ...]) -> Array:
    axis = len(terms)
    if axis == len(each):
        return block(terms, x)
    xp = library(x)
    pieces, start = [], 0
    for term in each[axis].terms:
        stop = start + Segments.size(term)
        whole = start == 0 and stop == x.shape[axis]
        part = x if whole else x[(slice(None),) * axis + (slice(start, stop),)]
        pieces.append(_walk(each, block, part, (*terms, term)))
        start = stop
    return pieces[0] if len(pieces) == 1 else xp.concatenate(pieces, axis=axis)


def _block(terms: tuple[Term, ...], x: Array, of_flat: Callable[[Array], Array]) -> Array:
    """One block as ``[n, M]``: atoms come first, multiplicities join the batch."""
    shape, atoms, batch = [], [], []
    for term in terms:
        batch.append(len(shape))
        shape.append(term.multiplicity)
        for atom in term.atoms:
            atoms.append(len(shape))
            shape.append(atom.dim)
    order = (*atoms, *batch, len(shape))
    split = x.reshape(*shape, x.shape[-1]).transpose(order)
    n = math.prod(shape[i] for i in atoms)
    out = of_flat(split.reshape(n, -1)).reshape(split.shape)
    return out.transpose(np.argsort(order)).reshape(x.shape)
