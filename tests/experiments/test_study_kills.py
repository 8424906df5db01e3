"""A study killed at several moments and started again ends with the same CSV to the bit."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from experiments.shared.studies import FOLDER

ROOT = FOLDER.parent
LIMIT = 150.0  # seconds that a process may take


def _limits():
    """Hard limits of a child: CPU time, file size, and a session of its own."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**28, 2**28))


def _start(workdir, *more):
    arguments = [
        "rings",
        "--preset",
        "tiny",
        "--only",
        "penalty*",
        "--workdir",
        str(workdir),
        *more,
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.run", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=_limits,
    )


def _killed_when(workdir, condition, *more):
    """Starts the study and kills it with all its children as soon as a condition holds."""
    process = _start(workdir, *more)
    begun = time.monotonic()
    while process.poll() is None and not condition() and time.monotonic() - begun < LIMIT:
        time.sleep(0.002)
    early = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert early, "it had finished before it was killed"


def _finished(workdir, *more):
    process = _start(workdir, *more)
    try:
        _, error = process.communicate(timeout=LIMIT)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, error[-2000:].decode()


@pytest.mark.slow(30)
def test_killed_and_started_again_a_study_ends_the_same(tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    _finished(straight)
    folder = killed / "runs"
    _killed_when(killed, lambda: any(folder.glob("*/*/checkpoints/[0-9]*")))
    _killed_when(killed, lambda: any(folder.glob("*/0.json")))
    _finished(killed, "--jobs", "2")
    assert len(list(folder.glob("*/*.json"))) == 4
    assert (killed / "tiny.csv").read_bytes() == (straight / "tiny.csv").read_bytes()
