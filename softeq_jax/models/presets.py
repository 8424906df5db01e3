"""Models by name, in the sizes that weights are published for, and small ones for volumes."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from flax import linen as nn

from softeq_jax.models.cifar_resnet import CifarResNet
from softeq_jax.models.dinov2 import DINOv2
from softeq_jax.models.efficientnet_lite import VERSIONS, EfficientNetLite, lite_sizes
from softeq_jax.models.heads import LinearHead, SegFormerHead, Segmenter
from softeq_jax.models.mixer import MLPMixer
from softeq_jax.models.resnet import ResNet
from softeq_jax.models.segformer import SegFormer
from softeq_jax.models.vit import ViT
from softeq_jax.models.volume_resnet import VolumeResNet

# Name: width, depth, heads of the transformers.
_SIZES = {"ti": (192, 12, 3), "s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16)}
# Depth: blocks of the four stages, bottlenecks or not.
_RESNETS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
# Size: width, depth, hidden units over tokens and over channels.
_MIXERS = {"s": (512, 8, 256, 2048), "b": (768, 12, 384, 3072), "l": (1024, 24, 512, 4096)}


def _table() -> dict[str, Callable[..., nn.Module]]:
    table: dict[str, Callable[..., nn.Module]] = {}
    for size, (width, depth, heads) in _SIZES.items():
        shape = {"width": width, "depth": depth, "heads": heads}
        for patch in (16, 32) if size != "ti" else (16,):
            table[f"vit_{size}{patch}"] = functools.partial(
                ViT, image_size=224, patch_size=patch, num_classes=1000, **shape
            )
        if size != "ti":
            table[f"dinov2_{size}14"] = functools.partial(DINOv2, **shape)
            table[f"dinov2_{size}14_reg4"] = functools.partial(DINOv2, registers=4, **shape)
    for depth, (depths, bottleneck) in _RESNETS.items():
        table[f"resnet{depth}"] = functools.partial(ResNet, depths=depths, bottleneck=bottleneck)
    for depth in (20, 32, 44, 56, 110):
        table[f"cifar_resnet{depth}"] = functools.partial(CifarResNet, depth=depth)
    for depth in (8, 14, 20):
        table[f"volume_resnet{depth}"] = functools.partial(VolumeResNet, depth=depth)
    for size, (width, depth, token_hidden, channel_hidden) in _MIXERS.items():
        for patch in (16, 32) if size != "l" else (16,):
            table[f"mixer_{size}{patch}"] = functools.partial(
                MLPMixer,
                image_size=224,
                patch_size=patch,
                width=width,
                depth=depth,
                token_hidden=token_hidden,
                channel_hidden=channel_hidden,
            )
    table["segformer_b0"] = SegFormer
    for version in VERSIONS:
        table[f"efficientnet_lite{version}"] = functools.partial(
            EfficientNetLite, **lite_sizes(version)
        )
    return table


PRESETS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(_table())
"""From a name to what makes the model."""


def create(name: str, **changes: Any) -> nn.Module:
    """A model by name, with attributes changed.

    Args:
      name: a key of ``PRESETS``, such as ``"vit_s16"``, ``"dinov2_b14_reg4"``, ``"resnet50"``.
      **changes: attributes of the model, such as ``num_classes=10`` or ``image_size=32``.

    Raises:
      ValueError: an unknown name.
      TypeError: the model has no such attribute.

    Example:
      >>> import softeq_jax as sq
      >>> net = sq.models.create("vit_s16", num_classes=10, image_size=32)
      >>> type(net).__name__, net.width, net.num_classes
      ('ViT', 384, 10)
    """
    if name not in PRESETS:
        raise ValueError(f"unknown model {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name](**changes)


def segmenter(backbone: nn.Module, num_classes: int, head: str = "linear") -> Segmenter:
    """A backbone with a segmentation head.

    Args:
      backbone: a vision model of this package.
      num_classes: channels of the logits.
      head: ``"linear"`` or ``"segformer"``.

    Raises:
      ValueError: an unknown head.

    Example:
      >>> import softeq_jax as sq
      >>> net = sq.models.segmenter(sq.models.create("segformer_b0"), 3, head="segformer")
      >>> type(net.head).__name__, net.head.num_classes
      ('SegFormerHead', 3)
    """
    heads = {"linear": LinearHead, "segformer": SegFormerHead}
    if head not in heads:
        raise ValueError(f"head must be 'linear' or 'segformer', got {head!r}")
    return Segmenter(backbone, heads[head](num_classes))
