"""Stages that define levels, conjugacy classes, and words of elements in generators."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class ConjugacyClass(NamedTuple):
    """Elements that are conjugate to each other, with the weight of their part of a level.

    Attributes:
      weight: ``(order(h) / 2 pi)^2``, the same for every ``h`` of the class.
      elements: as ``Group.concise`` gives them: ``[s, d, d]``, or permutations, int ``[s, n]``.

    Example:
      >>> import softeq_jax as sq
      >>> ((stage,),) = sq.groups.symmetric(3).level_factors()
      >>> round(stage.classes[0].weight, 4), len(stage.classes[0].elements)  # (2 / 2 pi)^2
      (0.1013, 3)
    """

    weight: float
    elements: np.ndarray


class Stage(NamedTuple):
    """One positive operator that is central in every orthogonal representation.

    In a representation rho its value is

        sum over k in lie of rho(A_k)^T rho(A_k)
          + sum over classes of weight (2 - T - T^T),    T = mean of rho over the elements.

    Attributes:
      lie: indices of Lie generators.
      classes: classes of discrete elements.

    Example:
      >>> import softeq_jax as sq
      >>> ((stage,),) = sq.groups.so(3).level_factors()
      >>> stage.lie, stage.classes  # the Casimir: all three generators
      ((0, 1, 2), ())
    """

    lie: tuple[int, ...]
    classes: tuple[ConjugacyClass, ...]


class Factorization(NamedTuple):
    """An element as ``exp(sum_k t1_k A_k) exp(sum_k t2_k A_k) ... h_w1 h_w2 ...``.

    Attributes:
      tangents: coordinates in the basis ``lie_generators``, each float64 ``[k]``.
      word: indices of discrete generators, from left to right.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.o(3)
      >>> f = G.factor(-np.eye(3))
      >>> len(f.word), np.shape(f.tangents)
      (1, (1, 3))
    """

    tangents: tuple[np.ndarray, ...]
    word: tuple[int, ...]


class Words(NamedTuple):
    """The tree of shortest words of a finite group.

    Element ``i`` is ``elements[parent[i]] @ discrete_generators[generator[i]]``; both entries are
    -1 for the identity.

    Attributes:
      parent: int ``[order]``.
      generator: int ``[order]``.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.cyclic(4)
      >>> [G.words().spell(i) for i in range(4)]
      [(), (0,), (0, 0), (0, 0, 0)]
    """

    parent: np.ndarray
    generator: np.ndarray

    def spell(self, i: int) -> tuple[int, ...]:
        """The generators whose product, from left to right, is element ``i``."""
        letters = []
        while self.parent[i] >= 0:
            letters.append(int(self.generator[i]))
            i = self.parent[i]
        return tuple(reversed(letters))


def weight(order: int) -> float:
    """``(order / 2 pi)^2``."""
    return (order / (2.0 * math.pi)) ** 2


def matrix_order(h: np.ndarray, limit: int = 10_000) -> int:
    """The order of a matrix; ValueError if it exceeds the limit.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> sq.groups.matrix_order(np.array([[0, -1], [1, 0]]))
      4
    """
    power = np.array(h)
    for order in range(1, limit + 1):
        if np.max(np.abs(power - np.eye(len(h)))) < 1e-9 * order:
            return order
        power = power @ h
    raise ValueError(f"a discrete generator has no order up to {limit}")


def generator_classes(
    seeds: Sequence[Any],
    generators: Sequence[Any],
    inverse: Callable[[Any], Any],
    conjugate: Callable[[Any, Any], Any],
    key: Callable[[Any], Any],
    limit: int,
) -> list[list[Any]] | None:
    """The distinct conjugacy classes of some elements; a class and its inverse are one.

    Args:
      seeds: the elements, none of them the identity.
      generators: of the group.
      inverse: of an element.
      conjugate: ``(h, x) -> h x h^-1``.
      key: a hashable that is the same for the same element and for no other.
      limit: largest class to be listed.

    Returns:
      The elements of each class, starting with the seed; None when one is over the limit.
    """
    classes: list[list[Any]] = []
    seen: set[Any] = set()
    for h in seeds:
        if key(h) in seen or key(inverse(h)) in seen:
            continue
        members, keys = [h], {key(h)}
        for x in members:  # grows while it is walked through
            for g in generators:
                y = conjugate(g, x)
                if (k := key(y)) not in keys:
                    keys.add(k)
                    members.append(y)
                    if len(members) > limit:
                        return None
        seen |= keys
        classes.append(members)
    return classes
