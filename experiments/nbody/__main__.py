r"""Five charged particles: strict, relaxed and free training of one equivariant graph network.

    python -m experiments.nbody --config experiments/nbody/configs/small.py --workdir outputs/nbody

One network, one trainer; a method is a name in the config. Every run has a work directory of its
own; finished runs are kept. The study ends with ``nbody.csv`` (all runs), ``nbody.md`` and
``nbody.png``.
"""

import logging
import math
from pathlib import Path

from absl import app, flags

from experiments.nbody import report
from experiments.nbody.run import run
from experiments.shared.flags import CONFIG, WORKDIR


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    logging.basicConfig(level=logging.WARNING)
    for name in ("absl", "softeq_jax"):
        logging.getLogger(name).setLevel(logging.WARNING)
    workdir = Path(WORKDIR.value)
    rows = run(CONFIG.value, workdir)
    print(report.terminal(rows))
    if any(math.isnan(row["mse"]) for row in rows):
        raise SystemExit("some runs have no error")
    print(f"table, figure and all {len(rows)} runs are in {workdir}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
