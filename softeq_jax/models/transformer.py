"""Transformer blocks of the vision models: attention and perceptrons."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn


def gelu(x: jax.Array) -> jax.Array:
    """``x Phi(x) = x (1 + erf(x / sqrt(2))) / 2``, not its approximation by tanh."""
    return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))


def check_heads(width: int, heads: int) -> None:
    """Checks that heads divide the channels.

    Raises:
      ValueError: they do not.
    """
    if heads < 1 or width % heads:
        raise ValueError(f"width must be a multiple of heads, got {width}, {heads}")


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
    check_heads(channels, heads)
    split = (heads, channels // heads)
    init = nn.initializers.xavier_uniform()
    query, key, value = (
        nn.Dense(channels, kernel_init=init, name=name)(tokens)
        .reshape(*tokens.shape[:-1], *split)
        .swapaxes(1, 2)
        for name, tokens in (("query", x), ("key", memory), ("value", memory))
    )
    scores = jax.nn.softmax((query * split[1] ** -0.5) @ key.swapaxes(2, 3))
    mixed = (scores @ value).swapaxes(1, 2).reshape(x.shape)
    return nn.Dense(channels, kernel_init=init, name="out")(mixed)


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
      attention_filter: linear map of what the attention gives, or None.
    """

    heads: int
    mlp_ratio: float = 4
    norm_epsilon: float = 1e-6
    layer_scale: float | None = None
    attention_filter: Callable[[jax.Array], jax.Array] | None = None

    def _scaled(self, name: str, y: jax.Array) -> jax.Array:
        if self.layer_scale is None:
            return y
        init = nn.initializers.constant(self.layer_scale)
        return y * self.param(name, init, (y.shape[-1],), jnp.float32).astype(y.dtype)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens ``[n, t, c]`` to tokens of the same shape and dtype."""
        channels = x.shape[-1]
        init = nn.initializers.xavier_uniform()
        y = nn.LayerNorm(epsilon=self.norm_epsilon, name="norm1")(x)
        y = Attention(self.heads, name="attention")(y)
        if self.attention_filter is not None:
            y = self.attention_filter(y)
        x = x + self._scaled("scale1", y)
        y = nn.LayerNorm(epsilon=self.norm_epsilon, name="norm2")(x)
        y = nn.Dense(round(self.mlp_ratio * channels), kernel_init=init, name="mlp_in")(y)
        y = nn.Dense(channels, kernel_init=init, name="mlp_out")(gelu(y))
        return x + self._scaled("scale2", y)
