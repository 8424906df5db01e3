"""Tensor products of atoms: what every back end asks of them, and what it hands back.

An atom is a representation that is not divided further; a back end builds the filter of a tensor
product of atoms.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from softeq_jax._sizes import require_room
from softeq_jax.projections._filter import Filter
from softeq_jax.reps import Product, Rep

Atoms = tuple[Rep, ...]
Move = tuple[np.ndarray, np.ndarray]

STRICT = np.array([0, 1])
"""Levels of a filter that knows level 0 only: it, and everything else."""


class BuiltBlock(NamedTuple):
    """A filter with the levels that it tells apart.

    Attributes:
      filter: of the tensor product.
      levels: float64 ``[l]``, ascending; infinite where there is none, NaN where it is not known.
      dimensions: int ``[l]``, of each.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> block = sq.projections.backends.BACKENDS["gram"]((V, V), True)
      >>> block.dimensions, np.round(block.levels**2)  # 2 l + 1 and l (l + 1)
      (array([1, 3, 5]), array([0., 2., 6.]))
    """

    filter: Filter
    levels: np.ndarray
    dimensions: np.ndarray


def strict(filter_: Filter, rank: int, n: int) -> BuiltBlock:
    """The block of a filter that knows level 0 only, of this rank, in dimension n."""
    return BuiltBlock(filter_, np.array([0.0, np.nan]), np.array([rank, n - rank]))


class Generators(NamedTuple):
    """A representation by the matrices of its generators.

    Attributes:
      lie: ``[k, n, n]``.
      discrete: ``[m, n, n]``.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.o(3))
      >>> found = sq.projections.backends.generators(V)
      >>> found.dim, found.lie.shape, found.discrete.shape
      (3, (3, 3, 3), (1, 3, 3))
    """

    lie: np.ndarray
    discrete: np.ndarray

    @property
    def dim(self) -> int:
        return self.lie.shape[-1]

    def inside(self, columns: np.ndarray) -> "Generators":
        """The sub-representation on an invariant space with these orthonormal columns."""
        left = columns.conj().T
        return Generators(left @ self.lie @ columns, left @ self.discrete @ columns)

    @property
    def dual(self) -> "Generators":
        """``-A^T`` and ``h^-T``."""
        discrete = self.discrete
        if len(discrete):
            discrete = np.swapaxes(np.linalg.inv(discrete), 1, 2)
        return Generators(-np.swapaxes(self.lie, 1, 2), discrete)


def generators(atom: Rep) -> Generators:
    """The generator matrices of one atom; TooLargeError where they and what is computed from them,
    a dozen stacks of their size, need more memory than ``memory_limit()``.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.o(3))
      >>> bool((sq.projections.backends.generators(V).lie == V.lie_matrices()).all())
      True
    """
    group = atom.group
    count = len(group.lie_generators) + len(group.letters())
    instead = "take a smaller representation; signed permutations need no matrices for cutoff=0"
    what = f"the {count} generators of {atom!r} as {atom.dim} x {atom.dim} matrices"
    require_room(12 * count * atom.dim**2 * atom.dtype.itemsize, what, instead)
    return Generators(atom.lie_matrices(), atom.discrete_matrices())


def kronecker(parts: list[Generators]) -> Generators:
    """The tensor product of representations, row-major.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> one = sq.projections.backends.generators(V)
      >>> both = sq.projections.backends.kronecker([one, one])
      >>> bool(np.allclose(both.lie, (V * V).lie_matrices()))
      True
    """
    total, n = parts[0], math.prod(part.dim for part in parts)
    size = 3 * (len(total.lie) + len(total.discrete)) * n**2 * total.lie.itemsize
    require_room(size, f"the generators of a product of dimension {n}", "take smaller factors")
    for part in parts[1:]:
        one, other = np.eye(total.dim), np.eye(part.dim)
        lie = np.einsum("kab,cd->kacbd", total.lie, other)
        lie = lie + np.einsum("ab,kcd->kacbd", one, part.lie)
        discrete = np.einsum("mab,mcd->macbd", total.discrete, part.discrete)
        n = total.dim * part.dim
        total = Generators(lie.reshape(-1, n, n), discrete.reshape(-1, n, n))
    return total


def permutes(atoms: Atoms) -> bool:
    """Whether the generators permute the entries of the tensor product, up to signs."""
    if any(atom._has_lie_action() for atom in atoms):
        return False
    if all(atom.is_permutation for atom in atoms):
        return True
    whole = Product(atoms[0].group, atoms)
    return all(whole.signed_permutation(g) is not None for g in whole.group.letters())


def moves(atoms: Atoms) -> Iterator[Move]:
    """``(index, sign)`` of each discrete generator on a tensor product that they permute up to
    signs, one at a time: each is as long as the weight."""
    whole = Product(atoms[0].group, atoms)
    for g in whole.group.letters():
        move = whole.signed_permutation(g)
        if move is None:
            raise ValueError(f"{whole} is not permuted up to signs by a generator of its group")
        yield move


def halves(dims: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The division of atoms into two groups with the smallest larger dimension, in order."""
    best, size = ((0,), (1,)), math.inf
    for bits in range(1, 2 ** (len(dims) - 1)):
        right = tuple(i for i in range(len(dims)) if bits >> (len(dims) - 1 - i) & 1)
        left = tuple(i for i in range(len(dims)) if i not in right)
        larger = max(math.prod(dims[i] for i in left), math.prod(dims[i] for i in right))
        contiguous = left + right == tuple(range(len(dims)))
        if larger < size or (larger == size and contiguous):
            best, size = (left, right), larger
    return best


def larger_half(atoms: Atoms) -> int:
    """The larger dimension when the atoms are divided into two groups."""
    dims = tuple(atom.dim for atom in atoms)
    return max(math.prod(dims[i] for i in side) for side in halves(dims))


def matched_columns(atom: Rep) -> np.ndarray | None:
    """Orthonormal columns ``[dim, m]`` of what is not unmatched; None where everything is matched.
    The group keeps them."""
    unmatched = atom.unmatched
    count = unmatched.shape[1]
    return np.linalg.svd(unmatched)[0][:, count:] if count else None


def matched_generators(atom: Rep, columns: np.ndarray | None) -> Generators:
    """``generators`` on the columns that ``matched_columns`` found."""
    found = generators(atom)
    return found if columns is None else found.inside(columns)


def refuse_unmatched(atoms: Atoms) -> None:
    """Raises ValueError for patterns of level infinity, where they would count as invariants."""
    for atom in atoms:
        if atom.unmatched.shape[1]:
            raise ValueError(
                f"{atom!r} has {atom.unmatched.shape[1]} unmatched patterns, which this back end "
                "cannot tell from invariants; leave the back end to be chosen, or use an odd "
                "number of pixels, or a group that permutes them"
            )


def named(atoms: Atoms) -> str:
    """The tensor product in words."""
    return " ⊗ ".join(map(repr, atoms))
