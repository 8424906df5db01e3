"""The vision transformer."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax.groups import Group
from softeq_jax.models.attention_filter import AttentionFilter, attention_filters
from softeq_jax.models.patches import (
    check_patches,
    check_size,
    embed_patches,
    patch_grid,
    resize_positions,
)
from softeq_jax.models.rules import ModelDials, Rule, position_rule, window_rule
from softeq_jax.models.transformer import TransformerBlock, check_heads
from softeq_jax.models.vision import VisionModel


class ViT(VisionModel):
    """Vision transformer with learned positions (Dosovitskiy et al. 2021).

    Patches are numbered row by row, tokens are the class token, registers, patches. The parameters
    that see the grid are ``patch_embed/kernel`` ``[patch, patch, in, width]`` and ``pos_embed``
    ``[1, rows, width]``.

    Attributes:
      image_size, patch_size, width, depth, heads, mlp_ratio, num_classes, registers, norm_epsilon:
        see ``VisionModel``; the position table is for images of ``image_size``.
      pool: what the head reads: the class token ("cls") or the mean over patches ("mean").
      class_token: whether there is one; by default only where the head reads it.
      position_prefix: which tokens beside the patches the position table has rows for: "all", the
        class token only ("class"), or "none".
      layer_scale: initial gain of each residual branch, or None for none.
      norm_after_pool: whether the last norm comes after the mean over patches, not before.
      interpolate: whether images of other sizes are taken (multiples of ``patch_size``), the
        position table being resized to their grid in each forward pass.
      attention_filter: which blocks' attention outputs are projected on the grid, or None.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.ViT(image_size=8, patch_size=4, width=8, depth=1, heads=2)
      >>> x = jnp.ones((1, 8, 8, 3))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape, variables["params"]["pos_embed"].shape  # the class token and 2 x 2 patches
      ((1, 10), (1, 5, 8))
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_ratio: float = 4
    num_classes: int = 10
    pool: Literal["cls", "mean"] = "cls"
    class_token: bool | None = None
    registers: int = 0
    position_prefix: Literal["all", "class", "none"] = "all"
    norm_epsilon: float = 1e-6
    layer_scale: float | None = None
    norm_after_pool: bool = False
    interpolate: bool = False
    attention_filter: AttentionFilter | None = None

    @property
    def has_class_token(self) -> bool:
        """Whether there is a class token."""
        return self.pool == "cls" if self.class_token is None else self.class_token

    @property
    def position_rows(self) -> int:
        """Rows of the position table before those of the patches."""
        rows = {"all": self.has_class_token + self.registers, "class": int(self.has_class_token)}
        return rows.get(self.position_prefix, 0)

    @property
    def grid(self) -> int:
        """Patches along a side of the trained resolution."""
        return patch_grid(self.image_size, self.patch_size)

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Patches and positions, see ``softeq_jax.models.soft_rules``."""
        self._check_attributes()
        return {
            "patch_embed/kernel": window_rule(group, dials),
            "pos_embed": position_rule(group, dials, self.grid, self.position_rows),
            "**": None,
        }

    def _check_attributes(self) -> None:
        if self.pool not in ("cls", "mean"):
            raise ValueError(f'pool must be "cls" or "mean", got {self.pool!r}')
        if self.pool == "cls" and not self.has_class_token:
            raise ValueError('pool "cls" needs a class token, got class_token=False')
        if self.position_prefix not in ("all", "class", "none"):
            raise ValueError(
                f'position_prefix must be "all", "class" or "none", got {self.position_prefix!r}'
            )
        if self.norm_after_pool and self.pool == "cls":
            raise ValueError('norm_after_pool is for pool "mean", got pool "cls"')
        patch_grid(self.image_size, self.patch_size)
        check_heads(self.width, self.heads)

    def _check(self, shape: tuple[int, ...]) -> None:
        self._check_attributes()
        if self.interpolate:
            check_patches(shape, self.patch_size)
        else:
            check_size(shape, self.image_size, "; interpolate=True takes other sizes")

    def _prefix(self, x: jax.Array) -> jax.Array:
        """Class token and registers, ``[n, k, width]``."""
        normal, zeros = nn.initializers.normal(0.02), nn.initializers.zeros
        tokens = [jnp.zeros((1, 0, self.width), jnp.float32)]
        if self.has_class_token:
            tokens.append(self.param("cls_token", zeros, (1, 1, self.width), jnp.float32))
        if self.registers:
            shape = (1, self.registers, self.width)
            tokens.append(self.param("register_tokens", normal, shape, jnp.float32))
        prefix = jnp.concatenate(tokens, axis=1).astype(x.dtype)
        return jnp.broadcast_to(prefix, (x.shape[0], *prefix.shape[1:]))

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, *, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Logits of images, see ``VisionModel``.

        The sides of the images are ``image_size``, or multiples of ``patch_size`` with
        ``interpolate``. The pooled features are those that the head reads.
        """
        del train
        self._check(x.shape)
        x = embed_patches(x, self.width, self.patch_size)
        grid = (x.shape[1], x.shape[2])
        x = x.reshape(x.shape[0], -1, self.width)
        rows = self.position_rows
        shape = (1, rows + self.grid**2, self.width)
        table = self.param("pos_embed", nn.initializers.normal(0.02), shape, jnp.float32)
        table = resize_positions(table, rows, grid).astype(x.dtype)
        prefix = self._prefix(x)
        first = prefix.shape[1]
        if rows < first:
            none = jnp.zeros((1, first - rows, self.width), x.dtype)
            table = jnp.concatenate([table[:, :rows], none, table[:, rows:]], axis=1)
        x = jnp.concatenate([prefix, x], axis=1) + table if first else x + table
        filters = attention_filters(self.attention_filter, self.depth, grid, first)
        for i, attention_filter in enumerate(filters):
            block = TransformerBlock(
                self.heads,
                self.mlp_ratio,
                self.norm_epsilon,
                self.layer_scale,
                attention_filter,
                name=f"block{i}",
            )
            x = block(x)
        norm = nn.LayerNorm(epsilon=self.norm_epsilon, name="norm")
        if not self.norm_after_pool:
            x = norm(x)
        if features:
            return (x[:, first:].reshape(x.shape[0], *grid, self.width),)
        x = x[:, 0] if self.pool == "cls" else jnp.mean(x[:, first:], axis=1)
        if self.norm_after_pool:
            x = norm(x)
        if not self.num_classes:
            return x
        head_init = nn.initializers.truncated_normal(0.02)
        return nn.Dense(self.num_classes, kernel_init=head_init, name="head")(x)
