"""The interface of a representation of any group."""

import abc
import dataclasses
import functools
import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.reps._frequencies import Frequencies, decompose
from softeq_jax.reps._place import resolve_axes

_EXACT = 1e-12


class Term(NamedTuple):
    """``multiplicity`` copies of the tensor product of ``atoms``; no atoms: the trivial one."""

    multiplicity: int
    atoms: tuple["Rep", ...]


@dataclasses.dataclass(frozen=True, repr=False)
class Rep(abc.ABC):
    """A representation of a group on arrays of a fixed shape.

    Immutable, and equal to (with the hash of) any other with the same content. Everything but
    ``apply`` is computed on the host in float64. Representations compose: ``A + B`` is the direct
    sum, ``A * B`` the tensor product (row-major: the index of A is the slower one), ``3 * A``
    three copies after one another, ``A.dual`` the representation on linear functions.

    Attributes:
      group: the group that acts.
    """

    group: Group

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
        """The matrix of an element that is known to be in the group."""

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
        return _generated_by_orthogonal(self)

    @property
    def is_permutation(self) -> bool:
        """Whether every element of the group permutes the entries exactly."""
        return _generated_by_permutations(self)

    @property
    def is_trivial(self) -> bool:
        """Whether every element of the group is the identity."""
        return _generated_by_identities(self)

    @property
    def dual(self) -> "Rep":
        """The representation ``g -> rho(g^-1)^T`` on linear functions; itself if orthogonal."""
        from softeq_jax.reps._dual import dual_of

        return dual_of(self)

    @property
    def real(self) -> "Rep":
        """The realification: real and imaginary parts after one another; itself if real."""
        from softeq_jax.reps._dual import real_of

        return real_of(self)

    @property
    def dtype(self) -> np.dtype:
        """float64 or complex128, that of the matrices."""
        return np.dtype(np.complex128 if self.is_complex else np.float64)

    def matrix(self, g: Any) -> np.ndarray:
        """The matrix of a group element.

        Args:
          g: ``[d, d]``, an element of the group (within 1e-6, so float32 will do).

        Returns:
          float64 (complex128 for a complex representation) ``[dim, dim]``, acting on the
          row-major flattening.

        Raises:
          ValueError: ``g`` is not in the group.
          TypeError: ``g`` is a JAX tracer.
        """
        return self._matrix(self.group.check(g))

    def _has_lie_action(self) -> bool:
        """Whether a Lie generator acts on it at all."""
        return bool(np.max(np.abs(self.lie_matrices()), initial=0.0) > _EXACT)

    def discrete_matrices(self) -> np.ndarray:
        """The matrices of the discrete generators of the group; ``[m, dim, dim]``."""
        matrices = [self._matrix(g) for g in self.group.discrete_generators]
        return np.array(matrices, dtype=self.dtype).reshape(-1, self.dim, self.dim)

    def signed_permutation(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """``(index, sign)`` with ``rho(g) x = sign * x[..., index]``, None where g mixes entries.

        ``g`` is known to be in the group; index int ``[dim]``, sign float64 ``[dim]`` of +-1.
        """
        return signed_index(self._matrix(g))

    def frequencies(self) -> Frequencies | None:
        """For a real orthogonal representation of a planar group the basis of rotations and
        flips (cached, read-only), else None."""
        planar = isinstance(self.group, PlanarGroup)
        return _decomposed(self) if planar and self.is_orthogonal and not self.is_complex else None

    @property
    def unmatched(self) -> np.ndarray:
        """Orthonormal columns, ``[dim, u]``, that rotations fix for want of a partner; ``u = 0``
        except on interpolated grids and circles with an even number of samples."""
        frequencies = self.frequencies()
        if frequencies is None:
            return np.zeros((self.dim, 0))
        return frequencies.basis[:, frequencies.unmatched]

    def terms(self) -> list[tuple[Term, np.ndarray]]:
        """What the representation is composed of: ``(term, index)`` pairs, where index int
        ``[multiplicity, product of atom dims]`` says which entries the term occupies."""
        if self.is_trivial:
            return [(Term(self.dim, ()), np.arange(self.dim)[:, None])]
        return [(Term(1, (self,)), np.arange(self.dim)[None, :])]

    def apply(self, g: Any, x: Any, axes: Sequence[int] | None = None) -> Any:
        """The group element applied to an array, every other axis being a batch axis.

        Args:
          g: ``[d, d]``, an element of the group, concrete (not traced).
          x: an array; may be traced. A NumPy array is handled by NumPy, in its own precision
            (float64 stays float64), everything else by JAX. 16-bit floats are computed in
            float32; matrix products use the highest precision. Signed permutations are gathers.
          axes: the axes of ``x`` to act on, one per entry of ``shape``. By default the trailing
            axes if they have this shape; for an image the two axes before the last if these
            have it instead (NHWC); else the last axis, if its length is ``dim``.

        Returns:
          An array with the shape and dtype of ``x``.

        Raises:
          ValueError: ``g`` is not in the group, or the axes cannot be told or do not fit.
          TypeError: ``g`` is traced, ``x`` consists of integers that would be mixed, or ``x`` is
            real and the representation complex.
        """
        g = self.group.check(g)
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
        from softeq_jax.reps._algebra import direct_sum

        return direct_sum(self, other) if isinstance(other, Rep) else NotImplemented

    def __mul__(self, other: "Rep | int") -> "Rep":
        from softeq_jax.reps._algebra import copies, tensor_product

        if isinstance(other, Rep):
            return tensor_product(self, other)
        return copies(other, self) if isinstance(other, numbers.Integral) else NotImplemented

    def __rmul__(self, other: int) -> "Rep":
        from softeq_jax.reps._algebra import copies

        return copies(other, self) if isinstance(other, numbers.Integral) else NotImplemented


def mix(rep: Rep, x: Any, matrix: np.ndarray) -> Any:
    """``x @ matrix`` on the last axis, in the dtype of x (16 bits: computed in float32)."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"{rep} mixes entries: the array must be floating, got {x.dtype}")
    if np.iscomplexobj(matrix) and not jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"{rep} is complex and needs complex arrays; see {rep}.real, got {x.dtype}")
    wide = x if x.dtype.itemsize >= 4 else x.astype(np.float32)
    matmul = np.matmul if isinstance(x, np.ndarray) else _matmul
    real = np.zeros((), wide.dtype).real.dtype
    kind = np.result_type(real, np.complex64) if np.iscomplexobj(matrix) else real
    return matmul(wide, matrix.astype(kind, copy=False)).astype(x.dtype)


_matmul = functools.partial(jnp.matmul, precision="highest")


def signed_index(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """``(index, sign)`` of a signed permutation matrix (exact up to 1e-12), else None."""
    if np.iscomplexobj(matrix):
        if np.max(np.abs(matrix.imag), initial=0.0) > _EXACT:
            return None
        matrix = matrix.real
    index = np.argmax(np.abs(matrix), axis=1)
    rows = np.arange(len(matrix))
    sign = np.where(matrix[rows, index] < 0, -1.0, 1.0)
    expected = np.zeros_like(matrix)
    expected[rows, index] = sign
    if len(np.unique(index)) != len(index) or np.max(np.abs(matrix - expected)) > _EXACT:
        return None
    return index, sign


@functools.lru_cache(maxsize=64)
def _decomposed(rep: Rep) -> Frequencies:
    group = rep.group
    if group.rotations is None:
        turn = rep.lie_matrices()[0]
    else:
        turn = rep._matrix(group.element(2.0 * math.pi / group.rotations))
    flip = rep._matrix(group.element(flip=True)) if group.has_flip else None
    return decompose(group, turn, flip, repr(rep))


@functools.lru_cache(maxsize=256)
def _generated_by_orthogonal(rep: Rep) -> bool:
    lie, discrete = rep.lie_matrices(), rep.discrete_matrices()
    skew = np.max(np.abs(lie + np.conj(np.swapaxes(lie, 1, 2))), initial=0.0)
    gram = discrete @ np.conj(np.swapaxes(discrete, 1, 2)) - np.eye(rep.dim)
    return bool(max(skew, np.max(np.abs(gram), initial=0.0)) <= 1e-9)


@functools.lru_cache(maxsize=256)
def _generated_by_permutations(rep: Rep) -> bool:
    if rep._has_lie_action():
        return False
    moves = [rep.signed_permutation(g) for g in rep.group.discrete_generators]
    return all(move is not None and np.all(move[1] == 1) for move in moves)


@functools.lru_cache(maxsize=256)
def _generated_by_identities(rep: Rep) -> bool:
    if rep._has_lie_action():
        return False
    for g in rep.group.discrete_generators:
        move = rep.signed_permutation(g)
        if move is None or np.any(move[1] != 1) or np.any(move[0] != np.arange(rep.dim)):
            return False
    return True


def check_group(group: Any, what: str) -> Group:
    """The group, if it is one; TypeError otherwise."""
    if not isinstance(group, Group):
        raise TypeError(
            f"{what} needs a group, such as groups.so(2) or groups.from_name('c4'), got {group!r}"
        )
    return group
