"""The runs of a study: a list, each kept as a JSON file, done in turn or by two processes.

A work directory holds `study.json` (whose it is), `runs/<row>/<seed>.json` (what a run found, with
the settings it was made with), and for a run that is going on `runs/<row>/<seed>/`, its own work
directory. A run is claimed by a file lock, which the system lifts when its process dies; so a
second process in the same folder takes other runs, and a killed one leaves only checkpoints behind.
"""

import contextlib
import dataclasses
import fcntl
import fnmatch
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.shared.report import write_atomically
from experiments.shared.studies import (
    Preset,
    Record,
    Run,
    Settings,
    Study,
    StudyError,
    require_data,
    unknown,
)
from softeq_jax.training.config import differences

_log = logging.getLogger(__name__)

MARK = "study.json"


@dataclasses.dataclass(frozen=True)
class Listed:
    """A run with where it is kept.

    Attributes:
      run: as the study is given it.
      floor: whether it is one of a floor.
      made_with: all that decides what it finds; JSON.
      path: of its record.
    """

    run: Run
    floor: bool
    made_with: Mapping[str, Any]
    path: Path

    def kept(self) -> bool:
        """Whether the run is finished.

        Raises:
          StudyError: it was made with other settings; they are named.
        """
        return kept(self.path, self.made_with) is not None

    @contextlib.contextmanager
    def claimed(self) -> Iterator[bool]:
        """Whether this process may do the run; no other may until the block ends."""
        path = self.path.with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What is to be run.

    Attributes:
      study: the study.
      preset: name of the size.
      workdir: of the study.
      data_dir: of the real data.
      seeds: of every row, instead of what the preset promises.
      only: globs over names of rows, to which the list is restricted.
      shared: see `Run`; None: a folder in the work directory.
    """

    study: Study
    preset: str
    workdir: Path
    data_dir: Path | None = None
    seeds: int | None = None
    only: tuple[str, ...] = ()
    shared: Path | None = None

    @property
    def size(self) -> Preset:
        """The preset."""
        return self.study.preset(self.preset)

    def promised(self) -> dict[str, int]:
        """Rows and floors of the preset with the number of seeds that its page promises."""
        size = self.size
        return {
            row: next(
                (n for match, n in size.more_seeds.items() if is_named(row, match)),
                size.seeds,
            )
            for row in all_rows(self.study, size)
        }

    def listed(self, *, read: bool = True) -> list[Listed]:
        """The runs, row by row.

        Args:
          read: whether they are to be run or reported: then the data must be there.

        Raises:
          StudyError: rows that do not exist (the nearest is suggested) or cannot be told apart,
            or data that are not there.
        """
        size, rows = self.size, all_rows(self.study, self.size)
        for match in self.only:
            if not any(is_named(row, match) for row in rows):
                raise StudyError(
                    unknown("row", match, rows, f"of {self.study.name}, {self.preset}")
                )
        given = {}
        if read:
            require_data(f"{self.study.name}, {self.preset}", size.needs, self.data_dir)
            given = dict(self.study.inputs(size.settings, self.data_dir))
        found = []
        for row, promised in self.promised().items():
            if self.only and not any(is_named(row, match) for match in self.only):
                continue
            settings, floor = rows[row]
            for seed in range(promised if self.seeds is None else self.seeds):
                base = self.workdir / "runs" / as_name(row)
                run = Run(
                    row,
                    seed,
                    {**size.settings, **settings},
                    base / str(seed),
                    self.workdir / "artifacts" / as_name(row) / str(seed),
                    self.data_dir,
                    self.shared or self.workdir / "shared",
                )
                made_with = {"row": row, "seed": seed, "settings": dict(run.settings)}
                if given:
                    made_with["inputs"] = given
                found.append(Listed(run, floor, made_with, base / f"{seed}.json"))
        return found


def kept(path: Path, made_with: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of a run, or None where there is none yet.

    Args:
      path: of the record.
      made_with: what it must have been made with; it may know more.

    Raises:
      StudyError: it was made with other settings; they are named.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is no record of a run ({error}): remove it") from error
    wanted = json.loads(json.dumps(made_with))
    changed = differences({key: found["made_with"].get(key) for key in wanted}, wanted)
    if changed:
        said = ", ".join(f"{k}: {a!r}, now {b!r}" for k, (a, b) in list(changed.items())[:4])
        raise StudyError(
            f"{path} was made with other settings ({said}): choose another --workdir, or remove "
            "the file"
        )
    return found


def all_rows(study: Study, size: Preset) -> dict[str, tuple[Settings, bool]]:
    """Rows and floors of a size with their settings and whether they are floors.

    Raises:
      StudyError: two of one name, or of names that are one as a folder.
    """
    settings = {**size.settings, **size.grid}
    rows, floors = study.rows(settings), study.floors(settings)
    both = [*((r, s, False) for r, s in rows.items()), *((r, s, True) for r, s in floors.items())]
    folders: dict[str, str] = {}
    for row, _, _ in both:
        other = folders.setdefault(as_name(row), row)
        if other is not row:
            raise StudyError(f"rows {other!r} and {row!r} of {study.name} cannot be told apart")
    return {row: (settings, floor) for row, settings, floor in both}


def is_named(row: str, match: str) -> bool:
    """Whether a row has a name, or one that a glob matches."""
    return row == match or fnmatch.fnmatchcase(row, match)


def as_name(text: str) -> str:
    """Text as the name of a file: letters, digits and points, an underscore for all else."""
    return "".join(c if c.isalnum() or c == "." else "_" for c in text)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, for `Study.inputs`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_digest(folder: Path) -> str:
    """SHA-256 of the names and sizes of the files in a folder and of the first 64 kB of each."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            found.update(file.read(2**16))
    return found.hexdigest()


def open_workdir(chosen: Chosen, *, create: bool = True) -> None:
    """Marks a folder as the work directory of a study, or checks that it is.

    Raises:
      StudyError: it is another study's, another size's, or holds other things.
    """
    path, mine = chosen.workdir / MARK, {"study": chosen.study.name, "preset": chosen.preset}
    if path.exists():
        found = json.loads(path.read_text())
        if found != mine:
            raise StudyError(
                f"{chosen.workdir} is the work directory of {found.get('study')!r}, preset "
                f"{found.get('preset')!r}: choose another --workdir"
            )
    elif chosen.workdir.exists() and (not chosen.workdir.is_dir() or any(chosen.workdir.iterdir())):
        raise StudyError(
            f"{chosen.workdir} is not empty and not the work directory of a study: choose another "
            "--workdir"
        )
    elif create:
        write_atomically(path, json.dumps(mine) + "\n")


def do(chosen: Chosen, one: Listed) -> None:
    """Does a run and keeps what it found."""
    study, run = chosen.study, one.run
    started = time.monotonic()
    run.workdir.mkdir(parents=True, exist_ok=True)
    if one.floor:
        assert study.floor is not None, f"{study.name} has floors and no way to judge them"
        found: Any = study.floor(run)
    else:
        found = study.run(run)
    record = found if isinstance(found, Record) else Record(found)
    kept = {
        "made_with": one.made_with,
        "seconds": round(time.monotonic() - started, 2),
        "metrics": dict(record.metrics),
        "tables": {name: [dict(line) for line in lines] for name, lines in record.tables.items()},
    }
    write_atomically(one.path, json.dumps(kept, indent=1, default=_plain))
    shutil.rmtree(run.workdir, ignore_errors=True)


def _plain(value: Any) -> Any:
    """NumPy numbers and arrays as JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} is no JSON")


def in_turn(
    chosen: Chosen,
    listed: Sequence[Listed],
    told: Callable[[Listed, float], None] = lambda one, seconds: None,
) -> list[tuple[Listed, str]]:
    """Does the runs that are not kept yet and that no other process does.

    Args:
      chosen: what they are of.
      listed: the runs, in this order.
      told: called after each with the seconds it took.

    Returns:
      Those that failed, with the last line of the error; `error.txt` beside their checkpoints has
      all of it.
    """
    failed = []
    for one in listed:
        with one.claimed() as mine:
            if not mine or one.kept():
                continue
            started = time.monotonic()
            try:
                do(chosen, one)
            except Exception as error:
                _log.debug("%s", one.path, exc_info=True)
                one.run.workdir.mkdir(parents=True, exist_ok=True)
                (one.run.workdir / "error.txt").write_text(traceback.format_exc())
                failed.append((one, f"{type(error).__name__}: {error}".splitlines()[0]))
            told(one, time.monotonic() - started)
    return failed


@contextlib.contextmanager
def helper(arguments: Sequence[str], workdir: Path) -> Iterator[None]:
    """A second process that does runs of the same list from its end; it dies with this one.

    Runs that it fails in are left to this process.
    """
    with (workdir / "helper.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.run", *arguments, "--helper"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
        if process.wait():
            _log.warning("the second process failed: see %s", workdir / "helper.log")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def die_with_parent() -> None:
    """Ends this process as soon as its standard input does, which its parent holds."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
