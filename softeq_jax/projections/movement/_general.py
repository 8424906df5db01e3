r"""The movement of a weight under any group: computed for one element, bounded for many.

*One element*: ``||g w - w||`` is computed. *A neighbourhood*, ``g = exp(B)`` with
``B = sum_k t_k A_k`` acting jointly on all axes and ``|t|_2 <= r``: with ``mu`` the logarithmic
norm (largest eigenvalue of the Hermitian part) ``||exp(s B)|| <= e^{s mu(B)}``, so

.. math::
   \|e^B w - w\| = \Big\| \int_0^1 e^{s B} B w \, ds \Big\|
   \le \int_0^1 e^{s \mu(B)} ds \, \|B w\|
   \le \frac{e^{r \kappa} - 1}{r \kappa} \, r \, v(w), \qquad \kappa = \max_{|t| = 1} \mu(B),

where ``v(w) <= ||L w||`` is the speed (theorem 4b; the middle step because ``s -> e^{s mu}`` is
increasing in mu, and ``mu(B) <= r kappa``). For orthogonal actions ``kappa = 0`` and also
``||g w - w|| = ||g N w - N w|| <= 2 ||N w||``. There the levels are orthogonal and kept by the
group, so the bound ``min(2 ||w_j||, r v(w_j))`` of each level adds in squares.

*The whole group*: finite ones by all their elements; compact ones by ``2 ||N w||`` (theorem 3),
which no bound ``diam * ||L w||`` can undercut: on every irreducible part some element within the
diameter has the eigenvalue -1, so ``diam * sigma >= 2``. Non-compact ones have no such bound.
"""

import math

import numpy as np

from softeq_jax.groups import Group
from softeq_jax.projections._certificate import ROUNDING, Certificate
from softeq_jax.projections._choose import Splitting
from softeq_jax.projections._space import Space
from softeq_jax.projections.movement._question import Inquiry
from softeq_jax.projections.movement._speeds import (
    are_stable,
    generator_defects,
    growth,
    is_isometric,
    largest_word,
    level_parts,
    moving_part,
    operator_norm,
    speed,
    stretch_rate,
)
from softeq_jax.projections.movement._torus import torus_supremum
from softeq_jax.reps import Gains

ELEMENTS = 2_000
"""The largest order of a group of which a supremum is taken element by element."""
_WORK = 100_000_000


def certificate(parts: Splitting, w: np.ndarray, inquiry: Inquiry) -> Certificate:
    """The certificate of a weight, float64 (complex128) with the axes of the space."""
    norm, space = float(np.linalg.norm(w)), parts.space
    gains = gains_of(space)
    margin = ROUNDING * norm
    if gains:
        bound, reason = _of_gains(parts, w, gains)
        whole = bound
    else:
        whole, reason = supremum(parts, w)
        if inquiry.scope == "global":
            bound = whole
        elif inquiry.element is not None:
            bound, reason = movement(space, w, inquiry.element), "exact movement"
            margin *= operator_norm(space, inquiry.element)
        elif inquiry.elements is not None:
            bound = max(movement(space, w, g) for g in inquiry.elements)
            reason = "largest exact movement of the rotations within the angle"
        elif not len(space.group.lie_generators):
            bound = whole  # there are too many elements within the angle to be listed
        else:
            radius = inquiry.radius or 0.0
            bound, reason = within_radius(parts, w, radius)
            margin *= math.exp(min(radius * stretch_rate(space), 700.0))
            bound = min(bound, whole) if math.isfinite(whole) else bound
    return Certificate(
        bound=bound + margin,
        supremum=whole + margin,
        weight_norm=norm,
        norm="frobenius",
        certified=math.isfinite(bound),
        reason=reason,
        **inquiry.fields,
    )


def gains_of(space: Space) -> list[Gains]:
    """The atoms that are gains, which have no action but components that are averaged."""
    return [atom for _, atoms in space.blocks() for atom in atoms if isinstance(atom, Gains)]


def movement(space: Space, w: np.ndarray, g: np.ndarray) -> float:
    """``||g w - w||``, exact up to rounding."""
    return float(np.linalg.norm(space.act(g, w) - w))


def within_radius(parts: Splitting, w: np.ndarray, radius: float) -> tuple[float, str]:
    """A bound of ``||g w - w||`` over ``g = exp(sum t_k A_k)``, ``|t| <= radius``; its reason."""
    space = parts.space
    fastest = radius * speed(space, w).largest
    if not is_isometric(space):
        rate = stretch_rate(space)
        bound = growth(radius * rate) * fastest
        if not math.isfinite(bound):
            return math.nan, f"not certified: exp({radius} * {rate:.3g}) overflows"
        return bound, f"local: theorem 4b with the factor (e^(r k) - 1)/(r k), k = {rate:.4g}"
    bound = min(2.0 * float(np.linalg.norm(moving_part(parts, w))), fastest)
    if are_stable(parts):
        each = [
            min(2.0 * float(np.linalg.norm(part)), radius * speed(space, part).largest)
            for _, part in level_parts(parts, w)
        ]
        bound = min(bound, math.hypot(*each))
    return bound, "min(2 ||N w||, r ||L w||), level by level"


def supremum(parts: Splitting, w: np.ndarray) -> tuple[float, str]:
    """A bound of ``||g w - w||`` over the group and its reason; NaN where there is none."""
    space, group = parts.space, parts.space.group
    if group.order is not None and group.order <= ELEMENTS and group.order * w.size <= _WORK:
        largest = max(movement(space, w, g) for g in group.listed())
        return largest, f"largest exact movement of the {group.order} elements"
    if not is_isometric(space):
        return math.nan, "not certified: " + unbounded(group)
    trivial_bound = 2.0 * float(np.linalg.norm(moving_part(parts, w)))
    torus = torus_supremum(space, w)
    if torus is not None:
        excess = torus.bound / torus.attained - 1.0 if torus.attained else 0.0
        return min(torus.bound, trivial_bound), f"largest movement over the torus, to {excess:.0e}"
    length = largest_word(group) if group.is_finite else None
    if length is not None:
        by_words = length * float(generator_defects(space, w).max(initial=0.0))
        if by_words < trivial_bound:
            return by_words, f"theorem 4a: words of at most {length} generators"
    return trivial_bound, "theorem 3: 2 ||N w||, an upper bound"


def unbounded(group: Group) -> str:
    """Why an action that is not orthogonal has no bound over a whole group.

    Example:
      >>> import softeq_jax as sq
      >>> sq.projections.movement.unbounded(sq.groups.lorentz())
      'O(1,3) is not compact and stretches weights without bound...'
    """
    if group.is_compact:
        return (
            f"an action of {group} that is not orthogonal has no bound over the whole group here; "
            "ask for an element or within="
        )
    return (
        f"{group} is not compact and stretches weights without bound; ask for an element or within="
    )


def _of_gains(parts: Splitting, w: np.ndarray, gains: list[Gains]) -> tuple[float, str]:
    """Gains as a diagonal matrix D: ``||rho D rho^-1 - D|| <= 2 ||D - P D||`` if orthogonal."""
    if all(atom.part.is_orthogonal for atom in gains):
        bound = 2.0 * float(np.linalg.norm(moving_part(parts, w)))
        return bound, "gains as a diagonal matrix: 2 ||N w||, for every element"
    return math.nan, f"not certified: gains of an action that is not orthogonal {gains}"
