r"""Methods of soft equivariance, as pairs of pure functions that training calls.

A step minimizes ``loss(weights(params)) + penalty(params)``. Projecting, penalizing and relaxing
are choices of the pair, as an optimizer of optax is a choice of ``(init, update)``; the trainer
knows nothing else of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from softeq_jax.projections import Plan
from softeq_jax.relaxation import Control, as_method

Tree = Any


class Weights(Protocol):
    """``weights(params, extra, step)``: what the network computes with, a tree like params."""

    def __call__(self, params: Tree, extra: Tree, step: jax.Array, /) -> Tree: ...


class Penalty(Protocol):
    """``penalty(params, extra, step)``: a scalar added to the loss."""

    def __call__(self, params: Tree, extra: Tree, step: jax.Array, /) -> jax.Array: ...


class Method(NamedTuple):
    """A method of soft equivariance: how parameters enter the loss.

    Both functions take the stored parameters, the ``extra`` tree that is given to every step
    (a ``Plan``, coefficients, ...) and the number of steps taken, an int32 scalar. They must be
    pure and are differentiated. A penalty of None adds nothing.

    Example:
      >>> import softeq_jax as sq
      >>> unchanged = lambda params, extra, step: params
      >>> method = sq.training.Method(weights=unchanged)
      >>> method.weights({"w": 1.0}, None, 0), method.penalty
      ({'w': 1.0}, None)
    """

    weights: Weights
    penalty: Penalty | None = None


def plain() -> Method:
    """The parameters as they are, no penalty; ``extra`` is not looked at."""
    return Method(lambda params, extra, step: params)


def project() -> Method:
    """Training through a projection: the network sees ``P w``, ``extra`` is the ``Plan``.

    The gradient is the projected gradient ``P dL/d(P w)``, the stored weights stay
    unconstrained; fold them at the end with ``plan.project(params)``. With ``extra=None``
    nothing is projected.

    Raises:
      TypeError: ``extra`` is neither a ``Plan`` nor None.
    """

    def weights(params: Tree, extra: Tree, step: jax.Array) -> Tree:
        del step
        if extra is None:
            return params
        if not isinstance(extra, Plan):
            raise TypeError(f"extra must be a Plan or None, got {type(extra).__name__}")
        return extra.project(params)

    return Method(weights)


class Anchored(NamedTuple):
    """What ``anchored`` is given as ``extra``.

    Attributes:
      plan: of the filters.
      start: filtered parameters, ``P u``.
    """

    plan: Plan
    start: Tree


def anchored() -> Method:
    """Training through a projection from weights that are filtered already.

    The network sees ``w0 + P (w - w0)``, ``extra`` is ``Anchored(plan, w0)``. For ``w0 = P u`` that
    is ``P (u + w - w0)``: training through the projection from u, which need not be known.
    Filtering w0 itself would filter it twice, which a smooth mask does not forgive. Begin at
    ``w = w0``, end with ``method.weights(params, extra, step)``.
    """

    def weights(params: Tree, extra: Anchored, step: jax.Array) -> Tree:
        del step
        moved = jax.tree.map(jnp.subtract, params, extra.start)
        return jax.tree.map(jnp.add, extra.start, extra.plan.project(moved))

    return Method(weights)


def penalize(penalty: Callable[[Any, Tree], jax.Array]) -> Method:
    """The parameters as they are, and a penalty on them; ``extra`` is the ``Plan``.

    Args:
      penalty: ``penalty(plan, params)``, a scalar, such as
        ``softeq_jax.regularizers.projection_penalty`` with its coefficients bound.
    """

    def of_plan(params: Tree, extra: Tree, step: jax.Array) -> jax.Array:
        del step
        return penalty(extra, params)

    return Method(plain().weights, of_plan)


def controlled(control: Control) -> Method:
    """Training through relaxation; ``extra`` is the plan (a mapping of plans for ``per``).

    The trained tree is ``relaxation.start(control, plan, params)``, its optimizer
    ``relaxation.control_optimizer(control, plan, inner)``; end with ``relaxation.finish``.

    Args:
      control: of ``softeq_jax.relaxation``: ``scheduled``, ``ace``, ``rpp``, ``per``, ...
    """
    return Method(*as_method(control))


def total_penalty(method: Method, params: Tree, extra: Tree, step: jax.Array) -> jax.Array:
    """The method's penalty in float32, 0 where it has none."""
    if method.penalty is None:
        return jnp.zeros((), jnp.float32)
    return jnp.asarray(method.penalty(params, extra, step), jnp.float32)
