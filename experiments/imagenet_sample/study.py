"""How far published ImageNet networks can be softened without any training.

1,000 images, one a class. A split for each seed: confidence (and, where the row says so, the batch
statistics) from 200 images, scores from the other 800. Every image is seen upright and rotated by
one angle of its own, uniform within 30 degrees, bilinear, the same angle in all rows and splits.

Splits share most images, so the claims take differences image by image, and their intervals hold
the images' sampling error: one point is about what 800 images can tell. Softness .95 under C4 is
the published setting of a ResNet-50 on ImageNet (which was trained with it), so it was named before
anything was run.
"""

from collections.abc import Mapping
from typing import Any

from experiments.imagenet_sample import report, run
from experiments.shared.claims import Claim, OverItems
from experiments.shared.studies import Metric, Need, Preset, Settings, Study, tfds

EIGHT = (0.95, 0.9, 0.98, 0.8, 0.99, 0.6, 0.3, 0.0)
FOUR = (0.95, 0.9, 0.98, 0.8)
LITE = {f"Lite {n}": f"pretrained/tf_efficientnet_lite{n}" for n in range(3)}
PUBLISHED, NEW = "as published", ", new statistics"


def softnesses(**groups: tuple[float, ...]) -> dict[str, Any]:
    """Rows of a grid, from groups to softness values; the most important ones first."""
    values = list(dict.fromkeys(value for those in groups.values() for value in those))
    return {
        f"{group.upper()} {value:g}": [group, {"softness": value}]
        for value in values
        for group, those in groups.items()
        if value in those
    }


SMALL: dict[str, Any] = {
    "networks": LITE,
    "data": "imagenet_sample",
    "split": "validation",
    "held": 200,
    "tilt": 30.0,
    "batch_size": 20,
    "statistics_batch": 50,
}
TINY = SMALL | {
    "networks": {"Lite 0": ""},
    "data": "",
    "split": "",
    "held": 8,
    "batch_size": 8,
    "statistics_batch": 4,
}
GRID = {
    "filtered": {
        "Lite 0": {
            "rows": softnesses(c4=EIGHT, so2=EIGHT),
            "statistics": True,
        },
        **{
            name: {"rows": softnesses(c4=FOUR), "statistics": True} for name in ("Lite 1", "Lite 2")
        },
    }
}
HUB = {
    "ViT-B/16": "pretrained/vit_base_patch16_224",
    "DINOv2-B": "pretrained/dinov2_base_imagenet1k_1_layer",
    "ResNet-50": "pretrained/resnet_50",
}
# Softness of patches or kernels, and of positions, of the published ImageNet rows.
PAPER = {
    "filtered": {
        "ViT-B/16": {
            "rows": {
                "C4 .9, positions .8": ["c4", {"softness": 0.9, "position_softness": 0.8}],
                "C72 positions .8": ["c72", {"softness": 1.0, "position_softness": 0.8}],
            },
            "statistics": False,
        },
        "DINOv2-B": {
            "rows": {
                "C4 .8, positions .5": ["c4", {"softness": 0.8, "position_softness": 0.5}],
                "C72 patches .8": ["c72", {"softness": 0.8, "position_softness": 1.0}],
            },
            "statistics": False,
        },
        "ResNet-50": {
            "rows": {
                "C4 .95": ["c4", {"softness": 0.95}],
                "C72 .95": ["c72", {"softness": 0.95}],
            },
            "statistics": True,
        },
    }
}


def rows(settings: Settings) -> Mapping[str, Settings]:
    """Every network as published and softened, with old and new batch statistics."""
    found: dict[str, Settings] = {}
    for network, grid in settings["filtered"].items():
        every = {PUBLISHED: list(run.AS_PUBLISHED.values()), **grid["rows"]}
        for name, (group, dials) in every.items():
            for new in (False, True) if grid["statistics"] else (False,):
                found[f"{network}: {name}{NEW if new else ''}"] = {
                    "network": network,
                    "group": group,
                    "dials": dials,
                    "new_statistics": new,
                }
    return found


def floors(settings: Settings) -> Mapping[str, Settings]:
    """The best constant answer for every network; the first one without training."""
    networks = list(settings["filtered"])
    kinds = [("constant", name) for name in networks] + [("untrained", networks[0])]
    return {f"{name}: {kind}": {"network": name, "floor": kind} for kind, name in kinds}


def kept_for_free(network: str, setting: str, words: str) -> Claim:
    """The claim that a network loses at most a point and moves less."""
    return Claim(
        f"{network} loses at most one point and has less KL under rotations within 30 degrees, "
        f"{words}",
        f"{network}: {setting}",
        f"{network}: {PUBLISHED}",
        (OverItems("accuracy_change", -report.MARGIN), OverItems("kl_change")),
    )


SOFT = "softened to .95 without training"
STUDY = Study(
    name="imagenet_sample",
    title="ImageNet sample: published networks softened without training",
    claims=(
        kept_for_free("Lite 0", f"C4 0.95{NEW}", f"{SOFT} under C4, with new batch statistics"),
        kept_for_free("Lite 0", "C4 0.95", f"{SOFT} under C4, with the batch statistics it had"),
        kept_for_free("Lite 0", f"SO2 0.95{NEW}", f"{SOFT} under SO(2), with new batch statistics"),
        kept_for_free("Lite 1", f"C4 0.95{NEW}", f"{SOFT} under C4, with new batch statistics"),
        kept_for_free("Lite 2", f"C4 0.95{NEW}", f"{SOFT} under C4, with new batch statistics"),
    ),
    presets={
        "tiny": Preset(
            TINY,
            1,
            {
                "filtered": {
                    "Lite 0": {
                        "rows": softnesses(c4=(0.95, 0.0), so2=(0.5,)),
                        "statistics": True,
                    }
                }
            },
            note="Seconds, for the tests: a small network that was not trained, on noise.",
        ),
        "small": Preset(
            SMALL,
            3,
            GRID,
            more_seeds={
                f"Lite 0: {name}{new}": 5 for name in (PUBLISHED, "C4 0.95") for new in ("", NEW)
            },
            needs=(
                tfds("imagenet_sample"),
                *(
                    Need(path, "weights and config.json under timm's name")
                    for path in LITE.values()
                ),
            ),
            note="All of the sample, images of the size that each network was trained at.",
        ),
        "paper": Preset(
            SMALL | {"networks": HUB, "data": "imagenet2012", "held": 2000},
            3,
            PAPER,
            needs=(
                tfds("imagenet2012"),
                *(
                    Need(path, "weights and config.json from the Hugging Face hub")
                    for path in HUB.values()
                ),
            ),
            note="50,000 validation images; the softness of the published rows. Not run here.",
        ),
    },
    rows=rows,
    run=run.do,
    metrics=(
        Metric("accuracy", "top-1 (%)", "higher", scale=100, digits=2),
        Metric("rotated_accuracy", "rotated (%)", "higher", scale=100, digits=2),
        Metric("kl", "KL (nats)", "lower", log=True),
        Metric("certified", "bound to 30 degrees", "lower"),
        Metric("accuracy_change", "change of top-1 (points)", "higher", scale=100, digits=2),
        Metric("kl_change", "change of KL (nats)", "lower", digits=4),
    ),
    defect="kl",
    floors=floors,
    floor=run.floor,
    condition="network",
    inputs=run.inputs,
    sections=report.sections,
    draw=report.draw,
    step_cost=run.step_cost,
)
