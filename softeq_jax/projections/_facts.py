"""What is known of a tensor product of atoms: facts that the choice of a back end rests on."""

import math

import numpy as np

from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.projections import _orbit_labels, _spectrum
from softeq_jax.projections._isotypic import Generators
from softeq_jax.projections._pairs import halves
from softeq_jax.reps import Rep

Block = tuple[object, np.ndarray, np.ndarray]
"""A filter, the levels of its indices (NaN: not known) and the dimension of each."""

STRICT = np.array([0, 1])
"""Indices of a filter that knows level 0 only: it, and everything else."""


def strict(filter_: object, rank: int, n: int) -> Block:
    """The block of a filter that knows level 0 only."""
    return filter_, np.array([0.0, np.nan]), np.array([rank, n - rank])


def generators(atom: Rep) -> Generators:
    """The generator matrices of one atom."""
    return Generators(atom.lie_matrices(), atom.discrete_matrices())


def is_planar(atoms: tuple[Rep, ...]) -> bool:
    """Whether all atoms are resolved into frequencies of the plane."""
    if not isinstance(atoms[0].group, PlanarGroup):
        return False
    return all(atom.frequencies() is not None for atom in atoms)


def refuse_unmatched(atoms: tuple[Rep, ...]) -> None:
    """Raises ValueError for patterns of level infinity, which only frequencies can express."""
    for atom in atoms:
        if atom.unmatched.shape[1]:
            raise ValueError(
                f"{atom!r} has {atom.unmatched.shape[1]} unmatched patterns, which only the "
                "spectral back end of groups of the plane can tell from invariants; use an odd "
                "number of pixels, or a group that permutes them"
            )


def orbit_moves(atoms: tuple[Rep, ...]) -> list | None:
    """``(index, sign)`` of each generator where all act as signed permutations, else None."""
    if any(np.max(np.abs(atom.lie_matrices()), initial=0.0) > 0 for atom in atoms):
        return None
    return _orbit_labels.joint_moves(atoms)


def axis_sizes(atoms: tuple[Rep, ...]) -> int:
    """The larger dimension when the atoms are divided into two groups."""
    dims = tuple(atom.dim for atom in atoms)
    return max(math.prod(dims[i] for i in side) for side in halves(dims))


def has_levels(group: Group, atoms: tuple[Rep, ...]) -> bool:
    """Whether ``L* L`` is central: classes that can be listed, and adjoints within the algebra."""
    return group.level_factors() is not None and _spectrum.is_closed_under_adjoints(
        group, [generators(atom) for atom in atoms]
    )


def no_levels(group: Group, atoms: tuple[Rep, ...]) -> str:
    """Why there are no levels above 0."""
    if group.level_factors() is None:
        return (
            f"{group} has no levels above 0: the conjugacy classes of its generators cannot be "
            "listed; only the strict projector (cutoff=0) and the identity (softness=1) exist"
        )
    return (
        f"{named(atoms)} has no levels above 0: its matrices are not closed under transposition; "
        "only the strict projector (cutoff=0) and the identity (softness=1) exist"
    )


def named(atoms: tuple[Rep, ...]) -> str:
    """The tensor product in words."""
    return " ⊗ ".join(map(repr, atoms))
