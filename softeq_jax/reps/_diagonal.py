"""Diagonal weights: the action on numbers that scale the entries of a feature."""

import dataclasses
import functools
from typing import ClassVar, NoReturn

import numpy as np

from softeq_jax.reps._matrices import permutation_matrix
from softeq_jax.reps._rep import Composite, Rep
from softeq_jax.reps._terms import Term

_ZERO = 1e-9


@dataclasses.dataclass(frozen=True, repr=False)
class Unsigned(Rep):
    """The permutation of a signed permutation, with the signs dropped. Made by ``diagonal``.

    Attributes:
      part: the signed permutation.

    Example:
      >>> import softeq_jax as sq
      >>> U = sq.reps.diagonal(sq.reps.vector(sq.groups.cyclic(4)))
      >>> U
      |V|(C4)
      >>> U.discrete_matrices()[0]
      array([[0., 1.],
             [1., 0.]])
    """

    part: Rep

    @property
    def formula(self) -> str:
        return f"|{self.part.formula}|"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.part.shape

    @property
    def is_orthogonal(self) -> bool:
        return True

    @property
    def is_permutation(self) -> bool:
        return True

    def signed_permutation(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        move = self.part.signed_permutation(g)
        if move is None:
            raise ValueError(f"{self.part} does not permute its entries up to signs")
        return move[0], np.ones(self.dim, np.int8)

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return permutation_matrix(self, self.signed_permutation(g)[0])

    def lie_matrices(self) -> np.ndarray:
        return np.zeros((len(self.group.lie_generators), self.dim, self.dim))


@dataclasses.dataclass(frozen=True, repr=False)
class Gains(Rep):
    """Gains of a feature whose entries are mixed: invariant if constant on components.

    A diagonal matrix D commutes with ``rho(g)`` for all g if and only if ``D_ii = D_jj`` whenever
    ``rho(g)_ij != 0`` for some g. So D is constant on the connected components of the graph that
    joins i and j where a generator's matrix has a non-zero entry, and every such D commutes. Other
    diagonal matrices are not mapped to diagonal ones: this is no representation and has no
    matrices, only these components.

    Attributes:
      part: the representation of the feature.

    Example:
      >>> import softeq_jax as sq
      >>> R = sq.reps.vector(sq.groups.so(3)) + sq.reps.trivial(sq.groups.so(3))
      >>> sq.reps.diagonal(R)
      Gains[V + 1](SO(3))
    """

    part: Rep
    is_gains: ClassVar[bool] = True

    @property
    def formula(self) -> str:
        return f"Gains[{self.part.formula}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.part.shape

    @property
    def labels(self) -> np.ndarray:
        """The component of each entry, int ``[dim]``, numbered in the order they first occur."""
        return _components(self.part)

    @property
    def is_orthogonal(self) -> bool:
        return True

    @property
    def is_permutation(self) -> bool:
        return False

    @property
    def is_trivial(self) -> bool:
        return False

    def frequencies(self) -> None:
        return None

    def terms(self) -> list[tuple[Term, np.ndarray]]:
        return [(Term(1, (self,)), np.arange(self.dim)[None, :])]

    def _refuse(self) -> NoReturn:
        raise ValueError(
            f"{self} has no matrices: the group turns a diagonal matrix into one that is not "
            "diagonal; only gains that are constant on its components (labels) are preserved"
        )

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        self._refuse()

    def lie_matrices(self) -> np.ndarray:
        self._refuse()

    def signed_permutation(self, g: np.ndarray) -> None:
        self._refuse()


@functools.lru_cache(maxsize=128)
def _components(rep: Rep) -> np.ndarray:
    from scipy.sparse import csgraph

    joined = np.zeros((rep.dim, rep.dim), dtype=bool)
    for matrix in [*rep.lie_matrices(), *rep.discrete_matrices()]:
        joined |= np.abs(matrix) > _ZERO * max(1.0, float(np.abs(matrix).max()))
    labels = csgraph.connected_components(joined, directed=False)[1]
    _, first, index = np.unique(labels, return_index=True, return_inverse=True)
    found = np.argsort(np.argsort(first))[index]
    found.setflags(write=False)
    return found


def diagonal(rep: Rep) -> Rep:
    """How gains transform: one number per entry of a feature, as in normalization layers.

    The scale of LayerNorm and BatchNorm, the gain of LayerScale and a running variance multiply
    feature entries; they are diagonal matrices D, on which the group acts as ``rho D rho^-1``.

    * Where every element is a signed permutation (with no Lie part), that permutes the gains, and
      the signs cancel: ``Unsigned``, an exact representation with levels like any other.
    * Otherwise gains are only invariant if they are equal within each block of entries that the
      group mixes: ``Gains``, whose ``labels`` name these blocks. Projecting is averaging within
      each of them; there are no levels in between. Depthwise kernels, whose diagonal acts at
      every tap, are refused there.

    Running means and biases are no gains but features: use ``rep`` itself for them.

    Args:
      rep: the representation of the feature.

    Returns:
      ``rep`` itself if it permutes, a sum, product or multiple of such, ``Unsigned`` (prints as
      ``|V|(C4)``) or ``Gains`` (``Gains[V](SO(3))``); its shape is that of ``rep``.

    Raises:
      TypeError: ``rep`` is no representation.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> gains = sq.reps.diagonal(sq.reps.vector(sq.groups.so(3)))
      >>> P = sq.projector("c", {"c": gains})
      >>> P(np.array([1.0, 2.0, 6.0]))  # one number for entries that are mixed
      array([3., 3., 3.])
    """
    if not isinstance(rep, Rep):
        raise TypeError(f"diagonal needs a representation, got {rep!r}")
    return _unsigned(rep) if _permutes_up_to_signs(rep) else Gains(rep.group, rep)


def _unsigned(rep: Rep) -> Rep:
    if rep.is_permutation:
        return rep
    if isinstance(rep, Composite) and all(map(_permutes_up_to_signs, rep.parts)):
        return dataclasses.replace(rep, parts=tuple(map(_unsigned, rep.parts)))
    return Unsigned(rep.group, rep)


@functools.lru_cache(maxsize=256)
def _permutes_up_to_signs(rep: Rep) -> bool:
    if rep._has_lie_action():
        return False
    return all(rep.signed_permutation(g) is not None for g in rep.group.letters())
