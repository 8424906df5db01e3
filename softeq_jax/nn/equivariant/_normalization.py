"""Normalization of features that a group moves."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from softeq_jax.nn._batch_norm import BatchNorm
from softeq_jax.nn.equivariant._fields import fields, join, split
from softeq_jax.nn.equivariant._forms import norms, require_euclidean
from softeq_jax.reps import Rep

Array = jax.Array

_LEAST = 1e-3  # norms of vector batch norm are sqrt(|v|^2 + _LEAST^2), smooth at 0


class VectorNorm(linen.Module):
    """``v / (||v|| + epsilon)`` for each copy that the group moves; scalars are left as they are.

    The "EQLayerNorm" of section 3 of the specification of "Tunable Soft Equivariance with
    Guarantees". No variables.

    Attributes:
      rep: of the features, real; what it moves must be orthogonal.
      epsilon: added to the norms.

    Call:
      x: ``[..., rep.dim]``; the result is like it.

    Raises:
      ValueError: a part is not orthogonal, or the last axis has another length.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> G = sq.groups.so(2)
      >>> layer = sq.nn.equivariant.VectorNorm(sq.reps.vector(G) + sq.reps.trivial(G))
      >>> layer.apply({}, jnp.array([3.0, 4.0, 8.0])).round(3)
      Array([0.6, 0.8, 8. ], dtype=float32)
    """

    rep: Rep
    epsilon: float = 1e-5

    @linen.compact
    def __call__(self, x: Array) -> Array:
        require_euclidean([field.rep for field in fields(self.rep).moved], "VectorNorm")
        scalars, moved = split(self.rep, x)
        return join(self.rep, scalars, [v / (norms(v)[..., None] + self.epsilon) for v in moved])


class FieldLayerNorm(linen.Module):
    """Layer norm of scalars, and root mean square norm of each kind of vectors.

    The copies v_1 .. v_c of one representation of dimension d become
    ``gain_i v_i / sqrt(mean_i ||v_i||^2 / d + epsilon)``, so that components have mean square 1.
    Scalars become ``gain (x - mean) / sqrt(var + epsilon) + bias``, over all scalars.

    Variables: ``scale`` ``[scalars + copies]``, scalars first, and ``bias`` ``[scalars]``.

    Attributes:
      rep: of the features, real; what it moves must be orthogonal.
      epsilon: added to variances.
      param_dtype: of the variables.

    Call:
      x: ``[..., rep.dim]``; the result is like it. Statistics of 16-bit floats are float32.

    Raises:
      ValueError: a part is not orthogonal, or the last axis has another length.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> layer = sq.nn.equivariant.FieldLayerNorm(sq.reps.vector(sq.groups.so(2)))
      >>> y, _ = layer.init_with_output(jax.random.key(0), jnp.array([3.0, 4.0]))
      >>> round(float(jnp.mean(y**2)), 3)
      1.0
    """

    rep: Rep
    epsilon: float = 1e-6
    param_dtype: Any = jnp.float32

    @linen.compact
    def __call__(self, x: Array) -> Array:
        found = fields(self.rep)
        require_euclidean([field.rep for field in found.moved], "FieldLayerNorm")
        x = jnp.asarray(x)
        scalars, moved = split(self.rep, x.astype(jnp.promote_types(x.dtype, jnp.float32)))
        start = len(found.scalars)
        scale = self.param(
            "scale", linen.initializers.ones, (start + found.copies,), self.param_dtype
        )
        if start:
            bias = self.param("bias", linen.initializers.zeros, (start,), self.param_dtype)
            centered = scalars - jnp.mean(scalars, axis=-1, keepdims=True)
            variance = jnp.mean(centered**2, axis=-1, keepdims=True)
            scalars = scale[:start] * centered / jnp.sqrt(variance + self.epsilon) + bias
        out = []
        for v in moved:
            size = jnp.sqrt(jnp.mean(v**2, axis=(-2, -1), keepdims=True) + self.epsilon)
            out.append(scale[start : start + v.shape[-2], None] * v / size)
            start += v.shape[-2]
        return join(self.rep, scalars, out).astype(jnp.result_type(x, scale))


class VectorBatchNorm(linen.Module):
    """Batch norm of the norms of vectors (Deng et al. 2021, "Vector Neurons").

    ``v -> v BN(n) / n`` with ``n = sqrt(||v||^2 + 1e-6)``, which keeps the gradient bounded at
    v = 0. BN is the batch norm of each channel over all other axes. Equivariant under O(d).

    Variables: ``norm/scale`` and ``norm/bias`` ``[channels]``, and in ``batch_stats``
    ``norm/mean`` and ``norm/var``.

    Attributes:
      momentum: of the running statistics.
      epsilon: added to the variance.
      axis_name: mapped axis over which statistics are averaged, or None.

    Call:
      v: ``[..., channels, d]``; the result is like it.
      train: True uses the statistics of the batch and updates ``batch_stats`` (make it mutable).

    Raises:
      ValueError: fewer than three axes, so that there is no batch.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> v = jnp.arange(24.0).reshape(4, 2, 3)
      >>> layer = sq.nn.equivariant.VectorBatchNorm()
      >>> y, variables = layer.init_with_output(jax.random.key(0), v, train=False)
      >>> y.shape, sorted(variables)
      ((4, 2, 3), ['batch_stats', 'params'])
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None

    @linen.compact
    def __call__(self, v: Array, train: bool) -> Array:
        if v.ndim < 3:
            raise ValueError(f"vectors must be [..., channels, d], got shape {tuple(v.shape)}")
        v = jnp.asarray(v)
        wide = v.astype(jnp.promote_types(v.dtype, jnp.float32))
        size = jnp.sqrt(jnp.sum(wide**2, axis=-1) + _LEAST**2).astype(v.dtype)
        normalized = BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name,
            name="norm",
        )(size)
        return v * (normalized / size)[..., None]
