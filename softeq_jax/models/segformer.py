"""SegFormer's encoder: a hierarchical transformer without a position table."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax.groups import Group
from softeq_jax.models.depthwise import shifted_windows
from softeq_jax.models.image_shape import check_images
from softeq_jax.models.rules import ModelDials, Rule, window_rule
from softeq_jax.models.transformer import attend, gelu
from softeq_jax.models.vision import VisionModel

_LEAVE_SMALL_ABOVE = 0.9
_EPSILON = 1e-5


class ReducedAttention(nn.Module):
    """Self-attention whose keys and values live on a coarser grid.

    A convolution ``reduce`` of window and stride ``reduction`` and a layer norm ``reduce_norm``
    make that grid; at reduction 1 there is neither.

    Attributes:
      heads: must divide the channels.
      reduction: side of the window.
    """

    heads: int
    reduction: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps feature maps ``[n, h, w, c]`` to such; h and w at least ``reduction``."""
        n, h, w, c = x.shape
        memory = x
        if self.reduction > 1:
            window = (self.reduction, self.reduction)
            memory = nn.Conv(c, window, strides=window, padding="VALID", name="reduce")(x)
            memory = nn.LayerNorm(epsilon=_EPSILON, name="reduce_norm")(memory)
        tokens = attend(x.reshape(n, h * w, c), memory.reshape(n, -1, c), self.heads)
        return tokens.reshape(n, h, w, c)


class SegFormerBlock(nn.Module):
    """Reduced self-attention, then a perceptron with a depthwise 3x3 convolution inside.

    Attributes:
      heads: must divide the channels.
      reduction: of the attention's keys and values.
      mlp_ratio: hidden channels of the perceptron in units of its input's.
      shifts: see ``SegFormer``.
    """

    heads: int
    reduction: int
    mlp_ratio: float = 4
    shifts: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps feature maps ``[n, h, w, c]`` to such."""
        channels = x.shape[-1]
        y = nn.LayerNorm(epsilon=_EPSILON, name="norm1")(x)
        x = x + ReducedAttention(self.heads, self.reduction, name="attention")(y)
        y = nn.LayerNorm(epsilon=_EPSILON, name="norm2")(x)
        hidden = round(self.mlp_ratio * channels)
        y = nn.Dense(hidden, name="mlp_in")(y)
        y = nn.Conv(
            hidden,
            (3, 3),
            padding=((1, 1), (1, 1)),
            feature_group_count=hidden,
            conv_general_dilated=shifted_windows if self.shifts else None,
            name="mlp_conv",
        )(y)
        return x + nn.Dense(channels, name="mlp_out")(gelu(y))


class SegFormer(VisionModel):
    """SegFormer's encoder (Xie et al. 2021) with a linear head on its last map; B0 by default.

    Attributes:
      widths, depths, heads, num_classes: see ``VisionModel``.
      reductions: of the keys and values in the stages.
      patch_sizes: windows of the overlapping patch embeddings.
      strides: of the patch embeddings.
      mlp_ratios: hidden channels of the perceptrons in units of the widths.
      shifts: whether depthwise windows are computed as sums of shifted maps: faster on CPUs, but
        ``measures.layerwise`` then gives their neighbors a part of their errors.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.SegFormer(widths=(4, 4, 8, 8), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2))
      >>> x = jnp.ones((1, 32, 32, 3))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape
      (1, 1000)
    """

    widths: tuple[int, ...] = (32, 64, 160, 256)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    reductions: tuple[int, ...] = (8, 4, 2, 1)
    patch_sizes: tuple[int, ...] = (7, 3, 3, 3)
    strides: tuple[int, ...] = (4, 2, 2, 2)
    mlp_ratios: tuple[float, ...] = (4, 4, 4, 4)
    shifts: bool = False
    num_classes: int = 1000

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Convolutions with a window, see ``softeq_jax.models.soft_rules``."""
        windows = window_rule(group, dials, leave_small_above=_LEAVE_SMALL_ABOVE)

        def up_to(side: int) -> Rule:
            """The rule of kernels whose windows are at most this long."""
            alone = dials.left_alone(side, _LEAVE_SMALL_ABOVE)
            return (alone or windows) if dials.filters_windows(side) else None

        rules: dict[str, Rule] = {
            "*_patch_embed/kernel": windows,
            "*/mlp_conv/kernel": up_to(3),
        }
        if (widest := max(self.reductions)) > 1:
            rules["*/attention/reduce/kernel"] = up_to(widest)
        return {**rules, "**": None}

    def _check(self, shape: tuple[int, ...]) -> None:
        stages = {
            len(values)
            for values in (
                self.widths,
                self.depths,
                self.heads,
                self.reductions,
                self.patch_sizes,
                self.strides,
                self.mlp_ratios,
            )
        }
        if len(stages) != 1:
            raise ValueError(f"attributes need one entry for each stage, got lengths {stages}")
        check_images(shape)

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, *, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Logits of images, see ``VisionModel``.

        The maps have strides 4, 8, 16, 32 by default; what is pooled is the last one.
        """
        del train
        self._check(x.shape)
        maps = []
        for s in range(len(self.widths)):
            window, stride = self.patch_sizes[s], self.strides[s]
            pad = (window // 2, window // 2)
            x = nn.Conv(
                self.widths[s],
                (window, window),
                strides=(stride, stride),
                padding=(pad, pad),
                name=f"stage{s + 1}_patch_embed",
            )(x)
            x = nn.LayerNorm(epsilon=_EPSILON, name=f"stage{s + 1}_patch_norm")(x)
            for j in range(self.depths[s]):
                x = SegFormerBlock(
                    self.heads[s],
                    self.reductions[s],
                    self.mlp_ratios[s],
                    self.shifts,
                    name=f"stage{s + 1}_block{j}",
                )(x)
            x = nn.LayerNorm(epsilon=_EPSILON, name=f"stage{s + 1}_norm")(x)
            maps.append(x)
        if features:
            return tuple(maps)
        x = jnp.mean(x, axis=(1, 2))
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x
