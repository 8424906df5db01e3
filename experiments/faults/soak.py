r"""Trains for half an hour with everything switched on and looks whether memory grows.

    python -m experiments.faults.soak --minutes 30 --out outputs/soak

A ResNet-8 on digits through a C4 projection, with augmentation in a worker process, a moving
average, an evaluation with equivariance curves and an asynchronous checkpoint every 400 steps. At
the end the run gets SIGTERM, as a scheduler would send it. Writes ``soak.md``, ``soak.csv``
(resident memory over time) and ``soak.png``.
Result: experiments/faults/results/soak.md
"""

import csv
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from tqdm import tqdm

from experiments.faults.killing import running
from experiments.shared.children import ended_by_signals
from experiments.shared.figures import plt, save
from experiments.shared.report import markdown_table, write_atomically, write_csv

_MINUTES = flags.DEFINE_float("minutes", 30.0, "How long to train.", lower_bound=0.1)
_OUT = flags.DEFINE_string("out", "outputs/soak", "Where the run and the results go.")

WARM = 0.2
"""Share of the run that is left out of the slope: caches fill, allocators settle."""


def command(workdir: Path) -> list[str]:
    options = {
        "run.steps": 100_000_000,
        "run.log_every": 100,
        "run.evaluate_every": 400,
        "run.save_every": 400,
        "run.progress": "",
        "optimizer.schedule": "constant",
        "optimizer.warmup": 0,
        "augment.flip": True,
        "augment.randaugment": (2, 5),
        "augment.erasing": 0.25,
        "data.num_workers": 1,
        "step.average_decay": 0.999,
        "step.skip_nonfinite": True,
        "run.max_skipped": 10,
    }
    config = "experiments/train/configs/digits.py"
    return [
        *(sys.executable, "-m", "experiments.train", "--config", config),
        *("--workdir", str(workdir)),
        *(f"--config.{key}={value}" for key, value in options.items()),
    ]


def resident(pid: int) -> int:
    """Resident memory of a process in bytes, 0 if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """Processes that this one started, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def soak(workdir: Path, minutes: float) -> list[dict[str, float]]:
    """Trains for so long; memory every ten seconds.

    Raises:
      RuntimeError: the run ended early, or not with 0 after SIGTERM.
    """
    start, rows = time.monotonic(), []
    with running(command(workdir), workdir) as process:
        for _ in tqdm(range(int(minutes * 6)), desc="soaking", unit="10 s"):
            time.sleep(10)
            if process.poll() is not None:
                raise RuntimeError((workdir / "run.log").read_text()[-4000:])
            workers = children(process.pid)
            rows.append(
                {
                    "minutes": (time.monotonic() - start) / 60,
                    "trainer_mib": resident(process.pid) / 2**20,
                    "workers_mib": sum(map(resident, workers)) / 2**20,
                    "open_files": len(list(Path(f"/proc/{process.pid}/fd").iterdir())),
                    "threads": len(list(Path(f"/proc/{process.pid}/task").iterdir())),
                }
            )
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=120)
    if code:
        raise RuntimeError(f"exit code {code}\n{(workdir / 'run.log').read_text()[-4000:]}")
    return rows


def slope(rows: list[dict[str, float]], name: str) -> float:
    """Least-squares growth an hour, the warm-up left out."""
    late = rows[int(WARM * len(rows)) :]
    return 60 * float(np.polyfit([r["minutes"] for r in late], [r[name] for r in late], 1)[0])


def figure(rows: list[dict[str, float]], path: Path) -> None:
    fig, axis = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
    minutes = [row["minutes"] for row in rows]
    for name, label in (("trainer_mib", "training process"), ("workers_mib", "data worker")):
        axis.plot(minutes, [row[name] for row in rows], label=label)
    axis.axvspan(0, WARM * minutes[-1], color="0.93")
    axis.set(xlabel="minutes", ylabel="resident memory (MiB)", ylim=(0, None))
    axis.legend(frameon=False)
    save(fig, path)


def page(rows: list[dict[str, float]], workdir: Path, minutes: float) -> str:
    """What there is to tell, as Markdown."""
    with (workdir / "train.csv").open() as file:
        logged = list(csv.DictReader(file))
    steps = int(logged[-1]["step"])
    with (workdir / "eval.csv").open() as file:
        evaluations = len(list(csv.DictReader(file)))
    late = rows[int(WARM * len(rows)) :]
    lines = [
        "# Half an hour of training, and its memory",
        "",
        f"    python -m experiments.faults.soak --minutes {minutes:g}",
        "",
        f"{steps:,} steps, {evaluations} evaluations with equivariance curves and as many "
        "asynchronous checkpoints; SIGTERM at the end, exit code 0. The first fifth (gray) is "
        "left out of the table.",
        "",
    ]
    head = ("resident memory", "smallest (MiB)", "largest (MiB)", "growth (MiB an hour)")
    cells = []
    for name, label in (("trainer_mib", "training process"), ("workers_mib", "data worker")):
        values = [row[name] for row in late]
        growth = f"{slope(rows, name):+.1f}"
        cells.append((label, f"{min(values):.0f}", f"{max(values):.0f}", growth))
    files, threads = ([row[name] for row in late] for name in ("open_files", "threads"))
    lines += [
        markdown_table(head, *cells),
        "",
        f"Open files {min(files):.0f} to {max(files):.0f}, threads {min(threads):.0f} to "
        f"{max(threads):.0f}.",
        "",
        "![Resident memory over time](soak.png)",
    ]
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    out = Path(_OUT.value).absolute()
    if (out / "run").exists():
        raise app.UsageError(f"{out} holds an earlier run: remove it or choose another --out")
    with ended_by_signals():
        rows = soak(out / "run", _MINUTES.value)
    write_csv(out / "soak.csv", [{k: round(v, 3) for k, v in row.items()} for row in rows])
    figure(rows, out / "soak.png")
    write_atomically(out / "soak.md", page(rows, out / "run", _MINUTES.value))
    print((out / "soak.md").read_text())


if __name__ == "__main__":
    app.run(main)
