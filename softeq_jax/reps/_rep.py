"""Representations: the interface, and their algebra of sums, products, multiples and duals."""

import abc
import dataclasses
import functools
import math
import numbers
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import whole
from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.reps._acting_axes import resolve_axes
from softeq_jax.reps._dualized import marked
from softeq_jax.reps._frequencies import Frequencies, frequencies_of, joined
from softeq_jax.reps._matrices import (
    EXACT,
    Move,
    acts_by_permutations,
    acts_orthogonally,
    block_diagonal,
    block_move,
    joint_moves,
    kronecker_move,
    mix,
    multiply_to_identity,
    realified,
    require_matrices,
    signed_index,
)
from softeq_jax.reps._terms import Term, Terms, in_copies, in_product, in_real, in_sum


@dataclasses.dataclass(frozen=True, repr=False)
class Rep(abc.ABC):
    """A representation of a group on arrays of a fixed shape.

    Immutable, and equal to (with the hash of) any other with the same content, whether ``.dual``
    made it (``dualized``) or not. Everything but ``apply`` is computed on the host in float64.
    Representations compose: ``A + B`` is the direct sum, ``A * B`` the tensor product (row-major:
    the index of A is the slower one), ``3 * A`` three copies after one another.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> V + 2 * V * V
      (V + 2·V⊗V)(SO(3))
    """

    group: Group
    dualized: bool = dataclasses.field(default=False, compare=False, kw_only=True)

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Lengths of the array axes that the representation acts on."""

    @property
    @abc.abstractmethod
    def formula(self) -> str:
        """How the representation reads without its group, such as ``3·V + V⊗V*``."""

    @abc.abstractmethod
    def _matrix(self, g: np.ndarray) -> np.ndarray:
        """The matrix of an element that is known to be in the group, as ``concise`` gives it."""

    @abc.abstractmethod
    def lie_matrices(self) -> np.ndarray:
        """The derivative of ``matrix`` at the identity along each Lie generator of the group,
        ``[k, dim, dim]``, acting on the row-major flattening."""

    def __repr__(self) -> str:
        return f"{self.formula}({self.group})"

    @property
    def dim(self) -> int:
        """Dimension, the product of ``shape``."""
        return math.prod(self.shape)

    @property
    def is_complex(self) -> bool:
        """Whether the matrices are complex; then it acts on complex arrays (see ``real``)."""
        return False

    @property
    def is_orthogonal(self) -> bool:
        """Whether every matrix is orthogonal (unitary, for a complex representation)."""
        return acts_orthogonally(self)

    @property
    def is_permutation(self) -> bool:
        """Whether every element of the group permutes the entries exactly."""
        return acts_by_permutations(self)

    @property
    def is_trivial(self) -> bool:
        """Whether every element of the group is the identity."""
        return acts_by_permutations(self, identities=True)

    @property
    def dual(self) -> "Rep":
        """The representation ``g -> rho(g^-1)^T`` on linear functions; itself if orthogonal."""
        real = self.is_orthogonal and not self.is_complex
        return self if real else Dual(self.group, self, dualized=True)

    @property
    def real(self) -> "Rep":
        """The realification: real and imaginary parts after one another; itself if real."""
        return Real(self.group, self) if self.is_complex else self

    @property
    def dtype(self) -> np.dtype:
        """float64 or complex128, that of the matrices."""
        return np.dtype(np.complex128 if self.is_complex else np.float64)

    def matrix(self, g: Any) -> np.ndarray:
        """The matrix ``[dim, dim]`` of a group element ``[d, d]`` (within 1e-6: float32 will do; or
        a permutation, see ``Group.concise``), in double precision, on the row-major flattening.

        ValueError if ``g`` is not in the group, TypeError if it is a JAX tracer.
        """
        return self._matrix(self.group.concise(g))

    def _has_lie_action(self) -> bool:
        """Whether a Lie generator acts on it at all."""
        return bool(np.max(np.abs(self.lie_matrices()), initial=0.0) > EXACT)

    def discrete_matrices(self) -> np.ndarray:
        """The matrices of the discrete generators of the group; ``[m, dim, dim]``."""
        require_matrices(self, len(self.group.letters()))
        matrices = [self._matrix(g) for g in self.group.letters()]
        return np.array(matrices, dtype=self.dtype).reshape(-1, self.dim, self.dim)

    def signed_permutation(self, g: np.ndarray) -> Move | None:
        """``(index, sign)`` with ``rho(g) x = sign * x[..., index]``, None where g mixes entries.

        g as in ``_matrix``; index int ``[dim]``, sign ``[dim]`` of +-1.
        """
        return signed_index(self._matrix(g))

    def frequencies(self) -> Frequencies | None:
        """For a real orthogonal representation of a planar group the basis of rotations and
        flips (cached, read-only), else None."""
        if not isinstance(self.group, PlanarGroup) or self.is_complex or not self.is_orthogonal:
            return None
        return frequencies_of(self.group, self)

    @property
    def unmatched(self) -> np.ndarray:
        """Orthonormal columns, ``[dim, u]``, that rotations fix for want of a partner; ``u = 0``
        except on interpolated grids and circles with an even number of samples."""
        frequencies = self.frequencies()
        if frequencies is None:
            return np.zeros((self.dim, 0))
        return frequencies.basis[:, frequencies.unmatched]

    def terms(self) -> Terms:
        """What the representation is composed of: ``(term, index)`` pairs, where index int
        ``[multiplicity, product of atom dims]`` says which entries the term occupies."""
        if self.is_trivial:
            return [(Term(self.dim, ()), np.arange(self.dim)[:, None])]
        return [(Term(1, (self,)), np.arange(self.dim)[None, :])]

    def apply(self, g: Any, x: Any, axes: Sequence[int] | None = None) -> Any:
        """The group element applied to an array, every other axis being a batch axis.

        Args:
          g: an element of the group, ``[d, d]`` or as ``matrix``; concrete (not traced).
          x: an array, possibly traced. NumPy moves a NumPy array, in its own precision, JAX all
            else. 16-bit floats are computed in float32. Signed permutations are gathers.
          axes: the axes of ``x`` to act on, one per entry of ``shape``; by default those that
            ``resolve_axes`` takes.

        Returns:
          An array with the shape and dtype of ``x``.

        Raises:
          ValueError: ``g`` is not in the group, or the axes cannot be told or do not fit.
          TypeError: ``g`` is traced, or ``x`` has integers that would be mixed, or is real where
            the representation is complex.
        """
        g = self.group.concise(g)
        if not isinstance(x, np.ndarray):
            x = jnp.asarray(x)
        axes = resolve_axes(self, x.shape, axes)
        last = tuple(range(x.ndim - len(axes), x.ndim))
        xp = np if isinstance(x, np.ndarray) else jnp
        moved = xp.moveaxis(x, axes, last)
        flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], self.dim)
        return xp.moveaxis(self._act(flat, g).reshape(moved.shape), last, axes)

    def _act(self, x: Any, g: np.ndarray) -> Any:
        """``rho(g)`` on the last axis, of length ``dim``."""
        moved = self.signed_permutation(g)
        if moved is not None:
            index, sign = moved
            if np.all(sign == 1):
                return x[..., index]
            if jnp.issubdtype(x.dtype, jnp.unsignedinteger) or x.dtype == bool:
                raise TypeError(f"{self} negates entries: the array must be signed, got {x.dtype}")
            return x[..., index] * sign.astype(x.dtype)
        return mix(self, x, self._matrix(g).T)

    def __add__(self, other: "Rep") -> "Rep":
        return direct_sum(self, other) if isinstance(other, Rep) else NotImplemented

    def __mul__(self, other: "Rep | int") -> "Rep":
        if isinstance(other, Rep):
            return tensor_product(self, other)
        return copies(other, self) if isinstance(other, numbers.Integral) else NotImplemented

    def __rmul__(self, other: int) -> "Rep":
        return copies(other, self) if isinstance(other, numbers.Integral) else NotImplemented


@dataclasses.dataclass(frozen=True, repr=False)
class Composite(Rep):
    """A representation on one array axis that is made of ``parts``."""

    parts: tuple[Rep, ...]

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """Dimension, from those of the parts."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def is_complex(self) -> bool:
        return any(part.is_complex for part in self.parts)

    @property
    def is_orthogonal(self) -> bool:
        return all(part.is_orthogonal for part in self.parts)

    @property
    def is_permutation(self) -> bool:
        return all(part.is_permutation for part in self.parts) or super().is_permutation

    @property
    def unmatched(self) -> np.ndarray:
        found = any(part.unmatched.size for part in self.parts)
        return super().unmatched if found else np.zeros((self.dim, 0))

    @property
    def dual(self) -> "Rep":
        if self.is_orthogonal and not self.is_complex:
            return self
        return dataclasses.replace(self, parts=tuple(part.dual for part in self.parts))

    def __repr__(self) -> str:
        return f"{bracketed(self)}({self.group})"

    def _has_lie_action(self) -> bool:
        return any(part._has_lie_action() for part in self.parts)


class BlockDiagonal(Composite):
    """A composite with block-diagonal matrices, one block for each of ``summands``."""

    @property
    @abc.abstractmethod
    def summands(self) -> tuple[Rep, ...]:
        """The representations that follow one another; equal ones are computed once."""

    @property
    def dim(self) -> int:
        return sum(part.dim for part in self.summands)

    @property
    def is_trivial(self) -> bool:
        return all(part.is_trivial for part in self.parts)

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        require_matrices(self)
        own = {part: part._matrix(g) for part in set(self.parts)}
        return block_diagonal([own[part] for part in self.summands], self.dtype)

    def lie_matrices(self) -> np.ndarray:
        require_matrices(self, len(self.group.lie_generators))
        own = {part: part.lie_matrices() for part in set(self.parts)}
        stacks = zip(*(own[part] for part in self.summands), strict=True)
        blocks = [block_diagonal(list(each), self.dtype) for each in stacks]
        return np.array(blocks, dtype=self.dtype).reshape(-1, self.dim, self.dim)

    def signed_permutation(self, g: np.ndarray) -> Move | None:
        moves = joint_moves(self.parts, [g])
        if moves is None:
            return None
        own = dict(zip(self.parts, moves, strict=True))
        return block_move([own[part] for part in self.summands])

    def frequencies(self) -> Frequencies | None:
        return joined(self)


@dataclasses.dataclass(frozen=True, repr=False)
class Sum(BlockDiagonal):
    """``A + B + ...``: block-diagonal matrices. Made by ``+``.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.cyclic(2))
      >>> V + sq.reps.trivial(V.group)
      (V + 1)(C2)
    """

    @property
    def formula(self) -> str:
        return " + ".join(part.formula for part in self.parts)

    @property
    def summands(self) -> tuple[Rep, ...]:
        return self.parts

    def terms(self) -> Terms:
        return in_sum((part.dim, part.terms()) for part in self.parts)

    def _act(self, x: Any, g: np.ndarray) -> Any:
        xp = np if isinstance(x, np.ndarray) else jnp
        ends = np.cumsum([part.dim for part in self.parts])
        pieces = xp.split(x, ends[:-1], axis=-1)
        moved = [part._act(piece, g) for part, piece in zip(self.parts, pieces, strict=True)]
        return xp.concatenate(moved, axis=-1)


@dataclasses.dataclass(frozen=True, repr=False)
class Product(Composite):
    """``A * B * ...``: Kronecker products of matrices. Made by ``*``.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> V * V, (V * V).dim
      ((V⊗V)(SO(3)), 9)
    """

    @property
    def formula(self) -> str:
        return "⊗".join(bracketed(part) for part in self.parts)

    @property
    def dim(self) -> int:
        return math.prod(part.dim for part in self.parts)

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        require_matrices(self)
        return functools.reduce(np.kron, [part._matrix(g) for part in self.parts])

    def lie_matrices(self) -> np.ndarray:
        require_matrices(self, len(self.group.lie_generators))
        total = np.zeros((len(self.group.lie_generators), self.dim, self.dim), self.dtype)
        for i, part in enumerate(self.parts):
            before = math.prod(other.dim for other in self.parts[:i])
            after = math.prod(other.dim for other in self.parts[i + 1 :])
            for k, matrix in enumerate(part.lie_matrices()):
                total[k] += np.kron(np.kron(np.eye(before), matrix), np.eye(after))
        return total

    def signed_permutation(self, g: np.ndarray) -> Move | None:
        moves = joint_moves(self.parts, [g])
        return None if moves is None else functools.reduce(kronecker_move, moves)

    @property
    def is_trivial(self) -> bool:
        if all(part.is_permutation for part in self.parts):
            return all(part.is_trivial for part in self.parts)
        return multiply_to_identity(self.parts)

    def frequencies(self) -> Frequencies | None:
        """None if a factor has unmatched columns: those of a product with them are not defined."""
        return super().frequencies() if all(p.unmatched.size == 0 for p in self.parts) else None

    def terms(self) -> Terms:
        return in_product((part.dim, part.terms()) for part in self.parts)

    def _act(self, x: Any, g: np.ndarray) -> Any:
        xp = np if isinstance(x, np.ndarray) else jnp
        lead = x.shape[:-1]
        x = x.reshape(*lead, *(part.dim for part in self.parts))
        for i, part in enumerate(self.parts):
            axis = len(lead) + i
            x = xp.moveaxis(part._act(xp.moveaxis(x, axis, -1), g), -1, axis)
        return x.reshape(*lead, self.dim)


@dataclasses.dataclass(frozen=True, repr=False)
class Multiple(BlockDiagonal):
    """``n * A``: copies of A after one another. Made by ``*`` with an integer.

    Example:
      >>> import softeq_jax as sq
      >>> 3 * sq.reps.vector(sq.groups.so(3))
      3·V(SO(3))
    """

    multiplicity: int = 1

    @property
    def formula(self) -> str:
        return f"{self.multiplicity}·{bracketed(self.parts[0])}"

    @property
    def dim(self) -> int:
        return self.multiplicity * self.parts[0].dim

    @property
    def summands(self) -> tuple[Rep, ...]:
        return self.parts * self.multiplicity

    def terms(self) -> Terms:
        return in_copies(self.multiplicity, self.parts[0].dim, self.parts[0].terms())

    def _act(self, x: Any, g: np.ndarray) -> Any:
        inner = x.reshape(*x.shape[:-1], self.multiplicity, self.parts[0].dim)
        return self.parts[0]._act(inner, g).reshape(x.shape)


def direct_sum(*parts: Rep) -> Rep:
    """``A + B + ...``; ValueError for representations of different groups."""
    return Sum(parts[0].group, _flattened(Sum, parts, "+"))


def tensor_product(*parts: Rep) -> Rep:
    """``A * B * ...``; ValueError for representations of different groups.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> sq.reps.tensor_product(V, V, V).dim, sq.reps.tensor_product(V, V) == V * V
      (27, True)
    """
    return Product(parts[0].group, _flattened(Product, parts, "*"))


def _flattened(kind: type[Composite], parts: tuple[Rep, ...], symbol: str) -> tuple[Rep, ...]:
    if len({part.group for part in parts}) > 1:
        shown = f" {symbol} ".join(map(repr, parts))
        raise ValueError(f"representations of different groups do not combine: {shown}")
    return tuple(
        inner for part in parts for inner in (part.parts if isinstance(part, kind) else (part,))
    )


def copies(n: int, rep: Rep) -> Rep:
    """``n * A``; ValueError unless n is a positive integer."""
    n = whole(n, f"the multiplicity of {rep}")
    if isinstance(rep, Multiple):
        return Multiple(rep.group, rep.parts, n * rep.multiplicity)
    return Multiple(rep.group, (rep,), n)


def bracketed(rep: Rep) -> str:
    return f"({rep.formula})" if isinstance(rep, Sum | Product) else rep.formula


@dataclasses.dataclass(frozen=True, repr=False)
class Derived(Rep):
    """A representation that is made of another one, ``part``, and orthogonal as it is."""

    part: Rep

    @property
    def is_orthogonal(self) -> bool:
        return self.part.is_orthogonal


@dataclasses.dataclass(frozen=True, repr=False)
class Dual(Derived):
    """``g -> rho(g^-1)^T`` on linear functions. Made by ``.dual``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.sp(1))
      >>> g = V.group.exp([0.1, 0.2, 0.3])
      >>> bool(np.allclose(V.dual.matrix(g), np.linalg.inv(g).T))
      True
    """

    @property
    def formula(self) -> str:
        return f"{bracketed(self.part)}*"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.part.shape

    @property
    def is_complex(self) -> bool:
        return self.part.is_complex

    @property
    def dual(self) -> Rep:
        return marked(self.part)

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        matrix = self.part._matrix(g)
        if self.part.is_orthogonal:
            return matrix.conj()
        return np.ascontiguousarray(np.linalg.inv(matrix).T)

    def lie_matrices(self) -> np.ndarray:
        return -np.swapaxes(self.part.lie_matrices(), 1, 2)


@dataclasses.dataclass(frozen=True, repr=False)
class Real(Derived):
    """A complex representation on (real parts, imaginary parts). Made by ``.real``.

    Example:
      >>> import softeq_jax as sq
      >>> R = sq.reps.vector(sq.groups.su(2)).real
      >>> R, R.dim
      (Re[V](SU(2)), 4)
    """

    @property
    def formula(self) -> str:
        return f"Re[{self.part.formula}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (2 * self.part.dim,)

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return realified(self.part._matrix(g))

    def lie_matrices(self) -> np.ndarray:
        return realified(self.part.lie_matrices())

    def terms(self) -> Terms:
        if self.is_trivial:
            return super().terms()
        return in_real(self.part.dim, self.part.terms())
