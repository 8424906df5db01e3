"""A real run killed by SIGKILL and SIGTERM, its newest checkpoint spoiled: the end is the same."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.faults import killing
from experiments.faults.killing import complete_steps, digests, finish, kill_once, running

STEPS = 80


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run left alone."""
    workdir = tmp_path_factory.mktemp("kills") / "straight"
    finish(workdir, STEPS, limit=240)
    return workdir


def _log(workdir):
    return (workdir / "run.log").read_text()


@pytest.mark.slow(35)
def test_killed_at_random_and_while_saving(straight, tmp_path):
    workdir = tmp_path / "killed"
    kills = [
        kill_once(workdir, STEPS, "saving", 0.0),
        kill_once(workdir, STEPS, "random", -3.0),
        kill_once(workdir, STEPS, "random", 0.1),
    ]
    assert all(kills), "the run had finished before it was killed"
    assert kills[0].saving, "no checkpoint was half written"
    assert kills[0].newest < STEPS
    finish(workdir, STEPS, limit=240)
    assert _log(workdir).count("resuming at step") >= 2
    assert digests(workdir, STEPS) == digests(straight, STEPS)
    left, right = ((w / "params.safetensors").read_bytes() for w in (workdir, straight))
    assert left == right
    page = killing.report(kills, True, 100, STEPS)
    assert "equal to the bit" in page
    assert page.count("| a random moment |") == 2


@pytest.mark.slow(14)
def test_sigterm_and_a_spoiled_checkpoint(straight, tmp_path):
    workdir = tmp_path / "stopped"
    with running(killing.command(workdir, STEPS), workdir) as process:
        end = time.monotonic() + 120
        while not complete_steps(workdir) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, _log(workdir)
    assert "run the same command again to go on" in _log(workdir)
    saved = complete_steps(workdir)
    assert len(saved) == 2, saved
    assert saved[-1] < STEPS
    assert not (workdir / "params.safetensors").exists()
    data = workdir / "checkpoints" / str(saved[-1]) / "arrays" / "d"
    victim = max(data.iterdir(), key=lambda path: path.stat().st_size)
    spoiled = bytearray(victim.read_bytes())
    spoiled[len(spoiled) // 3] ^= 1
    victim.write_bytes(spoiled)
    finish(workdir, STEPS, limit=240)
    assert f"skipping checkpoint {saved[-1]}: " in _log(workdir)
    assert f"resuming at step {saved[0]}" in _log(workdir)
    assert digests(workdir, STEPS) == digests(straight, STEPS)


@pytest.mark.slow
def test_a_run_that_fails_is_told(tmp_path):
    told = r"(?s)exit code.*steps must be a positive integer, got -1"
    with pytest.raises(RuntimeError, match=told):
        finish(tmp_path / "bad", -1, limit=120)


_KILL_TEST = """
import sys
from absl import flags
from experiments.faults import kill_test, killing
run = "import os, subprocess, sys, time; print(os.getpid(), flush=True); " \\
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(90)']); " \\
    "print(child.pid, flush=True); time.sleep(90)"
killing.command = lambda workdir, steps: [sys.executable, "-c", run]
flags.FLAGS(["kill_test", "--out", sys.argv[1]])
kill_test.main(["kill_test"])
"""


def _is_running(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow(8)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ended_by_a_signal_it_leaves_nothing_running(tmp_path, number):
    process = subprocess.Popen([sys.executable, "-c", _KILL_TEST, str(tmp_path / "out")])
    log, started, end = tmp_path / "out" / "straight" / "run.log", [], time.monotonic() + 60
    try:
        while len(started) < 2 and time.monotonic() < end and process.poll() is None:
            time.sleep(0.02)
            started = [int(line) for line in log.read_text().split()] if log.exists() else []
        assert len(started) == 2
        assert all(map(_is_running, started))
        process.send_signal(number)
        assert process.wait(timeout=30) == 128 + number
        end = time.monotonic() + 10
        while any(map(_is_running, started)) and time.monotonic() < end:
            time.sleep(0.02)
        assert not any(map(_is_running, started))
    finally:
        process.kill()
        process.wait()
        for pid in filter(_is_running, started):
            os.kill(pid, signal.SIGKILL)
