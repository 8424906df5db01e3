"""One builder for each back end: from atoms to a filter, its levels and their dimensions."""

import math

import numpy as np

from softeq_jax.groups import ConjugacyClass, Stage
from softeq_jax.projections import _isotypic, _levels, _orbit_labels, _spectrum
from softeq_jax.projections._facts import (
    STRICT,
    Block,
    generators,
    has_levels,
    is_planar,
    named,
    no_levels,
    orbit_moves,
    strict,
)
from softeq_jax.projections._filter import DenseFilter, KernelFilter, MeanFilter
from softeq_jax.projections._krylov import chebyshev
from softeq_jax.projections._schur import isotypic_block
from softeq_jax.projections._spectral import SpectralFilter, joint_frequencies, spectral_parts
from softeq_jax.reps import Rep

DENSE_LIMIT = 2500
"""The largest dimension of which eigenvectors are computed."""


def spectral_block(atoms: tuple[Rep, ...], complete: bool) -> Block:
    if not is_planar(atoms):
        raise ValueError(f"the spectral back end needs a group of the plane, got {named(atoms)}")
    group = atoms[0].group
    bases, shapes = spectral_parts(atoms)
    joint = joint_frequencies(atoms)
    m, odd = np.abs(joint.frequency), joint.odd
    last = 2 * (int(m.max()) + 1)
    code = np.where(joint.unmatched, last, 2 * m + odd)
    codes = np.arange(last)
    sigma = _levels.planar_levels(group.rotations, group.has_flip, codes // 2, codes % 2 == 1)
    sizes = np.bincount(code, minlength=last + 1)
    present = np.flatnonzero(sizes)
    values, place = np.unique(np.append(sigma, np.inf)[present], return_inverse=True)
    index = np.zeros(last + 1, int)
    index[present] = place
    counts = np.bincount(place, weights=sizes[present]).astype(int)
    return SpectralFilter(bases, index[code], shapes), values, counts


def orbits_block(atoms: tuple[Rep, ...], complete: bool) -> Block:
    moves = orbit_moves(atoms)
    if moves is None:
        raise ValueError(f"{named(atoms)} is no signed permutation action: no orbits to average")
    if complete:
        raise ValueError("orbit means give level 0 only; leave the back end to be chosen")
    n = math.prod(atom.dim for atom in atoms)
    found = _orbit_labels.orbit_filter(n, moves, STRICT)
    return strict(found, found.orbits, n)


def isotypic_or_gram_block(atoms: tuple[Rep, ...], complete: bool) -> Block:
    return isotypic_block(atoms, complete) if len(atoms) > 1 else gram_block(atoms, True)


def gram_block(atoms: tuple[Rep, ...], complete: bool) -> Block:
    group = atoms[0].group
    n = math.prod(atom.dim for atom in atoms)
    if n > DENSE_LIMIT:
        raise ValueError(f"{named(atoms)} has dimension {n}, beyond {DENSE_LIMIT}: not dense")
    parts = [generators(atom) for atom in atoms]
    if has_levels(group, atoms):

        def stacks(one: ConjugacyClass) -> list[np.ndarray]:
            return [np.stack([atom.matrix(g) for g in one.elements]) for atom in atoms]

        def operator(stage: Stage) -> np.ndarray:
            return _spectrum.level_operator(stage, [part.lie for part in parts], stacks)

        columns, sigma = _spectrum.eigenbasis(group.level_factors(), group.d, n, operator)
        values, index, counts = np.unique(sigma, return_inverse=True, return_counts=True)
        return DenseFilter(columns, index.reshape(-1)), values, counts
    if complete:
        raise ValueError(no_levels(group, atoms))
    whole = _isotypic.kronecker(parts)
    stack = np.concatenate([*whole.lie, *(whole.discrete - np.eye(n)), np.zeros((0, n))])
    scale = np.linalg.norm(stack, 2) if len(stack) else 0.0
    _, sizes, right = np.linalg.svd(stack, full_matrices=True)
    rank = int(np.sum(sizes > 1e-9 * max(scale, 1e-300)))
    kernel = right[rank:].conj().T
    return strict(KernelFilter(np.ascontiguousarray(kernel), STRICT), kernel.shape[1], n)


def krylov_block(atoms: tuple[Rep, ...], complete: bool) -> Block:
    if complete:
        raise ValueError("the matrix-free filter gives level 0 only; leave the choice open")
    n = math.prod(atom.dim for atom in atoms)
    found, rank = chebyshev([generators(atom) for atom in atoms], STRICT)
    return strict(found, rank, n)


def mean_block(atoms: tuple[Rep, ...], complete: bool) -> Block:
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


def stacked_block(atoms: tuple[Rep, ...]) -> Block:
    group = atoms[0].group
    whole = _isotypic.kronecker([generators(atom) for atom in atoms])
    operator = _spectrum.stacked_operator(group, whole.lie, whole.discrete)
    squares, columns = np.linalg.eigh(operator)
    values = np.sqrt(np.where(squares < 1e-9 * max(1.0, squares[-1]), 0.0, squares))
    found, indices = _levels.collect([(values, np.ones(len(values), int), 1)])
    counts = np.bincount(indices[0], minlength=len(found.values))
    return DenseFilter(columns, indices[0]), np.array(found.values), counts


def gains_block(atoms: tuple[Rep, ...], complete: bool) -> Block:
    if len(atoms) > 1:
        raise ValueError(
            f"gains of {named(atoms)} have no action to combine with that of another axis: "
            "depthwise kernels need a (signed) permutation representation on their channels"
        )
    if complete:
        raise ValueError(f"gains of {named(atoms)} are averaged or left alone: no levels between")
    labels = np.asarray(atoms[0].labels)
    n, orbits = len(labels), int(labels.max()) + 1
    weight = 1.0 / np.bincount(labels)
    filter_ = _orbit_labels.OrbitFilter(labels.astype(np.int32), np.ones(n), weight, STRICT, orbits)
    return strict(filter_, orbits, n)
