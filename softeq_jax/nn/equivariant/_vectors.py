"""Vector neurons (Deng et al. 2021): channels of vectors, ``[..., channels, d]``.

A kernel w on the channels commutes with O(d). As a map of the flattened vectors it is ``w (x) 1``;
the free variant has a full matrix there, which a plan can bring back to that form or keep near it
("Improving Equivariant Training via Constraint Relaxation", specification B.2).
"""

from collections.abc import Callable
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from flax import linen

from softeq_jax.groups import Group
from softeq_jax.nn.equivariant._dense import dense_rules
from softeq_jax.projections import Dials, Projector
from softeq_jax.reps import vector

Array = jax.Array

_TINY = 1e-6


def free_kernel(w: Array, d: int) -> Array:
    """``w (x) 1_d``, ``[c d, c' d]``, of a kernel on channels ``[c, c']``.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> sq.nn.equivariant.free_kernel(jnp.array([[2.0, 5.0]]), 2)
      Array([[2., 0., 5., 0.],
             [0., 2., 0., 5.]], dtype=float32)
    """
    return jnp.kron(w, jnp.eye(d, dtype=w.dtype))


def strict_kernel(free: Array, d: int) -> Array:
    """The w for which ``w (x) 1_d`` is nearest to a free kernel: its partial trace over d.

    For O(d), and for SO(d) with d > 2, ``w (x) 1`` are all equivariant kernels, so this is the
    projector of the plan in other coordinates. SO(2) has more, quarter turns of each vector.

    Args:
      free: ``[c d, c' d]``.
      d: length of a vector.

    Returns:
      ``[c, c']``.

    Raises:
      ValueError: the shape is not ``[c d, c' d]``.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> w = jnp.array([[2.0, 5.0]])
      >>> sq.nn.equivariant.strict_kernel(sq.nn.equivariant.free_kernel(w, 3), 3)
      Array([[2., 5.]], dtype=float32)
    """
    if free.ndim != 2 or free.shape[0] % d or free.shape[1] % d:
        raise ValueError(f"a free kernel must be [c * {d}, c' * {d}], got {tuple(free.shape)}")
    blocks = free.reshape(free.shape[0] // d, d, free.shape[1] // d, d)
    return jnp.trace(blocks, axis1=1, axis2=3) / d


def vector_rules(
    path_prefix: str,
    group: Group,
    channels: int,
    features: int,
    **dials: Unpack[Dials],
) -> dict[str, Projector]:
    """Rule for ``softeq_jax.plan`` of one ``VectorDense`` with ``free=True``.

    Args:
      path_prefix: path of the layer's parameters.
      group: acts on each vector by its own matrices.
      channels: vectors in.
      features: vectors out.
      dials: see ``projections.Dials``; strict if none is given.

    Returns:
      ``{"<prefix>/kernel": projector}``.

    Example:
      >>> import softeq_jax as sq
      >>> rules = sq.nn.equivariant.vector_rules("dense", sq.groups.o(3), channels=2, features=4)
      >>> {path: P.rank() for path, P in rules.items()}
      {'dense/kernel': 8}
    """
    v = vector(group)
    return dense_rules(path_prefix, channels * v, features * v, use_bias=False, **dials)


class VectorDense(linen.Module):
    """A linear map of vector channels, without bias: ``y_j = sum_i w_ij v_i``.

    Variables: ``kernel`` w ``[c, features]``; if free, the matrix ``[c d, features d]`` of the
    flattened vectors, which starts as ``w (x) 1``.

    Attributes:
      features: vectors out.
      free: whether the kernel mixes components, to be governed by a plan with ``vector_rules``.
      kernel_init: initializer of w.
      param_dtype: of the kernel.

    Call:
      v: ``[..., c, d]``.

    Returns:
      ``[..., features, d]``.

    Raises:
      ValueError: fewer than two axes.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> v = jnp.ones((5, 2, 3))
      >>> layer = sq.nn.equivariant.VectorDense(4)
      >>> y, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), v)
      >>> y.shape, variables["params"]["kernel"].shape
      ((5, 4, 3), (2, 4))
    """

    features: int
    free: bool = False
    kernel_init: Callable[..., Array] = linen.initializers.lecun_normal()
    param_dtype: Any = jnp.float32

    @linen.compact
    def __call__(self, v: Array) -> Array:
        _check_vectors(v)
        channels, d = v.shape[-2:]
        if not self.free:
            shape = (channels, self.features)
            w = self.param("kernel", self.kernel_init, shape, self.param_dtype)
            return jnp.einsum("...cd,cf->...fd", v, w)

        def init(key: Array, shape: tuple[int, int], dtype: Any) -> Array:
            return free_kernel(self.kernel_init(key, (shape[0] // d, shape[1] // d), dtype), d)

        shape = (channels * d, self.features * d)
        full = self.param("kernel", init, shape, self.param_dtype)
        flat = v.reshape(*v.shape[:-2], channels * d) @ full
        return flat.reshape(*v.shape[:-2], self.features, d)


class VectorRelu(linen.Module):
    """The leaky ReLU of vector neurons (Deng et al. 2021).

    A learned map gives a direction ``k = U s`` for each vector v; where ``<v, k> < 0`` the part of
    v along k is scaled: ``v - (1 - negative_slope) min(<v, k>, 0) k / (||k||^2 + 1e-6)``.

    Variables: ``direction/kernel``, U.

    Attributes:
      negative_slope: factor of the part along k, 0 for a ReLU.
      share_direction: one direction for all channels, instead of one for each.
      free: whether U mixes components; see ``VectorDense``.

    Call:
      v: ``[..., c, d]``; the result is like it.
      source: vectors s ``[..., c', d]`` that the directions come from; v itself if None.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> v = jnp.ones((5, 2, 3))
      >>> layer = sq.nn.equivariant.VectorRelu()
      >>> y, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), v)
      >>> y.shape, variables["params"]["direction"]["kernel"].shape
      ((5, 2, 3), (2, 2))
    """

    negative_slope: float = 0.2
    share_direction: bool = False
    free: bool = False

    @linen.compact
    def __call__(self, v: Array, source: Array | None = None) -> Array:
        _check_vectors(v)
        features = 1 if self.share_direction else v.shape[-2]
        k = VectorDense(features, free=self.free, name="direction")(v if source is None else source)
        along = jnp.minimum(jnp.sum(v * k, axis=-1, keepdims=True), 0.0)
        size = jnp.sum(k * k, axis=-1, keepdims=True) + _TINY
        return v - (1.0 - self.negative_slope) * along / size * k


def vector_mean_pool(v: Array, axis: int = -3) -> Array:
    """The mean of vectors over an axis, by default the one before the channels.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> v = jnp.array([[[1.0, 0.0]], [[0.0, 2.0]]])  # two points, one channel
      >>> sq.nn.equivariant.vector_mean_pool(v)
      Array([[0.5, 1. ]], dtype=float32)
    """
    return jnp.mean(v, axis=axis)


def vector_max_pool(v: Array, keys: Array, axis: int = -3) -> Array:
    """For each channel the vector with the largest ``<v, k>`` along an axis.

    Args:
      v: ``[..., n, c, d]``.
      keys: directions k like v, such as ``VectorDense(c)(v)``.
      axis: to pool over, neither of the last two.

    Returns:
      v without the axis. Among equals the first is taken.

    Raises:
      ValueError: the shapes differ, or the axis is one of the last two.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> v = jnp.array([[[1.0, 0.0]], [[0.0, 2.0]]])  # two points, one channel
      >>> sq.nn.equivariant.vector_max_pool(v, v)
      Array([[0., 2.]], dtype=float32)
    """
    if v.shape != keys.shape:
        raise ValueError(f"keys must be like the vectors, got {keys.shape} and {v.shape}")
    axis = axis % v.ndim
    if axis >= v.ndim - 2:
        raise ValueError(f"axis {axis} of vectors {tuple(v.shape)} holds channels or components")
    best = jnp.argmax(jnp.sum(v * keys, axis=-1), axis=axis)
    index = jnp.expand_dims(best, axis)[..., None]
    return jnp.squeeze(jnp.take_along_axis(v, index, axis=axis), axis=axis)


def invariants(v: Array, frame: Array) -> Array:
    """Coordinates of vectors in a frame of vectors that turns with them, ``<v_i, f_j>``.

    Args:
      v: ``[..., c, d]``.
      frame: ``[..., m, d]``, equivariant vectors such as d learned ones.

    Returns:
      ``[..., c, m]``, invariant under O(d).

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> v = jnp.array([[1.0, 2.0]])
      >>> turn = jnp.array([[0.0, 1.0], [-1.0, 0.0]])
      >>> sq.nn.equivariant.invariants(v, v), sq.nn.equivariant.invariants(v @ turn, v @ turn)
      (Array([[5.]], dtype=float32), Array([[5.]], dtype=float32))
    """
    return jnp.einsum("...cd,...md->...cm", v, frame)


def _check_vectors(v: Array) -> None:
    if v.ndim < 2:
        raise ValueError(f"vectors must be [..., channels, d], got shape {tuple(v.shape)}")
