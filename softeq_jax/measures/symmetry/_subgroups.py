"""Subgroups of which symmetry is asked, and closed testing among them.

Data that K leaves as they are, every subgroup H leaves as they are: the hypothesis of K implies
that of H, and those of H and K together are that of the group that both generate. So a family
with these joins is closed under intersection, and H may be rejected at the level of one test if
every group above it is (Marcus, Peritz and Gabriel, Biometrika 63, 1976): its adjusted p-value is
the largest of its own and theirs. Without the joins, p-values are adjusted as Holm does, first.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from softeq_jax.groups import (
    Group,
    OrthogonalGroup,
    PlanarGroup,
    cyclic,
    dihedral,
    from_name,
    so,
)
from softeq_jax.groups import product as product_group

_LISTED = 128
"""Largest order of a group of which all elements are drawn from."""
_DRAWN = 16
"""Elements that are drawn of other groups, and their inverses."""
_WHOLE = 48
"""Largest order of a group of which all subgroups are tested."""
_MOST = 32
"""Subgroups, where all are tested."""
_NEAR = 1e-6


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """A subgroup, with what the test draws from.

    Attributes:
      name: how it prints.
      elements: ``[k, d, d]``, without the identity, with every inverse: all, turns by 1/32 of a
        circle, or random ones.
      generators: ``[m, d, d]``, of a dense part.
      holds: whether a matrix belongs to it.
      order: None where it is infinite.
    """

    name: str
    elements: np.ndarray
    generators: np.ndarray
    holds: Callable[[np.ndarray], bool]
    order: int | None

    def __le__(self, other: "Subgroup") -> bool:
        return all(other.holds(g) for g in self.generators)


def subgroup(group: Group, rng: np.random.Generator, name: str | None = None) -> Subgroup:
    """A group as a subgroup of one of matrices of its size."""
    if group.order is not None and group.order <= _LISTED:
        elements = group.elements()
    elif isinstance(group, PlanarGroup) and group.rotations is None:
        elements = (dihedral if group.has_flip else cyclic)(2 * _DRAWN).elements()
    else:
        draws = group.sample(jax.random.key(int(rng.integers(2**31))), _DRAWN)
        drawn = [group.check(g) for g in np.asarray(draws, group.dtype)]
        elements = np.array([h for g in drawn for h in (g, np.linalg.inv(g))])
    along = [group.exp(0.7 * t) for t in np.eye(len(group.lie_generators))]
    letters = [*along, *group.discrete_generators]
    return Subgroup(
        name or str(group),
        moving(elements),
        np.array(letters).reshape(-1, group.d, group.d),
        group.contains,
        group.order,
    )


@dataclasses.dataclass(frozen=True)
class Family:
    """Subgroups, the whole group first.

    Attributes:
      members: larger ones before smaller ones.
      closed: whether what two of them generate is one of them.
    """

    members: tuple[Subgroup, ...]
    closed: bool

    def adjusted(self, p: Sequence[float]) -> list[float]:
        """p-values that hold for all members at once; none is below that of a group above."""
        found = list(p) if self.closed else _holm(p)
        return [
            max(q for q, above in zip(found, self.members, strict=True) if member <= above)
            for member in self.members
        ]

    def largest(self, kept: Sequence[bool]) -> list[Subgroup]:
        """Those of the members that are kept which lie in no other one."""
        chosen = [member for member, keep in zip(self.members, kept, strict=True) if keep]
        return [
            member
            for member in chosen
            if not any(member <= above and not above <= member for above in chosen)
        ]


def _holm(p: Sequence[float]) -> list[float]:
    order, found, highest = np.argsort(p, kind="stable"), [1.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        found[i] = highest
    return found


def family(group: Group, given: Sequence[Any] | None, rng: np.random.Generator) -> Family:
    """The group with the subgroups that were named, or with those that suggest themselves.

    All subgroups of a finite group of at most 48 elements (if there are at most 32); of SO(2) and
    O(2) turns by 180, 90 and 45 degrees and the flips; of SO(3) and O(3) turns about the last
    axis, and all turns; else none.

    Raises:
      ValueError: one that was named does not lie in the group.
    """
    top = subgroup(group, rng)
    if given is not None:
        groups = [from_name(g) if isinstance(g, str) else g for g in given]
        for one in groups:
            _require_inside(one, group)
        members = [subgroup(one, rng) for one in groups]
        members = [m for m in members if len(m.elements) and not top <= m]
        return Family((top, *members), _has_joins((top, *members)))
    if group.order is not None and group.order <= _WHOLE:
        below = _all_subgroups(group)
        return Family((top, *below), True) if below is not None else Family((top,), True)
    if isinstance(group, PlanarGroup):
        turns = [n for n in (8, 4, 2) if group.rotations is None or group.rotations % n == 0]
        below = [so(2)] if group.has_flip and group.rotations is None else []
        below += [cyclic(group.rotations)] if group.has_flip and group.rotations else []
        below += [dihedral(n) for n in (*turns, 1) if group.has_flip]
        below += [cyclic(n) for n in turns if n != group.rotations]
        return Family((top, *(subgroup(one, rng) for one in below)), True)
    if isinstance(group, OrthogonalGroup) and group.n == 3:
        upright = subgroup(product_group(so(2), so(1)), rng, "SO(2) about the last axis")
        below = [] if group.special else [subgroup(so(3), rng)]
        return Family((top, *below, upright), True)
    return Family((top,), True)


def _require_inside(one: Any, group: Group) -> None:
    if not isinstance(one, Group) or one.d != group.d:
        raise ValueError(f"subgroups= must hold groups of matrices like {group}, got {one!r}")
    along = [one.exp(0.7 * t) for t in np.eye(len(one.lie_generators))]
    for g in (*along, *one.discrete_generators):
        if not group.contains(g):
            raise ValueError(f"{one} is no subgroup of {group}: {np.round(g, 3).tolist()} is in it")


def moving(elements: np.ndarray) -> np.ndarray:
    """The elements ``[k, d, d]`` without the identity."""
    return elements[np.abs(elements - np.eye(elements.shape[1])).max(axis=(1, 2)) > _NEAR]


def _has_joins(members: Sequence[Subgroup]) -> bool:
    """Whether what two members generate is known to be a member."""
    for a, b in itertools.combinations(members, 2):
        if a <= b or b <= a:
            continue
        above = [m for m in members if a <= m and b <= m]
        orders = [m.order for m in above if m.order is not None]
        least = min(orders, default=0)
        if not least or len(_generated([*a.generators, *b.generators], least)) != least:
            return False
    return True


def _generated(letters: Sequence[np.ndarray], most: int) -> list[np.ndarray]:
    """The elements that some matrices generate; more than ``most`` are not listed."""
    found = [np.eye(len(letters[0]))]
    for g in found:  # grows while it is walked through
        for h in letters:
            new = g @ h
            if not any(np.allclose(new, old, atol=_NEAR) for old in found):
                found.append(new)
        if len(found) > most:
            break
    return found


def _all_subgroups(group: Group) -> list[Subgroup] | None:
    """The subgroups but the trivial one and the whole; None where they are too many."""
    elements = group.elements()
    table = np.array([group.indices(g @ elements) for g in elements])
    identity = group.index(np.eye(group.d))

    def closure(start: frozenset[int]) -> frozenset[int]:
        found = set(start) | {identity}
        while True:
            more = {int(table[a, b]) for a in found for b in found} - found
            if not more:
                return frozenset(found)
            found |= more

    cyclics = {closure(frozenset([i])) for i in range(len(elements))}
    known, new = set(cyclics), set(cyclics)
    while new:
        new = {closure(a | b) for a in new for b in cyclics} - known
        known |= new
        if len(known) > _MOST + 2:
            return None
    sets = sorted((s for s in known if 1 < len(s) < len(elements)), key=lambda s: (-len(s), min(s)))
    names = _names(group, elements, sets)
    return [_listed(group, elements, s, name) for s, name in zip(sets, names, strict=True)]


def _listed(group: Group, elements: np.ndarray, members: frozenset[int], name: str) -> Subgroup:
    others = moving(elements[sorted(members)])
    return Subgroup(name, others, others, lambda g: group.index(g) in members, len(members))


def _names(group: Group, elements: np.ndarray, sets: Sequence[frozenset[int]]) -> list[str]:
    """C4, D2 (flip at 0 degrees); "order 4, number 2" where the group is not of the plane."""
    if isinstance(group, PlanarGroup):
        return [_planar_name(group, elements[sorted(s)]) for s in sets]
    found = []
    for i, one in enumerate(sets):
        number = 1 + sum(len(other) == len(one) for other in sets[:i])
        found.append(f"order {len(one)}, number {number}")
    return found


def _planar_name(group: PlanarGroup, elements: np.ndarray) -> str:
    parts = [group.parameters(g) for g in elements]
    flips = [angle for angle, flipped in parts if flipped]
    turns = len(parts) - len(flips)
    if not flips:
        return f"C{turns}"
    first = math.degrees(min(flips))
    if turns == 1:
        known = {0.0: "left-right", 180.0: "up-down", 90.0: "diagonal", 270.0: "other diagonal"}
        return f"D1 ({known.get(round(first, 3), f'flip, then {first:.4g} degrees')})"
    if turns == 2 and abs(first - 90) < _NEAR:
        return "D2 (diagonals)"
    return f"D{turns}" if first < _NEAR else f"D{turns} (flip, then {first:.4g} degrees)"
