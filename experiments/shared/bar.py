"""The progress of a study: one bar over all its runs with the time left, or lines in a log."""

import json
import sys
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from experiments.shared.runs import Listed


def left(listed: Sequence[Listed]) -> tuple[int, float | None]:
    """How many runs are kept, and the seconds that the others will take.

    Each as long as the mean of its row, or where none of the row is kept of all; None where none is
    kept at all.
    """
    seconds: dict[str, list[float]] = {}
    missing = []
    for one in listed:
        try:
            took = float(json.loads(one.path.read_text())["seconds"])
        except FileNotFoundError:
            missing.append(one.run.row)
            continue
        seconds.setdefault(one.run.row, []).append(took)
    every = [took for those in seconds.values() for took in those]
    if not every:
        return 0, None
    means = {row: sum(those) / len(those) for row, those in seconds.items()}
    overall = sum(every) / len(every)
    return len(every), sum(means.get(row, overall) for row in missing)


def said(seconds: float | None) -> str:
    """A time left in words."""
    if seconds is None:
        return ""
    return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


class Bar:
    """A bar over all rows and seeds; where nobody watches, a line after every run."""

    def __init__(self, title: str, listed: Sequence[Listed]):
        self._listed, self._title = listed, title
        console = Console(stderr=True)
        self._progress = None
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
                console=console,
            )

    def __enter__(self) -> "Bar":
        if self._progress is not None:
            done, seconds = left(self._listed)
            self._progress.start()
            self._task = self._progress.add_task(
                self._title, total=len(self._listed), completed=done, left=said(seconds)
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

    def told(self, one: Listed, took: float) -> None:
        """Takes note of a finished run and of the seconds it took."""
        done, seconds = left(self._listed)
        if self._progress is not None:
            name = f"{self._title}: {one.run.row}"
            self._progress.update(self._task, completed=done, description=name, left=said(seconds))
            return
        print(
            f"{done} of {len(self._listed)}: {one.run.row}, seed {one.run.seed} ({took:.0f} s); "
            f"{said(seconds)}",
            file=sys.stderr,
            flush=True,
        )
