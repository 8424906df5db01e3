"""What the vision transformers share: attention, blocks, and position tables on a grid."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


def gelu(x: jax.Array) -> jax.Array:
    """``x Phi(x)``, with the normal distribution function itself."""
    return nn.gelu(x, approximate=False)


def attend(x: jax.Array, memory: jax.Array, heads: int) -> jax.Array:
    """``out(softmax(q k^T / sqrt(d)) v)`` for heads of d = c / heads channels.

    Makes the dense layers ``query``, ``key``, ``value`` and ``out`` in the module that calls it.

    Args:
      x: tokens ``[n, t, c]`` that look.
      memory: tokens ``[n, s, c]`` that are looked at.
      heads: must divide c.

    Returns:
      ``[n, t, c]``.
    """
    channels = x.shape[-1]
    if heads < 1 or channels % heads:
        raise ValueError(f"heads must divide the channels, got {heads} and {channels}")
    split = (heads, channels // heads)
    init = nn.initializers.xavier_uniform()
    query, key, value = (
        nn.Dense(channels, kernel_init=init, name=name)(tokens).reshape(*tokens.shape[:-1], *split)
        for name, tokens in (("query", x), ("key", memory), ("value", memory))
    )
    scores = jnp.einsum("nqhd,nkhd->nhqk", query * split[1] ** -0.5, key)
    mixed = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), value)
    return nn.Dense(channels, kernel_init=init, name="out")(mixed.reshape(x.shape))


class Attention(nn.Module):
    """Self-attention; see ``attend``.

    Attributes:
      heads: must divide the channels.
    """

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens ``[n, t, c]`` to tokens of the same shape and dtype."""
        return attend(x, x, self.heads)


class TransformerBlock(nn.Module):
    """Self-attention and a two-layer perceptron, each normalized first and added to its input.

    Attributes:
      heads: attention heads; must divide the channels.
      mlp_ratio: hidden channels of the perceptron in units of its input's.
      norm_epsilon: of the layer norms.
      layer_scale: initial value of the gains ``scale1`` and ``scale2`` of both branches, or None
        for branches without gains.
    """

    heads: int
    mlp_ratio: float = 4
    norm_epsilon: float = 1e-6
    layer_scale: float | None = None

    def _scaled(self, name: str, y: jax.Array) -> jax.Array:
        if self.layer_scale is None:
            return y
        init = nn.initializers.constant(self.layer_scale)
        return y * self.param(name, init, (y.shape[-1],)).astype(y.dtype)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens ``[n, t, c]`` to tokens of the same shape and dtype."""
        channels = x.shape[-1]
        init = nn.initializers.xavier_uniform()
        y = nn.LayerNorm(epsilon=self.norm_epsilon, name="norm1")(x)
        x = x + self._scaled("scale1", Attention(self.heads, name="attention")(y))
        y = nn.LayerNorm(epsilon=self.norm_epsilon, name="norm2")(x)
        y = nn.Dense(round(self.mlp_ratio * channels), kernel_init=init, name="mlp_in")(y)
        y = nn.Dense(channels, kernel_init=init, name="mlp_out")(gelu(y))
        return x + self._scaled("scale2", y)


def bicubic_matrix(size: int, new_size: int, antialias: bool = False) -> np.ndarray:
    """Resizing of a line of samples by cubic convolution, pixel centers at halves.

    The two rules that published transformers resize their position tables by: a = -0.75 with
    samples beyond the ends repeating the last one; or, antialiased, a = -0.5 with a window widened
    by the factor of the reduction and weights renormalized at the ends. Both commute with the
    reversal of the line.

    Args:
      size: samples that there are.
      new_size: samples that are wanted.
      antialias: which rule.

    Returns:
      float64 ``[new_size, size]``, rows sum to 1.
    """
    scale = size / new_size
    centers = (np.arange(new_size) + 0.5) * scale - 0.5
    if antialias:
        distance = np.abs(centers[:, None] - np.arange(size)) / max(scale, 1.0)
        matrix = _cubic(distance, -0.5)
        return matrix / matrix.sum(axis=1, keepdims=True)
    matrix = np.zeros((new_size, size))
    for tap in range(-1, 3):
        index = np.floor(centers).astype(int) + tap
        weights = _cubic(np.abs(centers - index), -0.75)
        np.add.at(matrix, (np.arange(new_size), np.clip(index, 0, size - 1)), weights)
    return matrix


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    near = ((a + 2) * t - (a + 3)) * t**2 + 1
    far = a * (((t - 5) * t + 8) * t - 4)
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def resize_positions(
    table: jax.Array, prefix: int, grid: tuple[int, int], antialias: bool = False
) -> jax.Array:
    """A position table for another grid; its prefix rows are kept.

    Args:
      table: ``[1, prefix + side^2, c]``, a square grid row by row.
      prefix: rows that belong to no patch.
      grid: (height, width) in patches.
      antialias: which rule, see ``bicubic_matrix``.

    Returns:
      ``[1, prefix + height * width, c]``; the table itself where the grid is the same.

    Raises:
      ValueError: the table's grid is not square.
    """
    patches = table.shape[1] - prefix
    side = math.isqrt(patches)
    if side * side != patches:
        raise ValueError(f"the position table has {patches} patches, expected a square number")
    if grid == (side, side):
        return table
    rows, columns = (jnp.asarray(bicubic_matrix(side, new, antialias), table.dtype) for new in grid)
    patches = table[0, prefix:].reshape(side, side, -1)
    resized = jnp.einsum("yh,xw,hwc->yxc", rows, columns, patches, precision="highest")
    flat = resized.reshape(1, grid[0] * grid[1], -1)
    return jnp.concatenate([table[:, :prefix], flat], axis=1)
