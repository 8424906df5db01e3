"""Flax models, published weights for them, and what their layers do on the pixel grid.

Needs the extra `models`: `pip install softeq-jax[models]`.
"""

try:
    import flax as _flax  # noqa: F401
    import safetensors as _safetensors  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f"softeq_jax.models needs {error.name}: pip install softeq-jax[models]"
    ) from error

from softeq_jax.models.defects import Defect, conv_defects
from softeq_jax.models.geometry import ConvGeometry, conv_geometry
from softeq_jax.models.resnet import CifarResNet
from softeq_jax.models.vit import ViT
from softeq_jax.models.weights import load_cifar_resnet, save_cifar_resnet

__all__ = [
    "CifarResNet",
    "ConvGeometry",
    "Defect",
    "ViT",
    "conv_defects",
    "conv_geometry",
    "load_cifar_resnet",
    "save_cifar_resnet",
]
