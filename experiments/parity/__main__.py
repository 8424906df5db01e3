r"""JAX's half of the parity check: the networks of ``parity.pytorch`` here, and softened.

    python -m experiments.parity.pytorch --out DIR     # in the environment with torch
    python -m experiments.parity --torch DIR           # here
    python -m experiments.parity.pytorch --check DIR   # there
    python -m experiments.parity --torch DIR --table experiments/parity/results/parity.md

The second command loads every network with ``models.load``, compares its outputs with PyTorch's
(``DIR/parity.json``), softens it (C4), saves it with ``models.save`` in ``NETWORK/softened`` and
writes our outputs to ``NETWORK/softened.npz``; networks that are done are not done again. The third
compares those with what PyTorch makes of the saved files. The last writes the table.
"""

import pathlib

from absl import app, flags

from experiments.parity.run import HEADER, run, table
from experiments.shared.report import write_atomically

TORCH = flags.DEFINE_string("torch", None, "folder that experiments.parity.pytorch wrote")
TABLE = flags.DEFINE_string("table", None, "write the table of results to this file, and no more")
SOFTNESS = flags.DEFINE_float("softness", 0.5, "of the softened networks")
ONLY = flags.DEFINE_string("only", "", "only networks whose name has this in it")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    folder = pathlib.Path(TORCH.value)
    if TABLE.value is not None:
        text = table(folder)
        write_atomically(pathlib.Path(TABLE.value), HEADER + text)
        print(text)
        return
    rows = run(folder, SOFTNESS.value, ONLY.value)
    worst = max(rows, key=lambda row: row["difference"])
    print(
        f"{len(rows)} networks; largest difference {worst['difference']:.2e} in {worst['network']}"
    )


if __name__ == "__main__":
    flags.mark_flags_as_required(["torch"])
    app.run(main)
