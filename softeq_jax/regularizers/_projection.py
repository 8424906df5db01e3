"""The projection penalty: distance of weights to the equivariant ones, exact and from weights."""

from collections.abc import Mapping
from typing import Any

from softeq_jax._checks import coefficient, is_zero
from softeq_jax.projections import Plan
from softeq_jax.regularizers._combine import form, scalar
from softeq_jax.regularizers._groups import Grouping
from softeq_jax.regularizers._norms import Array, Params, part_squares


def projection_penalty(
    plan: Plan,
    params: Params,
    lambda_g: Any = 0.0,
    lambda_perp: Any = 1.0,
    power: int = 2,
    relative: bool = False,
    *,
    mean: bool = False,
    weights: Mapping[str, Any] | None = None,
    groups: Grouping = "parameter",
    stop_gradient: bool = True,
    eps: Any = 1e-12,
) -> Array:
    r"""Penalizes the two orthogonal parts of the planned weights.

    .. math:: \sum_{groups} f \big( \lambda_G \|P w\|^p + \lambda_\perp \|N w\|^p \big),
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
      power: p.
      relative: divide the squared norms by ``||w||^2 + eps``.
      mean: divide the squared norms by the number of entries.
      weights: factors f by layer, from globs over paths (``{"stage1/**": 0.1}``); the first that
        covers a path decides, 1 where none does.
      groups: the parameters whose norms are taken jointly: ``"parameter"`` (each alone),
        ``"layer"`` (those with the same parent: a kernel and its bias), ``"all"``, or a function
        from a path to the name of its group. It matters for ``p = 1``, ``relative`` and ``mean``.
      stop_gradient: whether the denominator of a relative penalty counts as a constant.
      eps: of the denominator.

    Returns:
      A scalar, float32 (float64 if a planned parameter is).

    Raises:
      ValueError: a coefficient that is negative or NaN, another power, ``relative`` with
        ``mean``, weights that decide about nothing, parameters that are not those of the plan, a
        smooth mask; it names the argument or the path.
      TypeError: a weight of integers, or a real one where the representation is complex.
    """
    lambda_g, lambda_perp = (
        coefficient(lambda_g, "lambda_g"),
        coefficient(lambda_perp, "lambda_perp"),
    )
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
    found = part_squares(plan, params)
    inside = {path: squares.equivariant for path, squares in found.items()}
    outside = {path: squares.residual for path, squares in found.items()}
    whole = {path: inside[path] + outside[path] for path in found}
    sizes = {path: squares.size for path, squares in found.items()}
    total: Any = 0.0
    for group in shape.groups:
        d = shape.denominator(group, whole, sizes)
        for weight, squares in ((lambda_g, inside), (lambda_perp, outside)):
            if not is_zero(weight):
                total = total + group.factor * weight * shape.term(group, squares, d)
    return scalar(total, inside)
