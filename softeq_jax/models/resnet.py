"""Residual networks for ImageNet."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax._checks import whole
from softeq_jax.groups import Group
from softeq_jax.models.image_shape import check_images
from softeq_jax.models.rules import ModelDials, Rule, window_rule
from softeq_jax.models.vision import VisionModel, batch_norm
from softeq_jax.nn import BlurPool, channel_product, max_pool

_LEAVE_SMALL_ABOVE = 0.8


def _conv(features: int, window: int, stride: int, name: str) -> nn.Conv:
    """A convolution without bias, zeros added alike on all sides."""
    pad = (window - 1) // 2
    return nn.Conv(
        features,
        (window, window),
        strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        use_bias=False,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        conv_general_dilated=channel_product if window == 1 else None,
        name=name,
    )


class Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1 (a bottleneck of a quarter), added to a shortcut.

    The stride is that of the (first) 3x3 convolution. The shortcut is a 1x1 convolution where the
    shape changes.

    Attributes:
      features: output channels.
      stride: 1 or 2.
      bottleneck: which of the two.
      blur: taps of the blur-pool that carries the stride of both branches, 0 for none.
      axis_name: mapped axis over which batch statistics are averaged, or None.
    """

    features: int
    stride: int = 1
    bottleneck: bool = True
    blur: int = 0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps ``[n, h, w, c]`` to ``[n, ceil(h / stride), ceil(w / stride), features]``."""
        norm = functools.partial(batch_norm, train=train, axis_name=self.axis_name)
        blurs = self.blur > 0 and self.stride > 1
        stride = 1 if blurs else self.stride
        inner = self.features // 4 if self.bottleneck else self.features
        layers = [(inner, 1, 1)] if self.bottleneck else []
        strided = len(layers) + 1
        layers += [(inner, 3, stride), (self.features, 1 if self.bottleneck else 3, 1)]
        y = x
        for i, (features, window, step) in enumerate(layers, 1):
            y = norm(name=f"bn{i}")(_conv(features, window, step, f"conv{i}")(y))
            y = nn.relu(y) if i < len(layers) else y
            if blurs and i == strided:
                y = BlurPool(self.blur, self.stride, name="blur")(y)
        if x.shape[-1] != self.features or self.stride != 1:
            if blurs:
                x = BlurPool(self.blur, self.stride, name="shortcut_blur")(x)
            x = _conv(self.features, 1, stride, "shortcut_conv")(x)
            x = norm(name="shortcut_bn")(x)
        return nn.relu(x + y)


class ResNet(VisionModel):
    """ResNet (He et al. 2016; strides in the 3x3 convolutions of bottlenecks, as all use today).

    A 7x7 convolution of stride 2, a 3x3 maximum of stride 2, four stages, mean over the map, head.
    On a map of even side, 3x3 windows of stride 2 with a pixel of padding do not respect a quarter
    turn; ``certificates.convolution`` says so for each layer. With ``blur=4`` they do.

    Attributes:
      depths, width, num_classes, blur, axis_name: see ``VisionModel``; ``width`` is that of the
        stem, the stages have 4 (bottlenecks) or 1, 2, 4, 8 times as many channels.
      bottleneck: bottlenecks (ResNet-50 and deeper) or pairs of 3x3 convolutions.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.ResNet(depths=(1, 1), width=4, num_classes=5)
      >>> x = jnp.ones((1, 32, 32, 3))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape, variables["params"]["conv1"]["kernel"].shape
      ((1, 5), (7, 7, 3, 4))
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    bottleneck: bool = True
    width: int = 64
    num_classes: int = 1000
    blur: int = 0
    axis_name: str | None = None

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Convolutions with a window, see ``softeq_jax.models.soft_rules``."""
        return {
            "**/conv[123]/kernel": window_rule(group, dials, leave_small_above=_LEAVE_SMALL_ABOVE),
            "**": None,
        }

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, *, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Logits of images, see ``VisionModel``.

        The images are of any size; what is pooled is the last map.
        """
        check_images(x.shape)
        stride = 1 if whole(self.blur, "blur", 0) else 2
        x = _conv(self.width, 7, stride, "conv1")(x)
        x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(x))
        x = BlurPool(self.blur, name="conv1_blur")(x) if self.blur else x
        x = max_pool(x, 3, stride, padding=1)
        x = BlurPool(self.blur, name="pool_blur")(x) if self.blur else x
        maps: list[Any] = []
        for stage, depth in enumerate(self.depths):
            for block in range(depth):
                x = Block(
                    self.width * 2**stage * (4 if self.bottleneck else 1),
                    2 if stage and not block else 1,
                    self.bottleneck,
                    self.blur,
                    self.axis_name,
                    name=f"stage{stage + 1}_block{block}",
                )(x, train)
            maps.append(x)
        if features:
            return tuple(maps)
        x = jnp.mean(x, axis=(1, 2))
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x
