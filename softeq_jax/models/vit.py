"""A plain vision transformer."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

_NORM_EPSILON = 1e-6


class TransformerBlock(nn.Module):
    """Self-attention and a two-layer perceptron, each normalized first and added to its input.

    Attributes:
      heads: attention heads; must divide the channels.
      mlp_ratio: hidden channels of the perceptron in units of its input's.
    """

    heads: int
    mlp_ratio: int = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens `[n, t, c]` to tokens of the same shape and dtype."""
        channels = x.shape[-1]
        init = nn.initializers.xavier_uniform()
        y = nn.LayerNorm(epsilon=_NORM_EPSILON, name="norm1")(x)
        y = nn.MultiHeadDotProductAttention(self.heads, kernel_init=init, name="attention")(y, y)
        x = x + y
        y = nn.LayerNorm(epsilon=_NORM_EPSILON, name="norm2")(x)
        y = nn.Dense(self.mlp_ratio * channels, kernel_init=init, name="mlp_in")(y)
        y = nn.Dense(channels, kernel_init=init, name="mlp_out")(nn.gelu(y))
        return x + y


class ViT(nn.Module):
    """Vision transformer with learned positions.

    Patches are numbered row by row. The parameters that see the grid are `patch_embed/kernel`
    `[patch, patch, in, width]` and `pos_embed` `[1, t, width]`; `pool="cls"` adds `cls_token`
    `[1, 1, width]` in front, so that t is 1 + patches there and the number of patches otherwise.

    Attributes:
      image_size: side of the square images, in pixels; a multiple of `patch_size`.
      patch_size: side of a patch.
      width: channels of a token; a multiple of `heads`.
      depth: number of blocks.
      heads: attention heads.
      mlp_ratio: hidden channels of the perceptrons in units of `width`.
      num_classes: length of the logits.
      pool: what the head reads: the class token ("cls") or the mean over patches ("mean").
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_ratio: int = 4
    num_classes: int = 10
    pool: Literal["cls", "mean"] = "cls"

    def _check(self, shape: tuple[int, ...]) -> None:
        if self.pool not in ("cls", "mean"):
            raise ValueError(f'pool must be "cls" or "mean", got {self.pool!r}')
        if self.patch_size < 1 or self.image_size % self.patch_size:
            raise ValueError(
                f"image_size must be a multiple of patch_size, got {self.image_size} and "
                f"{self.patch_size}"
            )
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width}, {self.heads}")
        if len(shape) != 4 or shape[1:3] != (self.image_size, self.image_size):
            raise ValueError(
                f"images must be [n, {self.image_size}, {self.image_size}, c], got shape {shape}"
            )

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits of images.

        Args:
          x: images `[n, image_size, image_size, c]`, floating point.
          train: accepted so that all models are called alike; nothing depends on it.

        Returns:
          Logits `[n, num_classes]`.

        Raises:
          ValueError: the images do not fit, or the attributes do not fit together.
        """
        del train
        self._check(x.shape)
        patch = (self.patch_size, self.patch_size)
        x = nn.Conv(self.width, patch, strides=patch, padding="VALID", name="patch_embed")(x)
        x = x.reshape(x.shape[0], -1, self.width)
        if self.pool == "cls":
            token = self.param("cls_token", nn.initializers.zeros, (1, 1, self.width))
            token = jnp.broadcast_to(token.astype(x.dtype), (x.shape[0], 1, self.width))
            x = jnp.concatenate([token, x], axis=1)
        shape = (1, x.shape[1], self.width)
        x = x + self.param("pos_embed", nn.initializers.normal(0.02), shape)
        for i in range(self.depth):
            x = TransformerBlock(self.heads, self.mlp_ratio, name=f"block{i}")(x)
        x = nn.LayerNorm(epsilon=_NORM_EPSILON, name="norm")(x)
        x = x[:, 0] if self.pool == "cls" else jnp.mean(x, axis=1)
        head_init = nn.initializers.truncated_normal(0.02)
        return nn.Dense(self.num_classes, kernel_init=head_init, name="head")(x)
