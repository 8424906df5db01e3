"""How Lie generators, and elements drawn under ``jit``, act on pytrees of arrays."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.orbits._orbit import Action, action_of
from softeq_jax.orbits._tables import Blocks, Dense, Elements, Kronecker, Table, Turn
from softeq_jax.reps import Dual, Multiple, Product, Rep, Sum, Trivial, Vector

LISTED = 2**24
"""Largest product of order and dimension for which all elements are tabulated."""


def common_action(reps: Any, axes: Any, elements: np.ndarray) -> Action:
    """How concrete elements ``[n, d, d]`` act on pytrees like ``reps``."""
    return action_of(reps, axes, Elements(elements))


def lie_action(reps: Any, axes: Any, group: Group) -> Action:
    """How the Lie generators act, ``arrays`` with one entry for each; ``tangent`` applies one."""
    frame = common_action(reps, axes, np.eye(group.d)[None])
    tables = tuple(None if rep is None else _lie_table(rep) for rep in frame.reps)
    return dataclasses.replace(frame, tables=tables)


def tangent(action: Action, one: Any, tree: Any) -> Any:
    """``A x`` for the generator with the entries ``one``; 0 where nothing acts."""
    moved = action.structure.flatten_up_to(action.move(one, tree))
    pairs = zip(action.reps, moved, strict=True)
    parts = [jax.tree.map(_still, part) if rep is None else part for rep, part in pairs]
    return action.structure.unflatten(parts)


def _still(x: Any) -> Any:
    kind = jax.dtypes.result_type(x)
    if jnp.issubdtype(kind, jnp.inexact):
        return jnp.zeros(np.shape(x), kind)
    return np.zeros(np.shape(x), jax.dtypes.float0)


def _lie_table(rep: Rep) -> Table:
    if isinstance(rep, Sum):
        parts = tuple(map(_lie_table, rep.parts))
        return Blocks(parts, tuple(part.dim for part in rep.parts))
    if isinstance(rep, Multiple):
        return Kronecker((None, _lie_table(rep.parts[0])), (rep.multiplicity, rep.parts[0].dim))
    return Dense(rep.lie_matrices(), rep)


class Draw(NamedTuple):
    """Elements drawn from the Haar distribution, and what they do to two pytrees.

    Attributes:
      entries: pytree of arrays ``[n, ...]``, one entry for each element drawn.
      enter: ``(entry, x) -> g x`` on the first pytree.
      leave: ``(entry, y) -> g y`` on the second.
    """

    entries: Any
    enter: Callable[[Any, Any], Any]
    leave: Callable[[Any, Any], Any]


def every_element(reps: tuple[Any, Any], axes: tuple[Any, Any]) -> Draw:
    """All elements of a finite group, each once."""
    actions = [action_of(rep, axis, None) for rep, axis in zip(reps, axes, strict=True)]
    return _draw(actions, tuple(action.arrays for action in actions))


def drawn(
    reps: tuple[Any, Any], axes: tuple[Any, Any], group: Group, key: jax.Array, n: int
) -> Draw:
    """n independent elements; the key may be traced.

    Elements of a finite group are looked up in tables. Otherwise matrices of the representations
    are computed from the drawn elements: by JAX for rotations of the plane, trivial and defining
    representations, their duals, sums, products and multiples; on the host, through a callback,
    for all others (spherical harmonics).

    Raises:
      ValueError: the group is not compact.
    """
    largest = max(
        rep.dim
        for rep in jax.tree.leaves(reps, is_leaf=lambda node: isinstance(node, Rep))
        if isinstance(rep, Rep)
    )
    if group.is_finite and group.order * largest <= LISTED:
        whole = every_element(reps, axes)
        index = jax.random.randint(key, (n,), 0, group.order)
        entries = jax.tree.map(lambda a: jnp.asarray(a)[index], whole.entries)
        return whole._replace(entries=entries)
    gs = group.sample(key, n)
    actions = []
    for rep, axis in zip(reps, axes, strict=True):
        frame = common_action(rep, axis, np.eye(group.d)[None])
        tables = tuple(None if one is None else _table(one, gs) for one in frame.reps)
        actions.append(dataclasses.replace(frame, tables=tables))
    return _draw(actions, tuple(action.arrays for action in actions))


def _draw(actions: list[Action], entries: Any) -> Draw:
    enter, leave = actions
    return Draw(entries, lambda one, x: enter.move(one[0], x), lambda one, y: leave.move(one[1], y))


def _table(rep: Rep, gs: jax.Array) -> Table:
    """How the drawn elements ``[n, d, d]`` act."""
    if isinstance(rep, Sum):
        parts = tuple(_table(part, gs) for part in rep.parts)
        return Blocks(parts, tuple(part.dim for part in rep.parts))
    if isinstance(rep, Multiple):
        return Kronecker((None, _table(rep.parts[0], gs)), (rep.multiplicity, rep.parts[0].dim))
    if isinstance(rep, Product):
        parts = tuple(_table(part, gs) for part in rep.parts)
        return Kronecker(parts, tuple(part.dim for part in rep.parts))
    if isinstance(rep, Trivial):
        return Kronecker((None,), (rep.dim,))
    planar = isinstance(rep.group, PlanarGroup) and not rep.group.is_finite
    if planar and rep.frequencies() is not None:
        return _turn(rep, gs)
    if isinstance(rep, Vector):
        return Dense(gs, rep)
    if isinstance(rep, Dual) and isinstance(rep.part, Vector) and rep.is_orthogonal:
        return Dense(jnp.conj(gs), rep)
    return Dense(_host_matrices(rep, gs), rep)


def _turn(rep: Rep, gs: jax.Array) -> Turn:
    """Rotations ``R(t) F^flip`` of the plane in the basis of frequencies; see ``Turn``."""
    f = rep.frequencies()
    flip = (jnp.linalg.det(gs) < 0)[:, None]
    angle = jnp.arctan2(-gs[:, 0, 1], gs[:, 1, 1])[:, None]
    m = jnp.asarray(np.where(f.unmatched, 0, f.frequency) * (f.partner >= 0), gs.dtype)
    parity = jnp.where(flip & f.odd, -1.0, 1.0)
    diagonal = parity * (-2.0 * jnp.sin(m * angle / 2.0) ** 2) + (parity - 1.0)
    sin = jnp.where(f.odd, jnp.sin(m * angle), -jnp.sin(m * angle))
    off = jnp.where(f.partner < 0, 0.0, sin * parity[:, f.partner])
    return Turn((diagonal, off), rep)


def _host_matrices(rep: Rep, gs: jax.Array) -> jax.Array:
    def matrices(each: Any) -> np.ndarray:
        each = np.asarray(each, rep.group.dtype)
        return np.stack([rep._matrix(g) for g in each]).astype(kind)

    kind = jnp.promote_types(gs.dtype, jnp.complex64) if rep.is_complex else gs.real.dtype
    shape = jax.ShapeDtypeStruct((math.prod(gs.shape[:-2]), rep.dim, rep.dim), kind)
    return jax.pure_callback(matrices, shape, gs, vmap_method="sequential")
