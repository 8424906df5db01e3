"""Guarantees by the levels alone: theorem 5 and the gap bound."""

import math
from typing import Any, NamedTuple

import numpy as np

from softeq_jax.certificates._bounds import weight
from softeq_jax.certificates._diameter import diameter
from softeq_jax.projections import ROUNDING, Certificate, Projector
from softeq_jax.projections.movement import (
    frobenius,
    growth,
    is_isometric,
    level_parts,
    stretch_rate,
)


class Gap(NamedTuple):
    """The spectral gap of a representation.

    Attributes:
      level: smallest positive level; infinity where there is none.
      moving_norm: bound of ``||N w||`` by the levels; NaN without a weight.

    Example:
      >>> import softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.vector(sq.groups.so(3))}, softness=1.0)
      >>> round(sq.certificates.gap(P).level ** 2, 6)
      2.0
    """

    level: float
    moving_norm: float


def cutoff_bound(
    projector: Projector, norm: float = 1.0, radius: float | None = None
) -> Certificate:
    r"""Theorem 5: what a cut or mask guarantees for every weight of a norm, by its width alone.

    .. math:: \|g P w - P w\| \le \min(2, \; |t| \max_j f_j \sigma_j) \, \|w\|, \qquad
              \max_\sigma f \sigma \le b, \; e^{-1/2} b = 0.607 b, \; b / 2

    for hard, heat and resolvent masks f of width b; ``||w||`` is that of the *unfiltered* weight.
    The maximum is taken over the levels that exist. Where the action is not orthogonal the first
    bound is missing and the second carries theorem 4b's factor ``(e^(r k) - 1)/(r k)``.

    Groups with a Lie algebra only: the levels of finite groups are class means that a single
    element may exceed (``projector.certificate()`` has their exact table). Over a whole connected
    compact group (no radius) it is never below the trivial ``2 ||w||``: ``is_vacuous`` says so.

    Args:
      projector: at some level.
      norm: ``||w||`` of the unfiltered weight.
      radius: largest ``|t|``; None: the diameter of the group.

    Raises:
      ValueError: a finite group, a norm or radius that is no number >= 0, no diameter.

    Example:
      >>> import softeq_jax as sq
      >>> I = sq.reps.image(sq.groups.so(2), (5, 5))
      >>> P = sq.projector("h w", {"h w": I}, cutoff=1.0)
      >>> round(sq.certificates.cutoff_bound(P, norm=3.0, radius=0.1).bound, 6)
      0.3
    """
    space, group = projector.space, projector.space.group
    if not len(group.lie_generators):
        raise ValueError(
            f"levels of {group} are means over conjugacy classes: use projector.certificate()"
        )
    norm = _number(norm, "the norm ||w|| of the unfiltered weight (pass np.linalg.norm(w), not w)")
    if radius is not None:
        radius = _number(radius, "a radius |t|")
    if not norm >= 0.0 or (radius is not None and not 0.0 <= radius < math.inf):
        raise ValueError(f"norm and radius must be >= 0, got norm={norm}, radius={radius}")
    reach = diameter(group) if radius is None else float(radius)
    factors = 1.0 - projector.host_dropped()
    sizes = projector.spectrum.sizes
    sigma = np.array([*projector.spectrum.values, np.finfo(np.float64).max])
    rate = float(np.max((factors * sigma)[sizes > 0], initial=0.0))
    kept = float(np.max(factors[1:][sizes[1:] > 0], initial=0.0))
    if is_isometric(space):
        whole = 2.0 * kept * norm
        bound = min(whole, reach * rate * norm)
    else:
        whole = math.nan
        bound = growth(reach * stretch_rate(space)) * reach * rate * norm
        bound = bound if math.isfinite(bound) else math.nan
    certified = math.isfinite(bound)
    return Certificate(
        bound=bound + ROUNDING * norm,
        supremum=whole + ROUNDING * norm,
        weight_norm=norm,
        norm="frobenius",
        scope="global" if radius is None else "local",
        angle=None if radius is None else reach,
        flip=False,
        certified=certified,
        reason=f"theorem 5: rate {rate:.4g} of the {projector.mask} mask, angles up to {reach:.4g}"
        if certified
        else "not certified: the action is not orthogonal and its levels are not known",
    )


def _number(value: Any, what: str) -> float:
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "iuf":
        got = f"an array of shape {array.shape}" if array.ndim else repr(value)
        raise ValueError(f"cutoff_bound expects {what}, one real number, got {got}")
    return float(array)


def gap(projector: Projector, w: Any = None) -> Gap:
    r"""The gap bound ``||N w|| <= sqrt(sum_j sigma_j^2 ||w_j||^2) / sigma_gap``.

    For connected compact groups the root is ``||L w||``; elsewhere it includes the discrete
    generators. So generator penalties control projection penalties. Cutoffs below the gap are
    exactly the strict projector. All groups with known levels.

    Raises:
      ValueError: the group or representation has no levels above 0.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> P = sq.projector("i o", {"i": V, "o": V}, softness=1.0)
      >>> w = np.diag([1.0, 2.0, 6.0])  # its moving part is of norm 14 ** 0.5
      >>> sq.certificates.gap(P, w).moving_norm >= 14**0.5
      True
    """
    complete = projector.complete()
    positive = projector.levels()[projector.levels() > 0]
    level = float(positive.min(initial=math.inf))
    if w is None:
        return Gap(level, math.nan)
    w = weight(projector, w)
    each = [
        sigma * frobenius(part)
        for sigma, part in level_parts(complete.host_splitting(), w)
        if 0 < sigma < math.inf
    ]
    margin = ROUNDING * frobenius(w)
    return Gap(level, (math.hypot(*each) / level if each else 0.0) + margin)
