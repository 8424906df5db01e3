"""The networks of the parity check, as transformers and timm make them.

For ``experiments.parity.pytorch``; needs torch, transformers and timm, not JAX.
"""

import dataclasses
from collections.abc import Callable

import torch
import transformers
from torch import nn


def _import_timm():
    """timm imports torchvision, whose compiled operators do not fit every build of torch.

    timm does not call them; declaring those that torchvision registers on import is enough.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm

    return timm, library


timm, _LIBRARY = _import_timm()


@dataclasses.dataclass(frozen=True)
class Counterpart:
    """One network.

    Attributes:
      name: of its folder.
      make: builds it, with whatever weights, given ``arguments``.
      sizes: heights and widths of the images that it is asked about.
      images: how many of each size.
      dtype: that the weights are saved in.
      options: for ``save_pretrained``.
      arguments: of the model's class beside its configuration.
    """

    name: str
    make: Callable[..., nn.Module]
    sizes: tuple[tuple[int, int], ...]
    images: int = 2
    dtype: torch.dtype = torch.float32
    options: tuple[tuple[str, object], ...] = ()
    arguments: tuple[tuple[str, object], ...] = ()


def hugging_face(kind: str, **settings: object) -> Callable[..., nn.Module]:
    """Makes a class of transformers with a configuration."""
    config = kind.removesuffix("Model").split("For")[0] + "Config"

    def make(**arguments: object) -> nn.Module:
        return getattr(transformers, kind)(getattr(transformers, config)(**settings), **arguments)

    return make


def of_timm(name: str, **settings: object) -> Callable[..., nn.Module]:
    """Makes a network of timm."""
    return lambda: timm.create_model(name, pretrained=False, **settings)


_SIZES = {"ti": (192, 12, 3), "s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16)}
_RESNETS = {
    18: ("basic", (64, 128, 256, 512), (2, 2, 2, 2)),
    34: ("basic", (64, 128, 256, 512), (3, 4, 6, 3)),
    50: ("bottleneck", (256, 512, 1024, 2048), (3, 4, 6, 3)),
    101: ("bottleneck", (256, 512, 1024, 2048), (3, 4, 23, 3)),
    152: ("bottleneck", (256, 512, 1024, 2048), (3, 8, 36, 3)),
}


def _transformer(size: str) -> dict[str, int]:
    width, depth, heads = _SIZES[size]
    return {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}


def full_cases() -> list[Counterpart]:
    """Every family in the sizes that are published."""
    square, large = ((224, 224),), ((518, 518), (224, 224), (224, 280))
    cases = [
        Counterpart(
            f"hf_vit_{size}16",
            hugging_face(
                "ViTForImageClassification",
                num_labels=1000,
                intermediate_size=4 * _SIZES[size][0],
                **_transformer(size),
            ),
            square,
        )
        for size in _SIZES
    ]
    for size in ("s", "b"):
        settings = {"image_size": 518, "patch_size": 14, **_transformer(size)}
        cases += [
            Counterpart(f"hf_dinov2_{size}14", hugging_face("Dinov2Model", **settings), large, 1),
            Counterpart(
                f"hf_dinov2_{size}14_reg4",
                hugging_face("Dinov2WithRegistersModel", **settings),
                large,
                1,
            ),
        ]
    for depth, (kind, widths, depths) in _RESNETS.items():
        network = hugging_face(
            "ResNetForImageClassification",
            num_labels=1000,
            layer_type=kind,
            hidden_sizes=widths,
            depths=depths,
        )
        cases.append(Counterpart(f"hf_resnet{depth}", network, square))
        cases.append(Counterpart(f"timm_resnet{depth}", of_timm(f"resnet{depth}"), square))
    cases += [
        Counterpart("timm_vit_ti16", of_timm("vit_tiny_patch16_224"), square),
        Counterpart("timm_vit_s16", of_timm("vit_small_patch16_224"), square),
        Counterpart("timm_vit_b16", of_timm("vit_base_patch16_224"), square),
        Counterpart(
            "timm_vit_b16_mean", of_timm("vit_base_patch16_224", global_pool="avg"), square
        ),
        Counterpart(
            "timm_vit_b16_reg4_mean", of_timm("vit_base_patch16_reg4_gap_256"), ((256, 256),)
        ),
        Counterpart("timm_deit3_s16", of_timm("deit3_small_patch16_224"), square),
        Counterpart("timm_dinov2_s14", of_timm("vit_small_patch14_dinov2"), large[:1], 1),
        Counterpart("timm_dinov2_s14_reg4", of_timm("vit_small_patch14_reg4_dinov2"), large[:1], 1),
        Counterpart("timm_mixer_s32", of_timm("mixer_s32_224"), square),
        Counterpart("timm_mixer_b16", of_timm("mixer_b16_224"), square),
        Counterpart("timm_mixer_l16", of_timm("mixer_l16_224"), square),
        Counterpart(
            "hf_segformer_b0",
            hugging_face("SegformerForImageClassification", num_labels=1000),
            ((224, 224), (256, 320)),
        ),
        Counterpart(
            "hf_segformer_b0_segmenter",
            hugging_face("SegformerForSemanticSegmentation", num_labels=150),
            ((256, 256), (224, 288)),
        ),
    ]
    return cases


def tiny_cases() -> list[Counterpart]:
    """Every family and format, small enough to be kept with the tests."""
    small = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_labels": 5,
        "patch_size": 8,
        "image_size": 32,
    }
    vit = {**small, "intermediate_size": 32}
    dino = {**small, "patch_size": 4, "image_size": 20, "mlp_ratio": 3}
    stages = {"embedding_size": 4, "depths": (1, 2, 1, 1), "num_labels": 5}
    mixed = {
        "hidden_sizes": (4, 8, 12, 16),
        "num_attention_heads": (1, 2, 3, 4),
        "depths": (1, 2, 1, 1),
        "mlp_ratios": (2, 2, 3, 2),
        "num_labels": 5,
        "decoder_hidden_size": 12,
    }
    of_vit = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    square, grids = ((32, 32),), ((20, 20), (12, 32))
    renamed = (("save_original_format", False),)
    return [
        Counterpart("hf_vit", hugging_face("ViTForImageClassification", **vit), square),
        Counterpart(
            "hf_vit_backbone_f16",
            hugging_face("ViTModel", **vit),
            square,
            dtype=torch.float16,
            arguments=(("use_mask_token", True),),
        ),
        Counterpart(
            "hf_vit_renamed",
            hugging_face("ViTForImageClassification", **vit),
            square,
            options=renamed,
        ),
        Counterpart("hf_deit", hugging_face("DeiTForImageClassification", **vit), square),
        Counterpart("hf_dinov2_backbone", hugging_face("Dinov2Model", **dino), grids),
        Counterpart("hf_dinov2", hugging_face("Dinov2ForImageClassification", **dino), grids),
        Counterpart(
            "hf_dinov2_registers_bf16",
            hugging_face(
                "Dinov2WithRegistersForImageClassification", num_register_tokens=3, **dino
            ),
            grids,
            dtype=torch.bfloat16,
        ),
        Counterpart(
            "hf_dinov2_renamed",
            hugging_face("Dinov2Model", **dino),
            grids[:1],
            options=renamed,
        ),
        Counterpart(
            "hf_resnet_basic",
            hugging_face(
                "ResNetForImageClassification",
                layer_type="basic",
                hidden_sizes=(4, 8, 16, 32),
                **stages,
            ),
            ((33, 40),),
        ),
        Counterpart(
            "hf_resnet_bottleneck",
            hugging_face("ResNetForImageClassification", hidden_sizes=(16, 32, 64, 128), **stages),
            ((33, 40),),
            dtype=torch.float16,
        ),
        Counterpart("timm_resnet", _narrow_resnet, ((33, 40),)),
        Counterpart("timm_vit", of_timm("vit_tiny_patch16_224", num_classes=5, **of_vit), square),
        Counterpart(
            "timm_vit_mean",
            of_timm("vit_tiny_patch16_224", num_classes=5, global_pool="avg", **of_vit),
            square,
        ),
        Counterpart(
            "timm_vit_registers",
            of_timm("vit_base_patch16_reg4_gap_256", num_classes=5, init_values=1e-5, **of_vit),
            square,
        ),
        Counterpart(
            "timm_dinov2_registers",
            of_timm("vit_small_patch14_reg4_dinov2", **of_vit),
            square,
        ),
        Counterpart("timm_mixer", _small_mixer, square),
        Counterpart(
            "hf_segformer",
            hugging_face("SegformerForImageClassification", **mixed),
            ((64, 96),),
            1,
        ),
        Counterpart(
            "hf_segformer_segmenter",
            hugging_face("SegformerForSemanticSegmentation", **mixed),
            ((64, 96),),
            1,
        ),
        Counterpart(
            "hf_segformer_renamed",
            hugging_face("SegformerForSemanticSegmentation", **mixed),
            ((64, 96),),
            1,
            options=renamed,
        ),
    ]


def _narrow_resnet() -> nn.Module:
    """timm's ResNet with a stem of 2 channels; timm itself has 64 in every plain one."""
    model = timm.create_model(
        "resnet26", num_classes=5, layers=[1, 2, 1, 1], channels=[2, 4, 8, 16]
    )
    first = model.layer1[0]
    model.conv1 = nn.Conv2d(3, 2, 7, stride=2, padding=3, bias=False)
    model.bn1 = nn.BatchNorm2d(2)
    first.conv1 = nn.Conv2d(2, first.conv1.out_channels, 1, bias=False)
    first.downsample[0] = nn.Conv2d(2, first.downsample[0].out_channels, 1, bias=False)
    return model


def _small_mixer() -> nn.Module:
    """timm's Mixer in a size that has no name; by name, sizes cannot be changed."""
    settings = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "num_blocks": 2}
    return timm.models.mlp_mixer._create_mixer("mixer_s32_224", num_classes=5, **settings)
