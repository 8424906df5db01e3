"""CIFAR ResNets under the names that their published files have."""

import re

from softeq_jax.models.cifar_resnet import CifarResNet
from softeq_jax.models.weights._architecture import NO_WEIGHTS, Arrays, Format
from softeq_jax.models.weights._configuration import IMAGENET, Config, default_preprocess
from softeq_jax.models.weights._tensor_names import NameTable

PUBLISHED = NameTable("""
    conv1            | conv1                 | conv without bias
    bn1              | bn1                   | batch norm
    layer{s+1}.{j}.* | stage{s+1}_block{j}/*
    *conv1           | *conv1                | conv without bias
    *bn1             | *bn1                  | batch norm
    *conv2           | *conv2                | conv without bias
    *bn2             | *bn2                  | batch norm
    linear           | linear                | linear
""")


def _build(arrays: Arrays, config: Config, heads: int | None) -> CifarResNet:
    del config, heads
    blocks = max(1, arrays.count(r"params/stage\d+_block(\d+)/"))
    width = _width(arrays)
    if width < 2 or width % 2:
        raise ValueError(
            f"{arrays.source}: tensor bn1.weight has {width} channels, expected an even number >= 2"
        )
    classes = arrays.classes("params/linear/kernel", "params/linear/bias")
    return CifarResNet(depth=6 * blocks + 2, num_classes=max(1, classes), width=width)


def _width(arrays: Arrays) -> int:
    """Channels of the first stage: what most of its batch norms have."""
    pattern = re.compile(r"\w+/(stage1_block\d+/)?bn\d/")
    shapes = [shape for path, shape in arrays.shapes.items() if pattern.match(path)]
    sizes = [shape[0] for shape in shapes if shape]
    return max(sorted(set(sizes)), key=sizes.count, default=0)


FORMATS = (
    Format(
        family="cifar_resnet",
        name="cifar",
        table=PUBLISHED,
        build=_build,
        head="params/linear",
        stem="params/conv1/kernel",
        side=lambda model: 8,
        preprocess=default_preprocess("cifar_resnet", IMAGENET, 32),
        unused=(NO_WEIGHTS,),
    ),
)
