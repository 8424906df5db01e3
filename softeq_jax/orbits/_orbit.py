"""Actions of group elements and Lie generators on arrays and pytrees, and their orbits."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._sizes import require_room
from softeq_jax._text import brief
from softeq_jax.groups import Group
from softeq_jax.orbits._tables import Elements, Table, checked, entry, lie_table, table
from softeq_jax.reps import Rep, resolve_axes


def orbit(
    rep: Rep, x: Any, axes: Sequence[int] | None = None, elements: Any = None
) -> jax.Array | np.ndarray:
    """All ``g x``, stacked: ``orbit(rep, x)[i] = rep.apply(elements[i], x)``.

    The tables of the action are built once on the host and cached; then a permutation is one
    gather (also of integers), and everything else products with small matrices, of the parts of
    sums and tensor products where there are parts. Works under ``jit``, ``vmap`` and ``grad``.

    Args:
      rep: a representation of a finite group, or of any group if ``elements`` are given.
      x: an array with the axes of ``rep`` and any batch axes; may be traced. A NumPy array is
        handled by NumPy in its own precision, everything else by JAX; 16-bit floats are computed
        in float32.
      axes: the axes of x to act on, as in ``rep.apply``.
      elements: ``[n, d, d]``, elements of the group; by default all of them, in the order of
        ``rep.group.elements()``. Concrete, not traced.

    Returns:
      ``[n, *x.shape]`` in the dtype of x.

    Raises:
      ValueError: the group is infinite (or cannot be listed) and there are no ``elements``; one
        of them is not in the group; the axes of x are ambiguous or do not fit.
      TypeError: ``rep`` is no representation, ``elements`` are traced, x is made of integers that
        would be mixed, or x is real and the representation complex.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> I = sq.reps.image(sq.groups.cyclic(4), (2, 2))
      >>> sq.orbits.orbit(I, np.array([[1, 2], [3, 4]])).tolist()  # the four quarter turns
      [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]
    """
    if not isinstance(rep, Rep):
        raise TypeError(f"orbit needs a representation, got {rep!r}; for pytrees see orbit_tree")
    return orbit_tree(rep, x, elements, axes)


def orbit_tree(reps: Any, tree: Any, elements: Any = None, axes: Any = None) -> Any:
    """The orbit of every array of a pytree under one group.

    Args:
      reps: a representation, or a pytree prefix of ``tree`` made of representations of one group;
        None for what is left alone.
      tree: a pytree of arrays as in ``orbit``.
      elements: as in ``orbit``.
      axes: None, or the same structure as ``reps`` with tuples of axes, or None.

    Returns:
      The same pytree with arrays ``[n, ...]``; those under None come back as they are, without
      the new axis. (Use ``reps.trivial`` to have them repeated.)

    Raises:
      ValueError, TypeError: as ``orbit``; ValueError for representations of different groups.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.cyclic(2))
      >>> tree = {"x": np.array([1, 2]), "n": np.ones(1)}
      >>> moved = sq.orbits.orbit_tree({"x": R, "n": None}, tree)
      >>> moved["x"].tolist(), moved["n"].tolist()
      ([[1, 2], [2, 1]], [1.0])
    """
    return tree_action(reps, axes, checked(common_group(reps), elements)).orbit(tree)


@dataclasses.dataclass(frozen=True, eq=False)
class TreeAction:
    """How n elements, or Lie generators, act on pytrees of one structure.

    Made by ``tree_action`` and ``lie_action``. The loop over the elements is a ``vmap`` over
    ``arrays``, as in ``jax.vmap(lambda one: action.move(one, x))(action.arrays)``.

    Attributes:
      reps: the representations, None for what is left alone.
      axes: for each the axes, None where they follow from the shape.
      tables: for each how the elements act on an array's last axis.
      structure: the pytree prefix that has them as leaves.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.cyclic(2))
      >>> action = sq.orbits.tree_action({"x": R, "mask": None}, None, None)
      >>> action.move(jax.tree.map(lambda a: a[1], action.arrays), {"x": jnp.arange(2), "mask": 7})
      {'mask': 7, 'x': Array([1, 0], dtype=int32)}
    """

    reps: tuple[Rep | None, ...]
    axes: tuple[Sequence[int] | None, ...]
    tables: tuple[Table | None, ...]
    structure: Any

    __repr__ = brief

    @property
    def arrays(self) -> tuple:
        """What differs between elements: a pytree of arrays ``[n, ...]``."""
        return tuple(None if t is None else t.arrays for t in self.tables)

    def entry(self, i: int) -> tuple:
        """The entries of ``arrays`` for element i."""
        return entry(self.arrays, i)

    def move(self, one: tuple, tree: Any) -> Any:
        """``g tree`` for the element with the entries ``one`` of ``arrays``."""
        return self._each(_moved, tree, one)

    def tangent(self, one: tuple, tree: Any) -> Any:
        """``A tree`` for the generator with the entries ``one``; 0 where nothing acts."""
        parts = zip(self.reps, self._split(self.move(one, tree)), strict=True)
        return self.structure.unflatten(
            [jax.tree.map(_still, part) if rep is None else part for rep, part in parts]
        )

    def orbit(self, tree: Any) -> Any:
        """All ``g tree``, stacked on a new first axis (not where nothing acts)."""
        return self._each(_stacked, tree, self.arrays)

    def moving(self, tree: Any) -> list:
        """The arrays that something acts on."""
        parts = zip(self.reps, self._split(tree), strict=True)
        return [x for rep, part in parts if rep is not None for x in jax.tree.leaves(part)]

    def _split(self, tree: Any) -> list:
        try:
            return self.structure.flatten_up_to(tree)
        except ValueError as error:
            raise ValueError(f"the representations are no prefix of the pytree: {error}") from None

    def _each(self, change: Callable[..., Any], tree: Any, entries: tuple) -> Any:
        """``change(rep, axes, table, entries, x)`` in place of each such array x."""
        rows = zip(self.reps, self.axes, self.tables, entries, self._split(tree), strict=True)
        parts = [
            part if row[0] is None else jax.tree.map(functools.partial(change, *row), part)
            for *row, part in rows
        ]
        return self.structure.unflatten(parts)


def _moved(rep: Rep, axes: Sequence[int] | None, t: Table, one: Any, x: Any) -> Any:
    if not isinstance(x, np.ndarray):
        x = jnp.asarray(x)
    axes = resolve_axes(rep, x.shape, axes)
    last = tuple(range(x.ndim - len(axes), x.ndim))
    xp = np if isinstance(x, np.ndarray) else jnp
    moved = xp.moveaxis(x, axes, last)
    flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], rep.dim)
    return xp.moveaxis(t.act(one, flat).reshape(moved.shape), last, axes)


def _stacked(rep: Rep, axes: Sequence[int] | None, t: Table, arrays: Any, x: Any) -> Any:
    n = len(jax.tree.leaves(arrays)[0])
    size = n * np.size(x) * np.result_type(x).itemsize
    require_room(size, f"an orbit of {n} arrays of shape {np.shape(x)}", "choose some elements=")
    if isinstance(x, np.ndarray):
        return np.stack([_moved(rep, axes, t, entry(arrays, i), x) for i in range(n)])
    return jax.vmap(lambda one: _moved(rep, axes, t, one, x))(arrays)


def _still(x: Any) -> Any:
    kind = jax.dtypes.result_type(x)
    if jnp.issubdtype(kind, jnp.inexact):
        return jnp.zeros(np.shape(x), kind)
    return np.zeros(np.shape(x), jax.dtypes.float0)


def _is_rep_leaf(node: Any) -> bool:
    return node is None or isinstance(node, Rep)


def common_group(*reps: Any) -> Group:
    """The group of all representations in some pytrees.

    Raises:
      ValueError: there are several groups, or no representation at all.
      TypeError: a leaf is neither a representation nor None.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> sq.orbits.common_group({"x": V, "mask": None}, V * V)
      SO(3)
    """
    found: list[Rep] = []
    for leaf in jax.tree.leaves(reps, is_leaf=_is_rep_leaf):
        if not _is_rep_leaf(leaf):
            raise TypeError(f"expected a representation or None, got {leaf!r}")
        if leaf is not None:
            found.append(leaf)
    if not found:
        raise ValueError("at least one representation is needed to know the group, got None only")
    for rep in found:
        if rep.group != found[0].group:
            raise ValueError(
                f"one group must act on everything, but {found[0]} represents {found[0].group} "
                f"and {rep} represents {rep.group}"
            )
    return found[0].group


def tree_action(
    reps: Any, axes: Any, elements: Elements | np.ndarray | None, inverse: bool = False
) -> TreeAction:
    """The action of listed elements, or of their inverses, on pytrees like ``reps``.

    Args:
      reps: a representation, or a pytree prefix of representations of one group, None for what is
        left alone.
      axes: the axes to act on, as in ``orbit_tree``.
      elements: ``[n, d, d]``, concrete; taken as elements of the group without a check. None takes
        all elements of a finite group, in the order of ``group.elements()``.
      inverse: whether the inverses act instead.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.cyclic(3))
      >>> action = sq.orbits.tree_action(R, None, None)
      >>> jax.vmap(lambda one: action.move(one, jnp.arange(3)))(action.arrays)
      Array([[0, 1, 2],
             [2, 0, 1],
             [1, 2, 0]], dtype=int32)
    """
    if isinstance(elements, np.ndarray):
        elements = Elements(elements)
    return action_with(reps, axes, lambda rep: table(rep, elements, inverse))


def lie_action(reps: Any, axes: Any) -> TreeAction:
    """The action of the Lie generators on pytrees like ``reps``, for ``TreeAction.tangent``.

    ``reps`` and ``axes`` are those of ``tree_action``; ``arrays`` have one entry per generator.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(2))
      >>> action = sq.orbits.lie_action(V, None)
      >>> jax.vmap(lambda one: action.tangent(one, jnp.array([1.0, 2.0])))(action.arrays)
      Array([[-2.,  1.]], dtype=float32)
    """
    return action_with(reps, axes, lie_table)


def action_with(reps: Any, axes: Any, table_of: Callable[[Rep], Table]) -> TreeAction:
    """The action whose tables a function of the representation gives."""
    leaves, structure = jax.tree.flatten(reps, is_leaf=_is_rep_leaf)
    if axes is None:
        chosen = [None] * len(leaves)
    elif structure == jax.tree.structure(0):
        chosen = [axes]
    else:
        chosen = structure.flatten_up_to(axes)
    tables = [None if rep is None else table_of(rep) for rep in leaves]
    return TreeAction(tuple(leaves), tuple(chosen), tuple(tables), structure)
