"""The Lie penalty in weight space: how fast the group moves the weights, exactly."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from softeq_jax._paths import naming
from softeq_jax.projections import Plan, Projector, _build
from softeq_jax.regularizers._combine import form, scalar
from softeq_jax.regularizers._groups import Grouping
from softeq_jax.regularizers._norms import Array, Params, square, widened


def lie_penalty(
    plan: Plan,
    params: Params,
    power: int = 2,
    relative: bool = False,
    *,
    mean: bool = False,
    weights: Mapping[str, Any] | None = None,
    groups: Grouping = "parameter",
    stop_gradient: bool = True,
    eps: Any = 1e-12,
) -> Array:
    r"""Penalizes the derivative of the planned weights under the group.

    .. math:: \sum_{groups} f \, \Big( \sum_\sigma \sigma^2 \|w_\sigma\|^2 \Big)^{p / 2},
       \qquad \sum_\sigma \sigma^2 \|w_\sigma\|^2 = \|L w\|^2
       = \sum_k \|A_k w\|^2 \text{ (connected groups)}

    over the levels sigma of the projectors, with w_sigma the part of w on a level and A_k the
    orthonormal Lie generators: the quadratic form of the Casimir operator. For finite groups the
    levels are those of their class sums. It is 0 iff w is strictly equivariant, whatever level the
    projectors are set to, grows with the angular frequency of what is not, and bounds the
    movement, ``||exp(A) w - w|| <= |A| ||L w||``. One pass through the filter, no matrix of
    the generators.

    With whitened inputs it is the mean square of the Lie derivative of the layer: see
    ``lie_activation_penalty``. Patterns of level infinity (``Rep.unmatched``), which are not
    equivariant but which rotations fix for want of a partner, count with the highest finite level.

    Args:
      plan: which parameters are projected, and how. Their levels must be known: they are built
        when the penalty is first traced, if they were not yet.
      params: the parameters.
      power: p, 1 or 2; 1 with ``groups="all"`` is the root of the sum over all layers.
      relative: as of ``projection_penalty``, and so for all others.
      mean: likewise.
      weights: likewise.
      groups: likewise.
      stop_gradient: likewise.
      eps: likewise.

    Returns:
      A scalar, float32 (float64 if a planned parameter is).

    Raises:
      ValueError: as ``projection_penalty``; a representation without levels above 0 (names the
        path).
      TypeError: as ``projection_penalty``.
    """
    shape = form(
        plan,
        groups=groups,
        weights=weights,
        power=power,
        relative=relative,
        mean=mean,
        eps=eps,
        stop_gradient=stop_gradient,
    )
    squares, whole, sizes = {}, {}, {}
    for path, projector, w in plan.planned(params):
        with naming(path):
            w = widened(w)
            squares[path] = square(_scaled_by_levels(projector, w))
            whole[path], sizes[path] = square(w), w.size
    total: Any = 0.0
    for group in shape.groups:
        d = shape.denominator(group, whole, sizes)
        total = total + group.factor * shape.term(group, squares, d)
    return scalar(total, squares)


def _scaled_by_levels(projector: Projector, w: Array) -> Array:
    """``sum_sigma sigma w_sigma``: its norm is ``||L w||``, and never the root of a difference."""
    if projector.kind != "hard":
        raise ValueError(f"lie_penalty needs a hard mask, got the smooth mask {projector.kind!r}")
    filters, known = projector.filters, projector.known
    if not known.complete:
        filters, known = _build.build_cached(projector.space, True, None, projector.convention)
    sigma = np.array([*known.values, max(known.values) or 1.0])
    scaled = dataclasses.replace(projector, filters=filters, known=known, dropped=sigma)
    return scaled.residual(w)
