r"""REMUL: a task and its symmetry as two objectives, with fixed or adapted weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from softeq_jax._checks import coefficient
from softeq_jax.regularizers._parts import square

Tree = Any


class RemulWeights(NamedTuple):
    """Weights of the two objectives, and what adapting them needs: the explicit state.

    Attributes:
      objective: alpha, of the loss of the task.
      equivariance: beta, of the penalty.
      first: both values when they were adapted for the first time, float32 ``[2]``.
      count: how often they were adapted, int32.

    Example:
      >>> import softeq_jax as sq
      >>> weights = sq.regularizers.remul_weights(1.0, 0.5)
      >>> float(weights.objective), float(weights.equivariance), int(weights.count)
      (1.0, 0.5, 0)
    """

    objective: Any
    equivariance: Any
    first: Any
    count: Any


def remul_weights(objective: Any = 1.0, equivariance: Any = 1.0) -> RemulWeights:
    """Weights to start with, or to keep.

    Args:
      objective: alpha, at least 0.
      equivariance: beta, at least 0.

    Raises:
      ValueError: a weight that is negative or NaN.

    Example:
      >>> import softeq_jax as sq
      >>> weights = sq.regularizers.remul_weights(2.0)
      >>> float(weights.objective), float(weights.equivariance)
      (2.0, 1.0)
    """
    coefficient(objective, "objective")
    coefficient(equivariance, "equivariance")
    return RemulWeights(
        jnp.asarray(objective, jnp.float32),
        jnp.asarray(equivariance, jnp.float32),
        jnp.ones(2, jnp.float32),
        jnp.zeros((), jnp.int32),
    )


def remul(objective: Any, penalty: Any, weights: RemulWeights | None = None) -> jax.Array:
    """``alpha L + beta R``, the weights being constants for differentiation.

    Args:
      objective: the loss L of the task, a scalar.
      penalty: R, such as ``orbit_penalty``, a scalar.
      weights: fixed (``remul_weights``) or adapted (``adapt_remul``); 1 and 1 if left out.

    Returns:
      A scalar.

    Example:
      >>> import softeq_jax as sq
      >>> weights = sq.regularizers.remul_weights(1.0, 0.5)
      >>> float(sq.regularizers.remul(2.0, 4.0, weights))
      4.0
    """
    weights = remul_weights() if weights is None else weights
    alpha, beta = jax.lax.stop_gradient((weights.objective, weights.equivariance))
    return alpha * objective + beta * penalty


def adapt_remul(
    weights: RemulWeights,
    objective: Any,
    penalty: Any,
    objective_gradient: Tree,
    penalty_gradient: Tree,
    *,
    rate: float = 0.025,
    asymmetry: float = 1.5,
) -> RemulWeights:
    r"""One step of adapting the weights so that both objectives are learned at one pace (GradNorm).

    With the losses L_i, their first values, the gradients G_i of the unweighted losses and
    ``r_i`` the ratio ``L_i / L_i(0)`` over the mean of both (1 for losses that are 0 throughout),

    .. math:: w_i \leftarrow w_i - \eta \, \mathrm{sign}\big( w_i \|G_i\| - \overline{w \|G\|} \,
       r_i^{a} \big) \, \|G_i\| / \overline{\|G\|},

    after which both are scaled to keep their sum. An objective that lags behind gets a larger
    gradient. The gradients' norms are in units of their mean, so that the rate means the same for
    all models; a weight never falls below a thousandth of the sum.

    Args:
      weights: the present ones.
      objective: the loss of the task, at this step.
      penalty: the penalty, at this step.
      objective_gradient: of the loss: a pytree over the parameters both objectives share (all of
        them, or the last layers').
      penalty_gradient: of the penalty, a pytree over the same ones.
      rate: eta, at least 0.
      asymmetry: a, at least 0; 0 makes both gradients equally long.

    Returns:
      New weights. Works under ``jit``.

    Raises:
      ValueError: a negative ``rate`` or ``asymmetry``.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> weights = sq.regularizers.remul_weights()
      >>> g = jnp.ones(2)
      >>> new = sq.regularizers.adapt_remul(weights, 1.0, 1.0, 3 * g, g)
      >>> bool(new.objective < new.equivariance)  # whose gradient is shorter gains
      True
    """
    coefficient(rate, "rate")
    coefficient(asymmetry, "asymmetry")
    losses = jnp.stack([jnp.asarray(objective), jnp.asarray(penalty)]).astype(jnp.float32)
    first = jnp.where(weights.count == 0, losses, weights.first)
    lengths = jnp.stack([_length(objective_gradient), _length(penalty_gradient)])
    old = jnp.stack([weights.objective, weights.equivariance])
    weighted = old * lengths
    excess = jnp.sign(weighted - weighted.mean() * _pace(losses, first) ** asymmetry)
    new = old - rate * excess * _over(lengths, lengths.mean())
    total = old.sum()
    new = jnp.maximum(new, 1e-3 * total)
    new = new * _over(total, new.sum())
    return RemulWeights(new[0], new[1], first, weights.count + 1)


def _pace(losses: jax.Array, first: jax.Array) -> jax.Array:
    """``r_i = L_i F_j / mean_k(L_k F_k')``, with the first values F; 1 where both stand still at 0.

    It is ``L_i / F_i`` over its mean, written so that nothing is divided by a first value of 0.
    """
    crossed = _over(losses, losses.max()) * _over(first, first.max())[::-1]
    mean = crossed.mean()
    return jnp.where(mean == 0, 1.0, _over(crossed, mean))


def _over(a: jax.Array, b: jax.Array) -> jax.Array:
    """``a / b``, 0 where b is 0: no guard by a smallest number, which compilers fold into zero."""
    return jnp.where(b == 0, 0.0, a / jnp.where(b == 0, 1.0, b))


def _length(tree: Tree) -> jax.Array:
    return jnp.sqrt(sum(square(jnp.asarray(leaf)) for leaf in jax.tree.leaves(tree)))
