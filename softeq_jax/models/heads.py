"""Semantic segmentation: a head on the feature maps of any backbone."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax.groups import Group
from softeq_jax.models.rules import ModelDials, Rule, prefixed
from softeq_jax.models.vision import batch_norm
from softeq_jax.nn import channel_product

Maps = tuple[jax.Array, ...]


def _conv(features: int, name: str, **options: Any) -> nn.Conv:
    """A 1x1 convolution."""
    return nn.Conv(features, (1, 1), conv_general_dilated=channel_product, name=name, **options)


class LinearHead(nn.Module):
    """A linear layer at every position of the last feature map, started at N(0, 0.02).

    Attributes:
      num_classes: channels of the logits.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> maps = (jnp.ones((1, 4, 4, 8)), jnp.ones((1, 2, 2, 16)))
      >>> head = sq.models.LinearHead(3)
      >>> y, variables = jax.eval_shape(head.init_with_output, jax.random.key(0), maps)
      >>> y.shape, variables["params"]["classifier"]["kernel"].shape
      ((1, 2, 2, 3), (1, 1, 16, 3))
    """

    num_classes: int

    @nn.compact
    def __call__(self, maps: Maps, train: bool = False) -> jax.Array:
        """Maps ``(..., [n, h, w, c])`` to logits ``[n, h, w, num_classes]``."""
        del train
        init = nn.initializers.normal(0.02)
        return _conv(self.num_classes, "classifier", kernel_init=init)(maps[-1])


class SegFormerHead(nn.Module):
    """SegFormer's head: all maps projected, resized to the finest one, mixed, classified.

    Attributes:
      num_classes: channels of the logits.
      width: channels that every map is projected to.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> maps = (jnp.ones((1, 4, 4, 8)), jnp.ones((1, 2, 2, 16)))
      >>> head = sq.models.SegFormerHead(3, width=8)
      >>> y, variables = jax.eval_shape(head.init_with_output, jax.random.key(0), maps)
      >>> y.shape
      (1, 4, 4, 3)
    """

    num_classes: int
    width: int = 256
    axis_name: str | None = None

    @nn.compact
    def __call__(self, maps: Maps, train: bool = False) -> jax.Array:
        """Maps feature maps, finest first, to logits ``[n, h, w, num_classes]`` at the finest."""
        finest = maps[0].shape[1:3]
        projected = [
            resize_bilinear(nn.Dense(self.width, name=f"project{i}")(x), finest)
            for i, x in enumerate(maps, 1)
        ]
        x = jnp.concatenate(projected[::-1], axis=-1)
        x = _conv(self.width, "fuse", use_bias=False)(x)
        x = batch_norm(train=train, axis_name=self.axis_name, name="fuse_norm")(x)
        return _conv(self.num_classes, "classifier")(nn.relu(x))


class Segmenter(nn.Module):
    """A backbone with a segmentation head; its parameters are ``backbone`` and ``head``.

    Attributes:
      backbone: a vision model of this package; its own head is not made.
      head: ``LinearHead`` or ``SegFormerHead``.
      upsample: whether logits are resized (bilinear) to the images.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> backbone = sq.models.CifarResNet(depth=8, width=4)
      >>> net = sq.models.Segmenter(backbone, sq.models.LinearHead(3))
      >>> x = jnp.ones((1, 8, 8, 3))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape, sorted(variables["params"])
      ((1, 8, 8, 3), ['backbone', 'head'])
    """

    backbone: nn.Module
    head: nn.Module
    upsample: bool = True

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """The rules of the backbone; heads act on each position alike and have none."""
        return prefixed("backbone", self.backbone.soft_rules(group, dials)) | {"**": None}

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits of every pixel.

        Args:
          x: images ``[n, h, w, c]``, as the backbone takes them.
          train: whether batch norms use (and update) statistics of the batch.

        Returns:
          ``[n, h, w, num_classes]``, or at the head's own resolution without ``upsample``.
        """
        logits = self.head(self.backbone(x, train, features=True), train)
        return resize_bilinear(logits, x.shape[1:3]) if self.upsample else logits


def resize_bilinear(x: jax.Array, grid: tuple[int, ...]) -> jax.Array:
    """Bilinear resizing of maps ``[n, h, w, c]``, pixel centers at halves, no antialiasing."""
    if x.shape[1:3] == grid:
        return x
    shape = (x.shape[0], *grid, x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)
