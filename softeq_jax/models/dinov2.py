"""DINOv2: vision transformers trained without labels, with or without registers."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax.groups import Group
from softeq_jax.models.attention_filter import AttentionFilter, attention_filters
from softeq_jax.models.patches import (
    check_patches,
    embed_patches,
    patch_grid,
    resize_positions,
)
from softeq_jax.models.rules import ModelDials, Rule, position_rule, window_rule
from softeq_jax.models.transformer import TransformerBlock, check_heads
from softeq_jax.models.vision import VisionModel


class DINOv2(VisionModel):
    """DINOv2 (Oquab et al. 2024; registers: Darcet et al. 2024).

    A vision transformer with gains on its residual branches. Its position table ``pos_embed``
    ``[1, 1 + side^2, width]`` (class token and patches, none for registers) is resized to the grid
    of the images in each forward pass: bicubic, antialiased if there are registers, as the
    published models do. Other names are those of ``ViT``.

    Attributes:
      width, depth, heads, image_size, patch_size, mlp_ratio, registers, num_classes, norm_epsilon:
        see ``VisionModel``; the position table is for images of ``image_size``, the head reads the
        class token beside the mean over patches.
      attention_filter: which blocks' attention outputs are projected on the grid, or None.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.DINOv2(width=8, depth=1, heads=2, image_size=28, registers=4)
      >>> x = jnp.ones((1, 56, 42, 3))  # of another size than the table's
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape, variables["params"]["pos_embed"].shape
      ((1, 8), (1, 5, 8))
    """

    width: int
    depth: int
    heads: int
    image_size: int = 518
    patch_size: int = 14
    mlp_ratio: float = 4
    registers: int = 0
    num_classes: int = 0
    norm_epsilon: float = 1e-6
    attention_filter: AttentionFilter | None = None

    @property
    def grid(self) -> int:
        """Patches along a side of the trained resolution."""
        return patch_grid(self.image_size, self.patch_size)

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Patches and positions, see ``softeq_jax.models.soft_rules``."""
        check_heads(self.width, self.heads)
        return {
            "patch_embed/kernel": window_rule(group, dials),
            "pos_embed": position_rule(group, dials, self.grid, 1),
            "**": None,
        }

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, *, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Logits of images, see ``VisionModel``.

        The sides of the images are multiples of ``patch_size``. The pooled feature is the
        class token.
        """
        del train
        check_heads(self.width, self.heads)
        patch_grid(self.image_size, self.patch_size)
        check_patches(x.shape, self.patch_size)
        x = embed_patches(x, self.width, self.patch_size)
        grid = (x.shape[1], x.shape[2])
        n = x.shape[0]
        normal = nn.initializers.truncated_normal(0.02)
        token = self.param("cls_token", normal, (1, 1, self.width), jnp.float32).astype(x.dtype)
        table = self.param("pos_embed", normal, (1, 1 + self.grid**2, self.width), jnp.float32)
        table = resize_positions(table, 1, grid, antialias=self.registers > 0).astype(x.dtype)
        tokens = [jnp.broadcast_to(token + table[:, :1], (n, 1, self.width))]
        if self.registers:
            shape = (1, self.registers, self.width)
            registers = self.param("register_tokens", normal, shape, jnp.float32)
            tokens.append(jnp.broadcast_to(registers.astype(x.dtype), (n, *shape[1:])))
        first = 1 + self.registers
        x = jnp.concatenate([*tokens, x.reshape(n, -1, self.width) + table[:, 1:]], axis=1)
        filters = attention_filters(self.attention_filter, self.depth, grid, first)
        for i, attention_filter in enumerate(filters):
            block = TransformerBlock(
                self.heads,
                self.mlp_ratio,
                self.norm_epsilon,
                1.0,
                attention_filter,
                name=f"block{i}",
            )
            x = block(x)
        x = nn.LayerNorm(epsilon=self.norm_epsilon, name="norm")(x)
        if features:
            return (x[:, first:].reshape(n, *grid, self.width),)
        if not self.num_classes:
            return x[:, 0]
        x = jnp.concatenate([x[:, 0], jnp.mean(x[:, first:], axis=1)], axis=-1)
        return nn.Dense(self.num_classes, kernel_init=normal, name="head")(x)
