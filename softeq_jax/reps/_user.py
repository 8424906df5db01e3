"""Representations given by matrices of the generators, or by a function."""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from softeq_jax._checks import frozen, whole
from softeq_jax.groups import LISTABLE, QUIET, Group, Matrices
from softeq_jax.reps._acting_group import check_group
from softeq_jax.reps._relations import (
    TOLERANCE,
    derivative,
    deviation,
    random_elements,
    shown,
    verify,
)
from softeq_jax.reps._rep import Rep
from softeq_jax.reps._rounded import nearest_images


@dataclasses.dataclass(frozen=True, repr=False)
class Generated(Rep):
    """A representation given by the images of generators. Made by ``from_generators``.

    Attributes:
      lie: images of the Lie generators, ``[k, n, n]``.
      discrete: images of the discrete generators, ``[m, n, n]``.
      moved: by how much rounded images were moved.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> cycle = np.eye(3)[[2, 0, 1]]
      >>> R = sq.reps.from_generators(sq.groups.cyclic(3), discrete=[cycle])
      >>> R, R.moved
      (Rep[3](C3), 0.0)
    """

    lie: Matrices
    discrete: Matrices
    moved: float = dataclasses.field(default=0.0, kw_only=True, compare=False)

    @property
    def formula(self) -> str:
        return f"Rep[{self.dim}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.lie.array.shape[-1],)

    @property
    def is_complex(self) -> bool:
        return bool(np.iscomplexobj(self.lie.array))

    def lie_matrices(self) -> np.ndarray:
        return self.lie.array.copy()

    def discrete_matrices(self) -> np.ndarray:
        return self.discrete.array.copy()

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return product_of(self.group.factor(g), self.lie.array, self.discrete.array)


def product_of(factorization: Any, lie: np.ndarray, discrete: np.ndarray) -> np.ndarray:
    """``exp(sum_k t1_k lie_k) ... discrete_w1 discrete_w2 ...`` for a factorization."""
    import scipy.linalg

    found = np.eye(lie.shape[-1], dtype=lie.dtype)
    for t in factorization.tangents:
        if np.any(t):
            found = found @ scipy.linalg.expm(np.tensordot(t, lie, 1))
    for i in factorization.word:
        found = found @ discrete[i]
    return found


def from_generators(group: Group, lie: Any = None, discrete: Any = None) -> Generated:
    """A representation from the matrices of the generators, once it is known to be one.

    Rounded matrices (float32, decimals) are first moved to the nearest ones that are one, by at
    most 1e-3, with a warning above 1e-6 (``moved`` keeps how far). An element is written in the
    generators by ``group.factor``. It is checked, with a relative tolerance of 1e-8, that

    * ``[rho(A_i), rho(A_j)] = sum_k c_ijk rho(A_k)`` with the structure constants of the group;
    * ``rho(h) rho(A) rho(h)^-1 = rho(h A h^-1)``;
    * ``exp(t rho(A)) = 1`` whenever ``exp(t A) = 1``, which refuses spin 1/2 for SO(3);
    * for a finite group, ``rho(g h) = rho(g) rho(h)`` for all elements g and generators h;
      where that is too much, or the group is infinite, the orders of the discrete generators and of
      their products, and random elements (if the group can write them in its generators; where
      it cannot, as for Rubik's cube, ``matrix`` refuses such elements too).

    Args:
      group: any group.
      lie: ``[k, n, n]``, in the order of ``group.lie_generators``; may be left out if k = 0.
      discrete: ``[m, n, n]``, in the order of ``group.discrete_generators``, as above.

    Returns:
      A representation of shape ``(n,)`` that prints as ``Rep[n](...)``.

    Raises:
      ValueError: wrong shapes or numbers, or a relation that does not hold; the message says
        which, and by how much.
      TypeError: ``group`` is no group.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.so(2)
      >>> R = sq.reps.from_generators(G, lie=2 * G.lie_generators)  # turns twice as fast
      >>> bool(np.allclose(R.matrix(G.element(np.pi / 2)), -np.eye(2)))
      True
    """
    check_group(group, "from_generators")
    counts = len(group.lie_generators), len(group.discrete_generators)
    given = [
        _stack(matrices, count, kind, group)
        for matrices, count, kind in zip((lie, discrete), counts, ("lie", "discrete"), strict=True)
    ]
    sizes = {matrices.shape[1] for matrices in given if matrices is not None}
    if len(sizes) != 1:
        raise ValueError(
            f"matrices for {group} need one size n, got n = {sorted(sizes)}"
            if sizes
            else f"{group} has no generators, so there is no dimension; use trivial(group, n)"
        )
    (n,) = sizes
    dtype = np.result_type(np.float64, *(m.dtype for m in given if m is not None))
    lie, discrete = (
        np.zeros((0, n, n), dtype) if matrices is None else matrices.astype(dtype)
        for matrices in given
    )
    lie, discrete, moved = nearest_images(group, lie, discrete)
    lie, discrete = frozen(lie), frozen(discrete)
    verify(group, lie, discrete, lambda g: product_of(group.factor(g), lie, discrete))
    if moved > QUIET:
        warnings.warn(
            f"the matrices for {group} are rounded: they were moved by up to {moved:.2g} to the "
            "nearest representation",
            stacklevel=2,
        )
    return Generated(group, Matrices(lie), Matrices(discrete), moved=moved)


def _stack(matrices: Any, count: int, kind: str, group: Group) -> np.ndarray | None:
    if matrices is None and not count:
        return None
    array = np.zeros(0) if matrices is None else np.asarray(matrices)
    if not count and array.size == 0:
        return None
    shape = tuple(array.shape)
    square = len(shape) == 3 and 0 < shape[1] == shape[2]
    if not square or len(array) != count:
        got = "none" if matrices is None else f"shape {array.shape}"
        raise ValueError(
            f"{kind} must be the matrices [{count}, n, n] of the {count} {kind} generators of "
            f"{group}, got {got}"
        )
    if array.dtype.kind not in "fiuc" or not np.all(np.isfinite(array)):
        raise ValueError(f"{kind} must consist of finite numbers, got {array.dtype}")
    return array


@dataclasses.dataclass(frozen=True, repr=False)
class Function(Rep):
    """A representation given by a function. Made by ``from_function``.

    Attributes:
      matrix_of: the function.
      size: the dimension.
      complex_valued: whether its matrices are complex.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.o(3)
      >>> R = sq.reps.from_function(G, lambda g: np.linalg.det(g).reshape(1, 1), 1)
      >>> R.matrix(-np.eye(3))
      array([[-1.]])
    """

    matrix_of: Callable[[np.ndarray], Any]
    size: int = 1
    complex_valued: bool = False

    @property
    def formula(self) -> str:
        return f"{getattr(self.matrix_of, '__name__', 'function')}[{self.size}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size,)

    @property
    def is_complex(self) -> bool:
        return self.complex_valued

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return np.array(self.matrix_of(self.group.dense(g)), dtype=self.dtype)

    def lie_matrices(self) -> np.ndarray:
        return _derivatives(self).copy()


@functools.lru_cache(maxsize=64)
def _derivatives(rep: Function) -> np.ndarray:
    found = [derivative(rep._matrix, a, repr(rep), TOLERANCE) for a in rep.group.lie_generators]
    return np.array(found, dtype=rep.dtype).reshape(-1, rep.dim, rep.dim)


def from_function(group: Group, matrix_of: Callable[[np.ndarray], Any], dim: int) -> Function:
    """A representation ``matrix_of(g)``, once it is known to be a homomorphism.

    It is checked on the generators and on random elements, or on all elements times all
    generators of a group of at most 1000 elements, with a relative tolerance of 1e-8. The Lie
    matrices are ``log(matrix_of(exp(h A))) / h`` for small h: exact up to rounding, about 1e-13.

    Args:
      group: any group.
      matrix_of: from a float64 (or complex128) NumPy matrix ``[d, d]`` to ``[dim, dim]``, to be
        computed in double precision. Two representations are equal if they have the same
        function object.
      dim: the dimension.

    Returns:
      A representation of shape ``(dim,)``; prints with the name of the function.

    Raises:
      ValueError: it is no homomorphism, by how much, or gives no finite ``[dim, dim]`` matrices.
      TypeError: ``group`` is no group, or ``matrix_of`` no function.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.so(2)
      >>> twice = sq.reps.from_function(G, lambda g: g @ g, 2)
      >>> bool(np.allclose(twice.matrix(G.element(0.3)), G.element(0.6)))
      True
    """
    check_group(group, "from_function")
    dim = whole(dim, "the dimension")
    if not callable(matrix_of):
        raise TypeError(f"matrix_of must be a function of matrices, got {matrix_of!r}")
    lie, discrete = group.lie_generators, group.discrete_generators
    sampled = random_elements(lie, discrete, 6, group.d)
    everything = group.elements() if group.order is not None and group.order <= _ALL else sampled
    values = [np.asarray(matrix_of(g)) for g in [*sampled, *discrete]]
    for value in values:
        if value.shape != (dim, dim) or value.dtype.kind not in "fiuc":
            raise ValueError(
                f"matrix_of must give [{dim}, {dim}] matrices of numbers, got shape {value.shape}, "
                f"{value.dtype}"
            )
        if not np.all(np.isfinite(value)):
            raise ValueError("matrix_of must give finite numbers")
    complex_valued = any(np.iscomplexobj(value) for value in values)
    rep = Function(group, matrix_of, dim, complex_valued)
    one = deviation(rep._matrix(np.eye(group.d, dtype=group.dtype)), np.eye(dim))
    if one > TOLERANCE:
        raise ValueError(f"{rep} is no representation: its value at 1 differs from 1 by {one:.2g}")
    images = [(h, rep._matrix(h)) for h in [*discrete, *sampled[:2]]]
    for g in everything:
        first = rep._matrix(g)
        for h, second in images:
            off = deviation(rep._matrix(g @ h), first @ second)
            if off > TOLERANCE:
                raise ValueError(
                    f"{rep} is no representation: its value at g h differs from that at g times "
                    f"that at h by {off:.2g}, for g = {shown(g)} and h = {shown(h)}{_hint(values)}"
                )
    _derivatives(rep)
    return rep


_ALL = min(1000, LISTABLE)


def _hint(values: list[np.ndarray]) -> str:
    narrow = any(value.dtype.itemsize < 8 for value in values if value.dtype.kind in "fc")
    return "; it computes in single precision, use NumPy's float64" if narrow else ""
