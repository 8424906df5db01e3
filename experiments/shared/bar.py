"""The progress of a study: one bar over all its runs with the time left, or lines in a log."""

import sys
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.shared.runs import Listed


class Bar:
    """A bar over all rows and seeds; where nobody watches, a line after every run."""

    def __init__(self, title: str, listed: Sequence[Listed]):
        self._listed = listed
        console = Console(stderr=True)
        self._progress = None
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                console=console,
                speed_estimate_period=1e9,  # runs take minutes
            )
        self._title = title
        self._seconds: list[float] = []

    def __enter__(self) -> "Bar":
        if self._progress is not None:
            self._progress.start()
            self._task = self._progress.add_task(
                self._title, total=len(self._listed), completed=self._done()
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def told(self, one: Listed, seconds: float) -> None:
        """Takes note of a finished run."""
        done = self._done()
        if self._progress is not None:
            self._progress.update(
                self._task, completed=done, description=f"{self._title}: {one.run.row}"
            )
            return
        self._seconds.append(seconds)
        left = (len(self._listed) - done) * sum(self._seconds) / len(self._seconds)
        print(
            f"{done} of {len(self._listed)}: {one.run.row}, seed {one.run.seed} ({seconds:.0f} s); "
            f"about {left / 60:.0f} min left",
            file=sys.stderr,
            flush=True,
        )

    def _done(self) -> int:
        """All that is kept, by whichever process."""
        return sum(one.path.exists() for one in self._listed)
