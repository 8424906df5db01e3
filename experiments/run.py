r"""Studies: lists them, runs one with every run kept, remakes its table, figure and page.

    python -m experiments.run --list
    python -m experiments.run rings --preset tiny
    python -m experiments.run rings --preset small --only "strict*" --seeds 2
    python -m experiments.run rings --report      # from the runs that are kept, at any time

A killed or stopped study goes on where it was: run the same command again.
"""

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.shared import overview, page, results, runs, studies
from experiments.shared.bar import Bar
from experiments.shared.command import parser_of
from experiments.shared.studies import StudyError
from softeq_jax._text import show
from softeq_jax.training import allocator


def parser() -> argparse.ArgumentParser:
    """Every flag that is needed."""
    found = parser_of(__doc__, "experiments.run")
    add = found.add_argument
    add("name", nargs="?", help="a study; --list names them")
    add("--list", action="store_true", help="studies with sizes, rows and claims")
    add("--preset", default="small", help="size: tiny (seconds), small (2 cores), paper")
    add("--seeds", type=int, help="of every row (default: what the preset promises)")
    add(
        "--only",
        action="append",
        default=[],
        metavar="ROW",
        help="run this row only, a name or a glob; may be given again",
    )
    add("--workdir", type=Path, help="where runs are kept (default: outputs/NAME/PRESET)")
    add(
        "--shared",
        type=Path,
        help="where networks that several studies measure are kept (default: outputs/shared, or "
        "with --workdir a folder in it)",
    )
    add(
        "--results",
        type=Path,
        help="where PRESET.csv, .png and .md go (default: the work directory); "
        "experiments/NAME/results is what is committed",
    )
    add(
        "--data_dir",
        type=Path,
        default=os.environ.get("SOFTEQ_DATA_DIR"),
        help="folder with tfds/, pretrained/, eth_ucy/ (default: the variable SOFTEQ_DATA_DIR)",
    )
    add("--jobs", type=int, choices=(1, 2), default=1, help="runs at a time (default: 1)")
    add("--report", action="store_true", help="run nothing, remake table, figure and page")
    add("--rows", action="store_true", help="run nothing, print the rows of the preset")
    add("--time", action="store_true", help="run nothing, time a step of every row and the sum")
    add("--index", action="store_true", help="remake the table of claims in experiments/README.md")
    add(
        "--keep-memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="on CPUs: freed memory stays with the process (default: yes)",
    )
    add("--helper", action="store_true", help=argparse.SUPPRESS)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0 if all is done, 1 if runs failed, 2 if it cannot be done."""
    arguments = parser().parse_args(argv)
    if argv is None and arguments.keep_memory:  # this process is the command's own
        allocator.keep_freed_memory()
    logging.basicConfig(level=logging.WARNING)
    for name in ("absl", "softeq_jax"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return _main(arguments, list(sys.argv[1:] if argv is None else argv))
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130


def _main(arguments: argparse.Namespace, argv: list[str]) -> int:
    if arguments.index:
        print(f"wrote {overview.write_index()}")
        return 0
    if arguments.list:
        show(overview.listing())
        return 0
    if arguments.name is None:
        raise StudyError(f"name a study: {', '.join(studies.names())}; or --list, or --help")
    if arguments.seeds is not None and arguments.seeds < 1:
        raise StudyError(f"--seeds must be at least 1, got {arguments.seeds}")
    study = studies.find(arguments.name)
    study.preset(arguments.preset)
    chosen = runs.Chosen(
        study,
        arguments.preset,
        arguments.workdir or Path("outputs") / study.name / arguments.preset,
        arguments.data_dir and Path(arguments.data_dir),
        arguments.seeds,
        tuple(arguments.only),
        arguments.shared or (None if arguments.workdir else Path("outputs") / "shared"),
    )
    if arguments.rows:
        show(overview.rows(chosen))
        return 0
    folder = arguments.results or chosen.workdir
    if arguments.time:
        print(overview.step_costs(chosen, folder))
        return 0
    if arguments.report:
        runs.open_workdir(chosen, create=False)
        return _report(chosen, folder)
    if arguments.helper:
        listed = chosen.listed()
        runs.open_workdir(chosen)
        runs.die_with_parent()
        return _told(runs.in_turn(chosen, listed[::-1]))
    return carry_out(chosen, folder, argv if arguments.jobs == 2 else None)


def carry_out(chosen: runs.Chosen, folder: Path, argv: list[str] | None = None) -> int:
    """Does all runs that are not kept, then table, figure and page; 1 if runs failed.

    Args:
      chosen: what is to be run.
      folder: of table, figure and page.
      argv: arguments of a second process that does runs of the same list; None: none.
    """
    listed = chosen.listed()
    runs.open_workdir(chosen)
    failed = _told(_do_all(chosen, listed, argv))
    return max(failed, _report(chosen, folder))


def _do_all(
    chosen: runs.Chosen, listed: Sequence[runs.Listed], argv: list[str] | None
) -> list[tuple[runs.Listed, str]]:
    """Does all runs, with a second process if there are arguments for it; those that failed."""
    with Bar(f"{chosen.study.name}, {chosen.preset}", listed) as bar:
        with runs.helper(argv, chosen.workdir) if argv else contextlib.nullcontext():
            failed = runs.in_turn(chosen, listed, bar.told)
        # What another process does meanwhile.
        while not failed and not all(one.kept() for one in listed):
            time.sleep(0.5)
            failed = runs.in_turn(chosen, listed, bar.told)
    return failed


def _told(failed: Sequence[tuple[runs.Listed, str]]) -> int:
    """Says which runs failed and why; 1 if any did."""
    for one, error in failed:
        path = one.run.workdir / "error.txt"
        print(f"{one.run.row}, seed {one.run.seed}: {error} ({path})", file=sys.stderr)
    return min(len(failed), 1)


def _report(chosen: runs.Chosen, folder: Path) -> int:
    """Table, figure and page, from kept runs or, where there are none, from the table."""
    found = results.gather(chosen)
    if found.lines:
        results.write(chosen, found, folder)
    said = page.remake(chosen, folder)
    print(f"{said}\ntable, figure and page: {folder / chosen.preset}.csv, .png, .md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
