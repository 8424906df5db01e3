"""Pretrained weights: published PyTorch checkpoints into models of this package, and back."""

from softeq_jax.models.weights._checkpoint import sha256
from softeq_jax.models.weights._cifar_files import load_cifar_resnet, save_cifar_resnet
from softeq_jax.models.weights._configuration import Preprocess
from softeq_jax.models.weights._detection import FORMATS
from softeq_jax.models.weights._load import load
from softeq_jax.models.weights._pretrained import LoadReport, Origin, Pretrained
from softeq_jax.models.weights._save import check_place, save

__all__ = [
    "FORMATS",
    "LoadReport",
    "Origin",
    "Preprocess",
    "Pretrained",
    "check_place",
    "load",
    "load_cifar_resnet",
    "save",
    "save_cifar_resnet",
    "sha256",
]


def __dir__() -> list[str]:
    return sorted(__all__)
