"""Pedestrian tracks: windows of the ETH/UCY text files, and their rotation."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from softeq_jax._checks import coefficient, whole
from softeq_jax.data._examples import Example

SCENES = {
    "eth": ("biwi_eth",),
    "hotel": ("biwi_hotel",),
    "univ": ("students001", "students003"),
    "zara1": ("crowds_zara01",),
    "zara2": ("crowds_zara02",),
}
_TRAINING_ONLY = ("crowds_zara03", "uni_examples")
_FRAMES_APART = 10


class Trajectories:
    """Windows of consecutive frames, with the people who are there in all of them.

    Attributes:
      max_people: length that every window is padded to.
    """

    def __init__(
        self,
        tracks: list["_Tracks"],
        windows: list[tuple[int, int]],
        observed: int,
        frames: int,
        max_people: int,
    ):
        """See `open_trajectories`; a window is a number of a file and the row it starts at."""
        self._tracks = tracks
        self._windows = windows
        self._observed = observed
        self._frames = frames
        self.max_people = max_people

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: SupportsIndex) -> Example:
        which, start = self._windows[index]
        tracks = self._tracks[which]
        block = tracks.positions[start : start + self._frames]
        people = np.flatnonzero(~np.isnan(block[..., 0]).any(axis=0))
        paths = np.zeros((self.max_people, self._frames, 2), np.float32)
        paths[: len(people)] = block[:, people].transpose(1, 0, 2)
        return {
            "observed": paths[:, : self._observed],
            "future": paths[:, self._observed :],
            "present": np.arange(self.max_people) < len(people),
            "frame": np.int32(tracks.frames[start]),
        }


def open_trajectories(
    folder: str | os.PathLike[str],
    scene: str,
    split: str,
    *,
    observed: int = 8,
    predicted: int = 12,
    stride: int = 1,
    min_people: int = 1,
    max_people: int | None = None,
) -> Trajectories:
    """Opens the ETH/UCY pedestrian tracks, leaving one scene out for the test.

    The test part is the scene's files under `all/`. The parts "train" and "val" are the files of
    all other scenes, and of crowds_zara03 and uni_examples, under `train/` and `val/`. A line is
    frame, person, x and y in meters; frames are 10 apart, which is 0.4 s. A window is
    `observed + predicted` frames, each 10 after the one before.

    Args:
      folder: holds `all/`, `train/` and `val/`.
      scene: the one left out: "eth", "hotel", "univ", "zara1" or "zara2".
      split: "train", "val" or "test".
      observed: frames that are given.
      predicted: frames that come after.
      stride: frames from the start of a window to the next possible start.
      min_people: fewest people who are in all frames of a window; 2 is usual for comparisons.
      max_people: people per window, padded with zeros; None takes the largest number in this part.

    Returns:
      A source of `{"observed": float32 [max_people, observed, 2], "future": float32 [max_people,
      predicted, 2], "present": bool [max_people], "frame": int32}`; positions are in meters,
      "frame" is the first one's number, people are in the order of their numbers, the present
      ones first.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: an argument is out of range, a line is malformed (the message gives file and
        line), no window has enough people, or one has more than `max_people`.

    Example:
      >>> import softeq_jax as sq
      >>> import pathlib, tempfile
      >>> lines = [f"{10 * t} 1 {t}.0 0.0" for t in range(20)]  # one person, walking along x
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     pathlib.Path(folder, "all").mkdir()
      ...     _ = pathlib.Path(folder, "all", "biwi_eth.txt").write_text("\\n".join(lines))
      ...     source = sq.data.open_trajectories(folder, "eth", "test")
      >>> source[0]["future"][0, 0]
      array([8., 0.], dtype=float32)
    """
    if scene not in SCENES:
        raise ValueError(f"scene must be one of {', '.join(SCENES)}; got {scene!r}")
    if split not in ("train", "val", "test"):
        raise ValueError(f"split must be 'train', 'val' or 'test', got {split!r}")
    counts = {"observed": observed, "predicted": predicted, "stride": stride}
    for field, value in {**counts, "min_people": min_people}.items():
        whole(value, field)
    if max_people is not None:
        whole(max_people, "max_people", min_people)
    tracks = [_read(path) for path in _files(Path(folder), scene, split)]
    frames = observed + predicted
    windows, most = [], 0
    for which, track in enumerate(tracks):
        for start in range(0, len(track.frames) - frames + 1, stride):
            if track.frames[start + frames - 1] - track.frames[start] != (
                _FRAMES_APART * (frames - 1)
            ):
                continue
            people = int(track.present[start : start + frames].all(axis=0).sum())
            if people < min_people:
                continue
            if max_people is not None and people > max_people:
                raise ValueError(
                    f"{track.path}: {people} people in the window from frame "
                    f"{track.frames[start]}, more than max_people = {max_people}"
                )
            windows.append((which, start))
            most = max(most, people)
    if not windows:
        raise ValueError(
            f"{folder}: no window of {frames} frames with {min_people} people in {scene}, {split}"
        )
    return Trajectories(tracks, windows, observed, frames, max_people or most)


@dataclass(frozen=True)
class _Tracks:
    """One file: `positions[i, j]` is person `j` in frame `frames[i]`, NaN when not there."""

    path: Path
    frames: np.ndarray
    positions: np.ndarray

    @property
    def present(self) -> np.ndarray:
        return ~np.isnan(self.positions[..., 0])


def _files(folder: Path, scene: str, split: str) -> list[Path]:
    if split == "test":
        return [folder / "all" / f"{name}.txt" for name in SCENES[scene]]
    others = [name for other, names in SCENES.items() if other != scene for name in names]
    return [folder / split / f"{name}_{split}.txt" for name in (*others, *_TRAINING_ONLY)]


def _read(path: Path) -> _Tracks:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected lines of frame, person, x, y")
    seen, points = {}, []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            frame, person, x, y = _parsed(line, path, number)
            if (frame, person) in seen:
                raise ValueError(
                    f"{path}:{number}: person {person} is in frame {frame} a second time, first "
                    f"in line {seen[frame, person]}"
                )
            seen[frame, person] = number
            points.append((x, y))
    if not seen:
        raise ValueError(f"{path}: no lines")
    keys = np.array(list(seen), np.int64)
    frames, row = np.unique(keys[:, 0], return_inverse=True)
    people, col = np.unique(keys[:, 1], return_inverse=True)
    positions = np.full((len(frames), len(people), 2), np.nan, np.float32)
    positions[row, col] = points
    return _Tracks(path, frames, positions)


def _parsed(line: str, path: Path, number: int) -> tuple[int, int, float, float]:
    try:
        frame, person, x, y = map(float, line.split())
        numbered = frame == int(frame) and person == int(person)
        if not (numbered and np.isfinite(x) and np.isfinite(y)):
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(
            f"{path}:{number}: expected frame, person, x, y (two whole and two finite numbers), "
            f"got {line.rstrip()!r}"
        ) from None
    return int(frame), int(person), x, y


@dataclass(frozen=True)
class RotateTrajectories:
    """Rotates all positions of a window about the origin, by one angle.

    Attributes:
      degrees: the angle is uniform in [-degrees, degrees], counterclockwise from x to y.

    Raises:
      ValueError: `degrees` is negative or not finite.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> paths = np.ones((3, 8, 2), np.float32)  # three people, eight frames
      >>> turn = sq.data.RotateTrajectories(180)
      >>> turned = turn({"observed": paths, "future": paths}, np.random.default_rng(0))
      >>> bool(np.allclose(np.linalg.norm(turned["future"], axis=-1), 2**0.5))
      True
    """

    degrees: float

    def __post_init__(self):
        coefficient(self.degrees, "degrees")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees))
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, sin], [-sin, cos]], np.float32)
        turned = {key: example[key] @ turn for key in ("observed", "future")}
        return {**example, **turned}
