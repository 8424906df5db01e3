"""Runs of a study, one after another, each kept as a JSON file: a study goes on where it was."""

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.shared.report import write_atomically

_log = logging.getLogger(__name__)


def as_name(text: str) -> str:
    """Text as the name of a file: letters, digits and points, an underscore for all else."""
    return "".join(c if c.isalnum() or c == "." else "_" for c in text)


def digest(settings: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of all that decides a result; JSON."""
    text = json.dumps(settings, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def kept(
    path: Path, settings: Mapping[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The record of a run: from its file, or made and written there.

    Args:
      path: of the file.
      settings: all that decides what the record holds; JSON.
      make: makes the record; JSON.

    Raises:
      ValueError: the file was made with other settings, or is damaged.
    """
    made_with = digest(settings)
    if path.exists():
        try:
            found = json.loads(path.read_text())
            found["record"], found["made_with"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error!r}): remove it to run again") from error
        if found["made_with"] != made_with:
            raise ValueError(
                f"{path} was made with other settings or weights: choose another --workdir, or "
                "remove the file"
            )
        _log.info("%s is finished", path)
        return found["record"]
    record = make()
    write_atomically(path, json.dumps({"made_with": made_with, "record": record}, indent=1))
    return json.loads(json.dumps(record))


def kept_training(
    run: Any,
    config: Any,
    workdir: Path,
    make: Callable[[Path], dict[str, Any]],
    apart: Sequence[str] = (),
) -> dict[str, Any]:
    """The record of a training run, which has a work directory of its own until it is finished.

    Args:
      run: a data class, whose `folder` is the name of that directory.
      config: of the study.
      workdir: of the study.
      make: trains and judges in the run's directory.
      apart: keys of the config that decide nothing in a run, besides title and strengths.

    Raises:
      ValueError: the record was made with other settings.
    """
    shared = {
        key: value
        for key, value in config.to_dict().items()
        if key not in ("strengths", "title", *apart)
    }
    folder = workdir / "runs" / run.folder
    settings = {"config": shared, "run": dataclasses.asdict(run)}
    record = kept(folder.with_name(f"{run.folder}.json"), settings, lambda: make(folder))
    shutil.rmtree(folder, ignore_errors=True)
    return record


def in_turn(
    runs: Iterable[Any],
    title: str,
    strength_is_data: Callable[[str], bool],
    trainer: Callable[[str, Any], Any],
    record: Callable[[Any, Any], dict[str, Any]],
) -> list[dict[str, Any]]:
    """The records of runs of several methods; a compiled step is used by all that can share it.

    Args:
      runs: each with `method` and `strength`, those of one step next to each other.
      title: of the progress bar.
      strength_is_data: whether strengths of a method share a step.
      trainer: `trainer(method, strength)` compiles.
      record: `record(trainer, run)` of one run.
    """
    records, compiled = [], {}
    for run in tqdm(list(runs), desc=title, unit="run"):
        key = (run.method, None if strength_is_data(run.method) else run.strength)
        if key not in compiled:
            compiled = {key: trainer(run.method, run.strength)}
        records.append(record(compiled[key], run))
    return records


def require_known(methods: Iterable[str], known: Sequence[str]) -> None:
    """Checks the methods that a config names.

    Raises:
      ValueError: an unknown one.
    """
    unknown = sorted(set(methods) - set(known))
    if unknown:
        raise ValueError(f"unknown methods {unknown}; there are {list(known)}")
