r"""How equivariant two pretrained CIFAR-10 ResNets are, and which conclusions hang on the stencil.

    python -m experiments.measure --config experiments/measure/configs/cifar10.py \
        --workdir outputs/cifar10_measures

Lie derivatives along 13 generators, exact attribution to layers, correlation of features over
depth and behavior under finite transforms, on 512 test images; about 10 minutes on 2 cores.
Result: experiments/measure/results/cifar10_measures.md
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.title = "CIFAR-10, ResNet-20 and ResNet-32, 512 test images"
    config.networks = {
        "ResNet-20": "pretrained/resnet20_cifar10.safetensors",
        "ResNet-32": "pretrained/resnet32_cifar10.safetensors",
    }
    config.data = ConfigDict(
        {
            "name": "cifar10",
            "folder": "tfds",
            "num_classes": 10,
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "images": 512,
            "seed": 0,
        }
    )
    config.batch_size = 64
    config.lie = ConfigDict(
        {
            "stencils": ("central", "forward", "lanczos", "spectral", "spectral_mirror"),
            "heads": ("probabilities", "logits"),
            # Images with nothing above this share of the Nyquist frequency; 1: as they are.
            "low_pass": (1.0, 0.5, 0.25),
        }
    )
    config.attribution = ConfigDict(
        {
            "stencils": ("central", "forward", "spectral_mirror"),
            "generators": ("translation_x", "rotation", "scale"),
            "low_pass": (1.0, 0.25),
            "head": "logits",
        }
    )
    # The same weights with circular padding: no border, so that only aliasing is left.
    config.control = ConfigDict(
        {
            "stencils": ("central", "forward", "spectral"),
            "generators": ("translation_x", "translation_y"),
            "low_pass": (1.0, 0.25),
            "head": "logits",
        }
    )
    config.features = ConfigDict({"shift": 4})
    config.finite = ConfigDict({"step": 15, "max_shift": 4, "seed": 0})
    return config
