"""Results of a study as CSV files: gathered from kept runs, written, read again."""

import csv
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.shared.report import write_atomically, write_csv
from experiments.shared.runs import Chosen, all_rows, as_name, kept
from experiments.shared.studies import Line, StudyError
from softeq_jax.training.resumption import library_versions


@dataclasses.dataclass(frozen=True)
class Results:
    """What is known of the runs of a preset.

    Attributes:
      lines: one a run: `row`, `seed`, `floor`, the settings of the row, the metrics.
      tables: further ones by name, each line with `row` and `seed`.
      origin: command, versions and seconds of the runs, where they are known.
    """

    lines: list[Line]
    tables: dict[str, list[Line]]
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def gather(chosen: Chosen) -> Results:
    """The results of all runs that are kept in the work directory, row by row.

    Raises:
      StudyError: one was made with other settings.
    """
    lines: list[Line] = []
    tables: dict[str, list[Line]] = {}
    seconds: dict[str, float] = {}
    for row, (settings, _) in all_rows(chosen.study, chosen.size).items():
        folder = chosen.workdir / "runs" / as_name(row)
        made_with = {"row": row, "settings": {**chosen.size.settings, **settings}}
        paths = [path for path in folder.glob("*.json") if path.stem.isdigit()]
        for path in sorted(paths, key=lambda path: int(path.stem)):
            key = {"row": row, "seed": int(path.stem)}
            record = kept(path, made_with | key)
            assert record is not None, "it was there"
            lines.append(key | record["metrics"])
            seconds[row] = round(seconds.get(row, 0.0) + record["seconds"], 2)
            for name, further in record["tables"].items():
                tables.setdefault(name, []).extend(key | line for line in further)
    return Results(lines, tables, {"versions": library_versions(), "seconds": seconds})


def write(chosen: Chosen, results: Results, folder: Path) -> None:
    """`<preset>.csv`, a CSV for every further table, and `<preset>.json` for the origin.

    Raises:
      StudyError: the CSV that is there has runs that these results lack.
    """
    path = folder / f"{chosen.preset}.csv"
    if path.exists():
        there = {(line["row"], line["seed"]) for line in _read_csv(path)}
        lost = there - {(line["row"], line["seed"]) for line in results.lines}
        if lost:
            row, seed = sorted(lost, key=str)[0]
            raise StudyError(
                f"{path} has {len(lost)} runs that {chosen.workdir} lacks (row {row!r}, seed "
                f"{seed}): give another --results, or remove the file"
            )
    write_csv(path, results.lines)
    for name, lines in results.tables.items():
        write_csv(folder / f"{chosen.preset}_{name}.csv", lines)
    text = json.dumps(results.origin, indent=1, sort_keys=True)
    write_atomically(folder / f"{chosen.preset}.json", text + "\n")


def read(chosen: Chosen, folder: Path) -> Results:
    """What `write` wrote, each line with the settings of its row.

    Raises:
      StudyError: there is no CSV, or it has a row that the study does not.
    """
    path = folder / f"{chosen.preset}.csv"
    if not path.exists():
        raise StudyError(f"{path} is not there: no run of {chosen.study.name} is finished")
    rows = all_rows(chosen.study, chosen.size)
    lines = []
    for line in _read_csv(path):
        if line.get("row") not in rows:
            raise StudyError(
                f"{path} has a row {line.get('row')!r} that {chosen.study.name}, {chosen.preset} "
                "does not have"
            )
        settings, floor = rows[line["row"]]
        lines.append({**settings, **line, "floor": floor})
    tables = {
        other.stem.removeprefix(f"{chosen.preset}_"): _read_csv(other)
        for other in sorted(folder.glob(f"{chosen.preset}_*.csv"))
    }
    origin = folder / f"{chosen.preset}.json"
    return Results(lines, tables, json.loads(origin.read_text()) if origin.exists() else {})


def _read_csv(path: Path) -> list[Line]:
    """The lines of a CSV, numbers as numbers, empty cells left out."""
    with path.open(newline="") as file:
        return [
            {key: _cell(value) for key, value in line.items() if value != ""}
            for line in csv.DictReader(file)
        ]


def _cell(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(text, text)
