r"""Dense eigenvectors: the levels of any representation, by the definition, in small spaces.

A level belongs to an isotypic component. ``sigma^2`` is the sum over the factors of the group of
the value of the first *stage* that acts non-trivially; the operator of a stage is

.. math:: \sum_k A_k^* A_k + \sum_h c_h^2 \, (2 - T_h - T_h^*), \qquad c_h = ord(h) / 2 \pi,

with A_k an orthonormal basis of the Lie algebra (the first term is the Casimir) and T_h the mean
over the conjugacy class of h. Both are central, so levels depend on no basis and no choice of
generators within their classes. Where there are no levels, the kernel of ``L* L`` is what is left.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from softeq_jax.groups import ConjugacyClass, Group, Stage, matrix_order
from softeq_jax.projections import _levels
from softeq_jax.projections._filter import (
    Array,
    StrictFilter,
    TransformFilter,
    as_dtype,
    filter_class,
    product,
)
from softeq_jax.projections.backends._atoms import (
    STRICT,
    Atoms,
    BuiltBlock,
    Generators,
    generators,
    kronecker,
    matched_columns,
    matched_generators,
    named,
    refuse_unmatched,
    strict,
)

_RELATIVE_CLUSTER = 1e-6
Operators = Callable[[Stage], np.ndarray]
Stacks = Callable[[ConjugacyClass], list[np.ndarray]]

DENSE_LIMIT = 2500
"""The largest dimension of which eigenvectors are computed."""


@filter_class
class DenseFilter(TransformFilter):
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


def block(atoms: Atoms, complete: bool) -> BuiltBlock:
    """All levels where there are any, else the kernel of the constraints; up to dimension 2500."""
    group = atoms[0].group
    n = math.prod(atom.dim for atom in atoms)
    if n > DENSE_LIMIT:
        raise ValueError(f"{named(atoms)} has dimension {n}, beyond {DENSE_LIMIT}: not dense")
    spaces = [matched_columns(atom) for atom in atoms]
    parts = [matched_generators(*each) for each in zip(atoms, spaces, strict=True)]
    factors = group.level_factors()
    if factors is not None and has_levels(group, atoms):

        def stacks(one: ConjugacyClass) -> list[np.ndarray]:
            whole = [np.stack([atom.matrix(g) for g in one.elements]) for atom in atoms]
            each = zip(whole, spaces, strict=True)
            return [x if space is None else space.T @ x @ space for x, space in each]

        def operator(stage: Stage) -> np.ndarray:
            return level_operator(stage, [part.lie for part in parts], stacks)

        m = math.prod(part.dim for part in parts)
        columns, sigma = eigenbasis(factors, group.d, m, operator)
        if m < n:
            columns, sigma = _with_unmatched(columns, sigma, atoms, spaces)
        values, index, counts = np.unique(sigma, return_inverse=True, return_counts=True)
        return BuiltBlock(DenseFilter(columns, index.reshape(-1)), values, counts)
    if complete:
        raise ValueError(no_levels(group, atoms))
    refuse_unmatched(atoms)
    whole = kronecker(parts)
    stack = np.concatenate([*whole.lie, *(whole.discrete - np.eye(n)), np.zeros((0, n))])
    scale = float(np.linalg.norm(stack, 2)) if len(stack) else 0.0
    _, sizes, right = np.linalg.svd(stack, full_matrices=True)
    noise = 1e-13 * float(np.abs(whole.discrete).max(initial=0.0))  # of what hardly moves
    rank = int(np.sum(sizes > max(1e-9 * scale, group.rounding * scale, noise, 1e-300)))
    kernel = right[rank:].conj().T
    return strict(KernelFilter(np.ascontiguousarray(kernel), STRICT), kernel.shape[1], n)


def _with_unmatched(
    columns: np.ndarray, sigma: np.ndarray, atoms: Atoms, spaces: list[np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the product of the matched spaces, as columns of the whole product, and those of
    its complement, of level infinity."""
    each = [
        np.eye(atom.dim) if space is None else np.concatenate([space, atom.unmatched], axis=1)
        for atom, space in zip(atoms, spaces, strict=True)
    ]
    pairs = zip(each, atoms, strict=True)
    inner = [np.arange(len(one)) < len(one) - a.unmatched.shape[1] for one, a in pairs]
    whole = functools.reduce(np.kron, each)
    matched = functools.reduce(lambda a, b: np.logical_and.outer(a, b).reshape(-1), inner)
    found = np.concatenate([whole[:, matched] @ columns, whole[:, ~matched]], axis=1)
    return found, np.append(sigma, np.full(np.count_nonzero(~matched), np.inf))


def stacked_block(atoms: Atoms) -> BuiltBlock:
    """The levels of the published code: singular values of the stacked generators."""
    refuse_unmatched(atoms)
    whole = kronecker([generators(atom) for atom in atoms])
    operator = stacked_operator(atoms[0].group, whole.lie, whole.discrete)
    squares, columns = np.linalg.eigh(operator)
    values = np.sqrt(np.where(squares < 1e-9 * max(1.0, squares[-1]), 0.0, squares))
    found, indices = _levels.collect([(values, np.ones(len(values), int), 1)])
    counts = np.bincount(indices[0], minlength=len(found.values))
    return BuiltBlock(DenseFilter(columns, indices[0]), np.array(found.values), counts)


def level_operator(stage: Stage, lie: list[np.ndarray], stacks: Stacks) -> np.ndarray:
    """The operator of a stage on a tensor product, ``[n, n]``, without products of its size.

    ``sum_k (A (x) 1 + 1 (x) B)^* (A (x) 1 + 1 (x) B)`` is the sum of the squares of the parts and
    of ``A^* (x) B + A (x) B^*``.

    Args:
      stage: Lie generators and classes of the group.
      lie: for each part the matrices ``[k, d, d]`` of all Lie generators.
      stacks: the matrices ``[s, d, d]`` of the elements of a class, one stack for each part.
    """
    n = math.prod(part.shape[-1] for part in lie)
    total = np.zeros((n, n), np.result_type(*lie))
    if stage.lie:
        total += _sum_of_squares([part[list(stage.lie)] for part in lie])
    for one in stage.classes:
        *before, last = stacks(one)
        whole = functools.reduce(_kronecker, before, np.ones((len(last), 1, 1)))
        mean = _sum_of_products(whole, last) / len(last)
        total += one.weight * (2.0 * np.eye(n) - mean - mean.conj().T)
    return total


def _sum_of_squares(parts: list[np.ndarray]) -> np.ndarray:
    whole, square = parts[0], _square(parts[0])
    for i, part in enumerate(parts[1:], start=2):
        n, d = whole.shape[1], part.shape[1]
        cross = _sum_of_products(np.swapaxes(whole.conj(), 1, 2), part)
        cross = np.ascontiguousarray(
            cross + _sum_of_products(whole, np.swapaxes(part.conj(), 1, 2))
        )
        entries = cross.reshape(n, d, n, d)
        np.einsum("aibi->iab", entries)[...] += square  # square (x) 1
        np.einsum("aiaj->aij", entries)[...] += _square(part)  # 1 (x) square of the part
        square = cross
        if i < len(parts):
            one, other = np.eye(n)[None], np.eye(d)[None]
            whole = _kronecker(whole, other) + _kronecker(one, part)
    return square


def _sum_of_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``sum_k a_k (x) b_k`` by one matrix product."""
    k, n, d = len(a), a.shape[1], b.shape[1]
    total = a.reshape(k, -1).T @ b.reshape(k, -1)
    return total.reshape(n, n, d, d).transpose(0, 2, 1, 3).reshape(n * d, n * d)


def _square(lie: np.ndarray) -> np.ndarray:
    flat = lie.reshape(-1, lie.shape[-1])
    return flat.conj().T @ flat


def _kronecker(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Kronecker products of two stacks of matrices; a stack of one is repeated."""
    out = a[:, :, None, :, None] * b[:, None, :, None, :]
    return out.reshape(len(out), a.shape[1] * b.shape[1], -1)


def eigenbasis(
    factors: tuple[tuple[Stage, ...], ...], d: int, n: int, operator: Operators
) -> tuple[np.ndarray, np.ndarray]:
    """An orthonormal basis of joint eigenvectors of the level operators.

    Args:
      factors: the ``level_factors`` of the group.
      d: dimension of the group's own matrices.
      n: the dimension.
      operator: the operator ``[n, n]`` of a stage.

    Returns:
      (columns ``[n, n]``, sigma ``[n]``).
    """
    spaces: list[tuple[np.ndarray | None, float]] = [(None, 0.0)]
    for stages in factors:
        split: list[tuple[np.ndarray | None, float]] = []
        for space, squared in spaces:
            split += _split_by_stages(space, squared, d, stages, operator)
        spaces = split
    parts = [np.eye(n) if space is None else space for space, _ in spaces]
    sigma = [np.full(p.shape[1], math.sqrt(s)) for p, (_, s) in zip(parts, spaces, strict=True)]
    return np.concatenate(parts, axis=1), np.concatenate(sigma)


def _split_by_stages(
    space: np.ndarray | None,
    squared: float,
    d: int,
    stages: tuple[Stage, ...],
    operator: Operators,
) -> list[tuple[np.ndarray | None, float]]:
    done: list[tuple[np.ndarray | None, float]] = []
    for stage in stages:
        whole = operator(stage)
        inside = whole if space is None else space.conj().T @ whole @ space
        scale = max(1.0, float(np.trace(whole).real) / len(whole))
        kernel, found = None, False
        for part, value in _eigenspaces(inside, scale, d, bool(stage.lie)):
            columns = part if space is None else space if part is None else space @ part
            if value == 0.0:
                kernel, found = columns, True
            else:
                done.append((columns, squared + value))
        if not found:
            return done
        space = kernel
    return [*done, (space, squared)]


def _eigenspaces(
    operator: np.ndarray, scale: float, d: int, is_casimir: bool
) -> list[tuple[np.ndarray | None, float]]:
    """Eigenspaces with exact values; None for the columns of the whole space."""
    if len(operator) == 1:
        return [(None, _exact(float(operator[0, 0].real), d, is_casimir))]
    values, vectors = np.linalg.eigh((operator + operator.conj().T) / 2.0)
    values = np.where(np.abs(values) < 1e-9 * scale, 0.0, values)
    gaps = np.diff(values) > _RELATIVE_CLUSTER * np.maximum(values[1:], 1e-3 * scale)
    cuts = np.flatnonzero(gaps) + 1
    if not len(cuts):
        return [(None, _exact(float(values.mean()), d, is_casimir))]
    return [
        (part, _exact(float(value.mean()), d, is_casimir))
        for part, value in zip(np.split(vectors, cuts, axis=1), np.split(values, cuts), strict=True)
    ]


def _exact(value: float, d: int, is_casimir: bool) -> float:
    """A Casimir value moved to the fraction with a denominator up to 4 d that it is within
    rounding; other values as they are."""
    if abs(value) < 1e-9:
        return 0.0
    if is_casimir:
        for q in range(1, 4 * d + 1):
            nearest = round(value * q) / q
            if abs(value - nearest) <= 1e-9 * max(1.0, value):
                return nearest
    return value


@functools.lru_cache(maxsize=128)
def has_levels(group: Group, atoms: Atoms) -> bool:
    """Whether ``L* L`` is central: classes that can be listed, and adjoints within the algebra."""
    return group.level_factors() is not None and is_closed_under_adjoints(
        group, [generators(atom) for atom in atoms]
    )


def no_levels(group: Group, atoms: Atoms) -> str:
    """Why there are no levels above 0."""
    only = "only the strict projector (cutoff=0) and the identity (softness=1) exist"
    if group.level_factors() is None:
        why = "the conjugacy classes of its generators cannot be listed"
        return f"{group} has no levels above 0: {why}; {only}"
    why = "its matrices are not closed under transposition"
    return f"{named(atoms)} has no levels above 0: {why}; {only}"


def is_closed_under_adjoints(group: Group, parts: list[Generators]) -> bool:
    """Whether one anti-automorphism is the adjoint in every part.

    Then ``L* L`` of any tensor product of the parts is central (for a compact group always true of
    orthogonal representations; for a non-compact one in a transpose-closed basis).
    """
    basis = np.array(group.lie_generators)
    if len(basis):
        flat = basis.reshape(len(basis), -1)
        adjoint = np.swapaxes(basis.conj(), 1, 2).reshape(len(basis), -1)
        real, target = _realview(flat), _realview(adjoint)
        coefficients = np.linalg.lstsq(real.T, target.T, rcond=None)[0].T
        if np.max(np.abs(coefficients @ real - target)) > 1e-9:
            return False
        for part in parts:
            expected = np.einsum("kj,jab->kab", coefficients, part.lie)
            if np.max(np.abs(np.swapaxes(part.lie.conj(), 1, 2) - expected)) > 1e-9 * max(
                1.0, float(np.max(np.abs(part.lie)))
            ):
                return False
    for part in parts:
        gram = part.discrete @ np.swapaxes(part.discrete.conj(), 1, 2) - np.eye(part.dim)
        if np.max(np.abs(gram), initial=0.0) > 1e-9:
            return False
    return True


def _realview(x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.real(x), np.imag(x)], axis=1)


def stacked_operator(group: Group, lie: np.ndarray, discrete: np.ndarray) -> np.ndarray:
    """``L* L`` of the stack of all Lie generators and of ``(rho(h) - 1) / s_h``.

    ``s_h = 2 pi / ord(h)`` for groups of the plane and 1 for all others: the convention of the
    published code, whose subspaces are in general not stable under the group.
    """
    n = lie.shape[-1]
    stack = [*lie]
    for h, matrix in zip(group.discrete_generators, discrete, strict=True):
        scale = matrix_order(h) / (2.0 * math.pi) if group.d == 2 else 1.0
        stack.append((matrix - np.eye(n)) * scale)
    whole = np.concatenate([np.zeros((0, n)), *stack])
    return whole.conj().T @ whole
