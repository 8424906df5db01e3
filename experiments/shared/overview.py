"""What there is: studies with their claims and verdicts, the rows of one, what a step takes."""

from pathlib import Path
from typing import Any

from experiments.shared import page, results
from experiments.shared.report import markdown_table, write_atomically, write_csv
from experiments.shared.runs import Chosen, open_workdir
from experiments.shared.studies import FOLDER, StudyError, find, names
from softeq_jax._text import table

START, END = "<!-- claims: python -m experiments.run --index -->", "<!-- end of claims -->"


def listing() -> str:
    """Studies with their sizes, rows and first claims."""
    head = ("study", "sizes", "rows (small)", "title")
    lines = []
    for name in names():
        study = find(name)
        size = "small" if "small" in study.presets else next(iter(study.presets))
        count = len(Chosen(study, size, Path()).promised())
        lines.append([name, ", ".join(study.presets), str(count), study.title])
    return table(head, lines, rule=True)


def rows(chosen: Chosen) -> str:
    """Rows and floors of a preset with the seeds that are promised; what the rows will do."""
    if chosen.study.describe is not None:
        listed = chosen.listed(read=chosen.study.describe_reads)
        first = [one.run for one in listed if not one.floor and one.run.seed == 0]
        return "\n\n".join(chosen.study.describe(run) for run in first)
    lines = [[row, str(count)] for row, count in chosen.promised().items()]
    return table(("row", "seeds"), lines, rule=True)


def index() -> str:
    """The table of claims: claim, size, runs, verdict, link; from the committed results."""
    cells = []
    for name in names():
        study = find(name)
        for preset in study.presets:
            chosen = Chosen(study, preset, Path())
            folder = FOLDER / name / "results"
            if not (folder / f"{preset}.csv").exists():
                continue
            found = results.read(chosen, folder)
            count = "{} of {}".format(*page.counted(chosen, found.lines))
            link = f"[{name}]({name}/results/{preset}.md)"
            said: list[tuple[str, str]] = [
                (claim.text, str(verdict)) for claim, verdict, _ in page.verdicts(chosen, found)
            ]
            for claim, verdict in said or [(study.title, "a description, no claim")]:
                cells.append([link, claim, preset, count, verdict])
    return markdown_table(("study", "claim", "size", "runs", "verdict"), *cells)


def with_index(text: str) -> str:
    """A page with its table of claims made anew.

    Raises:
      StudyError: it has no place for the table.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise StudyError(f"the page has no lines {START!r} and {END!r}")
    return f"{before}{START}\n\n{index()}\n\n{END}{after}"


def write_index() -> Path:
    """Makes the table in `experiments/README.md` anew."""
    path = FOLDER / "README.md"
    write_atomically(path, with_index(path.read_text()))
    return path


def step_costs(chosen: Chosen, folder: Path) -> str:
    """Time and memory of a step of every row, in turn on a quiet machine; the sum of all runs.

    They go to `<preset>_times.csv` in a folder, where the page finds them.

    Raises:
      StudyError: the study has no steps to time.
    """
    study = chosen.study
    if study.step_cost is None:
        raise StudyError(f"{study.name} has no step_cost: no row of it is trained in steps")
    listed = [one for one in chosen.listed() if not one.floor]
    open_workdir(chosen)
    found: list[dict[str, Any]] = []
    for row in dict.fromkeys(one.run.row for one in listed):
        runs = [one.run for one in listed if one.run.row == row]
        cost = study.step_cost(runs[0])
        if cost is None:
            continue
        minutes = cost.milliseconds * cost.steps * len(runs) / 6e4
        found.append(
            {
                "row": row,
                "ms_a_step": cost.milliseconds,
                "mib_a_step": cost.mebibytes,
                "steps": cost.steps,
                "minutes": minutes,
                **cost.further,
            }
        )
    write_csv(folder / f"{chosen.preset}_times.csv", found)
    cells = [
        [
            x["row"],
            f"{x['ms_a_step']:.3g}",
            f"{x['mib_a_step']:.3g}",
            str(x["steps"]),
            f"{x['minutes']:.1f}",
        ]
        for x in found
    ]
    total = sum(x["minutes"] for x in found)
    text = table(
        ("row", "ms a step", "MiB a step", "steps", "minutes, all seeds"), cells, rule=True
    )
    return f"{text}\n\ntraining of all runs: about {total:.0f} minutes, evaluation not counted"
