"""Draws of group elements: all of a finite group, or random ones under ``jit``."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from softeq_jax.groups import Group
from softeq_jax.orbits._orbit import TreeAction, action_with, tree_action
from softeq_jax.orbits._tables import drawn_table
from softeq_jax.reps import Rep

LISTED = 2**24
"""Largest product of order and dimension for which all elements are tabulated."""


class Draw(NamedTuple):
    """Elements drawn from the Haar distribution, and what they do to two pytrees.

    Attributes:
      entries: pytree of arrays ``[n, ...]``, one entry for each element drawn.
      enter: ``(entry, x) -> g x`` on the first pytree.
      leave: ``(entry, y) -> g y`` on the second.

    Example:
      >>> import jax, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> found = sq.orbits.draw((V, V), (None, None), V.group, jax.random.key(0), 5)
      >>> [leaf.shape[0] for leaf in jax.tree.leaves(found.entries)]
      [5, 5]
    """

    entries: Any
    enter: Callable[[Any, Any], Any]
    leave: Callable[[Any, Any], Any]


def every_element(reps: tuple[Any, Any], axes: tuple[Any, Any]) -> Draw:
    """All elements of a finite group, each once, in the order of ``group.elements()``.

    Args:
      reps: what acts on the two pytrees, each as in ``tree_action``.
      axes: for each the axes to act on.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.cyclic(3))
      >>> found = sq.orbits.every_element((R, R), (None, None))
      >>> jax.vmap(lambda one: found.enter(one, jnp.arange(3)))(found.entries)
      Array([[0, 1, 2],
             [2, 0, 1],
             [1, 2, 0]], dtype=int32)
    """
    actions = [tree_action(rep, axis, None) for rep, axis in zip(reps, axes, strict=True)]
    return _draw(actions)


def draw(
    reps: tuple[Any, Any], axes: tuple[Any, Any], group: Group, key: jax.Array, n: int
) -> Draw:
    """n independent elements; the key may be traced.

    Elements of a finite group are looked up in tables. Otherwise matrices of the representations
    are computed from the drawn elements: by JAX for rotations of the plane, trivial and defining
    representations, their duals, sums, products and multiples; on the host, through a callback,
    for all others (spherical harmonics).

    Args:
      reps: what acts on the two pytrees, each as in ``tree_action``.
      axes: for each the axes to act on.
      group: of the representations.
      key: a JAX PRNG key.
      n: how many.

    Raises:
      ValueError: the group is not compact.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> found = sq.orbits.draw((V, V), (None, None), V.group, jax.random.key(0), 5)
      >>> moved = jax.vmap(lambda one: found.enter(one, jnp.array([3.0, 0.0, 4.0])))(found.entries)
      >>> jnp.linalg.norm(moved, axis=1).round(3)
      Array([5., 5., 5., 5., 5.], dtype=float32)
    """
    largest = max(
        rep.dim
        for rep in jax.tree.leaves(reps, is_leaf=lambda node: isinstance(node, Rep))
        if isinstance(rep, Rep)
    )
    order = group.order
    if order is not None and order * largest <= LISTED:
        every = every_element(reps, axes)
        index = jax.random.randint(key, (n,), 0, order)
        entries = jax.tree.map(lambda a: jnp.asarray(a)[index], every.entries)
        return every._replace(entries=entries)
    gs = group.sample(key, n)
    actions = [
        action_with(rep, axis, lambda one: drawn_table(one, gs))
        for rep, axis in zip(reps, axes, strict=True)
    ]
    return _draw(actions)


def _draw(actions: list[TreeAction]) -> Draw:
    enter, leave = actions
    return Draw(
        (enter.arrays, leave.arrays),
        lambda one, x: enter.move(one[0], x),
        lambda one, y: leave.move(one[1], y),
    )
