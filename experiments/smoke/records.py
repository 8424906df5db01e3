"""Simulated smoke on disk: written once as an array record, a frame each, and read by Grain.

A record is one frame of one run: density and velocity ``[n, n, 3]``, the inflow ``[n, n]`` and the
direction of buoyancy ``[2]``, float32, one after another. Frames of a run follow one another. The
name of the file says all that decides its content.
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from tqdm import tqdm

from experiments.smoke import simulator
from softeq_jax._atomic import replacing
from softeq_jax.data import Example

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)
_VERSION = 1  # of what the simulator computes and of the layout
_AT_ONCE = 8  # runs that are simulated together, so that four directions are in each


@dataclasses.dataclass(frozen=True)
class SmokeFile:
    """What a file of simulated runs holds.

    Attributes:
      part: ``"train"``, ``"validation"`` or ``"test"``; they share no run.
      seed: of the draw.
      runs: how many.
      frames: of each run.
      side: cells along each side of the box.
      asymmetry: see ``simulator.SmokeConstants``.

    Raises:
      ValueError: another part, or a count below 1.
    """

    part: str
    seed: int
    runs: int
    frames: int
    side: int
    asymmetry: float

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise ValueError(f"part must be one of {PARTS}, got {self.part!r}")
        for name in ("runs", "frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def name(self) -> str:
        """Of the file."""
        return (
            f"v{_VERSION}_{self.side}x{self.side}_asymmetry{self.asymmetry:g}_seed{self.seed}_"
            f"{self.part}{self.runs}x{self.frames}.array_record"
        )

    def simulated(self, start: int) -> tuple[simulator.Plume, np.ndarray]:
        """(starts, frames) of the runs from a multiple of eight on, up to eight of them.

        They do not depend on how many there are.
        """
        rng = np.random.default_rng([self.seed, PARTS.index(self.part), start])
        plume = simulator.draw(rng, _AT_ONCE, self.side)
        constants = simulator.SmokeConstants(asymmetry=self.asymmetry)
        frames = simulator.simulate(plume, self.frames, constants)
        kept = slice(0, self.runs - start)
        return simulator.Plume(*(field[kept] for field in plume)), frames[kept]


def written(folder: Path, file: SmokeFile) -> Path:
    """The file's path in a folder; simulated and written if it is not there, whole or not at all.

    Raises:
      SmokeBlewUp: a run did; nothing is written.
    """
    path = folder / file.name
    if path.exists():
        return path
    with replacing(path) as partial, contextlib.closing(_writer(partial)) as writer:
        starts = range(0, file.runs, _AT_ONCE)
        with tqdm(total=file.runs, desc=file.name, unit="run", delay=3, leave=False) as bar:
            for start in starts:
                plume, frames = file.simulated(start)
                for run, seen in enumerate(frames):
                    fixed = (plume.inflow[run].ravel(), plume.direction[run])
                    for frame in seen:
                        record = np.concatenate([frame.ravel(), *fixed])
                        writer.write(record.astype("<f4").tobytes())
                bar.update(len(frames))
    return path


def _writer(path: Path) -> ArrayRecordWriter:
    return ArrayRecordWriter(str(path), "group_size:1")


class SmokeWindows:
    """Every stretch of consecutive frames of every run of a file, for random access.

    Examples are ``{"frames": float32 [length, n, n, 3], "inflow": [n, n, 1], "direction": [2]}``.
    """

    def __init__(self, path: Path, file: SmokeFile, length: int, starts: Sequence[int] = ()):
        """Opens a written file.

        Args:
          path: of the file.
          file: what it holds.
          length: frames of a window.
          starts: frames that windows begin with; all that leave room, if empty.

        Raises:
          ValueError: no window of this length fits, or the file has another number of frames.
        """
        self._starts = list(starts) or list(range(file.frames - length + 1))
        if not self._starts or min(self._starts) < 0 or max(self._starts) + length > file.frames:
            raise ValueError(
                f"windows of {length} frames from {list(starts) or 'any'} do not fit into runs of "
                f"{file.frames} frames"
            )
        self._source: Any = grain.sources.ArrayRecordDataSource(str(path))
        if len(self._source) != file.runs * file.frames:
            raise ValueError(
                f"{path} holds {len(self._source)} frames, expected {file.runs} x {file.frames}"
            )
        self._file, self._length = file, length

    def __len__(self) -> int:
        return self._file.runs * len(self._starts)

    def __getitem__(self, index: SupportsIndex) -> Example:
        run, start = divmod(int(index), len(self._starts))
        first = run * self._file.frames + self._starts[start]
        records = self._source.__getitems__(range(first, first + self._length))
        rows = np.stack([np.frombuffer(record, "<f4") for record in records])
        n = self._file.side
        frames, inflow, direction = np.split(rows, [3 * n * n, 4 * n * n], axis=1)
        return {
            "frames": frames.reshape(-1, n, n, 3),
            "inflow": inflow[0].reshape(n, n, 1),
            "direction": direction[0],
        }


def all_of(windows: SmokeWindows) -> Example:
    """All windows at once, with one more axis in front."""
    examples = [windows[i] for i in range(len(windows))]
    return {name: np.stack([e[name] for e in examples]) for name in examples[0]}
