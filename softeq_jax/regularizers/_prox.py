"""The proximal step of the projection penalty: shrinking both parts, without its gradient."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import coefficient, is_zero
from softeq_jax._paths import leaf_paths, naming
from softeq_jax.projections import Plan
from softeq_jax.regularizers._combine import Form, form
from softeq_jax.regularizers._groups import Grouping
from softeq_jax.regularizers._norms import Array, Params, safe_sqrt, square, widened


def prox_step(
    plan: Plan,
    params: Params,
    step_size: Any,
    lambda_g: Any = 0.0,
    lambda_perp: Any = 1.0,
    power: int = 1,
    *,
    relative: bool = False,
    mean: bool = False,
    weights: Mapping[str, Any] | None = None,
    groups: Grouping = "parameter",
    eps: Any = 1e-12,
) -> Params:
    r"""The proximal step of ``projection_penalty``: one projection and two scalars.

    With the step size eta, for powers 1 and 2

    .. math:: \Big(1 - \frac{\eta \lambda_G}{\|P w\|}\Big)_+ P w
       + \Big(1 - \frac{\eta \lambda_\perp}{\|N w\|}\Big)_+ N w, \qquad
       \frac{P w}{1 + 2 \eta \lambda_G} + \frac{N w}{1 + 2 \eta \lambda_\perp}.

    After gradient steps on the loss alone, with the same eta, power 1 makes a weight exactly
    equivariant (to rounding) in finitely many steps if ``lambda_perp`` exceeds the norm of the
    part ``N grad`` of the gradient there; if it does not, N w stops short of 0, where the two
    balance. Power 2 shrinks N w geometrically and never reaches 0. It is the other default than
    that of the penalty for this reason.

    Args:
      plan: as of ``projection_penalty``.
      params: the parameters after a step on the loss.
      step_size: eta, at least 0: the learning rate of that step; may be traced.
      lambda_g: as of ``projection_penalty``.
      lambda_perp: likewise.
      power: likewise.
      relative: likewise, with the denominator of the given parameters.
      mean: likewise.
      weights: likewise.
      groups: likewise; with power 1 a group shrinks, and vanishes, as one.
      eps: likewise.

    Returns:
      New parameters of the same structure, shapes and dtypes; those not planned as they are.

    Raises:
      ValueError, TypeError: as ``projection_penalty``; a negative ``step_size``.
    """
    step_size = coefficient(step_size, "step_size")
    lambda_g = coefficient(lambda_g, "lambda_g")
    lambda_perp = coefficient(lambda_perp, "lambda_perp")
    shape = form(
        plan, groups=groups, weights=weights, power=power, relative=relative, mean=mean, eps=eps
    )
    parts = {}
    for path, projector, w in plan.planned(params):
        with naming(path):
            parts[path] = projector.split(widened(w))
    new = _shrunk(shape, parts, step_size, lambda_g, lambda_perp)
    paths, leaves, structure = leaf_paths(params)
    leaves = [
        leaf if path not in new else (widened(leaf) - new[path]).astype(leaf.dtype)
        for path, leaf in zip(paths, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, leaves)


def _shrunk(
    shape: Form,
    parts: dict[str, tuple[Array, Array]],
    step_size: Any,
    lambda_g: Any,
    lambda_perp: Any,
) -> dict[str, Array]:
    """What the step takes away from each weight; of a part that vanishes all, to the bit."""
    squares = [{path: square(pair[i]) for path, pair in parts.items()} for i in (0, 1)]
    whole = {path: squares[0][path] + squares[1][path] for path in parts}
    sizes = {path: pair[0].size for path, pair in parts.items()}
    removed: dict[str, Any] = dict.fromkeys(parts, 0.0)
    for group in shape.groups:
        d = shape.denominator(group, whole, sizes)
        for i, weight in enumerate((lambda_g, lambda_perp)):
            if is_zero(weight):
                continue
            rate = step_size * weight * group.factor
            if shape.power == 2:
                rate = 2.0 * rate / d
                share = rate / (1.0 + rate)
            else:
                norm = safe_sqrt(sum(squares[i][path] for path in group.paths))
                rate = rate / safe_sqrt(d) if shape.relative or shape.mean else rate
                xp = jnp if isinstance(norm, jax.Array) or isinstance(rate, jax.Array) else np
                stays = norm > rate
                share = xp.where(stays, rate / xp.where(stays, norm, 1.0), 1.0)
            for path in group.paths:
                part = parts[path][i]
                xp = np if isinstance(part, np.ndarray) else jnp
                removed[path] = removed[path] + xp.asarray(share, _real(part)) * part
    return {path: gone for path, gone in removed.items() if not isinstance(gone, float)}


def _real(part: Array) -> np.dtype:
    return np.zeros((), part.dtype).real.dtype
