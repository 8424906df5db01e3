"""A real run killed by SIGKILL and SIGTERM, its newest checkpoint spoiled: the end is the same."""

import os
import signal
import time

import pytest

from experiments.faults import killing
from experiments.faults.killing import complete_steps, digests, finish, kill_once, start

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
    process = start(workdir, STEPS)
    try:
        end = time.monotonic() + 120
        while not complete_steps(workdir) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, _log(workdir)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
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
