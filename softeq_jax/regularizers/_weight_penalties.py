"""Penalties of weights: their distance from the equivariant ones, and the Lie penalty.

The Lie penalty weighs the distance by frequency.
"""

import dataclasses
from typing import Any, Unpack

import numpy as np

from softeq_jax._checks import coefficient, is_zero
from softeq_jax._paths import naming
from softeq_jax.projections import Plan, Projector, splitting
from softeq_jax.regularizers._parts import Array, Params, part_squares, square, widened
from softeq_jax.regularizers._terms import Terms, form, scalar


def projection_penalty(
    plan: Plan,
    params: Params,
    lambda_g: Any = 0.0,
    lambda_perp: Any = 1.0,
    **terms: Unpack[Terms],
) -> Array:
    r"""Penalizes the two orthogonal parts of the planned weights.

    .. math:: \sum f \big( \lambda_G \|P w\|^p + \lambda_\perp \|N w\|^p \big),
       \qquad N = 1 - P, \; p \in \{1, 2\}

    It is a function of the weights alone: exact over the whole group, without samples, whatever
    the batch. With ``p = 2`` the gradient of its second part is ``2 lambda_perp N w``: N shrinks
    geometrically, and ``lambda_g = lambda_perp`` is plain weight decay. With ``p = 1`` it is a
    group lasso, whose gradient has constant length and is 0 at ``N w = 0``: there gradient descent
    keeps stepping to and fro, and ``prox_step`` or ``add_equivariance_decay`` stop exactly.

    For one linear layer with orthogonal representations, whitened inputs and Haar-distributed g,
    ``E ||W g x - g W x||^2 = 2 ||N W||^2``: the penalty is half the mean of ``orbit_penalty``.
    Minimizing ``a ||A||^2 + b ||B||^2`` over ``w = A + B`` with A equivariant (residual pathway
    priors) is the same as ``lambda_g = a b / (a + b)``, ``lambda_perp = b``.

    Spread over layers of very different sizes, one lambda means very different things: use
    ``relative`` (the share of the weight that is not equivariant) or ``mean``. Without
    ``stop_gradient`` a relative penalty also grows ``P w``, which makes it smaller.

    Args:
      plan: which parameters are projected, and how; the level of its projectors says what counts
        as equivariant. Parameters that are not planned do not count.
      params: the parameters, a tree like that of the plan.
      lambda_g: at least 0, weight of the equivariant part; may be traced, like all coefficients.
      lambda_perp: at least 0, weight of the rest.
      terms: ``power`` (2) and others, see ``Terms``.

    Returns:
      A scalar, float32 (float64 if a planned parameter is).

    Raises:
      ValueError: a coefficient that is negative or NaN, another power, ``relative`` with
        ``mean``, weights that decide about nothing, parameters that are not those of the plan, a
        smooth mask; it names the argument or the path.
      TypeError: an unknown term; a weight of integers, or a real one where the representation is
        complex.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> params = {"kernel": np.diag([1.0, 2.0, 6.0])}  # 3 and the traceless (-2, -1, 3)
      >>> plan = sq.plan(params, {"kernel": sq.projector("i o", {"i": V, "o": V})})
      >>> float(sq.regularizers.projection_penalty(plan, params))
      14.0
    """
    lambda_g = coefficient(lambda_g, "lambda_g")
    lambda_perp = coefficient(lambda_perp, "lambda_perp")
    shape = form(plan, "projection_penalty", terms, power=2)
    found = part_squares(plan, params)
    inside = {path: squares.equivariant for path, squares in found.items()}
    outside = {path: squares.residual for path, squares in found.items()}
    whole = {path: inside[path] + outside[path] for path in found}
    sizes = {path: squares.size for path, squares in found.items()}
    total: Any = 0.0
    for group in shape.members:
        d = shape.denominator(group, whole, sizes)
        for weight, squares in ((lambda_g, inside), (lambda_perp, outside)):
            if not is_zero(weight):
                total = total + group.factor * weight * shape.term(group, squares, d)
    return scalar(total, inside)


def lie_penalty(plan: Plan, params: Params, **terms: Unpack[Terms]) -> Array:
    r"""Penalizes the derivative of the planned weights under the group.

    .. math:: \sum f \, \Big( \sum_\sigma \sigma^2 \|w_\sigma\|^2 \Big)^{p / 2},
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
      terms: ``power`` (2) and others, see ``Terms``; power 1 with ``per="all"`` is the root of
        the sum over all layers.

    Returns:
      A scalar, float32 (float64 if a planned parameter is).

    Raises:
      ValueError: as ``projection_penalty``; a representation without levels above 0 (names the
        path).
      TypeError: as ``projection_penalty``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> params = {"kernel": np.diag([1.0, 2.0, 6.0])}  # its traceless part is of degree 2
      >>> plan = sq.plan(params, {"kernel": sq.projector("i o", {"i": V, "o": V})})
      >>> round(float(sq.regularizers.lie_penalty(plan, params)), 4)  # 2 (2 + 1) * 14
      84.0
    """
    shape = form(plan, "lie_penalty", terms, power=2)
    squares, whole, sizes = {}, {}, {}
    for path, projector, w in plan.planned(params):
        with naming(path):
            w = widened(w)
            squares[path] = square(_scaled_by_levels(projector, w))
            whole[path], sizes[path] = square(w), w.size
    total: Any = 0.0
    for group in shape.members:
        d = shape.denominator(group, whole, sizes)
        total = total + group.factor * shape.term(group, squares, d)
    return scalar(total, squares)


def _scaled_by_levels(projector: Projector, w: Array) -> Array:
    """``sum_sigma sigma w_sigma``: its norm is ``||L w||``, and never the root of a difference."""
    projector.refuse_smooth("lie_penalty")
    filters, levels = projector.filters, projector.spectrum
    if not levels.complete:
        _, filters, levels, _ = splitting(projector.space, True, None, projector.convention)
    sigma = np.array([*levels.values, max(levels.values) or 1.0])
    scaled = dataclasses.replace(projector, filters=filters, spectrum=levels, dropped=sigma)
    return scaled.residual(w)
