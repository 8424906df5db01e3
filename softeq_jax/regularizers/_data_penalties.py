"""Penalties of functions on data.

Of layers on their inputs, exact to first order; of any function by drawn elements, at the price of
forward passes.
"""

import math
from collections.abc import Callable
from typing import Any, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import coefficient, known_options, whole
from softeq_jax.groups import Group, matrix_order
from softeq_jax.orbits import (
    TreeAction,
    common_group,
    draw,
    every_element,
    lie_action,
    tree_action,
    weighted_sum,
)
from softeq_jax.regularizers._parts import safe_sqrt, widened
from softeq_jax.reps import regular, resolve_axes


class OnData(TypedDict, total=False):
    """What the penalties of functions have in common; all may be left out.

    Attributes:
      relative: whether to divide by the mean of ``||f(x)||^2`` (a constant) plus ``eps``, the mean
        being that of the penalty itself; False by default.
      eps: of the denominator, 1e-12 by default.
      axes_in: the axes of x to act on, as in ``Rep.apply``; structured like ``rep_in``.
      axes_out: the axes of ``f(x)``, structured like ``rep_out``.
    """

    relative: bool
    eps: Any
    axes_in: Any
    axes_out: Any


def lie_activation_penalty(
    apply: Callable[[Any, Any], Any],
    params: Any,
    x: Any,
    rep_in: Any,
    rep_out: Any,
    *,
    root: bool = False,
    **options: Unpack[OnData],
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
      rep_out: the same for the outputs; None asks for invariance, summed over the last axis.
      root: return ``sqrt(R)``, with derivative 0 at 0.
      options: ``relative``, ``eps``, ``axes_in`` and ``axes_out``, see ``OnData``.

    Returns:
      A scalar, float32 or float64.

    Raises:
      ValueError: representations of different groups or none at all, axes that do not fit, a
        negative ``eps``.
      TypeError: leaves that are no representations, or an unknown option.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(2))
      >>> layer = lambda w, x: x @ w
      >>> loss = lambda w: sq.regularizers.lie_activation_penalty(layer, w, np.eye(2), V, V)
      >>> float(loss(np.eye(2))), float(loss(np.diag([2.0, -2.0])))
      (0.0, 16.0)
    """
    relative, eps, axes_in, axes_out = _opened(options, "lie_activation_penalty")
    group = common_group(rep_in, rep_out)
    x = jax.tree.map(lambda leaf: jax.lax.stop_gradient(jnp.asarray(leaf)), x)

    def f(x: Any) -> Any:
        return apply(params, x)

    y = f(x)
    total: Any = 0.0
    if len(group.lie_generators):
        enter = lie_action(rep_in, axes_in)
        leave = lie_action(rep_out, axes_out)

        def speed(one: tuple[Any, Any]) -> jax.Array:
            dx = enter.tangent(one[0], x)
            dy = jax.jvp(f, (x,), (dx,))[1]
            return _mean_square(leave, _difference(dy, leave.tangent(one[1], y)))

        total = total + jnp.sum(jax.vmap(speed)((enter.arrays, leave.arrays)))
    hs = group.discrete_generators
    if len(hs):
        enter = tree_action(rep_in, axes_in, hs)
        leave = tree_action(rep_out, axes_out, hs)
        for i, weight in enumerate(_class_weights(group)):
            expected = leave.move(leave.entry(i), y)
            moved = f(enter.move(enter.entry(i), x))
            total = total + weight * _mean_square(leave, _difference(moved, expected))
    if relative:
        frame = tree_action(rep_out, axes_out, np.eye(group.d)[None])
        total = total / (jax.lax.stop_gradient(_mean_square(frame, y)) + eps)
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
      apply, params, x, rep_out, root: as of ``lie_activation_penalty``.
      axes_out: as of ``OnData``.

    Returns:
      A scalar, float32 or float64.

    Raises:
      ValueError, TypeError: as ``lie_activation_penalty``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(2))
      >>> x = np.array([[3.0, 4.0]])
      >>> float(sq.regularizers.activation_norm_penalty(lambda p, x: p * x, 2.0, x, V))
      100.0
    """
    x = jax.tree.map(lambda leaf: jax.lax.stop_gradient(jnp.asarray(leaf)), x)
    group = common_group(rep_out)
    frame = tree_action(rep_out, axes_out, np.eye(group.d)[None])
    total = _mean_square(frame, apply(params, x))
    return safe_sqrt(total) if root else total


def orbit_penalty(
    f: Callable[[Any], Any],
    x: Any,
    rep_in: Any,
    rep_out: Any,
    key: jax.Array | None = None,
    samples: int | None = 1,
    *,
    per_example: bool = True,
    **options: Unpack[OnData],
) -> jax.Array:
    r"""Mean squared error of equivariance over drawn elements, ``E ||f(g x) - g f(x)||^2``.

    An unbiased estimate of the mean over the group (Haar) and the examples, for any function; it
    sees these inputs only. Each sample costs a forward pass on the batch, beside the one of f(x),
    and its backward pass. For a linear layer with orthogonal representations and ``E x x^T = 1``
    its mean is ``2 ||N W||^2``, which ``projection_penalty`` gives without samples.

    The norm is summed over the axes that ``rep_out`` acts on, and is the mean over all others.

    Args:
      f: from a batch of inputs to a batch of outputs (arrays or pytrees, examples on the first
        axis); it closes over the parameters, and both sides are differentiated.
      x: inputs.
      rep_in: what acts on x: a representation, or a pytree prefix of representations of one
        compact group; None for what is left alone.
      rep_out: the same for ``f(x)``; None asks for invariance, summed over the last axis.
      key: a JAX PRNG key, which may be traced: another one for every step.
      samples: elements drawn for each example; None takes every element of a finite group: the
        exact mean, without key.
      per_example: whether every example has elements of its own, which is less noisy, or all
        share them.
      options: ``relative``, ``eps``, ``axes_in`` and ``axes_out``, see ``OnData``.

    Returns:
      A scalar, float32 or float64.

    Raises:
      ValueError: representations of different groups or none at all, a group that is not compact,
        a missing key (or one that nothing is drawn with), ``samples`` that is no positive integer
        (or None with an infinite group), axes that do not fit, arrays with different numbers of
        examples, an ``eps`` that is negative or without ``relative``.
      TypeError: leaves that are no representations, or an unknown option.

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> key = jax.random.key(0)
      >>> error = lambda f: sq.regularizers.orbit_penalty(f, np.eye(3), V, V, key, samples=100)
      >>> round(float(error(lambda x: -2 * x)), 3)  # commutes with every rotation
      0.0
      >>> round(float(error(lambda x: x * x[:, :1])), 1)
      0.7
    """
    group = common_group(rep_in, rep_out)
    relative, eps, axes_in, axes_out = _opened(options, "orbit_penalty")
    x = jax.tree.map(jnp.asarray, x)
    y = f(x)
    frame = tree_action(rep_out, axes_out, np.eye(group.d)[None])

    def error(moved: Any, expected: Any) -> jax.Array:
        return _mean_square(frame, _difference(f(moved), expected))

    if samples is None:
        if key is not None:
            raise ValueError("key= is for samples=; every element is taken, and none is drawn")
        drawn = every_element((rep_in, rep_out), (axes_in, axes_out))
        order = group.order
        assert order is not None
        share = np.full(order, 1.0 / order)
        total = weighted_sum(
            lambda one: error(drawn.enter(one, x), drawn.leave(one, y)), share, drawn.entries
        )
    else:
        samples = whole(samples, "samples")
        if key is None:
            raise ValueError("samples= needs key=, a JAX PRNG key such as jax.random.key(0)")
        n = _examples(x) if per_example else 1
        axes = (axes_in, axes_out) if not per_example else _without_first((axes_in, axes_out))
        drawn = draw((rep_in, rep_out), axes, group, key, n * samples)
        enter, leave = (
            (jax.vmap(drawn.enter), jax.vmap(drawn.leave))
            if per_example
            else (drawn.enter, drawn.leave)
        )
        total = 0.0
        for i in range(samples):
            at = slice(i * n, (i + 1) * n) if per_example else i
            one = jax.tree.map(lambda a, at=at: a[at], drawn.entries)
            total = total + error(enter(one, x), leave(one, y)) / samples
    if relative:
        total = total / (jax.lax.stop_gradient(_mean_square(frame, y)) + eps)
    return jnp.asarray(total)


def latent_penalty(
    encoder: Callable[[Any], jax.Array],
    x: Any,
    rep_in: Any,
    key: jax.Array | None = None,
    samples: int | None = 1,
    *,
    per_example: bool = True,
    **options: Unpack[OnData],
) -> jax.Array:
    r"""Asks a latent space to be copies of the regular representation of a finite group.

    ``E ||e(g x) - rho_reg(g) e(x)||^2``: ``orbit_penalty`` with as many copies of the regular
    representation on the last axis of ``e(x)`` as it has room for. Every irreducible
    representation is in it, so nothing has to be chosen; the architecture is free, and the
    encoder's later layers and the decoder do not count.

    Args:
      encoder: from a batch of inputs to latent vectors ``[n, ..., copies * |G|]``, the entries of
        each copy in the order of ``group.elements()``.
      x, rep_in, key, samples, per_example: as of ``orbit_penalty``.
      options: ``relative``, ``eps`` and ``axes_in``, see ``OnData``.

    Returns:
      A scalar, float32 or float64.

    Raises:
      ValueError: as ``orbit_penalty``; an infinite group; a last axis that the order of the group
        does not divide.
      TypeError: as ``orbit_penalty``; ``axes_out`` is given, which is the last axis here.

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.cyclic(4))
      >>> x, key = np.arange(8.0).reshape(2, 4), jax.random.key(0)
      >>> float(sq.regularizers.latent_penalty(lambda x: 2 * x, x, R, key))
      0.0
      >>> float(sq.regularizers.latent_penalty(lambda x: x[:, ::-1], x, R, key)) > 0
      True
    """
    if "axes_out" in options:
        raise TypeError("latent_penalty acts on the last axis of e(x), so that it has no axes_out")
    one = regular(common_group(rep_in))
    width = jax.eval_shape(encoder, x).shape[-1]
    if width % one.dim:
        raise ValueError(
            f"the latent vectors have {width} entries, which are no copies of {one!r} with "
            f"{one.dim} entries each"
        )
    copies = (width // one.dim) * one
    options["axes_out"] = (-1,)
    return orbit_penalty(
        encoder, x, rep_in, copies, key, samples, per_example=per_example, **options
    )


def _opened(options: OnData, what: str) -> tuple[bool, Any, Any, Any]:
    """(relative, eps, axes_in, axes_out), checked."""
    known_options(options, OnData, what)
    relative, eps = options.get("relative", False), coefficient(options.get("eps", 1e-12), "eps")
    if "eps" in options and not relative:
        raise ValueError("eps: of a relative penalty, and relative is False")
    return relative, eps, options.get("axes_in"), options.get("axes_out")


def _examples(x: Any) -> int:
    """The common length of the first axis."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(x)]
    counts = {shape[0] for shape in shapes if shape}
    if counts == {0}:
        raise ValueError(f"x has no example, got shapes {shapes}")
    if len(counts) != 1 or not all(shapes):
        raise ValueError(
            f"x needs arrays with one example per entry of the first axis, got shapes {shapes}; "
            "per_example=False moves all alike"
        )
    return counts.pop()


def _without_first(axes: Any) -> Any:
    """The same axes of arrays without their first."""

    def shifted(axis: int) -> int:
        if axis == 0:
            raise ValueError("axes: the first axis counts the examples and cannot be acted on")
        return axis - 1 if axis > 0 else axis

    return jax.tree.map(shifted, axes)


def _difference(a: Any, b: Any) -> Any:
    """``a - b`` of two pytrees, in float32 at least."""
    return jax.tree.map(lambda u, v: widened(u) - widened(v), a, b)


def _mean_square(action: TreeAction, tree: Any) -> jax.Array:
    """Sum over the arrays of a pytree of their mean squared norm in the representation."""
    total: Any = 0.0
    rows = zip(action.reps, action.axes, action.structure.flatten_up_to(tree), strict=True)
    for rep, axes, part in rows:
        for leaf in jax.tree.leaves(part):
            leaf = widened(leaf)
            if not leaf.size:
                raise ValueError(f"a mean over nothing: what is compared has shape {leaf.shape}")
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
            found.append((matrix_order(h) / (2.0 * math.pi)) ** 2)
        except ValueError:
            found.append(1.0)
    return found
