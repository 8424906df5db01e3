"""EfficientNet-Lite: small networks of depthwise windows for ImageNet."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax.groups import Group
from softeq_jax.models.depthwise import shifted_windows
from softeq_jax.models.image_shape import check_images
from softeq_jax.models.rules import ModelDials, Rule, window_rule
from softeq_jax.models.vision import VisionModel, batch_norm
from softeq_jax.nn import channel_product

# Of the seven stages: side of the window, stride of the first block, hidden channels an input one.
_STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))


VERSIONS: Mapping[int, tuple[float, float, int]] = {
    0: (1.0, 1.0, 224),
    1: (1.0, 1.1, 240),
    2: (1.1, 1.2, 260),
    3: (1.2, 1.4, 280),
    4: (1.4, 1.8, 300),
}
"""Published versions: factors of channels and of depth, side of the images."""


def lite_sizes(version: int) -> dict[str, Any]:
    """The attributes of EfficientNet-Lite 0 to 4.

    Channels are multiples of 8, and not less than 0.9 of what their factor makes of them; the first
    and the last stage keep their depth.
    """
    wider, deeper, side = VERSIONS[version]
    base = EfficientNetLite()

    def channels(count: int) -> int:
        wanted = count * wider
        near = max(8, int(wanted + 4) // 8 * 8)
        return near + 8 if near < 0.9 * wanted else near

    inner = (math.ceil(depth * deeper) for depth in base.depths[1:-1])
    return {
        "widths": tuple(map(channels, base.widths)),
        "depths": (base.depths[0], *inner, base.depths[-1]),
        "image_size": side,
    }


def _conv(
    features: int, window: int, stride: int, name: str, by: Any = None, groups: int = 1
) -> nn.Conv:
    """A convolution without bias, padded as TensorFlow does: the odd pixel below and right."""
    return nn.Conv(
        features,
        (window, window),
        strides=(stride, stride),
        padding="SAME",
        use_bias=False,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        feature_group_count=groups,
        conv_general_dilated=channel_product if window == 1 else by,
        name=name,
    )


class InvertedResidual(nn.Module):
    """Channels widened by a 1x1 convolution, a depthwise window, and narrowed again.

    Batch norm follows each of the three, ReLU6 the first two. The input is added where the shape
    stays.

    Attributes:
      features: output channels.
      window: side of the depthwise window.
      stride: of the depthwise window.
      expansion: hidden channels in units of the input's; 1 leaves the widening out.
      shifts: see ``EfficientNetLite``.
      axis_name: mapped axis over which batch statistics are averaged, or None.
    """

    features: int
    window: int
    stride: int = 1
    expansion: int = 6
    shifts: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps ``[n, h, w, c]`` to ``[n, ceil(h / stride), ceil(w / stride), features]``."""
        norm = functools.partial(_norm, train=train, axis_name=self.axis_name)
        inputs = x.shape[-1]
        hidden = inputs * self.expansion
        y = x
        if self.expansion > 1:
            y = nn.relu6(norm(name="expand_bn")(_conv(hidden, 1, 1, "expand")(y)))
        by = shifted_windows if self.shifts else None
        y = _conv(hidden, self.window, self.stride, "depthwise", by, hidden)(y)
        y = nn.relu6(norm(name="depthwise_bn")(y))
        y = norm(name="project_bn")(_conv(self.features, 1, 1, "project")(y))
        return x + y if self.stride == 1 and inputs == self.features else y


_norm = functools.partial(batch_norm, momentum=0.99, epsilon=1e-3)


class EfficientNetLite(VisionModel):
    """EfficientNet-Lite (Tan and Le 2019, without attention over channels and with ReLU6).

    A 3x3 convolution of stride 2, seven stages of inverted residuals, a 1x1 convolution, mean over
    the map, head.

    Padding is TensorFlow's: on a map of even side a window of stride 2 gets one pixel more below
    and right than above and left. Such a layer breaks quarter turns and flips whatever its kernel
    is, and ``certificates.convolution`` refuses to certify it ("the padding is not symmetric"); on
    images of side ``32 n + 1`` no map that is halved has an even side, and all layers respect them.

    Attributes:
      widths: channels of the seven stages.
      depths: blocks of the seven stages.
      stem: channels of the first convolution.
      width: channels of the last map.
      image_size: side that published weights were trained at; images of any size are taken.
      shifts: whether depthwise windows are computed as sums of shifted maps, several times faster
        on CPUs, or as one operation each, ``shifts=False``, which ``measures.layerwise`` needs: it
        does not see that the sums are windows, and gives their neighbors a part of their errors.
      num_classes, axis_name: see ``VisionModel``.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.EfficientNetLite(num_classes=5)
      >>> x = jnp.ones((1, 33, 33, 3))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape
      (1, 5)
    """

    widths: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    depths: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    stem: int = 32
    width: int = 1280
    image_size: int = 224
    shifts: bool = True
    num_classes: int = 1000
    axis_name: str | None = None

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Stem and depthwise windows, see ``softeq_jax.models.soft_rules``."""
        rule = window_rule(group, dials)
        return {"stem_conv/kernel": rule, "**/depthwise/kernel": rule, "**": None}

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, *, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Logits of images, see ``VisionModel``.

        The images are of any size; what is pooled is the last map. There is a feature map for each
        resolution, the last of them after the last convolution.
        """
        check_images(x.shape)
        if len(self.widths) != len(_STAGES) or len(self.depths) != len(_STAGES):
            raise ValueError(
                f"widths and depths must have {len(_STAGES)} entries, got {self.widths} and "
                f"{self.depths}"
            )
        norm = functools.partial(_norm, train=train, axis_name=self.axis_name)
        x = nn.relu6(norm(name="stem_bn")(_conv(self.stem, 3, 2, "stem_conv")(x)))
        maps: list[jax.Array] = []
        for stage, (window, stride, expansion) in enumerate(_STAGES):
            if stride == 2:
                maps.append(x)
            for block in range(self.depths[stage]):
                x = InvertedResidual(
                    self.widths[stage],
                    window,
                    1 if block else stride,
                    expansion,
                    self.shifts,
                    self.axis_name,
                    name=f"stage{stage + 1}_block{block}",
                )(x, train)
        x = nn.relu6(norm(name="head_bn")(_conv(self.width, 1, 1, "head_conv")(x)))
        if features:
            return (*maps, x)
        x = jnp.mean(x, axis=(1, 2))
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x
