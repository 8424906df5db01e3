r"""Pearson correlation over positions or over channels, in a form that does not cancel.

    corr(a, b) = <a - mean a, b - mean b> / (|a - mean a| |b - mean b|)

is taken in two passes (center, then multiply) after dividing by the largest magnitude, never as
``E[ab] - E[a] E[b]``: small features do not underflow and large offsets cost no digits beyond
those that the features themselves have lost (measures.md B).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Centered(NamedTuple):
    """Centered samples, scaled per series to a largest magnitude of 1 before centering.

    Attributes:
      values: deviations from the mean, 0 at positions that do not count.
      norm: their Euclidean norm, the sample axis reduced to length 1.
      alive: bool, whether the deviation is more than ``eps`` of the root mean square (and more
        than ``floor`` in units of the feature); same shape as ``norm``.
    """

    values: jax.Array
    norm: jax.Array
    alive: jax.Array


def centered(
    x: jax.Array, weights: jax.Array, axis: int, eps: float = 1e-5, floor: float = 0.0
) -> Centered:
    """Prepares series for ``correlation``.

    Args:
      x: floating point.
      weights: 0 or 1, broadcastable to ``x``: which samples count.
      axis: the axis of the samples.
      eps: a series is constant if its standard deviation is at most ``eps`` times its root mean
        square; some 100 roundings of float32 by default.
      floor: likewise if its standard deviation is at most this.
    """
    count = jnp.maximum(jnp.sum(jnp.broadcast_to(weights, x.shape), axis, keepdims=True), 1)
    kept = jnp.where(weights > 0, x, 0)
    scale = jnp.max(jnp.abs(kept), axis, keepdims=True)
    unit = kept / jnp.where(scale > 0, scale, 1)
    values = jnp.where(weights > 0, unit - jnp.sum(unit, axis, keepdims=True) / count, 0)
    norm = jnp.sqrt(jnp.sum(values**2, axis, keepdims=True))
    deviation = norm / jnp.sqrt(count)
    magnitude = jnp.sqrt(jnp.sum(unit**2, axis, keepdims=True) / count)
    alive = (deviation > eps * magnitude) & (deviation * scale > floor)
    return Centered(values, norm, alive)


def correlation(a: Centered, b: Centered, axis: int) -> jax.Array:
    """Pearson correlation along an axis, which is removed; 0 where either series is constant.

    Callers leave out what is not alive in both.
    """
    inner = jnp.sum(a.values * b.values, axis, keepdims=True)
    product = a.norm * b.norm
    ratio = jnp.where(product > 0, inner / jnp.where(product > 0, product, 1), 0)
    return jnp.squeeze(jnp.clip(ratio, -1, 1), axis)


def mean_over(values: jax.Array, alive: jax.Array) -> jax.Array:
    """Mean over the last axis of what is alive; NaN where nothing is."""
    count = jnp.sum(alive, axis=-1)
    total = jnp.sum(jnp.where(alive, values, 0), axis=-1)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)
