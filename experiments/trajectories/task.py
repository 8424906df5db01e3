"""Pedestrians of ETH/UCY, one scene left out: windows, network, constant velocity, scores."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from softeq_jax import data
from softeq_jax.models import TrajectoryTransformer

Tree = Any
SCENES = ("eth", "hotel", "univ", "zara1", "zara2")
OBSERVED = PREDICTED = 10
DEGREES = 30.0  # largest rotation, in training and in scores
TURNS = 4  # random rotations of every test window


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of tracks as arrays.

    Attributes:
      observed: ``[n, people, 10, 2]``, metres.
      future: ``[n, people, 10, 2]``.
      present: bool ``[n, people]``.
      files: ``[n]``, what a window is from, by its first frame: blocks of dependent windows.
    """

    observed: np.ndarray
    future: np.ndarray
    present: np.ndarray


@functools.lru_cache(maxsize=8)
def sources(folder: Path, scene: str, stride: int) -> tuple[Any, Any, Any, int]:
    """Training, held-out and test windows with at least two people, and the room for people."""
    opened = {
        split: data.open_trajectories(
            folder,
            scene,
            split,
            observed=OBSERVED,
            predicted=PREDICTED,
            stride=stride,
            min_people=2,
        )
        for split in ("train", "val", "test")
    }
    people = max(source.max_people for source in opened.values())
    padded = [
        data.open_trajectories(
            folder,
            scene,
            split,
            observed=OBSERVED,
            predicted=PREDICTED,
            stride=stride,
            min_people=2,
            max_people=people,
        )
        for split in opened
    ]
    return padded[0], padded[1], padded[2], people


def windows(source: Any) -> Windows:
    """All windows of a source."""
    examples = [source[i] for i in range(len(source))]
    return Windows(*(np.stack([e[k] for e in examples]) for k in ("observed", "future", "present")))
