"""Road scenes in classes: which part of a published DINOv2 to soften, and a SegFormer from noise.

Position table, patch kernel, both, or all of it strictly, fine-tuned with a linear head on CamVid
at 112 x 112; "free, augmented" is the unfiltered network with the same rotations by up to 30
degrees. The backbone is a published DINOv2-S/14 that its publisher tuned for saliency. Size of
steps were tried, and the row of the claims chosen (positions, patches or both), with seed 100 on
the validation images, which no row is judged by.
"""

from collections.abc import Mapping
from typing import Any

from experiments.camvid import report, run
from experiments.shared.claims import Beats, Better, Claim
from experiments.shared.studies import Metric, Need, Preset, Settings, Study, tfds

CAMVID = tfds("camvid")
DINOV2 = Need("pretrained/dinov2_small", "a DINOv2-S/14 in Hugging Face's names, with config.json")
FREE: dict[str, dict[str, Any]] = {
    "free": {"dials": None, "rotated": False},
    "free, augmented": {"dials": None},
}
TOKENS: dict[str, dict[str, Any]] = {
    **FREE,
    "positions": {"dials": {"softness": 1.0, "position_softness": 0.9, "mask": "heat"}},
    "patches": {"dials": {"softness": 0.9, "position_softness": 1.0, "mask": "heat"}},
    "both": {"dials": {"softness": 0.9, "position_softness": 0.9, "mask": "heat"}},
    "strict": {"dials": {"cutoff": 0.0}},
}
WINDOWS: dict[str, dict[str, Any]] = {
    **FREE,
    "heat .9": {"dials": {"softness": 0.9, "mask": "heat", "min_window": 3}},
}
METHODS = {"dinov2": TOKENS, "vit": TOKENS, "segformer": WINDOWS}
NETWORKS: dict[str, dict[str, Any]] = {
    "DINOv2-S": {
        "backbone": "dinov2",
        "weights": DINOV2.path,
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "backbone_share": 0.02,
    },
    "SegFormer": {
        "backbone": "segformer",
        "weights": "",
        "widths": [16, 32, 64, 128],
        "depth": 2,
        "head_width": 32,
        "epochs": 8,
        "batch_size": 8,
        "learning_rate": 2e-3,
        "backbone_share": 1.0,
    },
}
SMALL: dict[str, Any] = {
    "data": "camvid",
    "classes": 11,
    "void": 11,
    "side": 112,
    "scale": [0.623, 0.8],
    "held_every": 2,
    "weight_decay": 0.0,
}
TINY = {
    name: own | {"weights": "", "epochs": 1, "batch_size": 4, "widths": [4, 4, 8, 8], "depth": 1}
    for name, own in NETWORKS.items()
    if name == "DINOv2-S"
}
LONG = {"epochs": 100, "batch_size": 32, "learning_rate": 1e-3}
PUBLISHED: dict[str, dict[str, Any]] = {
    "ViT-B/16": {
        "backbone": "vit",
        "weights": "pretrained/vit-base-patch16-224",
        "side": 224,
        "backbone_share": 0.05,
        **LONG,
    },
    "DINOv2-B": {
        "backbone": "dinov2",
        "weights": "pretrained/dinov2-base",
        "side": 518,
        "backbone_share": 0.01,
        **LONG,
    },
    "SegFormer-B0": {
        "backbone": "segformer",
        "weights": "pretrained/mit-b0",
        "head_width": 256,
        "side": 512,
        "backbone_share": 0.05,
        **LONG,
    },
}
AT_512 = tuple(
    Need(own["weights"], "a checkpoint of that name from the Hugging Face hub")
    for own in PUBLISHED.values()
)


def prepared(name: str, masks: str) -> Need:
    """A data set that is prepared as TFDS does, with masks."""
    return Need(f"tfds/{name}", f"prepare it by TFDS with image and segmentation_mask, {masks}")


SOFT, REFERENCE = "positions on DINOv2-S", "free, augmented on DINOv2-S"


def rows(settings: Settings) -> Mapping[str, Settings]:
    """Methods on every network."""
    return {
        f"{name} on {network}": {
            "rotated": True,
            **how,
            "family": name,
            "network": network,
            **own,
        }
        for network, own in settings["networks"].items()
        for name, how in METHODS[own["backbone"]].items()
        if name in settings.get("methods", METHODS[own["backbone"]])
    }


def floors(settings: Settings) -> Mapping[str, Settings]:
    """The majority, beside every network."""
    return {f"majority on {network}": {"network": network} for network in settings["networks"]}


STUDY = Study(
    name="camvid",
    title="CamVid, a published DINOv2-S and a narrow SegFormer under rotations",
    claims=(
        Claim(
            "A DINOv2-S whose position table is softened (.9) has a larger mIoU than the "
            "unfiltered one with the same budget and augmentation",
            SOFT,
            REFERENCE,
            (Better("iou"), Beats("iou", "majority on DINOv2-S")),
        ),
        Claim(
            "There mIoU and equivariant consistency improve at once",
            SOFT,
            REFERENCE,
            (Better("iou"), Better("consistency")),
        ),
        Claim(
            "A SegFormer trained softly from noise has a larger combined mIoU than an unfiltered "
            "one",
            "heat .9 on SegFormer",
            "free, augmented on SegFormer",
            (Better("combined"),),
        ),
    ),
    presets={
        "tiny": Preset(
            SMALL
            | {"data": "drawn", "classes": 2, "side": 12, "scale": [0.75, 1.0], "held_every": 1},
            1,
            {"networks": TINY, "methods": ["free, augmented", "both"]},
            note="Drawn scenes and small networks of noise, for the tests.",
        ),
        "small": Preset(
            SMALL,
            3,
            {"networks": NETWORKS},
            more_seeds={SOFT: 5, REFERENCE: 5},
            needs=(CAMVID, DINOV2),
            note="112 x 112 pixels (8 x 8 patches), 2 epochs of DINOv2-S, 8 of SegFormer.",
        ),
        "paper": Preset(
            SMALL
            | {
                "data": "voc2012",
                "classes": 21,
                "void": None,
                "side": 224,
                "scale": [0.5, 2.0],
                "held_every": 1,
                "weight_decay": 0.01,
            },
            5,
            {"networks": PUBLISHED},
            needs=(prepared("voc2012", "classes 0 to 20, void 255"), *AT_512),
            note="PASCAL VOC 2012, 100 epochs. Not run here.",
        ),
        "ade20k": Preset(
            SMALL
            | {
                "data": "ade20k",
                "classes": 151,
                "void": 0,
                "side": 512,
                "scale": [0.5, 2.0],
                "held_every": 1,
            },
            3,
            {"networks": {name: own | {"epochs": 50} for name, own in PUBLISHED.items()}},
            needs=(prepared("ade20k", "classes 1 to 150, 0 for none"), *AT_512),
            note="ADE20K, 50 epochs. Not run here.",
        ),
    },
    rows=rows,
    run=run.do,
    metrics=(
        Metric("iou", "mIoU (%)", "higher", digits=1),
        Metric("rotated_iou", "mIoU at 30 degrees (%)", "higher", digits=1),
        Metric("combined", "combined (%)", "higher", digits=1),
        Metric("consistency", "equivariant consistency (nats)", "lower", log=True),
        Metric("agreement", "same class (%)", "higher", digits=1),
    ),
    defect="consistency",
    floors=floors,
    floor=run.majority,
    condition="network",
    inputs=run.inputs,
    sections=report.sections,
    describe=run.describe,
    describe_reads=False,
    step_cost=run.step_cost,
)
