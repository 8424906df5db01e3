"""Studies: what a study declares, and the list of those in `experiments/`."""

import dataclasses
import difflib
import functools
import importlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1]
"""`experiments/`."""

Settings = Mapping[str, Any]
Line = dict[str, Any]
"""What is known of a run: `row`, `seed`, the settings of the row, the metrics."""
Tables = Mapping[str, list[Line]]


class StudyError(Exception):
    """An error that is told in one line."""


@dataclasses.dataclass(frozen=True)
class Need:
    """A file or folder of the data folder that a preset reads, and how to get it."""

    path: str
    how: str


def tfds(name: str) -> Need:
    """A data set as TFDS prepares it."""
    return Need(f"tfds/{name}", f"TFDS prepares it: tfds build {name} --data_dir DATA/tfds")


CIFAR10 = tfds("cifar10")


def require_data(reader: str, needs: Sequence[Need], data_dir: Path | None) -> None:
    """Checks that the data folder has what somebody reads.

    Raises:
      StudyError: which folder, and how to get it.
    """
    for need in needs:
        if data_dir is None:
            where = "no data folder is given (--data_dir, or the variable SOFTEQ_DATA_DIR)"
        elif not (data_dir / need.path).exists():
            where = f"{data_dir / need.path} is not there"
        else:
            continue
        raise StudyError(f"{reader} reads {need.path} of the data folder: {where}; {need.how}")


@dataclasses.dataclass(frozen=True)
class Preset:
    """A size of a study.

    Attributes:
      settings: of all runs; JSON.
      grid: what the rows are made of besides; JSON. A run depends on the settings of its own row
        alone, so that rows may be added.
      seeds: how many every row is promised.
      more_seeds: globs over names of rows to how many those are promised instead.
      needs: of the data folder.
      note: a sentence for the page, what this size is.
    """

    settings: Settings
    seeds: int = 3
    grid: Settings = dataclasses.field(default_factory=dict)
    more_seeds: Mapping[str, int] = dataclasses.field(default_factory=dict)
    needs: tuple[Need, ...] = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Run:
    """One line of a study's list: a row with a seed.

    Attributes:
      row: its name.
      seed: of initial weights, data and order, the same for all rows.
      settings: those of the preset, and over them those of the row.
      workdir: a folder of this run alone, for checkpoints; removed when its metrics are kept.
      artifacts: a folder of this run alone that stays.
      data_dir: of the real data.
      shared: a folder of all studies, for what several of them use (trained networks).
    """

    row: str
    seed: int
    settings: Settings
    workdir: Path
    artifacts: Path
    data_dir: Path | None = None
    shared: Path | None = None


@dataclasses.dataclass(frozen=True)
class Metric:
    """A column of the results, and how it is read.

    Attributes:
      key: of the column.
      title: in tables and figures, with its unit.
      better: "higher", "lower" or "" where neither is.
      log: differences are ratios (errors).
      scale: factor of the shown number.
      digits: after the point; None: three significant ones.
      least: with `log`, what smaller values count as.
    """

    key: str
    title: str
    better: str = "lower"
    log: bool = False
    scale: float = 1.0
    digits: int | None = None
    least: float = 1e-12

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower", ""):
            raise ValueError(
                f"better must be 'higher', 'lower' or '', got {self.better!r} for {self.key!r}"
            )

    def transformed(self, value: Any) -> float:
        """The value that differences are taken of; NaN where there is none."""
        if not isinstance(value, int | float) or math.isnan(value):
            return math.nan
        return math.log(max(value, self.least)) if self.log else float(value)

    def shown(self, value: float) -> str:
        """The value as text."""
        if math.isnan(value):
            return "-"
        value *= self.scale
        return f"{value:.3g}" if self.digits is None else f"{value:.{self.digits}f}"


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run found, where it is more than metrics.

    Attributes:
      metrics: one cell each in the line of the run: numbers, or short text.
      tables: names to further lines, which go to a CSV of their own with `row` and `seed`.
    """

    metrics: Mapping[str, Any]
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class StepCost:
    """What a step of a run takes.

    Attributes:
      milliseconds: median time of a compiled step.
      mebibytes: of arguments, results and temporaries on one device.
      steps: of a whole run.
      further: what else was timed: columns with their units in the names.
    """

    milliseconds: float
    mebibytes: float
    steps: int
    further: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Study:
    """A declared study: `experiments/<name>/study.py` holds one as `STUDY`.

    Attributes:
      name: of its folder.
      title: first line of its page.
      claims: that it tests, the most important one first; see `experiments.shared.claims`.
      presets: sizes by name; "tiny" runs in seconds without real data.
      rows: from the settings and the grid of a preset, as one, to names of rows with the settings
        of each; JSON. Rows that can share compiled functions stand next to each other.
      run: does one run, in its work directory, resumed if it was killed there.
      metrics: columns that the page shows; the first is the performance.
      defect: key of the metric that the performance is drawn against, the equivariance error.
      floors: trivial predictors, named and set as `rows` are.
      floor: judges one of them.
      condition: the setting that divides the rows into parts which are compared within
        themselves (noise, scene); its values are those of its settings.
      inputs: files that decide the results, from settings of the preset and the data folder to
        JSON (digests of weights).
      choose: from all lines to those that are compared, where strengths are chosen on held-out
        data; it may rename rows.
      sections: further parts of the page, from the lines and the other tables.
      draw: draws the figure of a path from the lines and the other tables, under a title;
        without it, performance against defect is drawn.
      describe: what a row will do, before anything is run.
      describe_reads: whether `describe` reads the data; if not, rows of sizes whose data are not
        there are described too.
      step_cost: time and memory of a step of a run, measured on a quiet machine; None: nothing of
        this run is timed.
      command: that its page names; by default that of `experiments.run`.
    """

    name: str
    title: str
    claims: Sequence[Any]
    presets: Mapping[str, Preset]
    rows: Callable[[Settings], Mapping[str, Settings]]
    run: Callable[[Run], Record | Mapping[str, Any]]
    metrics: Sequence[Metric]
    defect: str = ""
    floors: Callable[[Settings], Mapping[str, Settings]] = lambda settings: {}
    floor: Callable[[Run], Mapping[str, Any]] | None = None
    condition: str = ""
    inputs: Callable[[Settings, Path | None], Mapping[str, Any]] = lambda settings, data_dir: {}
    choose: Callable[[list[Line]], list[Line]] = lambda lines: lines
    sections: Callable[[list[Line], Tables], list[str]] = lambda lines, tables: []
    draw: Callable[[list[Line], Tables, Path, str], None] | None = None
    describe: Callable[[Run], str] | None = None
    describe_reads: bool = True
    step_cost: Callable[[Run], StepCost | None] | None = None
    command: str = ""

    def metric(self, key: str) -> Metric:
        """The metric of a key.

        Raises:
          KeyError: there is none.
        """
        return {metric.key: metric for metric in self.metrics}[key]

    def preset(self, name: str) -> Preset:
        """The preset of a name.

        Raises:
          StudyError: there is none; the nearest name is suggested.
        """
        if name not in self.presets:
            raise StudyError(unknown("preset", name, self.presets, f"of {self.name}"))
        return self.presets[name]


def unknown(kind: str, name: str, known: Iterable[str], of: str = "") -> str:
    """The message about a name that does not exist."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1, 0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(map(repr, known[:20])) + (", ..." if len(known) > 20 else "")
    return f"unknown {kind} {name!r}{' ' + of if of else ''}{hint} There are {listed}"


def names() -> list[str]:
    """Names of all studies."""
    return sorted(path.parent.name for path in FOLDER.glob("*/study.py"))


@functools.cache
def find(name: str) -> Study:
    """The study of a name.

    Raises:
      StudyError: there is none; the nearest name is suggested.
    """
    if name not in names():
        raise StudyError(unknown("study", name, names()))
    return importlib.import_module(f"experiments.{name}.study").STUDY
