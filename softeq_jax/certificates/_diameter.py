"""Diameters of groups, as metric spaces of angles or of words."""

import itertools
import math

import numpy as np

from softeq_jax.groups import (
    LISTABLE,
    Group,
    OrthogonalGroup,
    PermutationGroup,
    PlanarGroup,
    ProductGroup,
    SpecialUnitaryGroup,
    SymplecticUnitaryGroup,
)
from softeq_jax.projections.movement import word_lengths


def diameter(group: Group) -> float:
    r"""The largest distance of an element from the identity.

    * Connected compact groups: the largest, over elements g, of the least ``|t|_2`` with
      ``g = exp(sum t_k A_k)``, A_k orthonormal. SO(2), SO(3): pi. SO(n): ``pi sqrt(floor(n/2))``.
      SU(n): ``pi sqrt(2 n)`` for even n, ``pi sqrt(2 (n - 1/n))`` for odd n. USp(n):
      ``2 pi sqrt(n)`` (eigenvalues ``e^{+-i theta}``, ``|theta| <= pi``, and
      ``|t|^2 = 4 sum theta^2``). Products: the root of the sum of squares.
    * Finite groups that can be listed: the diameter of the Cayley graph of the discrete generators
      and their inverses, by breadth-first search (above 5000 elements without inverses, which is
      never less). Products: the sum.

    Raises:
      ValueError: the group is neither (not compact, of several components with a Lie algebra, too
        large to list), or no formula is known.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> round(sq.certificates.diameter(sq.groups.so(3)) / np.pi, 6)
      1.0
      >>> sq.certificates.diameter(sq.groups.cyclic(6))  # three steps either way
      3.0
    """
    if isinstance(group, ProductGroup):
        if group.is_finite:
            return math.fsum(diameter(factor) for factor in group.factors)
        if group.is_connected:
            return math.hypot(*(diameter(factor) for factor in group.factors))
    elif group.order is not None:
        if group.order > LISTABLE:
            raise ValueError(
                f"{group} has {group.order} elements, more than the {LISTABLE} that can be listed: "
                "its Cayley diameter is not known"
            )
        return float(word_lengths(group).max())
    elif group.is_connected:
        if isinstance(group, PlanarGroup):
            return math.pi
        if isinstance(group, OrthogonalGroup):
            return math.pi * math.sqrt(group.n // 2)
        if isinstance(group, SpecialUnitaryGroup):
            n = group.n
            return math.pi * math.sqrt(2.0 * n if n % 2 == 0 else 2.0 * (n - 1.0 / n))
        if isinstance(group, SymplecticUnitaryGroup):
            return 2.0 * math.pi * math.sqrt(group.n)
    why = (
        "it is not compact"
        if not group.is_compact
        else "it has several components and a Lie algebra"
        if not group.is_connected
        else "no formula is known for it"
    )
    raise ValueError(f"{group} has no diameter here: {why}")


def is_abelian(group: Group) -> bool:
    """Whether all generators commute with each other (in the defining, faithful matrices)."""
    if isinstance(group, PermutationGroup):
        pairs = itertools.combinations(group.letters(), 2)
        return all(np.array_equal(p[q], q[p]) for p, q in pairs)
    matrices = [*group.lie_generators, *group.discrete_generators]
    for a, b in itertools.combinations(matrices, 2):
        product = a @ b
        scale = max(1.0, float(np.abs(product).max()))
        if np.abs(product - b @ a).max() > 1e-9 * scale:
            return False
    return True
