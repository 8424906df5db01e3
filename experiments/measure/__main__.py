r"""Measures pretrained networks in every way the library knows, and compares the stencils.

    python -m experiments.measure --config experiments/measure/configs/cifar10.py \
        --data_dir $SOFTEQ_DATA_DIR --workdir outputs/cifar10_measures

Stages that are finished are kept (``stages/*.json``, with a digest of the settings and the
weights): run the same command again after an interruption. The work directory ends with
``table.md``, one CSV per part and the figures.
"""

from pathlib import Path

from absl import app, flags

from experiments.measure.run import run
from experiments.shared.flags import CONFIG, DATA_DIR, WORKDIR


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    if not DATA_DIR.value:
        raise app.UsageError("--data_dir or SOFTEQ_DATA_DIR must name the data")
    workdir = Path(WORKDIR.value)
    run(CONFIG.value, Path(DATA_DIR.value), workdir)
    print((workdir / "table.md").read_text())


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
