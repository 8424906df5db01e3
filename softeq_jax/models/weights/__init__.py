"""Pretrained weights: published PyTorch checkpoints into models of this package, and back."""

from softeq_jax.models.weights._cifar_files import load_cifar_resnet, save_cifar_resnet
from softeq_jax.models.weights._detect import FORMATS
from softeq_jax.models.weights._load import Pretrained, load
from softeq_jax.models.weights._origin import Origin
from softeq_jax.models.weights._preprocess import Preprocess
from softeq_jax.models.weights._report import Report
from softeq_jax.models.weights._save import save

__all__ = [
    "FORMATS",
    "Origin",
    "Preprocess",
    "Pretrained",
    "Report",
    "load",
    "load_cifar_resnet",
    "save",
    "save_cifar_resnet",
]
