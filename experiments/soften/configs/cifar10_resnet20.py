r"""Softening the pretrained CIFAR-10 ResNet-20, three settings a group.

    python -m experiments.soften --config experiments/soften/configs/cifar10_resnet20.py \
        --workdir outputs/cifar10_resnet20

Every row fine-tunes the same pretrained weights with the same budget (400 steps of 128 upright
images, 2,000 training images held out), through its filters. ``unfiltered`` is the reference.
About 5 minutes a row on 2 cores. Result: experiments/soften/results/cifar10_resnet20.md
"""

from ml_collections import ConfigDict

ALL = "**/conv?/kernel"
STAGE_3 = "stage3_*/conv?/kernel"
QUARTER_ODD = {"cutoff": 0.91}
"""Drops the level 1.273, what a quarter turn negates; keeps 0 and .9003."""


def row(name: str, group: str, *rules: tuple[str, dict | None]) -> ConfigDict:
    """One row: rules are (glob over parameter paths, dials of the projector or None)."""
    return ConfigDict({"name": name, "group": group, "rules": rules})


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.title = "CIFAR-10, ResNet-20, softened and fine-tuned"
    config.weights = "pretrained/resnet20_cifar10.safetensors"
    config.data = ConfigDict(
        {
            "name": "cifar10",
            "folder": "tfds",
            "image_shape": (32, 32, 3),
            "num_classes": 10,
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "holdout": 2000,
            "holdout_seed": 0,
            "subset": 2000,
            "subset_seed": 0,
        }
    )
    config.finetune = ConfigDict(
        {"steps": 400, "batch_size": 128, "learning_rate": 0.05, "weight_decay": 1e-4, "seed": 0}
    )
    config.angles = (-30.0, -15.0, 15.0, 30.0, 90.0)
    config.defect_images = 64
    config.reference = "unfiltered"
    config.rows = [
        row("unfiltered", "so2", (ALL, {"softness": 1.0})),
        row("SO(2) hard 2", "so2", (ALL, {"cutoff": 2.0})),
        row("SO(2) heat 1.5", "so2", (ALL, {"cutoff": 1.5, "mask": "heat"})),
        row("SO(2) hard 1", "so2", (ALL, {"cutoff": 1.0})),
        row("C4 .9", "c4", (ALL, QUARTER_ODD)),
        row("C4 .9 in stage 3", "c4", (STAGE_3, QUARTER_ODD)),
        row("C4 strict in stage 3", "c4", (STAGE_3, {"cutoff": 0.0})),
        row("D4 heat .9", "d4", (ALL, {"cutoff": 0.9, "mask": "heat"})),
        row("D4 heat .6 in stage 3", "d4", (STAGE_3, {"cutoff": 0.6, "mask": "heat"})),
        row(
            "D4 .9 in stage 3, resolvent 2 elsewhere",
            "d4",
            (STAGE_3, QUARTER_ODD),
            (ALL, {"cutoff": 2.0, "mask": "resolvent"}),
        ),
    ]
    return config
