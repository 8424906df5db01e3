"""The lock of a work directory: held, left by the dead, raced for, out of sight of the kernel."""

import errno
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time

import processes
import pytest

from softeq_jax import training as tr
from softeq_jax.training import hosts, workdir

HERE = f"process {os.getpid()} on {platform.node()}, since 20"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(workdir, "SILENCE", 0.6)
    monkeypatch.setattr(workdir, "BEAT", 0.1)
    monkeypatch.setattr(workdir, "GRACE", 0.05)


def _left(folder, **changes):
    """The file of a run that ended without taking it away."""
    record = {"host": "elsewhere", "pid": 7, "since": "2026-01-02T03:04:05+00:00", "token": "t"}
    (folder / "lock").write_text(json.dumps({**record, "machine": workdir._machine(), **changes}))


def test_a_second_run_is_told_who_and_since_when(tmp_path):
    told = pytest.raises(tr.WorkdirInUse, match=f"run is in use by {HERE}.*another directory")
    with workdir.locked(tmp_path / "new" / "run"), told:
        workdir.Lock(tmp_path / "new" / "run")
    with workdir.locked(tmp_path / "new" / "run"):
        pass
    assert not list((tmp_path / "new" / "run").iterdir())


def test_the_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(KeyError), workdir.locked(tmp_path):
        raise KeyError
    assert not list(tmp_path.iterdir())


_HOLDER = """
import os, pathlib, sys, time
from softeq_jax.training.workdir import locked
with locked(pathlib.Path(sys.argv[1])):
    if os.environ["FORKS"] == "0" or os.fork() == 0:  # with a child, it is the child that speaks
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


@pytest.mark.slow(8)
@pytest.mark.parametrize("forks", ["0", "1"])
def test_a_killed_process_holds_nothing(tmp_path, caplog, forks):
    """Not even where a child that it forked lives on."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)],
        env=processes.environment(FORKS=forks),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    timer = threading.Timer(60, lambda: os.killpg(holder.pid, signal.SIGKILL))
    timer.start()
    try:
        assert int(holder.stdout.readline())
        with pytest.raises(tr.WorkdirInUse, match=f"process {holder.pid} on"):
            workdir.Lock(tmp_path)
        os.kill(holder.pid, signal.SIGKILL)
        os.waitpid(holder.pid, 0)
        with workdir.locked(tmp_path):
            assert f"left by a run that is gone, by process {holder.pid} on" in caplog.text
    finally:
        timer.cancel()
        os.killpg(holder.pid, signal.SIGKILL) if forks == "1" else None
        holder.stdout.close()


def test_a_lock_that_outlives_its_process_by_a_moment_is_waited_for(tmp_path, monkeypatch):
    """As one does that was inherited by a child which has not run yet."""
    monkeypatch.setattr(workdir, "GRACE", 20.0)
    (tmp_path / "lock").touch()
    inherited = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(inherited, fcntl.LOCK_EX)
    timer = threading.Timer(0.2, os.close, [inherited])
    timer.start()
    with workdir.locked(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    timer.join()


def test_a_number_that_another_process_has_by_now_means_nothing(tmp_path, monkeypatch):
    def waits(*_):
        raise AssertionError("a run of this machine is not waited for")

    _left(tmp_path, pid=os.getppid())
    monkeypatch.setattr(workdir.Lock, "_wait_for_silence", waits)
    with workdir.locked(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": 3}'])
def test_a_record_that_cannot_be_read_holds_nothing(tmp_path, text):
    (tmp_path / "lock").write_text(text)
    with workdir.locked(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_another_machine_that_gives_no_sign_of_life_is_taken_over(tmp_path, caplog):
    _left(tmp_path, machine="another")
    start = time.monotonic()
    with workdir.locked(tmp_path):
        assert "process 7 on elsewhere, since 2026-01-02T03:04:05+00:00" in caplog.text
    assert time.monotonic() - start >= 0.6


def test_another_machine_that_gives_signs_of_life_is_left_alone(tmp_path):
    _left(tmp_path, machine="another")
    ended = threading.Event()

    def beat():
        while not ended.wait(0.05):
            os.utime(tmp_path / "lock")

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(tr.WorkdirInUse, match="in use by process 7 on elsewhere"):
            workdir.Lock(tmp_path)
    finally:
        ended.set()
        thread.join()


def test_a_holder_gives_signs_of_life(tmp_path):
    with workdir.locked(tmp_path):
        before = (tmp_path / "lock").stat().st_mtime_ns
        end = time.monotonic() + 5
        while (tmp_path / "lock").stat().st_mtime_ns == before:
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_takers_one_holds_the_lock_at_a_time(tmp_path, stale):
    if stale:
        _left(tmp_path)
    inside, most, taken, end = [0], [0], [0], time.monotonic() + 20

    def take():
        while time.monotonic() < end:
            try:
                lock = workdir.Lock(tmp_path)
            except tr.WorkdirInUse:
                time.sleep(0.001)
                continue
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.003)
            inside[0] -= 1
            taken[0] += 1
            lock.release()
            return

    threads = [threading.Thread(target=take) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], taken[0]) == (1, 12)


def test_without_locks_of_the_file_system_signs_of_life_decide(tmp_path, monkeypatch, caplog):
    def unsupported(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(workdir.fcntl, "flock", unsupported)
    with workdir.locked(tmp_path):
        assert "no locks on this file system" in caplog.text
        with pytest.raises(tr.WorkdirInUse, match=HERE):
            workdir.Lock(tmp_path)


def test_a_run_notices_that_its_lock_was_taken_over(tmp_path):
    with workdir.locked(tmp_path) as lock:
        lock.check()
        _left(tmp_path)
        with pytest.raises(tr.WorkdirInUse, match="was taken over by process 7 on elsewhere"):
            lock.check()
    assert (tmp_path / "lock").exists()  # it is another's


def test_of_several_processes_the_first_one_locks_and_tells_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "is_main", lambda: False)
    with workdir.locked(tmp_path) as lock:
        assert lock is None
        assert not list(tmp_path.iterdir())
    monkeypatch.setattr(hosts, "broadcast", lambda value: "in use by somebody")
    with pytest.raises(tr.WorkdirInUse, match="in use by somebody"), workdir.locked(tmp_path):
        pass
