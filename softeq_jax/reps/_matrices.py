"""Matrices of representations: signed permutations, blocks, and products with arrays."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from softeq_jax._sizes import require_room

EXACT = 1e-12
"""Largest entry of what counts as zero in a matrix that is known in closed form."""

Move = tuple[np.ndarray, np.ndarray]
"""``(index, sign)`` of a signed permutation, ``x -> sign * x[..., index]``."""


def matmul(x: Any, matrix: np.ndarray) -> Any:
    """``x @ matrix`` at the highest precision, by NumPy where x is a NumPy array."""
    return np.matmul(x, matrix) if isinstance(x, np.ndarray) else _matmul(x, matrix)


_matmul = functools.partial(jnp.matmul, precision="highest")


def mix(rep: Any, x: Any, matrix: np.ndarray) -> Any:
    """``x @ matrix`` on the last axis, in the dtype of x (16 bits: computed in float32)."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"{rep} mixes entries: the array must be floating, got {x.dtype}")
    if np.iscomplexobj(matrix) and not jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"{rep} is complex and needs complex arrays; see {rep}.real, got {x.dtype}")
    wide = x if x.dtype.itemsize >= 4 else x.astype(np.float32)
    real = np.zeros((), wide.dtype).real.dtype
    kind = np.result_type(real, np.complex64) if np.iscomplexobj(matrix) else real
    return matmul(wide, matrix.astype(kind, copy=False)).astype(x.dtype)


def signed_index(matrix: np.ndarray) -> Move | None:
    """``(index, sign)`` of a signed permutation matrix (exact up to 1e-12), else None."""
    if np.iscomplexobj(matrix):
        if np.max(np.abs(np.imag(matrix)), initial=0.0) > EXACT:
            return None
        matrix = np.real(matrix)
    index = np.argmax(np.abs(matrix), axis=1)
    rows = np.arange(len(matrix))
    sign = np.where(matrix[rows, index] < 0, -1.0, 1.0)
    expected = np.zeros_like(matrix)
    expected[rows, index] = sign
    if len(np.unique(index)) != len(index) or np.max(np.abs(matrix - expected)) > EXACT:
        return None
    return index, sign


def require_matrices(rep: Any, count: int = 1) -> None:
    """TooLargeError where that many matrices of a representation need more memory than
    ``memory_limit()``."""
    matrices = "the matrix" if count == 1 else f"{count} matrices"
    instead = "use apply, which moves arrays without it where it can, or a smaller representation"
    require_room(count * rep.dim**2 * rep.dtype.itemsize, f"{matrices} of {rep}", instead)


def permutation_matrix(rep: Any, index: np.ndarray) -> np.ndarray:
    """The matrix of ``x -> x[..., index]``, ``[dim, dim]``."""
    require_matrices(rep)
    found = np.zeros((len(index), len(index)))
    found[np.arange(len(index)), index] = 1.0
    return found


def are_orthogonal(lie: np.ndarray, discrete: np.ndarray) -> bool:
    """Whether generators ``[k, n, n]`` are skew and ``[m, n, n]`` orthogonal (unitary)."""
    skew = np.max(np.abs(lie + np.conj(np.swapaxes(lie, 1, 2))), initial=0.0)
    gram = discrete @ np.conj(np.swapaxes(discrete, 1, 2)) - np.eye(discrete.shape[-1])
    return bool(max(skew, np.max(np.abs(gram), initial=0.0)) <= 1e-9)


def joint_moves(parts: Sequence[Any], elements: Sequence[np.ndarray]) -> list[Move] | None:
    """The signed permutation of each part by each element, None if one mixes entries."""
    moves = []
    for part, g in itertools.product(parts, elements):
        move = part.signed_permutation(g)
        if move is None:
            return None
        moves.append(move)
    return moves


def kronecker_move(a: Move, b: Move) -> Move:
    """The move of a tensor product, row-major."""
    index = (a[0][:, None] * len(b[0]) + b[0][None, :]).reshape(-1)
    return index, np.multiply.outer(a[1], b[1]).reshape(-1)


def block_move(moves: Sequence[Move]) -> Move:
    """The move of a direct sum."""
    starts = np.cumsum([0, *(len(index) for index, _ in moves)])
    index = [move[0] + start for move, start in zip(moves, starts, strict=False)]
    return np.concatenate(index), np.concatenate([sign for _, sign in moves])


def pairs(left: np.ndarray, right: np.ndarray, dim: int) -> np.ndarray:
    """Positions in a tensor product, row-major, of the copies of one term for each of another.

    Args:
      left: positions of the copies of the first term, int ``[a, m]``.
      right: of the second one, int ``[b, n]``, in an axis of length ``dim``.

    Returns:
      int ``[a b, m n]``.
    """
    index = left[:, None, :, None] * dim + right[None, :, None, :]
    return index.reshape(len(left) * len(right), -1)


def multiply_to_identity(parts: Sequence[Any]) -> bool:
    """Whether a Kronecker product is the identity: its factors are multiples of it, by numbers
    that add to 0 (Lie generators) and multiply to 1 (discrete generators)."""
    lie = [_multiples(part.lie_matrices()) for part in parts]
    discrete = [_multiples(part.discrete_matrices()) for part in parts]
    total, product = np.sum(lie, axis=0), np.prod(discrete, axis=0)
    return bool(np.all(np.abs(total) < 1e-12) and np.all(np.abs(product - 1.0) < 1e-12))


def _multiples(matrices: np.ndarray) -> np.ndarray:
    """The c of each matrix ``c 1``, ``[k]``; not a number for other matrices."""
    c = matrices[:, 0, 0]
    off = np.abs(matrices - c[:, None, None] * np.eye(matrices.shape[1])).max(axis=(1, 2))
    return np.where(off < 1e-12, c, np.nan)


def block_diagonal(blocks: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """The matrix with these square blocks on its diagonal."""
    size = sum(len(block) for block in blocks)
    total, start = np.zeros((size, size), dtype), 0
    for block in blocks:
        stop = start + len(block)
        total[start:stop, start:stop] = block
        start = stop
    return total


def realified(matrix: np.ndarray) -> np.ndarray:
    """``[[Re, -Im], [Im, Re]]`` on the last two axes."""
    top = np.concatenate([np.real(matrix), -np.imag(matrix)], axis=-1)
    return np.concatenate(
        [top, np.concatenate([np.imag(matrix), np.real(matrix)], axis=-1)], axis=-2
    )


@functools.lru_cache(maxsize=256)
def acts_orthogonally(rep: Any) -> bool:
    """Whether the generators of a representation act by orthogonal (unitary) matrices."""
    return are_orthogonal(rep.lie_matrices(), rep.discrete_matrices())


@functools.lru_cache(maxsize=256)
def acts_by_permutations(rep: Any, identities: bool = False) -> bool:
    """Whether the generators of a representation permute the entries, or fix each of them."""
    if rep._has_lie_action():
        return False
    moves = (rep.signed_permutation(g) for g in rep.group.letters())  # one at a time
    return all(
        move is not None
        and np.all(move[1] == 1)
        and not (identities and np.any(move[0] != np.arange(rep.dim)))
        for move in moves
    )
