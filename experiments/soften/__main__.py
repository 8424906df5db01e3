r"""Softens a pretrained network at several settings, fine-tunes, evaluates, certifies.

    python -m experiments.soften --config experiments/soften/configs/cifar10_resnet20.py \
        --data_dir $SOFTEQ_DATA_DIR --workdir outputs/cifar10_resnet20

``--dry_run`` prints the plan of every row (which parameter, which action, which level, what rank,
what bound) and trains nothing. Rows that are finished are kept: run the same command again after
an interruption. The work directory ends with ``table.md``, ``table.csv``, ``layers.csv``,
``figure.png`` and the softened weights of every row (safetensors, the names of the input file).
"""

import logging
from pathlib import Path

from absl import app, flags

from experiments.shared.flags import CONFIG, DATA_DIR, WORKDIR
from experiments.soften import report
from experiments.soften.run import build_plan, describe, run
from experiments.soften.task import load_network

_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the plans only.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("absl").setLevel(logging.WARNING)
    if not DATA_DIR.value:
        raise app.UsageError("--data_dir is needed (or the variable SOFTEQ_DATA_DIR)")
    config, data_dir = CONFIG.value, Path(DATA_DIR.value)
    if _DRY_RUN.value:
        network = load_network(config, data_dir)
        for row in config.rows:
            plan = build_plan(network.variables["params"], row)
            print(describe(row, plan, network), end="\n\n")
        return
    if not WORKDIR.value:
        raise app.UsageError("--workdir is needed (or --dry_run)")
    rows = run(config, data_dir, Path(WORKDIR.value))
    print(report.terminal_table(rows), report.LEGEND, sep="\n\n")
    print(f"tables, figure and weights are in {WORKDIR.value}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    app.run(main)
