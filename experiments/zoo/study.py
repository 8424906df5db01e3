"""Local equivariance error (LEE) over a zoo of networks, against accuracy and predictions.

First the networks are trained, once for all studies (`experiments.zoo.networks`); then they and
published ones are measured. LEE is the mean square of the Lie derivative, per pixel or radian, of
probabilities unless said otherwise. It is shown beside three controls: the same derivative over the
response to fields of randomised phases (of scores; scale, saturation and bandwidth cancel), over
that of the network before training, and of low-passed images. Networks are compared within family
and data set, permuted within them. After Gruver, Finzi, Goldblum and Wilson (2023).
"""

from collections.abc import Mapping
from typing import Any

from experiments.shared.claims import Claim
from experiments.shared.correlations import Correlates
from experiments.shared.studies import CIFAR10, Metric, Need, Preset, Settings, Study, tfds
from experiments.zoo import networks, report, run
from experiments.zoo.verdicts import Exceeds, TrainingDecides

FAMILIES = {"resnet": "ResNet", "vit": "ViT", "mixer": "Mixer"}
SMALL: dict[str, Any] = networks.SMALL | {
    "lie": {
        "images": 128,
        "stencils": ["central", "forward", "spectral_mirror"],
        "low_pass": [1.0, 0.5],
        "heads": ["probabilities", "logits"],
    },
    "layers": {
        "images": 32,
        "stencils": ["central", "forward", "spectral_mirror"],
        "low_pass": [1.0, 0.5],
        "generators": ["translation_x", "rotation"],
        "batch_size": 16,
        "probes": 0,
    },
    "batch_images": 32,
    "forward_images": 128,
    "consistency_images": 1000,
    "reach": 4,
    "draws": 4,
    "protocol_images": 60,
}
# Images of ImageNet's size: 32 and the central stencil alone.
LARGE: dict[str, Any] = {
    "lie": {
        "images": 32,
        "stencils": ["central"],
        "low_pass": [1.0, 0.5],
        "heads": ["probabilities", "logits"],
    },
    "layers": {
        "images": 8,
        "stencils": ["central"],
        "low_pass": [1.0],
        "generators": ["translation_x", "rotation"],
        "batch_size": 4,
        "probes": 12,
    },
    "batch_images": 4,
    "forward_images": 20,
    "consistency_images": 120,
    "reach": 28,
    "draws": 2,
}
CIFAR_FILES = {
    f"ResNet-{depth}": {
        "weights": f"pretrained/resnet{depth}_cifar10.safetensors",
        "set": "cifar10",
        "family": "published ResNet",
        "side": 0,
        "count": 10_000,
    }
    for depth in (20, 32, 44, 56)
}
IMAGENET_FILES: dict[str, dict[str, Any]] = {
    f"Lite {n}": {
        "weights": f"pretrained/tf_efficientnet_lite{n}",
        "set": "imagenet_sample",
        "family": "EfficientNet-Lite",
        "side": 0,
        "count": 1000,
        **LARGE,
    }
    for n in range(3)
} | {
    "DINOv2-S": {
        "weights": "pretrained/dinov2_small",
        "set": "imagenet_sample",
        "family": "DINOv2",
        "side": 112,
        "count": 128,
        **LARGE,
        "reach": 14,
    }
}
TRAINED: dict[str, dict[str, Any]] = {
    "ResNet 16": networks.MATCHED["ResNet 16"],
    "ResNet 16 blur": networks.resnet(16, blur=4),
    "ResNet 32": networks.MATCHED["ResNet 32"],
    "ResNet 32 blur": networks.resnet(32, blur=4),
    **{name: networks.MATCHED[name] for name in ("ViT 44", "ViT 76", "Mixer 48", "Mixer 80")},
}
TINY = networks.TINY | {
    "lie": {
        "images": 6,
        "stencils": ["central"],
        "low_pass": [1.0],
        "heads": ["probabilities"],
    },
    "layers": {
        "images": 4,
        "stencils": ["central"],
        "low_pass": [1.0],
        "generators": ["translation_x"],
        "batch_size": 4,
        "probes": 0,
    },
    "batch_images": 6,
    "forward_images": 12,
    "consistency_images": 12,
    "reach": 2,
    "draws": 1,
    "protocol_images": 2,
    "published": {
        "ResNet-8": {
            "weights": "",
            "set": "",
            "family": "published ResNet",
            "side": 0,
            "count": 60,
        }
    },
}
PROTOCOL = "published protocol on "
BRIEF = {"stencils": ["central"], "low_pass": [1.0]}
"""What of LEE is measured before the end of training."""


def rows(settings: Settings) -> Mapping[str, Settings]:
    """Training, networks at three checkpoints, published ones, the published protocol."""
    brief = {"lie": settings["lie"] | BRIEF, "layers": None}
    found: dict[str, dict[str, Any]] = {}
    named: dict[str, dict[str, Any]] = {
        name: {
            "network": name,
            "model": model,
            "augmentation": "both",
            "family": FAMILIES[model["kind"]],
            "set": settings["data"],
        }
        for name, model in settings["trained"].items()
    }
    for name, made in named.items():
        found[f"training of {name}"] = made | {"part": "trained", "checkpoint": "training"}
    for name, made in named.items():
        for checkpoint in networks.CHECKPOINTS:
            found[f"{name}, {checkpoint}"] = made | {
                "part": "measured",
                "checkpoint": checkpoint,
                "final": checkpoint == "end",
                **({} if checkpoint == "end" else brief),
            }
    for name, made in settings["published"].items():
        found[name] = made | {
            "network": name,
            "part": "measured",
            "checkpoint": "published",
            "final": True,
        }
    first = next(iter(settings["published"]), None)
    if first:
        found[PROTOCOL + first] = found[first] | {"part": "protocol", "final": False}
    return found


def measured(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of the table: networks that were measured."""
    return [line for line in lines if line["part"] == "measured"]


WITHIN = ("family", "set")
FINAL = {"final": True}


def ranks(metric: str, other: str, sign: int, *, everywhere: bool = False) -> Correlates:
    """A rank correlation over final networks within family and data set."""
    return Correlates(metric, other, sign, WITHIN, FINAL, everywhere)


def needs_of(files: Mapping[str, Mapping[str, Any]]) -> tuple[Need, ...]:
    """Weights and data of published networks."""
    how = "weights under the names of their publishers, with config.json where there is one"
    sets = {one["set"]: tfds(one["set"]) for one in files.values()}
    return (*sets.values(), *(Need(one["weights"], how) for one in files.values()))


FILES = CIFAR_FILES | IMAGENET_FILES
NOTE = (
    "Trained: 10,000 images, 8 epochs, crops and flips, ResNets of depth 8, three kinds matched "
    "at about 75,000 and 300,000 parameters (numbers are widths), 3 seeds, checkpoints after 0, 1 "
    "and 8 epochs (before the end by the central stencil alone, and no layers). LEE on 128 images "
    "(32 of ImageNet's size), contributions of layers on 32 exactly (8, from 12 probes), "
    "consistency on 1,000 (120) images, DINOv2 at 112 pixels. By processor times of two runs, "
    "training takes an hour and a half on 2 quiet cores (half an hour of it shared with "
    "`factors`), the measures three quarters of an hour."
)
HUB = {
    name: {
        "weights": f"pretrained/{name}",
        "set": "imagenet2012",
        "family": family,
        "side": 224,
        "count": 50_000,
        **LARGE,
        "lie": LARGE["lie"] | {"images": 60, "stencils": ["central", "forward"]},
        "layers": LARGE["layers"] | {"images": 20, "probes": 100},
    }
    for name, family in {
        "vit_small_patch16_224": "ViT",
        "vit_base_patch16_224": "ViT",
        "mixer_b16_224": "Mixer",
        "resnet18": "ResNet",
        "resnet50": "ResNet",
        "resnet101": "ResNet",
    }.items()
}
STUDY = Study(
    name="zoo",
    title="A zoo of networks: how equivariant, and what of it is real",
    claims=(
        Claim(
            "More accurate networks are more equivariant, whatever their family",
            "every network",
            "",
            (
                ranks("accuracy", "lee_translation", -1, everywhere=True),
                ranks("accuracy", "phases", -1, everywhere=True),
            ),
        ),
        Claim(
            "Larger networks are more equivariant",
            "every network",
            "",
            (ranks("parameters", "lee_translation", -1), ranks("parameters", "phases", -1)),
        ),
        Claim(
            "Nonlinearities cause most of the error, by finite differences and spectrally",
            "every network",
            "",
            (Exceeds("nonlinear", 0.5), Exceeds("nonlinear_mirror", 0.5)),
        ),
        Claim(
            "Training, not architecture, decides",
            "every network",
            "",
            (TrainingDecides("phases"),),
        ),
        Claim(
            "LEE ranks networks as the consistency of their predictions does",
            "every network",
            "",
            (ranks("lee_translation", "consistency", -1),),
        ),
        Claim(
            "So does LEE over the response to randomised phases",
            "every network",
            "",
            (ranks("phases", "consistency", -1),),
        ),
    ),
    presets={
        "tiny": Preset(
            TINY,
            1,
            {"trained": {"ResNet 4": networks.resnet(4)}},
            note="Seconds, for the tests: enlarged digits, networks of a few thousand parameters.",
        ),
        "small": Preset(
            SMALL | {"published": FILES},
            3,
            {"trained": TRAINED},
            more_seeds=dict.fromkeys((*FILES, f"{PROTOCOL}ResNet-20"), 1),
            needs=(CIFAR10, *needs_of(FILES)),
            note=NOTE,
        ),
        "paper": Preset(
            SMALL | networks.PAPER | {"published": HUB},
            5,
            {"trained": TRAINED},
            more_seeds=dict.fromkeys((*HUB, f"{PROTOCOL}vit_small_patch16_224"), 1),
            needs=(CIFAR10, *needs_of(HUB)),
            note=(
                "Published ImageNet networks by the published sizes (60 images; of layers 20, 100 "
                "probes), and the trained ones on all images for 100 epochs. Not run here."
            ),
        ),
    },
    rows=rows,
    run=run.do,
    metrics=(
        Metric("accuracy", "accuracy (%)", "higher", digits=1),
        Metric("consistency", "prediction consistency", "higher", digits=3),
        Metric("lee_translation", "LEE of translations (per pixel^2)", "lower", log=True),
        Metric("lee_rotation", "LEE of rotation (per radian^2)", "lower", log=True),
        Metric("phases", "translations over randomised phases", "lower", log=True),
        Metric("untrained", "LEE of translations over untrained", "lower", log=True),
        Metric("nonlinear", "share of nonlinearities (central)", "", digits=2),
        Metric("nonlinear_mirror", "share of nonlinearities (spectral)", "", digits=2),
        Metric("parameters", "parameters", "", digits=0),
    ),
    defect="lee_translation",
    condition="checkpoint",
    inputs=run.inputs,
    choose=measured,
    sections=report.sections,
    draw=report.draw,
    step_cost=run.step_cost,
)
