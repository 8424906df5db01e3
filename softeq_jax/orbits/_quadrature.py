r"""Elements and weights that integrate over a group exactly, up to a degree.

A matrix coefficient of SO(2) of frequency m, ``e^{i m t}``, has the mean 0 over M equispaced angles
unless M divides m. One of SO(3) of degree l, in angles :math:`g = R_z(\alpha) R_y(\beta)
R_z(\gamma)`, is :math:`e^{-i m \alpha} d^l_{mn}(\beta) e^{-i n \gamma}`: equispaced angles leave
``m = n = 0``, where :math:`d^l_{00}(\beta) = P_l(\cos \beta)` is a polynomial, integrated
by the nodes of Gauss and Legendre (Wigner 1931; McLaren, Math. Comp. 17, 1963).
"""

import functools
import math
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np

from softeq_jax._checks import whole
from softeq_jax.groups import (
    LISTABLE,
    Group,
    OrthogonalGroup,
    PlanarGroup,
    ProductGroup,
    cyclic,
    dihedral,
)
from softeq_jax.orbits._orbit import common_group
from softeq_jax.reps import OnFactor, Rep


class Quadrature(NamedTuple):
    """A rule ``sum_i w_i f(g_i)`` for the mean of f over a group.

    Attributes:
      elements: ``[n, d, d]``, float64 or complex128.
      weights: float64 ``[n]``, positive, with sum 1.

    Example:
      >>> import softeq_jax as sq
      >>> rule = sq.orbits.quadrature(sq.groups.so(3), 2)
      >>> rule.elements.shape, round(float(rule.weights.sum()), 6)
      ((18, 3, 3), 1.0)
    """

    elements: np.ndarray
    weights: np.ndarray


def quadrature(group: Group, degree: int | tuple[int, ...] = 0) -> Quadrature:
    """A rule that is exact for every matrix coefficient up to a degree.

    * finite groups: all elements, exact for everything (the degree does not matter); of C_n and D_n
      with more than 50 000 elements the smallest C_k and D_k in them with ``k > degree``, exact for
      frequencies up to the degree (the group's mean of those between is 0, as it is over C_k);
    * SO(2): ``degree + 1`` equispaced angles, exact for frequencies ``|m| <= degree``; O(2): the
      same times the flip;
    * SO(3): ``(degree + 1)^2 ceil((degree + 1) / 2)`` rotations, exact for ``l <= degree``;
      O(3): the same times the inversion;
    * products of these: all combinations.

    Args:
      group: one of these groups.
      degree: of what is integrated, as a function of the group element; for a product one for
        all factors, or a tuple with one for each. See ``polynomial_degree``.

    Returns:
      The rule, float64 on the host.

    Raises:
      ValueError: no rule is known for the group, which is not compact or another Lie group; the
        degree is no integer of at least 0; the rule has more than 50 000 elements.
      TypeError: ``group`` is no group.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> rule = sq.orbits.quadrature(sq.groups.so(2), 2)  # three angles
      >>> mean = np.einsum("n,nij->ij", rule.weights, rule.elements)
      >>> len(rule.weights), bool(abs(mean).max() < 1e-12)
      (3, True)
    """
    if not isinstance(group, Group):
        raise TypeError(f"quadrature needs a group, got {group!r}")
    require_mean(group)
    if not isinstance(group, ProductGroup):
        return _rule(group, _degree(degree))
    degrees = degree if isinstance(degree, tuple) else (degree,) * len(group.factors)
    if len(degrees) != len(group.factors):
        raise ValueError(
            f"{group} has {len(group.factors)} factors, got the degrees {degrees} for them"
        )
    rules = [_rule(f, _degree(n)) for f, n in zip(group.factors, degrees, strict=True)]
    _check_size(math.prod(len(rule.weights) for rule in rules), group, degree)
    elements, weights = np.eye(group.d, dtype=group.dtype)[None], np.ones(1)
    for i, rule in enumerate(rules):
        placed = group.embed(i, rule.elements)
        elements = (elements[:, None] @ placed).reshape(-1, group.d, group.d)
        weights = np.multiply.outer(weights, rule.weights).reshape(-1)
    return Quadrature(elements, weights)


def polynomial_degree(rep_in: Any, rep_out: Any, p: int = 1) -> int | tuple[int, ...]:
    """The degree ``p m_in + m_out`` of the integrand that ``average`` has for a polynomial.

    For ``f`` a polynomial of degree p, ``rho_out(g)^-1 f(rho_in(g) x)`` is one of degree
    ``p m_in + m_out`` in the matrix coefficients of g, where m is the largest frequency (SO(2),
    O(2)) or the largest degree l (SO(3), O(3)) that occurs in a representation.

    Args:
      rep_in: a representation, or a pytree of them.
      rep_out: a representation, or a pytree of them, of the same group.
      p: the degree of f, 1 for linear and affine maps.

    Returns:
      The degree, 0 for finite groups of at most 50 000 elements; for a product of groups a tuple
      with one for each factor.

    Raises:
      ValueError: different groups, or one that has no quadrature; p is negative or no integer.
      TypeError: no representations.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> sq.orbits.polynomial_degree(V, V), sq.orbits.polynomial_degree(V * V, V, p=3)
      (2, 7)
    """
    group = common_group(rep_in, rep_out)
    p = whole(p, "the degree p of the polynomial", least=0)
    largest = [np.zeros(_factors(group)[1], int) for _ in range(2)]
    for i, reps in enumerate((rep_in, rep_out)):
        for rep in jax.tree.leaves(reps):
            largest[i] = np.maximum(largest[i], _largest(rep))
    total = tuple((p * largest[0] + largest[1]).tolist())
    return total if isinstance(group, ProductGroup) else total[0]


def require_mean(group: Group) -> None:
    """ValueError unless the group has a uniform (Haar) mean."""
    if not group.is_compact:
        raise ValueError(
            f"{group} is not compact, so there is no Haar mean over it, exact or sampled; average "
            "over a compact subgroup, or over chosen elements of an orbit"
        )


def _rule(group: Group, degree: int) -> Quadrature:
    if is_listable(group) or (group.is_finite and not isinstance(group, PlanarGroup)):
        elements = group.elements()
        return Quadrature(elements, np.full(len(elements), 1.0 / len(elements)))
    if isinstance(group, PlanarGroup):
        turns = degree + 1
        if group.rotations is not None:
            divisors = (k for k in range(turns, LISTABLE + 1) if group.rotations % k == 0)
            turns = next(divisors, group.rotations)
        _check_size(turns * (1 + group.has_flip), group, degree)
        elements = (dihedral if group.has_flip else cyclic)(turns).elements()
        return Quadrature(elements, np.full(len(elements), 1.0 / len(elements)))
    if not (isinstance(group, OrthogonalGroup) and group.n == 3):
        _refuse(group)
    nodes = degree // 2 + 1  # ceil((degree + 1) / 2)
    _check_size((degree + 1) ** 2 * nodes * (1 if group.special else 2), group, degree)
    elements, weights = _rotations(degree + 1, nodes)
    if not group.special:
        elements, weights = np.concatenate([elements, -elements]), np.tile(weights / 2.0, 2)
    return Quadrature(elements, weights)


def _rotations(angles: int, nodes: int) -> Quadrature:
    """The product rule on SO(3), gamma fastest; it is exact for degrees below ``angles`` and
    below ``2 nodes``."""
    turns = np.zeros((angles, 3, 3))
    turns[:, :2, :2], turns[:, 2, 2] = cyclic(angles).elements(), 1.0
    cos, weights = np.polynomial.legendre.leggauss(nodes)
    sin = np.sqrt((1.0 - cos) * (1.0 + cos))
    tilts = np.zeros((nodes, 3, 3))
    tilts[:, 1, 1] = 1.0
    tilts[:, 0, 0], tilts[:, 0, 2], tilts[:, 2, 0], tilts[:, 2, 2] = cos, sin, -sin, cos
    elements = turns[:, None, None] @ tilts[None, :, None] @ turns[None, None]
    weights = np.broadcast_to(weights[None, :, None] / weights.sum(), (angles, nodes, angles))
    return Quadrature(elements.reshape(-1, 3, 3), weights.reshape(-1) / angles**2)


def is_listable(group: Group) -> bool:
    """Whether a mean takes all elements: there are at most 50 000."""
    return group.order is not None and group.order <= LISTABLE


def _is_spatial(group: Group) -> bool:
    return isinstance(group, OrthogonalGroup) and group.n == 3


def _refuse(group: Group) -> NoReturn:
    raise ValueError(
        f"no quadrature is available for {group}, only for finite groups, SO(2), O(2), SO(3), O(3) "
        "and their products; average(..., samples=n, key=key) draws Haar samples instead, an "
        "unbiased estimate with an error of order 1 / sqrt(n)"
    )


def _check_size(n: int, group: Group, degree: Any) -> None:
    if n > LISTABLE:
        raise ValueError(
            f"the rule of degree {degree} for {group} has {n} elements, more than the {LISTABLE} "
            "that are allowed; average(..., samples=n, key=key) draws Haar samples instead, an "
            "unbiased estimate"
        )


def _degree(n: Any) -> int:
    return whole(n, "the degree", least=0)


def _factors(group: Group) -> tuple[tuple[Group, ...], int]:
    factors = group.factors if isinstance(group, ProductGroup) else (group,)
    return factors, len(factors)


def _largest(rep: Rep) -> np.ndarray:
    """Largest frequency or degree of a representation under each factor of its group, int
    ``[factors]``; of a tensor product it is the sum."""
    found = [np.zeros(_factors(rep.group)[1], int)]
    for term, _ in rep.terms():
        found.append(sum((_largest_of(atom) for atom in term.atoms), found[0]))
    return np.max(found, axis=0)


@functools.lru_cache(maxsize=256)
def _largest_of(rep: Rep) -> np.ndarray:
    require_mean(rep.group)
    if isinstance(rep, OnFactor):
        alone = np.zeros(_factors(rep.group)[1], int)
        alone[rep.position] = _largest(rep.part)[0]
        return alone
    if (frequencies := rep.frequencies()) is not None:
        highest = frequencies.frequency.max(initial=0)
        return np.array([0 if is_listable(rep.group) else highest])
    found, start, lie = [], 0, rep.lie_matrices()
    for f in _factors(rep.group)[0]:
        mine = lie[start : start + len(f.lie_generators)]
        start += len(mine)
        if is_listable(f):
            found.append(0)
        elif isinstance(f, PlanarGroup) and len(mine):
            found.append(round(float(np.abs(np.linalg.eigvals(mine[0])).max())))
        elif _is_spatial(f):  # the Casimir element is l (l + 1)
            casimir = float(np.linalg.eigvals(-np.sum(mine @ mine, axis=0)).real.max())
            found.append(round((math.sqrt(1.0 + 4.0 * max(casimir, 0.0)) - 1.0) / 2.0))
        else:
            _refuse(f)
    return np.array(found)
