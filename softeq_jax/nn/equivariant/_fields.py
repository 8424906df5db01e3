"""Fields: the scalars, and the copies of other parts, that features are composed of."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.reps import Rep, tensor_product

Array = jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Field:
    """All copies of one part that the group moves.

    Attributes:
      rep: the representation of one copy.
      index: int ``[copies, rep.dim]``, the entries that each copy occupies.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.so(3)
      >>> (field,) = sq.nn.equivariant.fields(sq.reps.trivial(G) + 2 * sq.reps.vector(G)).moved
      >>> field.rep, field.index.tolist()
      (V(SO(3)), [[1, 2, 3], [4, 5, 6]])
    """

    rep: Rep
    index: np.ndarray

    @property
    def copies(self) -> int:
        """Number of copies."""
        return len(self.index)


@dataclasses.dataclass(frozen=True, eq=False)
class Fields:
    """The parts of a representation.

    Attributes:
      scalars: int ``[s]``, the entries that nothing moves.
      moved: the other parts, in the order of their first entry.
      order: int ``[dim]``, where in ``scalars, moved`` each entry is.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.so(3)
      >>> found = sq.nn.equivariant.fields(2 * sq.reps.vector(G) + sq.reps.trivial(G))
      >>> found.scalars, found.copies
      (array([6]), 2)
    """

    scalars: np.ndarray
    moved: tuple[Field, ...]
    order: np.ndarray

    @property
    def copies(self) -> int:
        """Number of copies of all moved parts together."""
        return sum(field.copies for field in self.moved)


@functools.lru_cache(maxsize=256)
def fields(rep: Rep) -> Fields:
    """The parts of a real representation: its terms, equal ones together.

    A tensor product is one part, though it may be reducible.

    Raises:
      TypeError: ``rep`` is no representation.
      ValueError: it is complex.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.so(3)
      >>> V = sq.reps.vector(G)
      >>> found = sq.nn.equivariant.fields(V + sq.reps.trivial(G, 2) + V)
      >>> found.scalars.tolist(), [(each.rep, each.copies) for each in found.moved]
      ([3, 4], [(V(SO(3)), 2)])
    """
    check_real(rep, "the features")
    scalars, moved = [], {}
    for term, index in rep.terms():
        part = _part(term.atoms)
        if part is None or part.is_trivial:
            scalars.append(index.reshape(-1))
        else:
            moved.setdefault(part, []).append(index)
    none = np.zeros(0, dtype=np.int64)
    joined = np.sort(np.concatenate([none, *scalars]))
    parts = tuple(Field(part, np.concatenate(found)) for part, found in moved.items())
    stored = np.concatenate([joined, *(field.index.reshape(-1) for field in parts)])
    return Fields(joined, parts, np.argsort(stored))


def split(rep: Rep, x: Array) -> tuple[Array, list[Array]]:
    """The scalars ``[..., s]`` and the copies ``[..., copies, dim]`` of each moved part.

    Raises:
      ValueError: the last axis of ``x`` does not have length ``rep.dim``.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> G = sq.groups.so(3)
      >>> R = sq.reps.vector(G) + sq.reps.trivial(G)
      >>> sq.nn.equivariant.split(R, jnp.array([1.0, 2.0, 3.0, 7.0]))
      (Array([7.], dtype=float32), [Array([[1., 2., 3.]], dtype=float32)])
    """
    check_features(rep, x)
    found = fields(rep)
    return taken(x, found.scalars), [taken(x, field.index) for field in found.moved]


def join(rep: Rep, scalars: Array, moved: Sequence[Array]) -> Array:
    """Features ``[..., rep.dim]`` of scalars and copies: the inverse of ``split``.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> G = sq.groups.so(3)
      >>> R = sq.reps.vector(G) + sq.reps.trivial(G)
      >>> sq.nn.equivariant.join(R, jnp.array([7.0]), [jnp.array([[1.0, 2.0, 3.0]])])
      Array([1., 2., 3., 7.], dtype=float32)
    """
    flat = [v.reshape(*v.shape[:-2], v.shape[-2] * v.shape[-1]) for v in moved]
    return taken(jnp.concatenate([scalars, *flat], axis=-1), fields(rep).order)


def taken(x: Array, index: np.ndarray) -> Array:
    """``x[..., index]``, a slice (no scatter in its gradient) where entries are consecutive."""
    flat = index.reshape(-1)
    if flat.size and np.array_equal(flat, np.arange(flat[0], flat[0] + flat.size)):
        return x[..., flat[0] : flat[0] + flat.size].reshape(*x.shape[:-1], *index.shape)
    return x[..., index]


def check_real(rep: Rep, what: str) -> None:
    """TypeError unless ``rep`` is a representation, ValueError if it is complex."""
    if not isinstance(rep, Rep):
        raise TypeError(f"{what} need a representation, got {rep!r}")
    if rep.is_complex:
        raise ValueError(f"{what} must be real, got the complex {rep!r}: use its .real")


def check_features(rep: Rep, x: Array) -> None:
    """ValueError unless the last axis of ``x`` has length ``rep.dim``."""
    if x.ndim < 1 or x.shape[-1] != rep.dim:
        raise ValueError(
            f"features of {rep!r} must be [..., {rep.dim}], got shape {tuple(x.shape)}"
        )


def _part(atoms: tuple[Rep, ...]) -> Rep | None:
    if len(atoms) < 2:
        return atoms[0] if atoms else None
    return tensor_product(*atoms)
