"""The trivial representation, the defining one, and tensors."""

import dataclasses
import functools

import numpy as np

from softeq_jax._checks import whole
from softeq_jax.groups import Group, PermutationGroup, PlanarGroup
from softeq_jax.reps._acting_group import check_group
from softeq_jax.reps._dualized import marked
from softeq_jax.reps._frequencies import Frequencies, read_only, require_basis
from softeq_jax.reps._matrices import Move, require_matrices
from softeq_jax.reps._planar import PlanarMatrices
from softeq_jax.reps._rep import Product, Rep
from softeq_jax.reps._terms import Term


@dataclasses.dataclass(frozen=True, repr=False)
class Trivial(Rep):
    """Every element of the group is the identity. Made by ``trivial``.

    Example:
      >>> import softeq_jax as sq
      >>> R = sq.reps.trivial(sq.groups.so(3), 2)
      >>> R.matrix(R.group.exp([1, 2, 3]))
      array([[1., 0.],
             [0., 1.]])
    """

    size: int = 1

    @property
    def formula(self) -> str:
        return "1" if self.size == 1 else f"{self.size}·1"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size,)

    @property
    def is_orthogonal(self) -> bool:
        return True

    @property
    def is_permutation(self) -> bool:
        return True

    @property
    def is_trivial(self) -> bool:
        return True

    @property
    def unmatched(self) -> np.ndarray:
        return np.zeros((self.size, 0))

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        require_matrices(self)
        return np.eye(self.size)

    def lie_matrices(self) -> np.ndarray:
        require_matrices(self, len(self.group.lie_generators))
        return np.zeros((len(self.group.lie_generators), self.size, self.size))

    def _has_lie_action(self) -> bool:
        return False

    def signed_permutation(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        return np.arange(self.size), np.ones(self.size, np.int8)

    def frequencies(self) -> Frequencies | None:
        return _fixed(self.size) if isinstance(self.group, PlanarGroup) else None

    def terms(self) -> list[tuple[Term, np.ndarray]]:
        return [(Term(self.size, ()), np.arange(self.size)[:, None])]


@functools.lru_cache(maxsize=64)
def _fixed(n: int) -> Frequencies:
    require_basis(n, f"a trivial representation of dimension {n}", "leave its axis unnamed")
    zeros, no = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    return read_only(np.eye(n), zeros, no, zeros - 1, no.copy())


@dataclasses.dataclass(frozen=True, repr=False)
class Vector(Rep):
    """The defining representation on R^d or C^d. Made by ``vector``.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.su(2))
      >>> V.dim, V.is_complex, V.dtype
      (2, True, dtype('complex128'))
    """

    @property
    def formula(self) -> str:
        return "V"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.group.d,)

    @property
    def is_complex(self) -> bool:
        return self.group.is_complex

    @property
    def is_orthogonal(self) -> bool:
        return self.group.is_orthogonal

    @property
    def is_trivial(self) -> bool:
        """It is faithful: trivial for the group of one element alone."""
        return self.group.is_finite and self.group.is_connected

    @property
    def is_permutation(self) -> bool:
        return isinstance(self.group, PermutationGroup) or super().is_permutation

    def _has_lie_action(self) -> bool:
        return len(self.group.lie_generators) > 0

    def signed_permutation(self, g: np.ndarray) -> Move | None:
        if not isinstance(self.group, PermutationGroup):
            return super().signed_permutation(g)
        index = np.argsort(g) if g.ndim == 1 else np.argmax(g, axis=1)
        return index, np.ones(self.dim, np.int8)

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return np.array(self.group.dense(g))

    def lie_matrices(self) -> np.ndarray:
        return np.array(self.group.lie_generators)


@dataclasses.dataclass(frozen=True, repr=False)
class PlaneVector(PlanarMatrices):
    """The defining representation of a planar group on R^2 = (x, y). Made by ``vector``."""

    @property
    def formula(self) -> str:
        return "V"

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def frequencies(self) -> Frequencies:
        return _vector_frequencies()

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return self.group.element(*self.group.parameters(g))


@functools.lru_cache(maxsize=1)
def _vector_frequencies() -> Frequencies:
    # The flip fixes a = e_y, and the quarter turn sends it to b = -e_x.
    basis = np.array([[0.0, -1.0], [1.0, 0.0]])
    odd = np.array([False, True])
    return read_only(basis, np.array([1, 1]), odd, np.array([1, 0]), np.zeros(2, dtype=bool))


def trivial(group: Group, dim: int = 1) -> Trivial:
    """``dim`` copies of the trivial representation, prints as ``3·1(C4)``; shape ``(dim,)``.

    Example:
      >>> import softeq_jax as sq
      >>> R = sq.reps.trivial(sq.groups.cyclic(4), 3)
      >>> R, R.shape
      (3·1(C4), (3,))
    """
    return Trivial(check_group(group, "trivial"), whole(dim, "the dimension"))


def vector(group: Group) -> Rep:
    """The group acting by its own matrices on R^d (C^d for SU(n) and USp(2n)), prints as
    ``V(SO(3))``; for planar groups on R^2 = (x, y).

    Example:
      >>> from softeq_jax import groups, reps
      >>> V = reps.vector(groups.so(3))
      >>> V.dim, (2 * V + V * V).dim, V.dual == V
      (3, 15, True)
    """
    group = check_group(group, "vector")
    return PlaneVector(group) if isinstance(group, PlanarGroup) else Vector(group)


def tensor(group: Group, p: int, q: int = 0) -> Rep:
    """Tensors with p upper and q lower indices, ``V⊗...⊗V⊗V*⊗...⊗V*``, on d^(p+q) numbers.

    The first index is the slowest (row-major). ``tensor(G, 0, 0)`` are the scalars.

    Raises:
      ValueError: p or q is negative or no integer.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.so(3)
      >>> T = sq.reps.tensor(G, 2)  # 3 x 3 matrices
      >>> sq.projector("n", {"n": T}).rank()  # the identity alone is invariant
      1
    """
    p, q = whole(p, "p", least=0), whole(q, "q", least=0)
    v = vector(group)
    parts = (v,) * p + (marked(v.dual, False),) * q
    if len(parts) < 2:
        return parts[0] if parts else trivial(group)
    return Product(group, parts)
