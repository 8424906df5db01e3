"""A training run that is killed: how to start it, kill it, finish it, and compare how it ended."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from experiments.shared.children import started
from experiments.shared.report import markdown_table

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Kill:
    """One SIGKILL.

    Attributes:
      when: "random" or "saving".
      seconds: from the start of the process.
      saving: whether it left a checkpoint half written.
      newest: step of the newest complete checkpoint then, 0 if there was none.
    """

    when: str
    seconds: float
    saving: bool
    newest: int


def command(workdir: Path, steps: int, save_every: int = 10) -> list[str]:
    """The run that is killed: a projected ResNet-8 on digits with augmentation and EMA."""
    config = ROOT / "experiments" / "train" / "configs" / "digits.py"
    options = {
        "run.steps": steps,
        "run.save_every": save_every,
        "run.evaluate_every": 20,
        "run.keep_best": 0,
        "run.tensorboard": False,
        "run.progress": "",
        "step.average_decay": 0.99,
        "model.width": 4,
        "curves.images": 0,
    }
    return [
        *(sys.executable, "-m", "experiments.train"),
        *("--config", str(config), "--workdir", str(workdir)),
        *(f"--config.{key}={value}" for key, value in options.items()),
    ]


@contextlib.contextmanager
def running(run: list[str], workdir: Path) -> Iterator[subprocess.Popen]:
    """A command that runs for as long as the block; its output goes to `run.log`."""
    workdir.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    with (
        (workdir / "run.log").open("ab") as log,
        started(
            run,
            env=env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        yield process


def complete_steps(workdir: Path) -> list[int]:
    """Steps with a complete checkpoint, ascending."""
    names = [path.name for path in (workdir / "checkpoints").glob("*")]
    return sorted(int(name) for name in names if name.isdigit())


def is_saving(workdir: Path, since: float) -> bool:
    """Whether a checkpoint is half written that was begun after a time (of `time.time`)."""
    for path in (workdir / "checkpoints").glob("*tmp*"):
        with contextlib.suppress(FileNotFoundError):  # finished meanwhile
            if path.stat().st_mtime >= since:
                return True
    return False


def kill_once(
    workdir: Path, steps: int, when: str, delay: float, limit: float = 120.0, **kwargs
) -> Kill | None:
    """Starts the run and kills it; None if it had finished before that.

    Args:
      workdir: of the run.
      steps: of the run.
      when: "saving" waits for the first half-written checkpoint after the delay.
      delay: seconds after the first new checkpoint of this process, so that every start gets
        somewhere; with "random" it may also be negative: then it counts from the start.
      limit: seconds after which the process is killed in any case.
    """
    before = complete_steps(workdir)[-1:]
    since = time.time()
    with running(command(workdir, steps, **kwargs), workdir) as process:
        begun = time.monotonic()

        def waiting(condition) -> None:
            while process.poll() is None and not condition():
                if time.monotonic() - begun > limit:
                    break
                time.sleep(0.001)

        if delay < 0:
            waiting(lambda: time.monotonic() - begun >= -delay)
        else:
            waiting(lambda: complete_steps(workdir)[-1:] != before)
            reached = time.monotonic()
            waiting(lambda: time.monotonic() - reached >= delay)
            if when == "saving":
                waiting(lambda: is_saving(workdir, since))
        finished = process.poll() is not None
        seconds = time.monotonic() - begun
    if finished:
        if process.returncode:
            raise RuntimeError((workdir / "run.log").read_text()[-4000:])
        return None
    newest = complete_steps(workdir)[-1:] or [0]
    return Kill(when, seconds, is_saving(workdir, since), newest[0])


def finish(workdir: Path, steps: int, limit: float = 600.0, **kwargs) -> None:
    """Runs to the end.

    Raises:
      RuntimeError: it did not end well, with the end of its output.
    """
    with running(command(workdir, steps, **kwargs), workdir) as process:
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            code = None
    if code != 0:
        raise RuntimeError(f"exit code {code}\n{(workdir / 'run.log').read_text()[-4000:]}")


def digests(workdir: Path, step: int) -> dict[str, str]:
    """SHA-256 of every leaf of a checkpoint."""
    record = json.loads((workdir / "checkpoints" / str(step) / "record" / "metadata").read_text())
    return {leaf["name"]: leaf["sha256"] for leaf in record["leaves"]}


def report(kills: list[Kill], equal: bool, leaves: int, steps: int) -> str:
    """A Markdown page."""
    during = sum(kill.saving for kill in kills)
    lines = [
        "# A run killed and restarted, against one left alone",
        "",
        f"    python -m experiments.faults.kill_test --kills {len(kills)} --steps {steps}",
        "",
        f"{len(kills)} SIGKILLs, {during} of them with a checkpoint half written. "
        f"The {leaves} leaves of the final checkpoints (parameters, optimizer, batch statistics, "
        f"moving average, key, step) are {'equal to the bit' if equal else 'NOT EQUAL'}.",
        "",
    ]
    head = ("kill", "aimed at", "seconds from the start", "half-written checkpoint", "newest whole")
    cells = []
    for number, kill in enumerate(kills, 1):
        saving = "yes" if kill.saving else "no"
        aim = "a save" if kill.when == "saving" else "a random moment"
        cells.append((str(number), aim, f"{kill.seconds:.2f}", saving, str(kill.newest)))
    return "\n".join([*lines, markdown_table(head, *cells)]) + "\n"
