r"""How far a group of any dimension can move a weight, as certificates.

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
from typing import Any

import numpy as np

from softeq_jax.projections import _promises
from softeq_jax.projections._asked import Asked, understand
from softeq_jax.projections._build import blocks
from softeq_jax.projections._certificate import ROUNDING, Certificate
from softeq_jax.projections._speed import (
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
from softeq_jax.reps import Gains

ELEMENTS = 2_000
"""The largest order of a group of which a supremum is taken element by element."""
_WORK = 100_000_000


def certificate(
    projector: Any,
    w: np.ndarray | None,
    *,
    element: Any = None,
    angle: float | None = None,
    flip: bool = False,
    within: float | None = None,
) -> Certificate:
    """See ``Projector.certificate``; ``w`` is float64 (complex128) with the axes of the projector,
    or None.

    Raises:
      ValueError: a question that makes no sense for the group.
    """
    asked = understand(projector.space.group, element, angle, flip, within)
    gains = [a for _, atoms in blocks(projector.space) for a in atoms if isinstance(a, Gains)]
    if w is None:
        return _promises.certificate(projector, asked, gains)
    norm = float(np.linalg.norm(w))
    if gains:
        return _gains(projector, w, asked, gains, norm)
    space = projector.space
    whole, why = supremum(projector, w)
    margin = ROUNDING * norm
    if asked.scope == "global":
        bound, reason = whole, why
    elif asked.scope == "element":
        bound, reason = movement(projector, w, asked.element), "exact movement"
        margin = ROUNDING * norm * operator_norm(space, asked.element)
    elif asked.elements is not None:
        bound = max(movement(projector, w, g) for g in asked.elements)
        reason = "largest exact movement of the rotations within the angle"
    else:
        bound, reason = within_radius(projector, w, asked.radius)
        margin = ROUNDING * norm * math.exp(min(asked.radius * stretch_rate(space), 700.0))
        bound = min(bound, whole) if math.isfinite(whole) else bound
    return Certificate(
        bound=bound + margin,
        supremum=whole + margin,
        weight_norm=norm,
        norm="frobenius",
        certified=math.isfinite(bound),
        reason=reason,
        **asked.fields,
    )


def movement(projector: Any, w: np.ndarray, g: np.ndarray) -> float:
    """``||g w - w||``, exact up to rounding."""
    return float(np.linalg.norm(projector.act(g, w) - w))


def within_radius(projector: Any, w: np.ndarray, radius: float) -> tuple[float, str]:
    """A bound of ``||g w - w||`` over ``g = exp(sum t_k A_k)``, ``|t| <= radius``; its reason."""
    space = projector.space
    fastest = radius * speed(space, w).largest
    if not is_isometric(space):
        rate = stretch_rate(space)
        bound = growth(radius * rate) * fastest
        if not math.isfinite(bound):
            return math.nan, f"not certified: exp({radius} * {rate:.3g}) overflows"
        return bound, f"local: theorem 4b with the factor (e^(r k) - 1)/(r k), k = {rate:.4g}"
    bound = min(2.0 * float(np.linalg.norm(moving_part(projector, w))), fastest)
    if are_stable(projector):
        each = [
            min(2.0 * float(np.linalg.norm(part)), radius * speed(space, part).largest)
            for _, part in level_parts(projector, w)
        ]
        bound = min(bound, math.hypot(*each))
    return bound, "min(2 ||N w||, r ||L w||), level by level"


def supremum(projector: Any, w: np.ndarray) -> tuple[float, str]:
    """A bound of ``||g w - w||`` over the group and its reason; NaN where there is none."""
    space, group = projector.space, projector.space.group
    if group.is_finite and group.order <= ELEMENTS and group.order * w.size <= _WORK:
        largest = max(movement(projector, w, g) for g in group.elements())
        return largest, f"largest exact movement of the {group.order} elements"
    if not is_isometric(space):
        return math.nan, "not certified: " + unbounded(group)
    trivial_bound = 2.0 * float(np.linalg.norm(moving_part(projector, w)))
    length = largest_word(group) if group.is_finite else None
    if length is not None:
        by_words = length * float(generator_defects(projector, w).max(initial=0.0))
        if by_words < trivial_bound:
            return by_words, f"theorem 4a: words of at most {length} generators"
    return trivial_bound, "theorem 3: 2 ||N w||"


def unbounded(group: Any) -> str:
    """Why an action that is not orthogonal has no bound over a whole group."""
    if group.is_compact:
        return (
            f"an action of {group} that is not orthogonal has no bound over the whole group here; "
            "ask for an element or within="
        )
    return (
        f"{group} is not compact and stretches weights without bound; ask for an element or within="
    )


def _gains(
    projector: Any, w: np.ndarray, asked: Asked, gains: list[Any], norm: float
) -> Certificate:
    """Gains as a diagonal matrix D: ``||rho D rho^-1 - D|| <= 2 ||D - P D||`` if orthogonal."""
    if all(atom.part.is_orthogonal for atom in gains):
        bound = 2.0 * float(np.linalg.norm(moving_part(projector, w)))
        reason = "gains as a diagonal matrix: 2 ||N w||, for every element"
    else:
        bound, reason = (
            math.nan,
            f"not certified: gains of an action that is not orthogonal {gains}",
        )
    return Certificate(
        bound=bound + ROUNDING * norm,
        supremum=bound + ROUNDING * norm,
        weight_norm=norm,
        norm="frobenius",
        certified=math.isfinite(bound),
        reason=reason,
        **asked.fields,
    )
