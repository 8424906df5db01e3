"""Tables of how group elements act: listed ones, drawn ones, and Lie generators.

A table holds arrays with one leading entry per group element. ``table.act(one, x)`` applies the
element with the entries ``one`` to the last axis of x, so the loop over the elements is a
``vmap``, a ``scan`` or, for NumPy arrays, a Python loop over ``table.arrays``. Tables of listed
elements (``table``) and of Lie generators (``lie_table``) are built on the host, those of drawn
elements (``drawn_table``) by JAX.
"""

import abc
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._sizes import require_room, told
from softeq_jax.groups import Group, PlanarGroup, concrete
from softeq_jax.reps import (
    Dual,
    Frequencies,
    Multiple,
    PlanarRep,
    Product,
    PulledBack,
    Rep,
    Sum,
    Trivial,
    Vector,
)

_LARGE = 2**22  # entries of a stack of matrices, from which planar rotations are kept factored
_FEWER = "fewer elements (elements= or samples=), or a smaller representation"
_matmul = functools.partial(jnp.matmul, precision="highest")


class Elements:
    """A list of group elements that can be compared and hashed by its content.

    Attributes:
      array: read-only ``[n, d, d]``, float64 or complex128.
    """

    def __init__(self, array: np.ndarray):
        self.array = np.array(array)
        self.array.setflags(write=False)
        self._key = self.array.shape, self.array.dtype.str, self.array.tobytes()
        self._hash = hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Elements) and self._key == other._key

    def __hash__(self) -> int:
        return self._hash


def checked(group: Group, elements: Any) -> Elements | None:
    """A user's elements ``[n, d, d]`` once each is known to be in the group; None stays None.

    Raises:
      ValueError: the shape is wrong, there are none, or one is no element; for None, the group is
        infinite or too large to be listed.
      TypeError: they are traced.
    """
    if elements is None:
        if not group.is_finite:
            hint = "elements=quadrature(group, degree).elements or " if group.is_compact else ""
            raise ValueError(
                f"{group} has infinitely many elements, so its orbits cannot be listed; choose "
                f"some of them with {hint}elements=[n, {group.d}, {group.d}]"
            )
        group._require_listable()
        return None
    gs = concrete(elements, group, batched=True)
    if not len(gs):
        raise ValueError(f"elements must hold at least one element of {group}, got none")
    return _members(group, Elements(gs))


@functools.lru_cache(maxsize=32)
def _members(group: Group, elements: Elements) -> Elements:
    for i, g in enumerate(elements.array):
        try:
            group.check(g)
        except ValueError as error:
            raise ValueError(f"elements[{i}] is not in {group}: {error}") from None
    return elements


class Table(abc.ABC):
    """How n elements act on the last axis of an array.

    Attributes:
      arrays: pytree of arrays ``[n, ...]``: of NumPy, unless the elements were drawn.
    """

    arrays: Any

    @abc.abstractmethod
    def act(self, one: Any, x: Any) -> Any:
        """``rho(g) x`` for the element whose entries of ``arrays`` are ``one``."""

    @abc.abstractmethod
    def inverse(self) -> "Table":
        """The table of the inverses, in the same order."""


@dataclasses.dataclass(frozen=True, eq=False)
class Gather(Table):
    """Signed permutations: ``arrays`` are index int32 ``[n, dim]`` and signs or None."""

    arrays: tuple[np.ndarray, np.ndarray | None]

    def act(self, one: Any, x: Any) -> Any:
        index, sign = one
        if isinstance(x, np.ndarray):
            x = x[..., index]
        else:
            x = x.at[..., index].get(mode="promise_in_bounds")
        if sign is None:
            return x
        if x.dtype == bool or jnp.issubdtype(x.dtype, jnp.unsignedinteger):
            raise TypeError(f"the action changes signs, which {x.dtype} arrays do not have")
        return x * sign.astype(x.dtype)

    def inverse(self) -> "Gather":
        index, sign = self.arrays
        back = np.argsort(index, axis=1).astype(np.int32)
        return Gather((back, None if sign is None else np.take_along_axis(sign, back, 1)))


@dataclasses.dataclass(frozen=True, eq=False)
class Dense(Table):
    """Matrices ``[n, dim, dim]`` of a representation, named in errors."""

    arrays: np.ndarray | jax.Array
    rep: Rep

    def act(self, one: Any, x: Any) -> Any:
        wide = _widened(self.rep, x, np.iscomplexobj(self.arrays))
        matmul = np.matmul if isinstance(x, np.ndarray) else _matmul
        return matmul(wide, _like(one, wide).T).astype(x.dtype)

    def inverse(self) -> "Dense":
        if self.rep.is_orthogonal:
            return Dense(np.conj(np.swapaxes(self.arrays, 1, 2)), self.rep)
        return Dense(np.linalg.inv(self.arrays), self.rep)


@dataclasses.dataclass(frozen=True, eq=False)
class Turn(Table):
    """Rotations and flips of the plane in their basis of frequencies, ``x + B (M - 1) B^T x``.

    ``M - 1`` has the diagonal ``arrays[0]`` and, in the column of each entry's partner,
    ``arrays[1]``; both ``[n, dim]``. The basis is shared by all elements.
    """

    arrays: tuple[np.ndarray | jax.Array, np.ndarray | jax.Array]
    rep: Rep

    def act(self, one: Any, x: Any) -> Any:
        diagonal, off = one
        f, wide = _frequencies(self.rep), _widened(self.rep, x, False)
        matmul = np.matmul if isinstance(x, np.ndarray) else _matmul
        basis = _like(f.basis, wide)
        inside = matmul(wide, basis)
        moved = inside * _like(diagonal, wide) + inside[..., f.partner] * _like(off, wide)
        return (wide + matmul(moved, basis.T)).astype(x.dtype)

    def inverse(self) -> "Turn":
        diagonal, off = self.arrays
        partner = _frequencies(self.rep).partner
        return Turn((diagonal, np.where(partner < 0, 0.0, off[:, partner])), self.rep)


@dataclasses.dataclass(frozen=True, eq=False)
class Blocks(Table):
    """A direct sum."""

    parts: tuple[Table, ...]
    sizes: tuple[int, ...]

    @property
    def arrays(self) -> tuple:
        return tuple(part.arrays for part in self.parts)

    def act(self, one: Any, x: Any) -> Any:
        xp = np if isinstance(x, np.ndarray) else jnp
        pieces = xp.split(x, np.cumsum(self.sizes)[:-1], axis=-1)
        each = zip(self.parts, one, pieces, strict=True)
        return xp.concatenate([part.act(entry, piece) for part, entry, piece in each], axis=-1)

    def inverse(self) -> "Blocks":
        return Blocks(tuple(part.inverse() for part in self.parts), self.sizes)


@dataclasses.dataclass(frozen=True, eq=False)
class Kronecker(Table):
    """A tensor product; one table of None acts on nothing (copies of the other)."""

    parts: tuple[Table | None, ...]
    sizes: tuple[int, ...]

    @property
    def arrays(self) -> tuple:
        return tuple(None if part is None else part.arrays for part in self.parts)

    def act(self, one: Any, x: Any) -> Any:
        xp, shape = np if isinstance(x, np.ndarray) else jnp, x.shape
        lead = len(shape) - 1
        x = x.reshape(*shape[:-1], *self.sizes)
        for axis, (part, entry) in enumerate(zip(self.parts, one, strict=True), start=lead):
            if part is not None:
                x = xp.moveaxis(part.act(entry, xp.moveaxis(x, axis, -1)), -1, axis)
        return x.reshape(shape)

    def inverse(self) -> "Kronecker":
        inverses = (None if part is None else part.inverse() for part in self.parts)
        return Kronecker(tuple(inverses), self.sizes)


@functools.lru_cache(maxsize=32)
def table(rep: Rep, elements: Elements | None, inverse: bool = False) -> Table:
    """How elements (None: all, in the order of ``group.elements()``), or their inverses, act."""
    if inverse:
        return table(rep, elements).inverse()
    with told(f"tabulating the elements of {rep.group} on {rep!r}", f"take {_FEWER}"):
        return _built(rep, elements)


def _built(rep: Rep, elements: Elements | None) -> Table:
    found = _gathers(rep, elements)
    if found is not None:
        return found
    found = _of_parts(rep, lambda part: table(part, elements), (Sum, Multiple, Product))
    if found is not None:
        return found
    gs = rep.group.listed() if elements is None else elements.array
    if isinstance(rep, PulledBack):
        return table(
            rep.part, Elements(rep.part.group.dense(np.stack([rep._image(g) for g in gs])))
        )
    if isinstance(rep, PlanarRep) and len(gs) * rep.dim**2 > _LARGE:
        angles, flips = zip(*(rep.group.parameters(g) for g in gs), strict=True)
        return Turn(_turned(rep, np.array(angles), np.array(flips), np), rep)
    _require_matrices(rep, len(gs))
    return Dense(np.stack([rep._matrix(g) for g in gs]), rep)


def _require_matrices(rep: Rep, count: int) -> None:
    what = f"the table of {count} matrices of {rep!r}"
    require_room(2 * count * rep.dim**2 * rep.dtype.itemsize, what, f"take {_FEWER}")


def lie_table(rep: Rep) -> Table:
    """How the Lie generators act."""
    found = _of_parts(rep, lie_table, (Sum, Multiple))
    return Dense(rep.lie_matrices(), rep) if found is None else found


def drawn_table(rep: Rep, gs: jax.Array) -> Table:
    """How elements ``[n, d, d]`` act that may be traced; see ``draw``."""
    found = _of_parts(rep, lambda part: drawn_table(part, gs), (Sum, Multiple, Product))
    if found is not None:
        return found
    if isinstance(rep, Trivial):
        return Kronecker((None,), (rep.dim,))
    planar = isinstance(rep.group, PlanarGroup) and not rep.group.is_finite
    if planar and rep.frequencies() is not None:
        angle = jnp.arctan2(-gs[:, 0, 1], gs[:, 1, 1])
        return Turn(_turned(rep, angle, jnp.linalg.det(gs) < 0, jnp), rep)
    if isinstance(rep, Vector):
        return Dense(gs, rep)
    if isinstance(rep, Dual) and isinstance(rep.part, Vector) and rep.is_orthogonal:
        return Dense(jnp.conj(gs), rep)
    return Dense(_host_matrices(rep, gs), rep)


def _of_parts(rep: Rep, of: Callable[[Rep], Table], kinds: tuple[type, ...]) -> Table | None:
    """The table of a representation of one of these kinds from those of its parts."""
    if not isinstance(rep, kinds):
        return None
    if isinstance(rep, Sum):
        parts = tuple(map(of, rep.parts))
        return Blocks(parts, tuple(part.dim for part in rep.parts))
    if isinstance(rep, Multiple):
        part = rep.parts[0]
        return Kronecker((None, of(part)), (rep.multiplicity, part.dim))
    if isinstance(rep, Product):
        parts = tuple(map(of, rep.parts))
        return Kronecker(parts, tuple(part.dim for part in rep.parts))
    return None


def _gathers(rep: Rep, elements: Elements | None) -> Gather | None:
    """The table of signed permutations; None as soon as an element mixes entries."""
    moves = []
    for g in rep.group.letters() if elements is None else elements.array:
        move = rep.signed_permutation(g)
        if move is None:
            return None
        moves.append(move)
    if elements is None:
        index, sign = _all_products(rep, moves)
    else:
        index, sign = (np.stack(each) for each in zip(*moves, strict=True))
    return Gather((index.astype(np.int32), sign if np.any(sign != 1) else None))


def _all_products(
    rep: Rep, moves: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Signed permutations of all elements from those of the generators: exact, and one gather
    each. ``rho(p h) x = s_p (s_h x[i_h])[i_p]``."""
    words = rep.group.words()
    what = f"the table of how {len(words.parent)} elements permute {rep!r}"
    require_room(
        5 * len(words.parent) * rep.dim, what, "take fewer elements (elements= or samples=)"
    )
    index = np.tile(np.arange(rep.dim, dtype=np.int32), (len(words.parent), 1))
    sign = np.ones(index.shape, np.int8)
    for i in range(len(words.parent)):  # shorter words come first
        if words.parent[i] >= 0:
            p, (turned, signs) = words.parent[i], moves[words.generator[i]]
            index[i], sign[i] = turned[index[p]], sign[p] * signs[index[p]]
    return index, sign


def _turned(rep: Rep, angle: Any, flip: Any, xp: Any) -> Any:
    """The arrays of ``Turn`` for ``R(angle) F^flip``, angles and flips ``[n]``."""
    f, angle, flip = _frequencies(rep), angle[:, None], flip[:, None]
    m = np.where(f.unmatched, 0, f.frequency)
    parity = xp.where(flip & f.odd, -1.0, 1.0)
    # cos - 1 without cancellation; a column without a partner is fixed, or negated by the
    # rotations of a finite group
    turned = -2.0 * xp.sin(m * angle / 2.0) ** 2
    sin = xp.where(f.odd, xp.sin(m * angle), -xp.sin(m * angle))
    off = xp.where(f.partner < 0, 0.0, sin * parity[:, f.partner])
    return parity * turned + (parity - 1.0), off


def _frequencies(rep: Rep) -> Frequencies:
    """The basis of frequencies of a representation that has one."""
    found = rep.frequencies()
    assert found is not None
    return found


def _host_matrices(rep: Rep, gs: jax.Array) -> jax.Array:
    _require_matrices(rep, math.prod(gs.shape[:-2]))

    def matrices(each: Any) -> np.ndarray:
        each = np.asarray(each, rep.group.dtype)
        return np.stack([rep._matrix(g) for g in each]).astype(kind)

    kind = jnp.promote_types(gs.dtype, jnp.complex64) if rep.is_complex else gs.real.dtype
    shape = jax.ShapeDtypeStruct((math.prod(gs.shape[:-2]), rep.dim, rep.dim), kind)
    return jax.pure_callback(matrices, shape, gs, vmap_method="sequential")


def _widened(rep: Rep, x: Any, is_complex: bool) -> Any:
    """x in the precision to compute in; TypeError where entries of it cannot be mixed."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"{rep} mixes entries: the array must be floating, got {x.dtype}")
    if is_complex and not jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"{rep} is complex and needs complex arrays; see {rep}.real, got {x.dtype}")
    return x if x.dtype.itemsize >= 4 else x.astype(np.float32)


def _like(constant: Any, x: Any) -> Any:
    """A constant in the precision of x; it stays real if it is."""
    real = np.zeros((), x.dtype).real.dtype
    kind = np.result_type(real, np.complex64) if np.iscomplexobj(constant) else real
    return constant.astype(kind) if isinstance(x, np.ndarray) else jnp.asarray(constant, kind)


def entry(arrays: Any, i: int) -> Any:
    """The entries of element i."""
    return jax.tree.map(lambda a: a[i], arrays)
