"""Direct sums, tensor products and multiples of representations."""

import dataclasses
import functools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import whole
from softeq_jax.reps._frequencies import Frequencies, joined
from softeq_jax.reps._rep import Rep, Term


@dataclasses.dataclass(frozen=True, repr=False)
class Composite(Rep):
    """A representation on one array axis that is made of ``parts``."""

    parts: tuple[Rep, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._size,)

    @property
    def _size(self) -> int:
        return math.prod(part.dim for part in self.parts)

    @property
    def is_complex(self) -> bool:
        return any(part.is_complex for part in self.parts)

    @property
    def is_orthogonal(self) -> bool:
        return all(part.is_orthogonal for part in self.parts)

    @property
    def is_permutation(self) -> bool:
        return all(part.is_permutation for part in self.parts) or super().is_permutation

    def _has_lie_action(self) -> bool:
        return any(part._has_lie_action() for part in self.parts)


@dataclasses.dataclass(frozen=True, repr=False)
class Sum(Composite):
    """``A + B + ...``: block-diagonal matrices. Made by ``+``."""

    @property
    def formula(self) -> str:
        return " + ".join(part.formula for part in self.parts)

    def __repr__(self) -> str:
        return f"({self.formula})({self.group})"

    @property
    def _size(self) -> int:
        return sum(part.dim for part in self.parts)

    @property
    def is_trivial(self) -> bool:
        return all(part.is_trivial for part in self.parts)

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return _block_diagonal([part._matrix(g) for part in self.parts], self.dtype)

    def lie_matrices(self) -> np.ndarray:
        stacks = [part.lie_matrices() for part in self.parts]
        blocks = [_block_diagonal(list(each), self.dtype) for each in zip(*stacks, strict=True)]
        return np.array(blocks, dtype=self.dtype).reshape(-1, self.dim, self.dim)

    def signed_permutation(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        moves = [part.signed_permutation(g) for part in self.parts]
        if any(move is None for move in moves):
            return None
        starts = np.cumsum([0, *(part.dim for part in self.parts)])
        index = [move[0] + start for move, start in zip(moves, starts[:-1], strict=True)]
        return np.concatenate(index), np.concatenate([move[1] for move in moves])

    def frequencies(self) -> Frequencies | None:
        return _joined_frequencies(self.parts)

    def terms(self) -> list[tuple[Term, np.ndarray]]:
        found, start = [], 0
        for part in self.parts:
            found += [(term, index + start) for term, index in part.terms()]
            start += part.dim
        return found

    def _act(self, x: Any, g: np.ndarray) -> Any:
        xp = np if isinstance(x, np.ndarray) else jnp
        ends = np.cumsum([part.dim for part in self.parts])
        pieces = xp.split(x, ends[:-1], axis=-1)
        moved = [part._act(piece, g) for part, piece in zip(self.parts, pieces, strict=True)]
        return xp.concatenate(moved, axis=-1)


@dataclasses.dataclass(frozen=True, repr=False)
class Product(Composite):
    """``A * B * ...``: Kronecker products of matrices. Made by ``*``."""

    @property
    def formula(self) -> str:
        return "⊗".join(bracketed(part) for part in self.parts)

    def __repr__(self) -> str:
        return f"({self.formula})({self.group})"

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return functools.reduce(np.kron, [part._matrix(g) for part in self.parts])

    def lie_matrices(self) -> np.ndarray:
        total = np.zeros((len(self.group.lie_generators), self.dim, self.dim), self.dtype)
        for i, part in enumerate(self.parts):
            before = math.prod(other.dim for other in self.parts[:i])
            after = math.prod(other.dim for other in self.parts[i + 1 :])
            for k, matrix in enumerate(part.lie_matrices()):
                total[k] += np.kron(np.kron(np.eye(before), matrix), np.eye(after))
        return total

    def signed_permutation(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        moves = [part.signed_permutation(g) for part in self.parts]
        if any(move is None for move in moves):
            return None

        def join(
            a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]
        ) -> tuple[np.ndarray, np.ndarray]:
            index = (a[0][:, None] * len(b[0]) + b[0][None, :]).reshape(-1)
            return index, np.multiply.outer(a[1], b[1]).reshape(-1)

        return functools.reduce(join, moves)

    @property
    def is_trivial(self) -> bool:
        if all(part.is_trivial for part in self.parts):
            return True
        # a Kronecker product is the identity if its factors are multiples of it
        lie = [_multiples(part.lie_matrices()) for part in self.parts]
        discrete = [_multiples(part.discrete_matrices()) for part in self.parts]
        total, product = np.sum(lie, axis=0), np.prod(discrete, axis=0)
        return bool(np.all(np.abs(total) < 1e-12) and np.all(np.abs(product - 1.0) < 1e-12))

    def frequencies(self) -> Frequencies | None:
        """As for any representation; None if a factor has unmatched columns, as the frequencies of
        a product with them are not defined (those of its factors are)."""
        if any(part.unmatched.shape[1] for part in self.parts):
            return None
        return super().frequencies()

    def terms(self) -> list[tuple[Term, np.ndarray]]:
        found = [(Term(1, ()), np.zeros((1, 1), dtype=np.int64))]
        for part in self.parts:
            found = [_joined(left, right, part.dim) for left in found for right in part.terms()]
        return found

    def _act(self, x: Any, g: np.ndarray) -> Any:
        xp = np if isinstance(x, np.ndarray) else jnp
        lead = x.shape[:-1]
        x = x.reshape(*lead, *(part.dim for part in self.parts))
        for i, part in enumerate(self.parts):
            axis = len(lead) + i
            x = xp.moveaxis(part._act(xp.moveaxis(x, axis, -1), g), -1, axis)
        return x.reshape(*lead, self.dim)


@dataclasses.dataclass(frozen=True, repr=False)
class Multiple(Composite):
    """``n * A``: copies of A after one another. Made by ``*`` with an integer."""

    multiplicity: int = 1

    @property
    def formula(self) -> str:
        return f"{self.multiplicity}·{bracketed(self.parts[0])}"

    @property
    def _size(self) -> int:
        return self.multiplicity * self.parts[0].dim

    @property
    def is_trivial(self) -> bool:
        return self.parts[0].is_trivial

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return np.kron(np.eye(self.multiplicity), self.parts[0]._matrix(g))

    def lie_matrices(self) -> np.ndarray:
        one = np.eye(self.multiplicity)
        blocks = [np.kron(one, matrix) for matrix in self.parts[0].lie_matrices()]
        return np.array(blocks, dtype=self.dtype).reshape(-1, self.dim, self.dim)

    def signed_permutation(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        move = self.parts[0].signed_permutation(g)
        if move is None:
            return None
        starts = np.arange(self.multiplicity)[:, None] * self.parts[0].dim
        return (starts + move[0]).reshape(-1), np.tile(move[1], self.multiplicity)

    def frequencies(self) -> Frequencies | None:
        return _joined_frequencies(self.parts * self.multiplicity)

    def terms(self) -> list[tuple[Term, np.ndarray]]:
        found = []
        starts = np.arange(self.multiplicity)[:, None, None] * self.parts[0].dim
        for term, index in self.parts[0].terms():
            whole = (starts + index[None]).reshape(-1, index.shape[1])
            found.append((Term(self.multiplicity * term.multiplicity, term.atoms), whole))
        return found

    def _act(self, x: Any, g: np.ndarray) -> Any:
        inner = x.reshape(*x.shape[:-1], self.multiplicity, self.parts[0].dim)
        return self.parts[0]._act(inner, g).reshape(x.shape)


def direct_sum(*parts: Rep) -> Rep:
    """``A + B + ...``; ValueError for representations of different groups."""
    _same_group(parts, "+")
    flat: list[Rep] = []
    for part in parts:
        flat += part.parts if isinstance(part, Sum) else (part,)
    return Sum(parts[0].group, tuple(flat))


def tensor_product(*parts: Rep) -> Rep:
    """``A * B * ...``; ValueError for representations of different groups."""
    _same_group(parts, "*")
    flat: list[Rep] = []
    for part in parts:
        flat += part.parts if isinstance(part, Product) else (part,)
    return Product(parts[0].group, tuple(flat))


def copies(n: int, rep: Rep) -> Rep:
    """``n * A``; ValueError unless n is a positive integer."""
    n = whole(n, f"the multiplicity of {rep}")
    if isinstance(rep, Multiple):
        return Multiple(rep.group, rep.parts, n * rep.multiplicity)
    return Multiple(rep.group, (rep,), n)


@functools.lru_cache(maxsize=64)
def _joined_frequencies(parts: tuple[Rep, ...]) -> Frequencies | None:
    found = [part.frequencies() for part in parts]
    return None if any(each is None for each in found) else joined(found)


def _multiples(matrices: np.ndarray) -> np.ndarray:
    """The c of each matrix ``c 1``, ``[k]``; not a number for other matrices."""
    c = matrices[:, 0, 0]
    off = np.abs(matrices - c[:, None, None] * np.eye(matrices.shape[1])).max(axis=(1, 2))
    return np.where(off < 1e-12, c, np.nan)


def _joined(
    left: tuple[Term, np.ndarray], right: tuple[Term, np.ndarray], dim: int
) -> tuple[Term, np.ndarray]:
    (a, i), (b, j) = left, right
    index = i[:, None, :, None] * dim + j[None, :, None, :]
    size = (a.multiplicity * b.multiplicity, i.shape[1] * j.shape[1])
    return Term(a.multiplicity * b.multiplicity, a.atoms + b.atoms), index.reshape(size)


def _block_diagonal(blocks: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    size = sum(len(block) for block in blocks)
    total, start = np.zeros((size, size), dtype), 0
    for block in blocks:
        stop = start + len(block)
        total[start:stop, start:stop] = block
        start = stop
    return total


def bracketed(rep: Rep) -> str:
    return f"({rep.formula})" if isinstance(rep, Sum | Product) else rep.formula


def _same_group(parts: tuple[Rep, ...], symbol: str) -> None:
    groups = {part.group for part in parts}
    if len(groups) > 1:
        shown = f" {symbol} ".join(map(repr, parts))
        raise ValueError(f"representations of different groups do not combine: {shown}")
