"""What raises learned equivariance: augmentation, width, the kind of network.

Every row is trained alike but for one factor. Learned equivariance is the correlation of the last
stage's features with their transforms, whole maps, minus the correlation with an independent
image's: shifts by one entry of that map (4 pixels), and quarter turns. Networks are those of the
zoo where their settings are the same (`experiments.zoo.networks`), and are trained once for both.
After Bruintjes, Motyka and van Gemert (2023), whose measure is reconstructed here; their numbers
are of other networks and of ImageNet.
"""

from collections.abc import Mapping
from typing import Any

from experiments.factors import report, run
from experiments.shared.claims import Beats, Better, Claim
from experiments.shared.correlations import Correlates
from experiments.shared.studies import CIFAR10, Metric, Preset, Settings, Study
from experiments.zoo import networks

BASE = "ResNet 16"
SMALL: dict[str, Any] = networks.SMALL | {
    "images": 256,
    "consistency_images": 1000,
    "measure_batch": 64,
}
TINY = networks.TINY | {"images": 8, "consistency_images": 16, "measure_batch": 8}
WIDTHS = (4, 8, 16, 32)
OTHERS = ("ViT 44", "Mixer 48")
CLAIMED = (BASE, f"{BASE}, none", f"{BASE}, untrained")
"""Rows of the first claim, which get more seeds."""


def rows_of(
    widths: tuple[int, ...], others: Mapping[str, Settings], augmentations: tuple[str, ...]
) -> dict[str, Settings]:
    """Rows that differ from the base in one factor, and those without training."""

    def row(model: Settings, augmentation: str = "both") -> Settings:
        made = {"model": model, "augmentation": augmentation, "family": model["kind"]}
        return made | {"checkpoint": "end"}

    plain = {f"ResNet {width}": row(networks.resnet(width)) for width in widths}
    base = base_of(plain)
    poorer = {f"{base}, {name}": row(plain[base]["model"], name) for name in augmentations}
    every = plain | {name: row(other) for name, other in others.items()}
    first = {"checkpoint": "init"}
    begun = {f"{name}{report.UNTRAINED}": own | first for name, own in every.items()}
    return plain | poorer | every | begun


def base_of(chosen: Mapping[str, Any]) -> str:
    """The row that the others differ from in one factor."""
    return BASE if BASE in chosen else next(iter(chosen))


def rows(settings: Settings) -> Mapping[str, Settings]:
    """The networks."""
    return settings["networks"]


def floors(settings: Settings) -> Mapping[str, Settings]:
    """What independent images give in the base."""
    base = base_of(settings["networks"])
    return {f"{base}, other images": settings["networks"][base]}


TRAINED = {"checkpoint": "end"}
NOTE = (
    "10,000 training images, 8 epochs, ResNets of depth 8, the other kinds at the same 75,000 "
    "parameters, 256 test images measured. About an hour of training on 2 quiet cores (by the "
    "processor time of two runs), half of it of networks that the zoo measures too, and ten "
    "minutes of measurements."
)
STUDY = Study(
    name="factors",
    title="CIFAR-10: what raises learned equivariance",
    claims=(
        Claim(
            "Augmentation by crops and flips raises learned equivariance to shifts, above that of "
            "an untrained network",
            BASE,
            f"{BASE}, none",
            (Better("shift"), Beats("shift", f"{BASE}, untrained")),
        ),
        Claim(
            "Less capacity raises it: width 4 against width 32",
            "ResNet 4",
            "ResNet 32",
            (Better("shift"),),
        ),
        Claim(
            "The convolutional bias raises it: a ResNet against a ViT of as many parameters",
            BASE,
            "ViT 44",
            (Better("shift"),),
        ),
        Claim(
            "And against an MLP-Mixer of as many parameters",
            BASE,
            "Mixer 48",
            (Better("shift"),),
        ),
        Claim(
            "Among networks of one kind those with more learned equivariance are more accurate",
            "every network",
            "",
            (Correlates("shift", "accuracy", within=("family",), only=TRAINED),),
        ),
        Claim(
            "They are also more consistent in their predictions",
            "every network",
            "",
            (Correlates("shift", "consistency", within=("family",), only=TRAINED),),
        ),
    ),
    presets={
        "tiny": Preset(
            TINY,
            1,
            {
                "networks": rows_of(
                    (4,),
                    {"ViT 8": networks.vit(8, 1, 2, side=16)},
                    ("none",),
                )
            },
            note="Seconds, for the tests: enlarged digits, networks of a few thousand parameters.",
        ),
        "small": Preset(
            SMALL,
            3,
            {
                "networks": rows_of(
                    WIDTHS,
                    {name: networks.MATCHED[name] for name in OTHERS},
                    ("none", "crop", "flip"),
                )
            },
            more_seeds=dict.fromkeys(CLAIMED, 5),
            needs=(CIFAR10,),
            note=NOTE,
        ),
        "paper": Preset(
            SMALL | networks.PAPER | {"images": 2000, "consistency_images": 10_000},
            5,
            {
                "networks": rows_of(
                    WIDTHS,
                    {name: networks.MATCHED[name] for name in OTHERS},
                    ("none", "crop", "flip"),
                )
            },
            needs=(CIFAR10,),
            note="All training images, 100 epochs. Not run here.",
        ),
    },
    rows=rows,
    run=run.do,
    metrics=(
        Metric("shift", "equivariance to shifts, minus control", "higher", digits=3),
        Metric("turn", "to quarter turns, minus control", "higher", digits=3),
        Metric("shift_raw", "to shifts, as it is", "higher", digits=3),
        Metric("accuracy", "accuracy (%)", "higher", digits=1),
        Metric("consistency", "prediction consistency", "higher", digits=3),
        Metric("parameters", "parameters", "", digits=0),
    ),
    defect="accuracy",
    floors=floors,
    floor=run.floor,
    inputs=run.inputs,
    sections=report.sections,
    draw=report.draw,
    step_cost=run.step_cost,
)
