r"""Isotypic decomposition of a representation that is given by the matrices of its generators.

For a set of matrices that is closed under (conjugate) transposition the commutant is a
*-algebra. A random Hermitian element of it has, with probability one, irreducible eigenspaces; a
second element intertwines the equivalent ones, up to a scalar, isometrically. Elements of the
commutant, and invariants of a tensor product, are random matrices projected on the kernel of the
constraint operator L by conjugate gradients, ``X - L^+ L X``, which ends after as many steps as
``L^* L`` has distinct eigenvalues.
"""

from typing import Any, NamedTuple

import numpy as np

from softeq_jax.projections.backends._atoms import Generators

_RESIDUAL = 1e-15
_MAX_STEPS = 5000
_CHECK = 1e-7
_AT_ONCE = 2**17  # entries of tensors, one for each generator, that are moved together
_LARGE, _THIN = 100, 16  # matrices of which one entry in 16 is not zero are thin


class Isotype(NamedTuple):
    """All copies of one irreducible type.

    Attributes:
      columns: ``[n, p, d]``, orthonormal; the generators have the same matrices in each copy.
      generators: those matrices, ``[., d, d]``.
    """

    columns: np.ndarray
    generators: Generators


def invariant_part(left: Generators, right: Generators, x: np.ndarray) -> np.ndarray:
    """The orthogonal projections of ``[b, n1, n2]`` tensors on the invariants of left (x) right.

    Invariant are the X with ``A X + X B^T = 0`` and ``h X k^T = X`` for all generators.
    """
    factors = _sparse(left), _sparse(right)
    # the normal equations L* L y = L* L x have the solution y = x - P x in the range of L*
    target = _normal(*factors, x)
    y, residual = np.zeros_like(x), target.copy()
    direction = residual.copy()
    square = _dots(residual, residual)
    stop = _RESIDUAL**2 * np.maximum(square, _dots(x, x) * 1e-4) + 1e-300
    for _ in range(_MAX_STEPS):
        active = square > stop
        if not active.any():
            return x - y
        moved = _normal(*factors, direction)
        slope = _dots(direction, moved)
        alpha = np.where(active, square / np.where(slope > 0, slope, 1.0), 0.0)
        y += alpha[:, None, None] * direction
        residual -= alpha[:, None, None] * moved
        new = _dots(residual, residual)
        beta = np.where(active, new / np.where(square > 0, square, 1.0), 0.0)
        direction = residual + beta[:, None, None] * direction
        square = new
    raise ValueError(
        f"the invariants of dimension {left.dim} x {right.dim} were not separated in {_MAX_STEPS} "
        "steps of conjugate gradients: the generators are nearly degenerate"
    )


class _Factors(NamedTuple):
    """The matrices of generators, in sparse form where few of their entries are not zero."""

    lie: list[Any]
    discrete: list[Any]


def _sparse(generators: Generators) -> _Factors:
    return _Factors(*([_thinned(one) for one in stack] for stack in generators))


def _thinned(matrix: np.ndarray) -> Any:
    few = len(matrix) >= _LARGE and np.count_nonzero(matrix) * _THIN <= matrix.size
    if not few:
        return matrix
    import scipy.sparse

    return scipy.sparse.csr_array(matrix)


def _before(a: Any, x: np.ndarray) -> np.ndarray:
    """``a x`` of each ``x[i]``."""
    return a @ x if isinstance(a, np.ndarray) else np.stack([a @ one for one in x])


def _after(x: np.ndarray, a: Any) -> np.ndarray:
    """``x a`` of each ``x[i]``."""
    return x @ a if isinstance(a, np.ndarray) else np.stack([one @ a for one in x])


def _normal(left: _Factors, right: _Factors, x: np.ndarray) -> np.ndarray:
    """``L* L X``: squares of the derivatives and of the differences ``h X k^T - X``."""
    total, lie = np.zeros_like(x), zip(left.lie, right.lie, strict=True)
    if left.lie and len(left.lie) * x.size <= _AT_ONCE and max(x.shape[1:]) < _LARGE:
        a, b = np.array(left.lie)[:, None], np.array(right.lie)[:, None]
        moved = a @ x + x @ np.swapaxes(b, 2, 3)
        total += (np.swapaxes(a.conj(), 2, 3) @ moved + moved @ b.conj()).sum(axis=0)
        lie = ()
    for a, b in lie:
        moved = _before(a, x) + _after(x, b.T)
        total += _before(a.conj().T, moved) + _after(moved, b.conj())
    for h, k in zip(left.discrete, right.discrete, strict=True):
        moved = _after(_before(h, x), k.T) - x
        total += _after(_before(h.conj().T, moved), k.conj()) - moved
    return total


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("bij,bij->b", a.conj(), b).real


def decompose(generators: Generators, seed: int = 0) -> list[Isotype]:
    """The isotypic decomposition of a representation whose generators are closed under adjoints.

    Returns:
      The types; the columns of all of them are a unitary matrix.

    Raises:
      ValueError: the representation has no orthogonal decomposition (it is not closed under
        transposition).
    """
    if generators.dim == 1:
        return [Isotype(np.ones((1, 1, 1), generators.lie.dtype), generators)]
    for attempt in range(3):
        found = _attempt(generators, np.random.default_rng(seed + attempt))
        if found is not None:
            return found
    raise ValueError(
        f"no orthogonal decomposition into irreducible parts was found in dimension "
        f"{generators.dim}: the generators are not closed under transposition"
    )


def _attempt(generators: Generators, rng: np.random.Generator) -> list[Isotype] | None:
    n = generators.dim
    x = _random(rng, (2, n, n), generators.lie.dtype)
    # a commuting matrix is an invariant of V (x) dual(V)
    symmetric, mixing = invariant_part(generators, generators.dual, x)
    values, vectors = np.linalg.eigh(symmetric + symmetric.conj().T)
    cuts = np.flatnonzero(np.diff(values) > 1e-7 * max(1.0, np.ptp(values))) + 1
    spaces = np.split(vectors, cuts, axis=1)
    types: list[list[np.ndarray]] = []
    scale = np.linalg.norm(mixing) / n
    for space in spaces:
        for copies in types:
            first = copies[0]
            if first.shape != space.shape:
                continue
            block = space.conj().T @ mixing @ first
            size = np.linalg.norm(block)
            if size > 1e-6 * scale:
                copies.append(space @ block * (np.sqrt(block.shape[0]) / size))
                break
        else:
            types.append([space])
    found = []
    for copies in types:
        columns = np.stack(copies, axis=1)
        inner = generators.inside(columns[:, 0])
        for copy in copies:
            for all_of, own in zip(generators, inner, strict=True):
                if np.max(np.abs(all_of @ copy - copy @ own), initial=0.0) > _CHECK * max(
                    1.0, np.max(np.abs(own), initial=0.0)
                ):
                    return None
        found.append(Isotype(columns, inner))
    return found


def invariants(left: Generators, right: Generators, seed: int = 0) -> np.ndarray:
    """An orthonormal basis ``[c, d1, d2]`` of the invariants of two irreducible representations.

    By Schur's lemma c is the dimension of the commutant (1, 2 or 4: real, complex or quaternionic
    type) if the second is the dual of the first, and 0 otherwise.
    """
    dtype = np.result_type(left.lie, right.lie)
    if left.dim != right.dim or not _scalars_cancel(left, right):
        return np.zeros((0, left.dim, right.dim), dtype)
    is_complex = np.issubdtype(dtype, np.complexfloating)
    if (left.dim % 2 or is_complex) and _are_dual(left, right):
        return np.eye(left.dim, dtype=dtype)[None] / np.sqrt(left.dim)  # of real type: c is 1
    rng = np.random.default_rng(seed)
    found = _random(rng, (5, left.dim, right.dim), dtype)
    projected = invariant_part(left, right, found).reshape(5, -1)
    _, sizes, basis = np.linalg.svd(projected, full_matrices=False)
    rank = int(np.sum(sizes > 1e-6 * np.linalg.norm(found)))
    return basis[:rank].reshape(rank, left.dim, right.dim)


def _scalars_cancel(left: Generators, right: Generators) -> bool:
    """Whether discrete generators that are numbers in both have the product 1."""
    one = np.eye(left.dim)
    for h, k in zip(left.discrete, right.discrete, strict=True):
        a, b = h[0, 0], k[0, 0]
        are_numbers = np.array_equal(h, a * one) and np.array_equal(k, b * one)
        if are_numbers and abs(a * b - 1.0) > _CHECK:
            return False
    return True


def _are_dual(left: Generators, right: Generators) -> bool:
    """Whether the identity matrix is invariant."""
    scale = max(1.0, np.abs(left.lie).max(initial=0.0))
    moved = np.abs(left.lie + np.swapaxes(right.lie, 1, 2)).max(initial=0.0)
    turned = left.discrete @ np.swapaxes(right.discrete, 1, 2) - np.eye(left.dim)
    return bool(max(moved / scale, np.abs(turned).max(initial=0.0)) <= 1e-12)


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    x = rng.standard_normal(shape)
    return x + 1j * rng.standard_normal(shape) if np.issubdtype(dtype, np.complexfloating) else x
