"""Dense eigenvectors: of the level operators where levels exist, else of ``L* L``; small spaces."""

import math

import numpy as np

from softeq_jax._arrays import Array
from softeq_jax.groups import ConjugacyClass, Stage
from softeq_jax.projections import _levels, _spectrum
from softeq_jax.projections._filter import (
    StrictFilter,
    Transform,
    as_dtype,
    filter_class,
    product,
)
from softeq_jax.projections.backends._atoms import (
    STRICT,
    Atoms,
    Block,
    generators,
    kronecker,
    named,
    strict,
)

DENSE_LIMIT = 2500
"""The largest dimension of which eigenvectors are computed."""


@filter_class
class DenseFilter(Transform):
    """An explicit orthonormal (unitary) eigenbasis of the levels.

    Attributes:
      basis: ``[n, n]``, columns.
      index: int ``[n]``, level of each column.
    """

    basis: Array
    index: Array

    def analysis(self, w: Array) -> Array:
        """``U^H w``."""
        return product(as_dtype(self.basis, w).conj().T, w)

    def synthesis(self, c: Array) -> Array:
        """``U c``."""
        return product(as_dtype(self.basis, c), c)


@filter_class
class KernelFilter(StrictFilter):
    """An explicit orthonormal basis of level 0 alone.

    Attributes:
      basis: ``[n, rank]``.
      index: int ``[2]``: level 0, and everything else.
    """

    basis: Array
    index: Array

    def invariant(self, w: Array) -> Array:
        """``Q Q^H w``."""
        basis = as_dtype(self.basis, w)
        return product(basis, product(basis.conj().T, w))


def block(atoms: Atoms, complete: bool) -> Block:
    """All levels where there are any, else the kernel of the constraints; up to dimension 2500."""
    group = atoms[0].group
    n = math.prod(atom.dim for atom in atoms)
    if n > DENSE_LIMIT:
        raise ValueError(f"{named(atoms)} has dimension {n}, beyond {DENSE_LIMIT}: not dense")
    parts = [generators(atom) for atom in atoms]
    factors = group.level_factors()
    if factors is not None and _spectrum.has_levels(group, atoms):

        def stacks(one: ConjugacyClass) -> list[np.ndarray]:
            return [np.stack([atom.matrix(g) for g in one.elements]) for atom in atoms]

        def operator(stage: Stage) -> np.ndarray:
            return _spectrum.level_operator(stage, [part.lie for part in parts], stacks)

        columns, sigma = _spectrum.eigenbasis(factors, group.d, n, operator)
        values, index, counts = np.unique(sigma, return_inverse=True, return_counts=True)
        return Block(DenseFilter(columns, index.reshape(-1)), values, counts)
    if complete:
        raise ValueError(_spectrum.no_levels(group, atoms))
    whole = kronecker(parts)
    stack = np.concatenate([*whole.lie, *(whole.discrete - np.eye(n)), np.zeros((0, n))])
    scale = float(np.linalg.norm(stack, 2)) if len(stack) else 0.0
    _, sizes, right = np.linalg.svd(stack, full_matrices=True)
    rank = int(np.sum(sizes > 1e-9 * max(scale, 1e-300)))
    kernel = right[rank:].conj().T
    return strict(KernelFilter(np.ascontiguousarray(kernel), STRICT), kernel.shape[1], n)


def stacked_block(atoms: Atoms) -> Block:
    """The levels of the published code: singular values of the stacked generators."""
    whole = kronecker([generators(atom) for atom in atoms])
    operator = _spectrum.stacked_operator(atoms[0].group, whole.lie, whole.discrete)
    squares, columns = np.linalg.eigh(operator)
    values = np.sqrt(np.where(squares < 1e-9 * max(1.0, squares[-1]), 0.0, squares))
    found, indices = _levels.collect([(values, np.ones(len(values), int), 1)])
    counts = np.bincount(indices[0], minlength=len(found.values))
    return Block(DenseFilter(columns, indices[0]), np.array(found.values), counts)
