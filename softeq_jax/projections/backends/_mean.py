"""The plain orbit mean over the elements of a finite group: the definition, and the oracle."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.projections._filter import (
    Array,
    StrictFilter,
    along,
    as_dtype,
    filter_class,
    static,
)
from softeq_jax.projections.backends._atoms import STRICT, Atoms, BuiltBlock, named, strict


@filter_class
class MeanFilter(StrictFilter):
    """``|G|^-1 sum_g g w``, ``vmap`` over the elements.

    Attributes:
      matrices: for each atom ``[|G|, d, d]``.
      index: int ``[2]``: level 0, and everything else.
      dims: dimension of each atom.
    """

    matrices: tuple[Array, ...]
    index: Array
    dims: tuple[int, ...] = static()

    def invariant(self, w: Array) -> Array:
        """``|G|^-1 sum_g g w``."""
        tensor = w.reshape(*self.dims, -1)
        constants = tuple(as_dtype(m, tensor) for m in self.matrices)

        def moved(one: tuple[Array, ...]) -> Array:
            out = tensor
            for axis, matrix in enumerate(one):
                out = along(matrix, out, axis)
            return out

        if isinstance(w, np.ndarray):
            total = sum(map(moved, zip(*constants, strict=True)))
            return np.asarray(total / len(constants[0])).reshape(w.shape)
        return jnp.mean(jax.vmap(moved)(constants), axis=0).reshape(w.shape)


def block(atoms: Atoms, complete: bool) -> BuiltBlock:
    """Level 0 of a tensor product on which a finite group acts orthogonally."""
    if complete:
        raise ValueError("the orbit mean gives level 0 only; leave the back end to be chosen")
    if not all(atom.is_orthogonal for atom in atoms):
        raise ValueError(
            f"the orbit mean of {named(atoms)} is an oblique projector, as it is not orthogonal"
        )
    elements = atoms[0].group.elements()
    matrices = tuple(np.stack([atom.matrix(g) for g in elements]) for atom in atoms)
    dims = tuple(atom.dim for atom in atoms)
    trace = math.prod(np.trace(m, axis1=1, axis2=2) for m in matrices)
    rank = round(float(np.mean(trace).real))
    return strict(MeanFilter(matrices, STRICT, dims), rank, math.prod(dims))
