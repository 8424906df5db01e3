"""The page of a study: figure, claims with verdicts, table, what was run; all from its CSV."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.shared import results as results_of
from experiments.shared.claims import (
    Verdict,
    comparable,
    difference_text,
    model_of,
)
from experiments.shared.report import markdown_table, write_atomically
from experiments.shared.results import Results
from experiments.shared.runs import Chosen
from experiments.shared.scatter import scatter
from experiments.shared.statistics import mean_interval, paired
from experiments.shared.studies import Line, Metric, StudyError

COLORS = ("#1b6ca8", "#c1553b", "#3f8f4f", "#8a5aa8", "#b8860b", "#4c9a9a", "#777777")


def remake(chosen: Chosen, folder: Path) -> str:
    """Writes the figure and the page of the CSV in a folder; returns the message.

    Raises:
      StudyError: there is no CSV, or nothing in it.
    """
    results = results_of.read(chosen, folder)
    if not results.lines:
        raise StudyError(f"{folder / chosen.preset}.csv is empty: no run is finished")
    said = message(chosen, results)
    picture = folder / f"{chosen.preset}.png"
    draw = chosen.study.draw
    if draw is not None:
        draw(results.lines, results.tables, picture, said)
    else:
        scatter(chosen, chosen.study.choose(results.lines), picture, said)
    write_atomically(folder / f"{chosen.preset}.md", markdown(chosen, results, folder))
    return said


def message(chosen: Chosen, results: Results) -> str:
    """What the study says in one line: its first claim and the verdict."""
    if not chosen.study.claims:
        return chosen.study.title
    claim = chosen.study.claims[0]
    verdict, _ = claim.judge(chosen.study, chosen.study.choose(results.lines))
    return f"{claim.text}: {verdict}{_counted(chosen, results.lines)}"


def verdicts(chosen: Chosen, results: Results) -> list[tuple[Any, Verdict, list[Any]]]:
    """Every claim with its verdict and findings."""
    lines = chosen.study.choose(results.lines)
    return [(claim, *claim.judge(chosen.study, lines)) for claim in chosen.study.claims]


def markdown(chosen: Chosen, results: Results, folder: Path) -> str:
    """The page."""
    study, preset = chosen.study, chosen.preset
    lines = study.choose(results.lines)
    parts = [f"# {study.title}", f"![{message(chosen, results)}]({preset}.png)"]
    for claim, verdict, findings in verdicts(chosen, results):
        parts.append(f"**{claim.text}: {verdict}.**")
        parts.append("\n".join(f"* {finding.text}" for finding in findings))
    parts += ["## What was run", ran(chosen, results), "## Table"]
    parts += tables(chosen, lines)
    if "times" in results.tables:
        parts += ["## A step", costs(results.tables["times"])]
    parts += study.sections(results.lines, results.tables)
    others = sorted(x.name for kind in ("png", "gif") for x in folder.glob(f"{preset}_*.{kind}"))
    if others:
        parts += ["## Further figures", *(f"![{name}]({name})" for name in others)]
    notes = folder / f"{preset}_notes.md"
    if notes.exists():
        parts.append(notes.read_text().strip())
    return "\n\n".join(parts) + "\n"


def ran(chosen: Chosen, results: Results) -> str:
    """Command, size, how many runs of those promised are there, time and versions."""
    study, size = chosen.study, chosen.size
    short = missing(chosen, results.lines)
    there, promised = counted(chosen, results.lines)
    more = len(results.lines) - there
    command = f"python -m experiments.run {study.name} --preset {chosen.preset}"
    parts = [
        f"    {study.command or command}",
        size.note,
        f"{there} of {promised} runs are there"
        + (f", and {more} more" if more else "")
        + (f"; {short}." if short else "."),
    ]
    seconds = sum(results.origin.get("seconds", {}).values())
    versions = ", ".join(f"{k} {v}" for k, v in results.origin.get("versions", {}).items())
    if seconds:
        parts.append(f"{_duration(seconds)} of runs; {versions}.")
    sizes = ", ".join(f"{k} = {v}" for k, v in size.settings.items() if _short(v))
    parts.append(f"Settings of all rows: {sizes}." if sizes else "")
    return "\n\n".join(part for part in parts if part)


def counted(chosen: Chosen, lines: Sequence[Line]) -> tuple[int, int]:
    """How many of the runs that the page promises are there, and how many it promises."""
    promised = {(row, seed) for row, n in chosen.promised().items() for seed in range(n)}
    return len(promised & {(line["row"], line["seed"]) for line in lines}), len(promised)


def missing(chosen: Chosen, lines: Sequence[Line]) -> str:
    """Rows with fewer seeds than the page promises, n of N; empty if there are none."""
    seen: dict[str, set] = {}
    for line in lines:
        seen.setdefault(line["row"], set()).add(line["seed"])
    short = {
        row: f"{len(seen.get(row, ()))} of {n}"
        for row, n in chosen.promised().items()
        if len(seen.get(row, ())) < n
    }
    if len(short) > 6:
        return f"{len(short)} rows have fewer seeds than promised"
    return ", ".join(f"{row}: {n} seeds" for row, n in short.items())


def tables(chosen: Chosen, lines: Sequence[Line]) -> list[str]:
    """For every condition: rows with means and differences to the reference of its claim."""
    study = chosen.study
    by_condition: dict[Any, list[Line]] = {}
    for line in lines:
        by_condition.setdefault(line.get(study.condition), []).append(line)
    parts = []
    for condition, those in by_condition.items():
        rows = {line["row"] for line in those}
        claim = next((c for c in study.claims if {c.row, c.reference} & rows), None)
        if study.condition:
            parts.append(f"{study.condition} = {condition}:")
        parts.append(table(chosen, those, claim.reference if claim else ""))
    parts.append(_legend(chosen, lines))
    return parts


def table(chosen: Chosen, lines: Sequence[Line], reference: str) -> str:
    """Mean and 95 % interval of every metric; difference of the first one by Dunnett's test."""
    study = chosen.study
    main = study.metrics[0]
    rows = list(dict.fromkeys(line["row"] for line in lines))
    against = model_of(lines, main).dunnett(reference) if reference in rows else {}
    floors = [row for row in rows if any(x["row"] == row and x.get("floor") for x in lines)]
    head = ["row", "seeds", *(metric.title for metric in study.metrics)]
    if against:
        head.append(f"{main.title}, against {reference}")
    if floors:
        head.append("better than the floors")
    cells = []
    for row in sorted(rows, key=lambda name: name in floors):
        mine = [line for line in lines if line["row"] == row]
        line = [f"{row} (floor)" if row in floors else row, str(len(mine))]
        line += [cell(mine, metric) for metric in study.metrics]
        if against:
            line.append(difference_text(main, against[row]) if row in against else "")
        if floors:
            line.append("" if row in floors else _beats(lines, row, floors, main))
        cells.append(line)
    return markdown_table(head, *cells)


def costs(lines: Sequence[Line]) -> str:
    """Time and memory of a step, of the separate quiet pass (`--time`)."""
    known = ("row", "ms_a_step", "mib_a_step", "steps", "minutes")
    further = dict.fromkeys(key for x in lines for key in x if key not in (*known, "seed"))
    cells = [
        [str(x["row"]), f"{x['ms_a_step']:.3g}", f"{x['mib_a_step']:.3g}", str(x["steps"])]
        + [f"{x[key]:.3g}" if key in x else "" for key in further]
        for x in lines
    ]
    text = (
        "Of one quiet pass over all rows, one after another (`--time`). Memory: arguments, results "
        "and temporaries of the compiled step."
    )
    head = ("row", "ms a step", "MiB a step", "steps", *further)
    return f"{text}\n\n{markdown_table(head, *cells)}"


def cell(lines: Sequence[Line], metric: Metric) -> str:
    """Mean and interval over the runs of a row (geometric for logarithmic metrics)."""
    values = [metric.transformed(line.get(metric.key)) for line in lines]
    found = mean_interval(values)
    back = math.exp if metric.log else float
    if math.isnan(found.value):
        texts = {str(line[metric.key]) for line in lines if metric.key in line}
        return ", ".join(sorted(texts)) or "-"
    if metric.log and all(line.get(metric.key) == 0 for line in lines):
        return "0"
    text = metric.shown(back(found.value))
    lost = len(values) - found.runs
    note = f" ({lost} without a value)" if lost else ""
    if not found.known or found.low == found.high:
        return text + note
    if max(abs(found.low), abs(found.high)) > 500 and metric.log:
        return text + note
    return f"{text} [{metric.shown(back(found.low))}, {metric.shown(back(found.high))}]{note}"


def _beats(lines: Sequence[Line], row: str, floors: Sequence[str], metric: Metric) -> str:
    """Whether a row beats every floor by paired seeds."""
    values = {
        name: {
            line["seed"]: metric.transformed(line.get(metric.key))
            for line in lines
            if line["row"] == name
        }
        for name in (row, *floors)
    }
    sign = 1 if metric.better == "higher" else -1
    found = []
    for floor in floors:
        gain = paired(values[row], values[floor])
        low, high = (gain.low, gain.high) if sign > 0 else (-gain.high, -gain.low)
        found.append(
            "cannot tell"
            if not gain.known
            else "yes"
            if low > 0
            else "no"
            if high <= 0
            else "cannot tell"
        )
    return next((word for word in ("no", "cannot tell") if word in found), "yes")


def _legend(chosen: Chosen, lines: Sequence[Line]) -> str:
    """How the table is to be read, with what the residuals show."""
    study = chosen.study
    claims = [c for c in study.claims if any(line["row"] == c.reference for line in lines)]
    logs = [metric.title for metric in study.metrics if metric.log]
    said = (
        "Mean over seeds with Student's 95 % interval"
        + (f" (of logarithms: {', '.join(logs)})" if logs else "")
        + ". Differences: row + seed model over all rows of a condition, Dunnett's comparison with "
        "the reference, 95 % for all rows together; a claim's own pair, named in advance, by "
        "Student's interval of the same model."
    )
    if not claims:
        return said
    model = model_of(comparable(study, lines, claims[0].reference), study.metrics[0])
    largest, run, uneven = model.spread()
    said += f" {model.freedom} degrees of freedom"
    if run is not None:
        said += f"; largest residual {largest:.1f} standard deviations ({run[0]}, seed {run[1]})"
    if math.isfinite(uneven):
        said += f", the noise of rows differs up to {uneven:.1f} times"
        said += "; so the common noise fits some rows badly" if uneven > 4 else ""
    return said + "."


def _counted(chosen: Chosen, lines: Sequence[Line]) -> str:
    """ ", n of N runs" where runs are missing."""
    there, promised = counted(chosen, lines)
    return "" if there >= promised else f" ({there} of {promised} runs)"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 100 else f"{seconds:.0f} seconds"


def _short(value: Any) -> bool:
    return not isinstance(value, dict) and len(str(value)) < 60
