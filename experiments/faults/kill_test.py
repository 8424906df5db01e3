r"""Kills a training run again and again and compares how it ends with one that was left alone.

    python -m experiments.faults.kill_test --kills 20 --out outputs/kill_test

Half of the kills (SIGKILL) come at random moments, half as soon as a checkpoint is being written.
The result is a table of the kills, and whether the final checkpoints, all leaves of parameters,
optimizer, batch statistics and moving average, are equal to the bit. Ended by a signal, it ends
the run as well.
Result: experiments/faults/results/kill_test.md
"""

import random
from pathlib import Path

from absl import app, flags
from tqdm import tqdm

from experiments.faults.killing import Kill, digests, finish, kill_once, report
from experiments.shared.children import ended_by_signals

_KILLS = flags.DEFINE_integer("kills", 20, "How often the run is killed.", lower_bound=0)
_STEPS = flags.DEFINE_integer("steps", 600, "Length of the run.", lower_bound=1)
_OUT = flags.DEFINE_string("out", "outputs/kill_test", "Where the runs and the table go.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")


def run(out: Path, kills: int, steps: int, seed: int) -> tuple[list[Kill], bool]:
    """The comparison; writes `kill_test.md`."""
    rng = random.Random(seed)
    straight, killed = out / "straight", out / "killed"
    finish(straight, steps)
    done: list[Kill] = []
    for number in tqdm(range(kills), desc="killing", unit="kill"):
        when = "saving" if number % 2 else "random"
        # Every third random kill may come before the first step is taken.
        delay = -rng.uniform(0.5, 8.0) if number % 6 == 4 else rng.uniform(0.0, 0.5)
        kill = kill_once(killed, steps, when, delay)
        if kill is None:
            break
        done.append(kill)
    finish(killed, steps)
    left, right = digests(straight, steps), digests(killed, steps)
    (out / "kill_test.md").write_text(report(done, left == right, len(left), steps))
    return done, left == right


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    out = Path(_OUT.value).absolute()
    if (out / "killed").exists() or (out / "straight").exists():
        raise app.UsageError(f"{out} holds an earlier test: remove it or choose another --out")
    with ended_by_signals():
        done, equal = run(out, _KILLS.value, _STEPS.value, _SEED.value)
    print((out / "kill_test.md").read_text())
    if not equal or len(done) < _KILLS.value:
        raise SystemExit(f"{len(done)} of {_KILLS.value} kills, equal: {equal}")


if __name__ == "__main__":
    app.run(main)
