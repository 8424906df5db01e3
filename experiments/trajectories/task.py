"""Pedestrians of ETH/UCY, one scene left out: windows, constant velocity, scores."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from softeq_jax import data, measures

SCENES = ("eth", "hotel", "univ", "zara1", "zara2")
OBSERVED = PREDICTED = 10
DEGREES = 30.0  # largest rotation, in training and in scores
TURNS = 4  # random rotations of every test window
Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of tracks as arrays.

    Attributes:
      observed: ``[n, people, 10, 2]``, metres.
      future: ``[n, people, 10, 2]``.
      present: bool ``[n, people]``.
    """

    observed: np.ndarray
    future: np.ndarray
    present: np.ndarray


@functools.lru_cache(maxsize=8)
def sources(folder: Path | None, scene: str, stride: int) -> tuple[Any, Any, Any, int]:
    """Training, held-out and test windows with at least two people, and the room for people.

    The stride is that of training windows; held out and tested are all windows. Without a folder
    they are drawn: people who walk at changing speeds.
    """
    if folder is None:
        return _walks(64, 0), _walks(16, 1), _walks(16, 2), 3

    def opened(split: str, people: int | None = None) -> Any:
        return data.open_trajectories(
            folder,
            scene,
            split,
            observed=OBSERVED,
            predicted=PREDICTED,
            stride=stride if split == "train" else 1,
            min_people=2,
            max_people=people,
        )

    splits = ("train", "val", "test")
    people = max(opened(split).max_people for split in splits)
    train, held, test = (opened(split, people) for split in splits)
    return train, held, test, people


def _walks(count: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Windows of three people, in the fields of ``data.open_trajectories``."""
    rng = np.random.default_rng(seed)
    frames = OBSERVED + PREDICTED
    velocity = rng.normal(0.0, 0.4, (count, 3, 1, 2)) + rng.normal(0.0, 0.1, (count, 3, frames, 2))
    paths = (rng.uniform(0.0, 10.0, (count, 3, 1, 2)) + np.cumsum(velocity, axis=2)).astype(
        np.float32
    )
    return [
        {
            "observed": path[:, :OBSERVED],
            "future": path[:, OBSERVED:],
            "present": np.ones(3, bool),
            "frame": np.zeros((), np.int32),
        }
        for path in paths
    ]


def windows(source: Any) -> Windows:
    """All windows of a source."""
    examples = [source[i] for i in range(len(source))]
    return Windows(*(np.stack([e[k] for e in examples]) for k in ("observed", "future", "present")))


def straight_on(observed: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Constant velocity: the last observed step, again and again."""
    del present
    step = observed[:, :, -1:] - observed[:, :, -2:-1]
    return observed[:, :, -1:] + step * np.arange(1, PREDICTED + 1)[:, None]


def in_batches(predict: Predict, size: int = 128) -> Predict:
    """A compiled prediction for any number of windows, in batches of one size."""

    def predicted(observed: np.ndarray, present: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(observed), size):
            chosen = np.arange(start, start + size) % len(observed)
            parts.append(np.asarray(predict(observed[chosen], present[chosen])))
        return np.concatenate(parts)[: len(observed)]

    return predicted


def track_scores(predict: Predict, judged: Windows, seed: int) -> dict[str, float]:
    """Errors on the scene that was left out, as it is and turned about the origin.

    Args:
      predict: from observed positions and who is there to the next frames.
      judged: windows of the scene.
      seed: of the angles, uniform in +-30 degrees, the same for all rows.

    Returns:
      ``ade`` and ``fde`` in metres (means over people; ADE over steps too), ``turned_ade``,
      ``combined_ade`` (arithmetic mean of both), ``combined_fde``, and ``consistency``, the mean
      of ``||g f(x) - f(g x)||`` in metres.
    """
    angles = np.random.default_rng(seed).uniform(-1, 1, TURNS) * np.deg2rad(DEGREES)
    cos, sin = np.cos(angles), np.sin(angles)
    turns = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    found = measures.trajectories_under(
        lambda observed: predict(np.asarray(observed), judged.present),
        judged.observed,
        judged.future,
        turns,
        judged.present,
    )
    return {
        "ade": found.ade.plain,
        "fde": found.fde.plain,
        "turned_ade": found.ade.rotated,
        "combined_ade": found.ade.combined,
        "combined_fde": found.fde.combined,
        "consistency": float(np.mean(found.consistency)),
    }
