"""The Lie penalty in activation space, and the norm beside it: they depend on the data."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import coefficient
from softeq_jax.groups import Group
from softeq_jax.orbits._orbit import Action, common_group
from softeq_jax.orbits._tables import entry
from softeq_jax.projections._spectrum import order_of
from softeq_jax.regularizers import _actions
from softeq_jax.regularizers._norms import safe_sqrt, widened
from softeq_jax.reps._place import resolve_axes


def lie_activation_penalty(
    apply: Callable[[Any, Any], Any],
    params: Any,
    x: Any,
    rep_in: Any,
    rep_out: Any,
    *,
    root: bool = False,
    relative: bool = False,
    axes_in: Any = None,
    axes_out: Any = None,
    eps: Any = 1e-12,
) -> jax.Array:
    r"""Mean square of the Lie derivative of a layer on its inputs.

    .. math:: R = \sum_k E_x \| J_f(x) \, d\rho_{in}(A_k) x - d\rho_{out}(A_k) f(x) \|^2
       + \sum_h c_h^2 \, E_x \| f(\rho_{in}(h) x) - \rho_{out}(h) f(x) \|^2

    with f = ``apply(params, .)``, the Lie generators A_k and the discrete generators h of the
    group, ``c_h = order(h) / 2 pi`` (1 if there is no order). The Jacobian is exact, by a
    forward-mode product for each generator, so that an affine layer ``W x + b`` gives
    ``W A x - A (W x + b)``. x counts as a constant: the layer is changed, not what comes before.

    It is 0 iff f is equivariant on these inputs to first order. For a linear layer with
    ``E x x^T = 1`` it is ``lie_penalty`` of its weight, for connected groups and C_n; for others,
    whose levels are means over conjugacy classes, it is 0 for the same weights.

    Several layers at once: x, f(x) and the representations may be pytrees (dictionaries by layer);
    the terms of all are summed. Each is summed over the axes that its representation acts on, and
    is the mean over all others (examples, points, channels), so that it does not grow with them.

    Args:
      apply: the layer or layers.
      params: their parameters.
      x: inputs, an array or a pytree of arrays.
      rep_in: what acts on x: a representation, or a pytree prefix of representations of one
        group, None for what is left alone.
      rep_out: likewise for the outputs; None asks for invariance, summed over the last axis.
      root: return ``sqrt(R)``, with derivative 0 at 0.
      relative: divide by the same mean of ``||f(x)||^2`` (a constant) plus ``eps``.
      axes_in: the axes of x to act on, as in ``Rep.apply``; structured like ``rep_in``.
      axes_out: likewise for the outputs.
      eps: of the denominator.

    Returns:
      A scalar, float32 or float64.

    Raises:
      ValueError: representations of different groups or none at all, axes that do not fit, a
        negative ``eps``.
      TypeError: leaves that are no representations.
    """
    eps = coefficient(eps, "eps")
    group = common_group(rep_in, rep_out)
    x = jax.tree.map(lambda leaf: jax.lax.stop_gradient(jnp.asarray(leaf)), x)

    def f(x: Any) -> Any:
        return apply(params, x)

    y = f(x)
    total: Any = 0.0
    if len(group.lie_generators):
        enter = _actions.lie_action(rep_in, axes_in, group)
        leave = _actions.lie_action(rep_out, axes_out, group)

        def speed(one: tuple[Any, Any]) -> jax.Array:
            dx = _actions.tangent(enter, one[0], x)
            dy = jax.jvp(f, (x,), (dx,))[1]
            return mean_square(leave, difference(dy, _actions.tangent(leave, one[1], y)))

        total = total + jnp.sum(jax.vmap(speed)((enter.arrays, leave.arrays)))
    hs = group.discrete_generators
    if len(hs):
        enter = _actions.common_action(rep_in, axes_in, hs)
        leave = _actions.common_action(rep_out, axes_out, hs)
        for i, weight in enumerate(_class_weights(group)):
            expected = leave.move(entry(leave.arrays, i), y)
            moved = f(enter.move(entry(enter.arrays, i), x))
            total = total + weight * mean_square(leave, difference(moved, expected))
    if relative:
        frame = _actions.common_action(rep_out, axes_out, np.eye(group.d)[None])
        total = total / (jax.lax.stop_gradient(mean_square(frame, y)) + eps)
    return safe_sqrt(jnp.asarray(total)) if root else jnp.asarray(total)


def activation_norm_penalty(
    apply: Callable[[Any, Any], Any],
    params: Any,
    x: Any,
    rep_out: Any,
    *,
    root: bool = False,
    axes_out: Any = None,
) -> jax.Array:
    r"""Mean square of what a layer returns, ``E_x ||f(x)||^2``, x a constant.

    For the relaxed branch ``theta B`` of a layer, apply = B: it bounds what dropping the branch
    changes, as ``lie_activation_penalty`` bounds how far the branch leads from equivariance.

    Args:
      apply: as of ``lie_activation_penalty``, and so for all others.
      params: likewise.
      x: likewise.
      rep_out: likewise.
      root: likewise.
      axes_out: likewise.

    Returns:
      A scalar, float32 or float64.

    Raises:
      ValueError, TypeError: as ``lie_activation_penalty``.
    """
    x = jax.tree.map(lambda leaf: jax.lax.stop_gradient(jnp.asarray(leaf)), x)
    group = common_group(rep_out)
    frame = _actions.common_action(rep_out, axes_out, np.eye(group.d)[None])
    total = mean_square(frame, apply(params, x))
    return safe_sqrt(total) if root else total


def difference(a: Any, b: Any) -> Any:
    """``a - b`` of two pytrees, in float32 at least."""
    return jax.tree.map(lambda u, v: widened(u) - widened(v), a, b)


def mean_square(action: Action, tree: Any) -> jax.Array:
    """Sum over the arrays of a pytree of their mean squared norm in the representation."""
    total: Any = 0.0
    rows = zip(action.reps, action.axes, action.structure.flatten_up_to(tree), strict=True)
    for rep, axes, part in rows:
        for leaf in jax.tree.leaves(part):
            leaf = widened(leaf)
            if rep is None:
                inside = leaf.shape[-1] if leaf.ndim else 1
            else:
                inside = math.prod(leaf.shape[a] for a in resolve_axes(rep, leaf.shape, axes))
            total = total + jnp.sum(jnp.abs(leaf) ** 2) * (inside / leaf.size)
    return total


def _class_weights(group: Group) -> list[float]:
    """``c_h^2`` of the discrete generators."""
    found = []
    for h in group.discrete_generators:
        try:
            found.append((order_of(h) / (2.0 * math.pi)) ** 2)
        except ValueError:
            found.append(1.0)
    return found
