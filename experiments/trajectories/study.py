"""Pedestrians of ETH/UCY, one scene left out: strict, free and soft transformers under rotations.

Ten frames seen and ten predicted (4 s each), windows with at least two people. All rows are trained
with random rotations by up to 30 degrees, so that "free" is the unfiltered network with the same
augmentation. On all scenes the network sees steps from frame to frame and predicts the departure
from the last one; on eth also positions, as published. Windows of training are every second one,
those of the test all. Size of steps, of batches and coordinates were tried on held-out windows of
eth, seed 100, which no row uses.
"""

from collections.abc import Mapping
from typing import Any

from experiments.shared.claims import Beats, Better, Claim
from experiments.shared.studies import Metric, Need, Preset, Settings, Study
from experiments.trajectories import run, task

TRACKS = Need(
    "eth_ucy", "all/, train/ and val/ hold the text files of ETH/UCY, see data.open_trajectories"
)
METHODS: dict[str, dict[str, Any]] = {
    "free": {"dials": None},
    "strict": {"dials": {"cutoff": 0.0}},
    **{f"heat .{s:02d}": {"dials": {"softness": s / 100, "mask": "heat"}} for s in (5, 30, 70)},
}
SMALL = {
    "source": "eth_ucy",
    "width": 64,
    "depth": 2,
    "dropout": 0.1,
    "epochs": 10,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "weight_decay": 1e-5,
    "stride": 2,
}
DEPARTURE, ABSOLUTE = "departure", "absolute"
GRID = {"parts": [*([scene, DEPARTURE] for scene in task.SCENES), ["eth", ABSOLUTE]]}
TINY = SMALL | {
    "source": "drawn",
    "width": 8,
    "depth": 1,
    "epochs": 1,
    "stride": 40,
    "batch_size": 8,
}


def rows(settings: Settings) -> Mapping[str, Settings]:
    """Methods on every scene, in its coordinates."""
    return {
        f"{name} on {scene}, {said}": {
            **how,
            "family": name,
            "part": f"{scene}, {said}",
            "scene": scene,
            "coordinates": said,
        }
        for name, how in METHODS.items()
        for scene, said in settings["parts"]
    }


def floors(settings: Settings) -> Mapping[str, Settings]:
    """Constant velocity on every scene."""
    return {
        f"constant velocity on {scene}, {said}": {"part": f"{scene}, {said}", "scene": scene}
        for scene, said in settings["parts"]
    }


STUDY = Study(
    name="trajectories",
    title="Pedestrians of ETH/UCY under rotations",
    claims=(
        Claim(
            "On eth, in absolute coordinates, a soft network (heat .70) has a smaller combined ADE "
            "than a strict one",
            "heat .70 on eth, absolute",
            "strict on eth, absolute",
            (Better("combined_ade"),),
        ),
        Claim(
            "There it also has a smaller combined ADE than a free one",
            "heat .70 on eth, absolute",
            "free on eth, absolute",
            (Better("combined_ade"),),
        ),
        Claim(
            "On eth, predicting departures, it has a smaller combined ADE than a free network and "
            "than constant velocity",
            "heat .70 on eth, departure",
            "free on eth, departure",
            (
                Better("combined_ade"),
                Beats("combined_ade", "constant velocity on eth, departure"),
            ),
        ),
    ),
    presets={
        "tiny": Preset(
            TINY, 1, {"parts": [["eth", DEPARTURE]]}, note="Drawn walks, for the tests."
        ),
        "small": Preset(
            SMALL,
            3,
            GRID,
            more_seeds={"* on eth, *": 8},
            needs=(TRACKS,),
            note="Width 64, two layers, 10 epochs, every second window.",
        ),
        "paper": Preset(
            SMALL
            | {
                "width": 128,
                "depth": 4,
                "epochs": 100,
                "stride": 1,
                "batch_size": 128,
                "learning_rate": 5e-4,
            },
            5,
            GRID,
            needs=(TRACKS,),
            note="The published size. Not run here.",
        ),
    },
    rows=rows,
    run=run.do,
    metrics=(
        Metric("combined_ade", "combined ADE (m)", "lower", log=True, digits=3),
        Metric("ade", "ADE (m)", "lower", log=True, digits=3),
        Metric("fde", "FDE (m)", "lower", log=True, digits=3),
        Metric("consistency", "consistency (m)", "lower", digits=4),
    ),
    defect="consistency",
    floors=floors,
    floor=run.constant_velocity,
    condition="part",
    step_cost=run.step_cost,
)
