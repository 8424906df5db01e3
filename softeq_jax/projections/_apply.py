"""Cutting a weight array into blocks, filtering each, and putting them together again."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.projections._space import Segments, Space, segments

Array = jax.Array | np.ndarray


def removed_part(space: Space, filters: tuple, w: Array, dropped: Array) -> Array:
    """``w - P w`` of an array with the axes of a space.

    Args:
      space: the axes and representations.
      filters: one per combination of the terms of the representations, the last entry fastest.
      w: floating-point array.
      dropped: one minus the mask on each level.
    """
    xp = np if isinstance(w, np.ndarray) else jnp
    reps = [entry.rep for entry in space.entries]
    front = range(len(space.positions))
    moved = xp.moveaxis(w, space.positions, front)
    shape = moved.shape
    tensor = moved.reshape(*(rep.dim for rep in reps), -1)
    each = [segments(rep) for rep in reps]
    for axis, one in enumerate(each):
        if one.order is not None:
            tensor = xp.take(tensor, one.order, axis=axis)
    tensor = _walk(each, iter(filters), tensor, dropped, 0, ())
    for axis, one in enumerate(each):
        if one.back is not None:
            tensor = xp.take(tensor, one.back, axis=axis)
    return xp.moveaxis(tensor.reshape(shape), front, space.positions)


def coefficient_blocks(
    space: Space, filters: tuple, w: np.ndarray
) -> list[tuple[object, np.ndarray]]:
    """``(filter, block [n, M])`` of every block of a concrete array, for host computations."""
    collected: list[tuple[object, np.ndarray]] = []

    class Recorder:
        def __init__(self, inner: object) -> None:
            self.inner = inner

        def removed(self, block: np.ndarray, _: Array) -> np.ndarray:
            collected.append((self.inner, block))
            return block

    removed_part(space, tuple(map(Recorder, filters)), w, np.zeros(1))
    return collected


def _walk(
    each: list[Segments], filters: object, x: Array, dropped: Array, axis: int, terms: tuple
) -> Array:
    if axis == len(each):
        return _block(terms, next(filters), x, dropped)
    xp = np if isinstance(x, np.ndarray) else jnp
    pieces, start = [], 0
    for term in each[axis].terms:
        stop = start + Segments.size(term)
        whole = start == 0 and stop == x.shape[axis]
        part = x if whole else x[(slice(None),) * axis + (slice(start, stop),)]
        pieces.append(_walk(each, filters, part, dropped, axis + 1, (*terms, term)))
        start = stop
    return pieces[0] if len(pieces) == 1 else xp.concatenate(pieces, axis=axis)


def _block(terms: tuple, filter_: object, x: Array, dropped: Array) -> Array:
    """One block: multiplicities join the batch, atoms come first."""
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
    out = filter_.removed(split.reshape(n, -1), dropped).reshape(split.shape)
    return out.transpose(np.argsort(order)).reshape(x.shape)


def split_parts(filters: tuple, dropped: Array, w: Array, *, space: Space) -> tuple[Array, Array]:
    """``(P w, w - P w)`` in the dtype of w; w to the bit where nothing is dropped."""
    xp = np if isinstance(w, np.ndarray) else jnp
    work = w.astype(jnp.promote_types(w.dtype, jnp.float32))
    removed = removed_part(space, filters, work, dropped)
    full = xp.all(xp.asarray(dropped) == 0)
    removed = xp.where(full, xp.zeros_like(removed), removed)
    kept = xp.where(full, work, work - removed)
    return kept.astype(w.dtype), removed.astype(w.dtype)


jitted_split_parts = jax.jit(split_parts, static_argnames="space")
