"""Scalars for TensorBoard, without TensorFlow."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softeq_jax.training.watch._writers import Writer, checked, resumed

_FLUSH_SECONDS = 2


class TensorBoardWriter(Writer):
    """Scalars in an event file of TensorBoard.

    Each writer adds a file to the folder. Values are float32, as TensorBoard stores scalars; they
    reach the file within two seconds, and all of them by `close`. Characters that a tag cannot
    have become "_".

    Args:
      folder: of the event files; made if it is missing.
      resume_step: None for a new run. A resumed run gives the step of its checkpoint, and
        TensorBoard hides what earlier files have after it.

    Raises:
      ImportError: tensorboardX is not installed.
      FileExistsError: the folder has event files and `resume_step` is None.
      TypeError, ValueError: `resume_step` is no integer, or negative.
    """

    def __init__(self, folder: str | os.PathLike[str], resume_step: int | None = None):
        folder, after = Path(folder).absolute(), resumed(resume_step)
        earlier = len(list(folder.glob("events.out.tfevents.*")))
        if earlier and resume_step is None:
            raise FileExistsError(
                f"{folder} has {earlier} event files: pass resume_step to continue the run, or "
                f"another folder"
            )
        # The library names a file by the second; without a suffix a resumed run might replace
        # the file of the run before.
        self._writer = _summary_writer()(
            logdir=str(folder),
            purge_step=None if resume_step is None else after + 1,
            flush_secs=_FLUSH_SECONDS,
            filename_suffix=f".{earlier:04d}",
        )
        self._folder = folder
        self._last = after

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Writer.write`."""
        if self._writer is None:
            raise ValueError(f"{self._folder}: the writer is closed")
        self._last, numbers = checked(step, values, self._last)
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, global_step=self._last)

    def close(self) -> None:
        """See `Writer.close`."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "TensorBoardWriter needs tensorboardX: pip install softeq-jax[train]"
        ) from error
    return SummaryWriter
