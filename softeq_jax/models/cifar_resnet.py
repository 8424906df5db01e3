"""Residual networks for small images, laid out so that published CIFAR weights fit."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax._checks import whole
from softeq_jax.groups import Group
from softeq_jax.models.image_shape import check_images
from softeq_jax.models.rules import ModelDials, Rule, window_rule
from softeq_jax.models.vision import VisionModel, batch_norm
from softeq_jax.nn import BlurPool

_PAD_ONE = ((1, 1), (1, 1))


def _conv3x3(features: int, stride: int, name: str) -> nn.Conv:
    """A 3x3 convolution without bias, one pixel of zeros on every side.

    The padding is spelled out because XLA's "SAME" pads an even map at stride 2 on one side only.
    """
    return nn.Conv(
        features,
        (3, 3),
        strides=(stride, stride),
        padding=_PAD_ONE,
        use_bias=False,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        name=name,
    )


def shortcut(x: jax.Array, features: int, stride: int) -> jax.Array:
    """Parameter-free shortcut: keep every `stride`-th pixel, add zero channels on both sides.

    Args:
      x: `[n, h, w, c]`.
      features: channels wanted; `features - c` must be an even number >= 0.
      stride: subsampling step along both grid axes.

    Returns:
      `[n, ceil(h / stride), ceil(w / stride), features]`, the dtype of `x`.

    Raises:
      ValueError: `features - c` is negative or odd.
    """
    extra = features - x.shape[-1]
    if extra < 0 or extra % 2:
        raise ValueError(
            f"shortcut from {x.shape[-1]} to {features} channels: the difference must be even "
            f"and >= 0, got {extra}"
        )
    x = x[:, ::stride, ::stride, :]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (extra // 2, extra // 2)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to a parameter-free shortcut.

    Attributes:
      features: output channels.
      stride: stride of the first convolution and of the shortcut.
      blur: taps of the blur-pool that carries the stride in place of both, 0 for none.
      axis_name: mapped axis over which batch statistics are averaged, or None.
    """

    features: int
    stride: int = 1
    blur: int = 0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[n, h, w, c]` to `[n, ceil(h / stride), ceil(w / stride), features]`."""
        norm = functools.partial(batch_norm, train=train, axis_name=self.axis_name)
        blurs = self.blur > 0 and self.stride > 1
        stride = 1 if blurs else self.stride
        y = _conv3x3(self.features, stride, "conv1")(x)
        y = nn.relu(norm(name="bn1")(y))
        if blurs:
            y = BlurPool(self.blur, self.stride, name="blur")(y)
            x = BlurPool(self.blur, self.stride, name="shortcut_blur")(x)
        y = _conv3x3(self.features, 1, "conv2")(y)
        y = norm(name="bn2")(y)
        return nn.relu(y + shortcut(x, self.features, stride))


class CifarResNet(VisionModel):
    """ResNet for small images: three stages of `(depth - 2) / 6` blocks, widths 1:2:4.

    Its modules are named `conv1`, `bn1`, `stage{1,2,3}_block{b}` and `linear`.

    Attributes:
      depth, num_classes, width, blur, axis_name: see ``VisionModel``; ``depth`` counts the layers
        with weights, `6 n + 2` with n >= 1, ``width`` is an even number.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net, x = sq.models.CifarResNet(depth=8, width=4), jnp.ones((1, 8, 8, 3))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape, variables["params"]["conv1"]["kernel"].shape
      ((1, 10), (3, 3, 3, 4))
    """

    depth: int = 20
    num_classes: int = 10
    width: int = 16
    blur: int = 0
    axis_name: str | None = None

    @property
    def blocks(self) -> int:
        """Number of residual blocks in each stage.

        Raises:
          ValueError: `depth` is not `6 n + 2` with n >= 1.
        """
        if self.depth < 8 or (self.depth - 2) % 6:
            raise ValueError(
                f"depth must be 6 n + 2 with n >= 1 (8, 14, 20, ...), got {self.depth}"
            )
        return (self.depth - 2) // 6

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Convolutions with a window, see ``softeq_jax.models.soft_rules``."""
        return {"**/conv?/kernel": window_rule(group, dials), "**": None}

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, *, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Logits of images, see ``VisionModel``.

        The images are of any size and number of channels; what is pooled is the last map.
        """
        check_images(x.shape)
        if self.width < 2 or self.width % 2:
            raise ValueError(f"width must be an even number >= 2, got {self.width}")
        whole(self.blur, "blur", 0)
        x = _conv3x3(self.width, 1, "conv1")(x)
        x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(x))
        maps = []
        for stage in range(3):
            for block in range(self.blocks):
                x = ResidualBlock(
                    features=self.width * 2**stage,
                    stride=2 if stage > 0 and block == 0 else 1,
                    blur=self.blur,
                    axis_name=self.axis_name,
                    name=f"stage{stage + 1}_block{block}",
                )(x, train)
            maps.append(x)
        if features:
            return tuple(maps)
        x = jnp.mean(x, axis=(1, 2))
        return nn.Dense(self.num_classes, name="linear")(x) if self.num_classes else x
