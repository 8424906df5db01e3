"""Penalties that draw elements of the group: of any function, at the price of forward passes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import coefficient, whole
from softeq_jax.orbits._average import weighted_sum
from softeq_jax.orbits._orbit import common_group
from softeq_jax.regularizers import _actions
from softeq_jax.regularizers._activations import difference, mean_square
from softeq_jax.reps import regular


def orbit_penalty(
    f: Callable[[Any], Any],
    x: Any,
    rep_in: Any,
    rep_out: Any,
    key: jax.Array | None = None,
    samples: int | None = 1,
    *,
    per_example: bool = True,
    relative: bool = False,
    axes_in: Any = None,
    axes_out: Any = None,
    eps: Any = 1e-12,
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
      rep_out: likewise for ``f(x)``; None asks for invariance, summed over the last axis.
      key: a JAX PRNG key, which may be traced: another one for every step.
      samples: elements drawn for each example; None takes every element of a finite group: the
        exact mean, without key.
      per_example: whether every example has elements of its own, which is less noisy, or all
        share them.
      relative: divide by the same mean of ``||f(x)||^2`` (a constant) plus ``eps``.
      axes_in: the axes of x to act on, as in ``Rep.apply``; structured like ``rep_in``.
      axes_out: likewise for ``f(x)``.
      eps: of the denominator.

    Returns:
      A scalar, float32 or float64.

    Raises:
      ValueError: representations of different groups or none at all, a group that is not compact,
        a missing key, ``samples`` that is no positive integer (or None with an infinite group),
        axes that do not fit, arrays with different numbers of examples, a negative ``eps``.
      TypeError: leaves that are no representations.
    """
    group, eps = common_group(rep_in, rep_out), coefficient(eps, "eps")
    x = jax.tree.map(jnp.asarray, x)
    y = f(x)
    frame = _actions.common_action(rep_out, axes_out, np.eye(group.d)[None])

    def error(moved: Any, expected: Any) -> jax.Array:
        return mean_square(frame, difference(f(moved), expected))

    if samples is None:
        draw = _actions.every_element((rep_in, rep_out), (axes_in, axes_out))
        share = np.full(group.order, 1.0 / group.order)
        total = weighted_sum(
            lambda one: error(draw.enter(one, x), draw.leave(one, y)), share, draw.entries
        )
    else:
        samples = whole(samples, "samples")
        if key is None:
            raise ValueError("samples= needs key=, a JAX PRNG key such as jax.random.key(0)")
        n = _examples(x) if per_example else 1
        axes = (axes_in, axes_out) if not per_example else _without_first((axes_in, axes_out))
        draw = _actions.drawn((rep_in, rep_out), axes, group, key, n * samples)
        enter, leave = (
            (jax.vmap(draw.enter), jax.vmap(draw.leave))
            if per_example
            else (draw.enter, draw.leave)
        )
        total = 0.0
        for i in range(samples):
            at = slice(i * n, (i + 1) * n) if per_example else i
            one = jax.tree.map(lambda a, at=at: a[at], draw.entries)
            total = total + error(enter(one, x), leave(one, y)) / samples
    if relative:
        total = total / (jax.lax.stop_gradient(mean_square(frame, y)) + eps)
    return jnp.asarray(total)


def latent_penalty(
    encoder: Callable[[Any], jax.Array],
    x: Any,
    rep_in: Any,
    key: jax.Array | None = None,
    samples: int | None = 1,
    *,
    per_example: bool = True,
    relative: bool = False,
    axes_in: Any = None,
    eps: Any = 1e-12,
) -> jax.Array:
    r"""Asks a latent space to be copies of the regular representation of a finite group.

    ``E ||e(g x) - rho_reg(g) e(x)||^2``: ``orbit_penalty`` with as many copies of the regular
    representation on the last axis of ``e(x)`` as it has room for. Every irreducible
    representation is in it, so nothing has to be chosen; the architecture is free, and the
    encoder's later layers and the decoder do not count.

    Args:
      encoder: from a batch of inputs to latent vectors ``[n, ..., copies * |G|]``, the entries of
        each copy in the order of ``group.elements()``.
      x: as of ``orbit_penalty``, and so for all others.
      rep_in: likewise.
      key: likewise.
      samples: likewise.
      per_example: likewise.
      relative: likewise.
      axes_in: likewise.
      eps: likewise.

    Returns:
      A scalar, float32 or float64.

    Raises:
      ValueError: as ``orbit_penalty``; an infinite group; a last axis that the order of the group
        does not divide.
      TypeError: as ``orbit_penalty``.
    """
    one = regular(common_group(rep_in))
    width = jax.eval_shape(encoder, x).shape[-1]
    if width % one.dim:
        raise ValueError(
            f"the latent vectors have {width} entries, which are no copies of {one!r} with "
            f"{one.dim} entries each"
        )
    return orbit_penalty(
        encoder,
        x,
        rep_in,
        (width // one.dim) * one,
        key,
        samples,
        per_example=per_example,
        relative=relative,
        axes_in=axes_in,
        axes_out=(-1,),
        eps=eps,
    )


def _examples(x: Any) -> int:
    """The common length of the first axis."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(x)]
    counts = {shape[0] if shape else None for shape in shapes}
    if len(counts) != 1 or None in counts:
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
