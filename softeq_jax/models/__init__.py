"""Flax models, published weights for them, and the geometry of their convolutions.

Needs the extra `models`: `pip install softeq-jax[models]`.
"""

try:
    import flax as _flax  # noqa: F401
    import safetensors as _safetensors  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f"softeq_jax.models needs {error.name}: pip install softeq-jax[models]"
    ) from error

from softeq_jax.models.attention_filter import AttentionFilter
from softeq_jax.models.cifar_resnet import CifarResNet
from softeq_jax.models.convolution_geometry import ConvGeometry, conv_geometry
from softeq_jax.models.defects import Defect, conv_defects
from softeq_jax.models.dinov2 import DINOv2
from softeq_jax.models.efficientnet_lite import EfficientNetLite
from softeq_jax.models.graph_network import EquivariantGraphNet, complete_edges
from softeq_jax.models.group_conv import GroupConvNet
from softeq_jax.models.heads import LinearHead, SegFormerHead, Segmenter
from softeq_jax.models.mixer import MLPMixer
from softeq_jax.models.patches import resize_positions
from softeq_jax.models.presets import PRESETS, create, segmenter
from softeq_jax.models.resnet import ResNet
from softeq_jax.models.rules import ModelDials, soft_rules
from softeq_jax.models.segformer import SegFormer
from softeq_jax.models.tensor_mlp import TensorMLP
from softeq_jax.models.trajectory import TrajectoryTransformer
from softeq_jax.models.vit import ViT
from softeq_jax.models.vn_dgcnn import VNDGCNN
from softeq_jax.models.vn_pointnet import VNPointNet
from softeq_jax.models.volume_resnet import VolumeResNet
from softeq_jax.models.weights import (
    Preprocess,
    Pretrained,
    load,
    load_cifar_resnet,
    save,
    save_cifar_resnet,
)

__all__ = [
    "PRESETS",
    "VNDGCNN",
    "AttentionFilter",
    "CifarResNet",
    "ConvGeometry",
    "DINOv2",
    "Defect",
    "EfficientNetLite",
    "EquivariantGraphNet",
    "GroupConvNet",
    "LinearHead",
    "MLPMixer",
    "ModelDials",
    "Preprocess",
    "Pretrained",
    "ResNet",
    "SegFormer",
    "SegFormerHead",
    "Segmenter",
    "TensorMLP",
    "TrajectoryTransformer",
    "VNPointNet",
    "ViT",
    "VolumeResNet",
    "complete_edges",
    "conv_defects",
    "conv_geometry",
    "create",
    "load",
    "load_cifar_resnet",
    "resize_positions",
    "save",
    "save_cifar_resnet",
    "segmenter",
    "soft_rules",
]


def __dir__() -> list[str]:
    return sorted(__all__)
