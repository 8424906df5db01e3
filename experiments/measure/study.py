"""How equivariant two pretrained CIFAR-10 ResNets are, and which conclusions hang on the stencil.

Lie derivatives along 13 generators, exact attribution to layers, correlation of features over
depth and behavior under finite transforms, on 512 test images; about 10 minutes on 2 cores.
"""

from collections.abc import Mapping
from typing import Any

from experiments.measure import report, run
from experiments.shared.studies import CIFAR10, Metric, Need, Preset, Settings, Study

SMALL: dict[str, Any] = {
    "networks": {
        "ResNet-20": "pretrained/resnet20_cifar10.safetensors",
        "ResNet-32": "pretrained/resnet32_cifar10.safetensors",
    },
    "data": "cifar10",
    "image_shape": [32, 32, 3],
    "images": 512,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "batch_size": 64,
    "lie": {
        "stencils": ["central", "forward", "lanczos", "spectral", "spectral_mirror"],
        "heads": ["probabilities", "logits"],
        # Images with nothing above this share of the Nyquist frequency; 1: as they are.
        "low_pass": [1.0, 0.5, 0.25],
    },
    "attribution": {
        "stencils": ["central", "forward", "spectral_mirror"],
        "generators": ["translation_x", "rotation", "scale"],
        "low_pass": [1.0, 0.25],
        "head": "logits",
    },
    # The same weights with circular padding: no border, so that only aliasing is left.
    "control": {
        "stencils": ["central", "forward", "spectral"],
        "generators": ["translation_x", "translation_y"],
        "low_pass": [1.0, 0.25],
        "head": "logits",
    },
    "features": {"shift": 4},
    "finite": {"step": 15, "max_shift": 4, "seed": 0},
}
TINY = SMALL | {
    "networks": {"small": ""},
    "data": "",
    "image_shape": [16, 16, 3],
    "images": 6,
    "batch_size": 4,
    "lie": {"stencils": ["central", "spectral"], "heads": ["probabilities"], "low_pass": [1.0]},
    "attribution": {
        "stencils": ["central"],
        "generators": ["rotation"],
        "low_pass": [1.0],
        "head": "logits",
    },
    "control": {
        "stencils": ["spectral"],
        "generators": ["translation_x"],
        "low_pass": [0.5],
        "head": "logits",
    },
    "finite": {"step": 180, "max_shift": 1, "seed": 0},
}
HOW = "a public CIFAR ResNet in PyTorch's names, saved by safetensors"


def rows(settings: Settings) -> Mapping[str, Settings]:
    """Every stage of every network."""
    return {
        f"{network}, {stage}": {"network": network, "weights": weights, "stage": stage}
        for network, weights in settings["networks"].items()
        for stage in run.STAGES
    }


STUDY = Study(
    name="measure",
    title="CIFAR-10, ResNet-20 and ResNet-32: how equivariant, by which stencil",
    claims=(),
    presets={
        "tiny": Preset(TINY, 1, note="Seconds, for the tests: a network not trained, on noise."),
        "small": Preset(
            SMALL,
            1,
            needs=(CIFAR10, *(Need(path, HOW) for path in SMALL["networks"].values())),
            note="512 test images; nothing is drawn but shifts, so there is one seed.",
        ),
    },
    rows=rows,
    run=run.do,
    metrics=(
        Metric("lee_rotation", "LEE of rotations, probabilities", "", log=True),
        Metric("lee_translation_x", "LEE of translations", "", log=True),
        Metric("consistency", "consistency (circular)", "", digits=4),
        Metric("consistency_crop", "consistency (crop)", "", digits=4),
    ),
    inputs=run.inputs,
    sections=report.sections,
    draw=report.draw,
)
