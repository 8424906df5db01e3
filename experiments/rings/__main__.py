r"""Strict, free, and everything between, on rings whose symmetry is broken by degrees.

    python -m experiments.rings --config experiments/rings/configs/paper.py --workdir outputs/rings

One network (a lift to angular frequencies, two linear layers, a contraction), one trainer; a method
is a name in the config. Every run has a work directory of its own; finished runs are kept. The
study ends with ``rings.csv`` (all runs), ``rings.md`` and ``rings.png``.
"""

import logging
import math
from pathlib import Path

from absl import app, flags

from experiments.rings import report
from experiments.rings.run import run
from experiments.shared.flags import CONFIG, WORKDIR


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("absl").setLevel(logging.WARNING)
    workdir = Path(WORKDIR.value)
    rows = run(CONFIG.value, workdir)
    print(report.terminal(rows, CONFIG.value))
    if any(math.isnan(row["accuracy"]) for row in rows):
        raise SystemExit("some runs have no accuracy")
    print(f"table, figure and all {len(rows)} runs are in {workdir}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
