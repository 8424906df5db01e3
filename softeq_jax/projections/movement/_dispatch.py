"""Dispatch of a certificate: by exact frequencies in the plane, else by the general bounds."""

import dataclasses
import math
from typing import Unpack

import numpy as np

from softeq_jax.groups import Group
from softeq_jax.projections._certificate import Certificate
from softeq_jax.projections._choose import Splitting
from softeq_jax.projections.movement import _a_priori, _general, _planar
from softeq_jax.projections.movement._question import Inquiry, Question, understand
from softeq_jax.projections.movement._speeds import power_of_two


def certificate(
    parts: Splitting, dropped: np.ndarray, w: np.ndarray | None, **question: Unpack[Question]
) -> Certificate:
    """The certificate of a weight; without one, what the mask guarantees for every weight.

    Args:
      parts: the splitting of a projector.
      dropped: one minus its mask on each level.
      w: float64 (complex128) with the axes of the space, or None.
      question: about which elements.

    Raises:
      ValueError: NaN or infinite weights, a question that makes no sense for the group.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.vector(sq.groups.cyclic(2))})
      >>> w = np.array([3.0, 4.0])
      >>> c = sq.projections.movement.certificate(P.host_splitting(), P.host_dropped(), w)
      >>> round(c.bound, 6)
      10.0
    """
    inquiry, plane = understand(parts.space.group, **question), _planar.plane_of(parts)
    if parts.space.group.rounding > 0.0 and inquiry.scope != "element":
        return _of_rounded(parts.space.group, w, inquiry)
    if w is None:
        if plane is None:
            return _a_priori.certificate(parts, dropped, inquiry)
        return _planar.a_priori(plane, parts, dropped, inquiry)
    if not np.all(np.isfinite(w)):
        raise ValueError(f"{int(np.sum(~np.isfinite(w)))} of {w.size} weights are NaN or infinite")
    if w.size == 0:  # nothing moves, as for one zero
        w = np.zeros([max(n, 1) for n in w.shape], w.dtype)
    scale = power_of_two(float(np.max(np.abs(w), initial=0.0)))
    if plane is None:
        found = _general.certificate(parts, w / scale, inquiry)
    else:
        found = _planar.certificate(plane, parts, w / scale, inquiry)
    return _scaled(found, scale)


def _of_rounded(group: Group, w: np.ndarray | None, inquiry: Inquiry) -> Certificate:
    """No certificate: products of rounded generators may move what each of them nearly keeps."""
    reason = (
        f"not certified: the generators of {group} are rounded (to about {group.rounding:.2g}) and "
        "no exact ones are known; give them in double precision, or ask for one element"
    )
    norm = 1.0 if w is None else float(np.linalg.norm(w))
    nan = math.nan
    return Certificate(
        nan, nan, norm, "frobenius", certified=False, reason=reason, **inquiry.fields
    )


def _scaled(found: Certificate, scale: float) -> Certificate:
    """The certificate of ``scale w`` from that of w; not certified where it overflows."""
    bound, supremum, norm = (
        scale * float(x) for x in (found.bound, found.supremum, found.weight_norm)
    )
    overflows = found.certified and not math.isfinite(bound)
    return dataclasses.replace(
        found,
        bound=math.nan if overflows else bound,
        supremum=supremum,
        weight_norm=norm,
        certified=found.certified and not overflows,
        reason="not certified: the movement overflows float64" if overflows else found.reason,
    )
