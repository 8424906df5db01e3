"""Dispatch of a certificate: by exact frequencies in the plane, else by the general bounds."""

from typing import Unpack

import numpy as np

from softeq_jax.projections._certificate import Certificate
from softeq_jax.projections._choose import Splitting
from softeq_jax.projections.movement import _a_priori, _general, _planar
from softeq_jax.projections.movement._question import Question, understand


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
    """
    if w is not None and not np.all(np.isfinite(w)):
        raise ValueError(f"{int(np.sum(~np.isfinite(w)))} of {w.size} weights are NaN or infinite")
    inquiry, plane = understand(parts.space.group, **question), _planar.plane_of(parts)
    if plane is None:
        if w is None:
            return _a_priori.certificate(parts, dropped, inquiry)
        return _general.certificate(parts, w, inquiry)
    if w is None:
        return _planar.a_priori(plane, parts, dropped, inquiry)
    return _planar.certificate(plane, parts, w, inquiry)
