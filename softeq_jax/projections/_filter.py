"""What filters one block of a weight: a tensor product of atoms, times batch entries.

Every filter takes the block as ``[n, M]``, n the product of the dimensions of the atoms, and
returns the part to remove, ``sum_j dropped_j Pi_j w`` with the orthogonal projector ``Pi_j`` on
level j. ``dropped`` is indexed by the levels of the whole projector; each filter carries the
indices of its own levels (last entry of ``dropped``: what has no finite level).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray
_matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def filter_class(cls: type) -> type:
    """Registers a frozen dataclass as a pytree with its ``static`` fields as metadata."""
    return jax.tree_util.register_dataclass(
        dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    )


def static() -> Any:
    """A field that is metadata of the pytree."""
    return dataclasses.field(metadata={"static": True})


def product(a: Array, b: Array) -> Array:
    """Matrix product at the highest precision, by NumPy where both are NumPy arrays."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.matmul(a, b)
    return _matmul(a, b)


def as_dtype(constant: Array, w: Array) -> Array:
    """A constant in the dtype of w (real constants stay real), in the library of w."""
    kind = np.dtype(w.dtype)
    if not jnp.issubdtype(constant.dtype, jnp.complexfloating):
        kind = np.zeros((), kind).real.dtype
    return (np if isinstance(w, np.ndarray) else jnp).asarray(constant, kind)


def chosen(dropped: Array, index: Array, w: Array) -> Array:
    """``dropped[index]`` in the dtype and library of w."""
    if isinstance(w, np.ndarray):
        return np.asarray(dropped)[np.asarray(index)].astype(np.zeros((), w.dtype).real.dtype)
    return jnp.asarray(dropped)[jnp.asarray(index)].astype(np.zeros((), w.dtype).real.dtype)


@filter_class
class IdentityFilter:
    """A block on which the group acts trivially: all of it is level 0."""

    index: Array

    def removed(self, w: Array, dropped: Array) -> Array:
        """``dropped_0 w``."""
        return w * chosen(dropped, self.index, w)

    def reindexed(self, to_global: np.ndarray) -> "IdentityFilter":
        """The same filter with indices into the levels of the whole projector."""
        return dataclasses.replace(self, index=to_global[self.index])


@filter_class
class DenseFilter:
    """An explicit orthonormal (unitary) eigenbasis of the levels.

    Attributes:
      basis: ``[n, n]``, columns.
      index: int ``[n]``, level of each column.
    """

    basis: Array
    index: Array

    def removed(self, w: Array, dropped: Array) -> Array:
        """``U (dropped * (U^H w))``."""
        return self.synthesis(chosen(dropped, self.index, w)[:, None] * self.analysis(w))

    def analysis(self, w: Array) -> Array:
        """``U^H w``."""
        return product(as_dtype(self.basis, w).conj().T, w)

    def synthesis(self, c: Array) -> Array:
        """``U c``."""
        return product(as_dtype(self.basis, c), c)

    def reindexed(self, to_global: np.ndarray) -> "DenseFilter":
        """The same filter with indices into the levels of the whole projector."""
        return dataclasses.replace(self, index=to_global[self.index])


@filter_class
class KernelFilter:
    """An explicit orthonormal basis of level 0 alone.

    Attributes:
      basis: ``[n, rank]``.
      index: int ``[2]``: level 0, and everything else.
    """

    basis: Array
    index: Array

    def removed(self, w: Array, dropped: Array) -> Array:
        """``dropped_1 (w - Q Q^H w)``."""
        basis = as_dtype(self.basis, w)
        kept = product(basis, product(basis.conj().T, w))
        return remove_all_but(w, kept, dropped, self.index)

    def reindexed(self, to_global: np.ndarray) -> "KernelFilter":
        """The same filter with indices into the levels of the whole projector."""
        return dataclasses.replace(self, index=to_global[self.index])


@filter_class
class OrbitFilter:
    """Means over the orbits of a (signed) permutation action.

    Attributes:
      labels: int32 ``[n]``, the orbit of each entry, ``orbits`` for entries whose orbit contains
        both signs and therefore has mean zero.
      sign: float64 ``[n]``, sign of each entry within its orbit.
      weight: float64 ``[orbits]``, one over the length of each orbit.
      index: int ``[2]``: level 0, and everything else.
      orbits: number of consistent orbits, the rank.
    """

    labels: Array
    sign: Array
    weight: Array
    index: Array
    orbits: int = static()

    def removed(self, w: Array, dropped: Array) -> Array:
        """``dropped_1 (w - mean over the orbit)``."""
        xp = np if isinstance(w, np.ndarray) else jnp
        sign = as_dtype(self.sign, w)[:, None]
        if xp is np:
            sums = np.zeros((self.orbits + 1, w.shape[1]), w.dtype)
            np.add.at(sums, self.labels, sign * w)
        else:
            sums = jax.ops.segment_sum(sign * w, jnp.asarray(self.labels), self.orbits + 1)
        means = sums[: self.orbits] * as_dtype(self.weight, w)[:, None]
        means = xp.concatenate([means, xp.zeros_like(sums[:1])])
        return remove_all_but(w, sign * means[xp.asarray(self.labels)], dropped, self.index)

    def reindexed(self, to_global: np.ndarray) -> "OrbitFilter":
        """The same filter with indices into the levels of the whole projector."""
        return dataclasses.replace(self, index=to_global[self.index])


@filter_class
class MeanFilter:
    """The plain orbit mean, ``vmap`` over the elements of a finite group: the definition.

    Attributes:
      matrices: for each atom ``[|G|, d, d]``.
      index: int ``[2]``: level 0, and everything else.
      dims: dimension of each atom.
    """

    matrices: tuple[Array, ...]
    index: Array
    dims: tuple[int, ...] = static()

    def removed(self, w: Array, dropped: Array) -> Array:
        """``dropped_1 (w - |G|^-1 sum_g g w)``."""
        tensor = w.reshape(*self.dims, -1)
        constants = tuple(as_dtype(m, tensor) for m in self.matrices)

        def moved(one: tuple[Array, ...]) -> Array:
            out = tensor
            for axis, matrix in enumerate(one):
                out = along(matrix, out, axis)
            return out

        if isinstance(w, np.ndarray):
            mean = sum(map(moved, zip(*constants, strict=True))) / len(constants[0])
        else:
            mean = jnp.mean(jax.vmap(moved)(constants), axis=0)
        mean = mean.reshape(w.shape)
        return remove_all_but(w, mean, dropped, self.index)

    def reindexed(self, to_global: np.ndarray) -> "MeanFilter":
        """The same filter with indices into the levels of the whole projector."""
        return dataclasses.replace(self, index=to_global[self.index])


def remove_all_but(w: Array, kept: Array, dropped: Array, index: Array) -> Array:
    """``dropped_0 P w + dropped_1 (w - P w)`` for a filter that knows level 0 only."""
    shares = chosen(dropped, index, w)
    return shares[1] * (w - kept) + shares[0] * kept


def along(matrix: Array, tensor: Array, axis: int) -> Array:
    """``matrix`` applied along one axis of a tensor."""
    xp = np if isinstance(tensor, np.ndarray) else jnp
    moved = xp.moveaxis(tensor, axis, 0)
    out = product(matrix, moved.reshape(moved.shape[0], -1))
    return xp.moveaxis(out.reshape(matrix.shape[0], *moved.shape[1:]), 0, axis)
