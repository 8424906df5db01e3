"""Lock of a work directory: one run at a time, whatever became of the run before."""

import contextlib
import datetime
import fcntl
import json
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from softeq_jax.training import hosts

_log = logging.getLogger(__name__)

BEAT = 10.0
"""Seconds between two signs of life of a run that holds a lock."""

SILENCE = 60.0
"""Seconds without a sign of life after which a run on another machine is taken for dead."""

GRACE = 1.0
"""Seconds that a lock may outlive its process: until children that it has just forked run at all,
and let go of what they inherited."""

_held: set[int] = set()


def _let_go() -> None:
    """Closes the files of locks, which a forked process would hold on to after its parent."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


class WorkdirInUse(RuntimeError):
    """Another run is at work in the work directory."""


class Lock:
    """Lock that this process holds, on the file `lock` in the work directory.

    The kernel holds it for the process (`flock`), so that it ends with the process, however that
    ends, and no number of a process is ever looked up. The file says who holds it. Where it names
    another machine the kernel's word may not reach this one: then the file's time, which the
    holder renews, decides, and a lock in which nothing has moved for a minute is taken over.

    A forked child lets go as the first thing it does; until the machine comes to run it, it keeps
    the lock of a parent that was killed meanwhile. So a lock that is held is asked for again for
    a second before it is said to be in use.
    """

    def __init__(self, workdir: Path):
        """Takes the lock, or finds that it is held.

        Raises:
          WorkdirInUse: by whom, where and since when.
          OSError: the file cannot be opened or written.
        """
        self._path = workdir / "lock"
        self._token, self._process = secrets.token_hex(8), os.getpid()
        self._ended = threading.Event()
        workdir.mkdir(parents=True, exist_ok=True)
        while not self._taken():
            pass
        threading.Thread(target=self._beat, daemon=True).start()

    def check(self) -> None:
        """Makes sure that no other run has taken the lock over.

        Raises:
          WorkdirInUse: one has; this process was silent for too long.
        """
        holder = _record(self._path)
        if holder and holder["token"] != self._token:
            raise WorkdirInUse(_text(self._path, holder, "was taken over"))

    def release(self) -> None:
        """Gives the lock back; a forked process does nothing."""
        if os.getpid() != self._process:
            return
        self._ended.set()
        if _record(self._path).get("token") == self._token:
            self._path.unlink(missing_ok=True)
        self._close(self._fd)

    def _taken(self) -> bool:
        """Whether the lock was taken; no: the file was replaced meanwhile."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        _held.add(self._fd)
        try:
            reliable = self._locked_by_kernel()
            holder = _record(self._path)
            if holder and not (reliable and holder["machine"] == _machine()):
                self._wait_for_silence(holder)
            if not self._is_at_its_path():
                self._close(self._fd)
                return False
            if holder:
                _log.warning("%s", _text(self._path, holder, "was left by a run that is gone,"))
            self._write()
            if not reliable:
                time.sleep(1.0)
                self.check()
        except BaseException:
            self._close(self._fd)
            raise
        return True

    def _locked_by_kernel(self) -> bool:
        end = time.monotonic() + GRACE
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    holder = _record(self._path)
                    raise WorkdirInUse(_text(self._path, holder, "is in use")) from None
                time.sleep(min(0.05, GRACE / 4))
            except OSError as error:
                _log.warning("%s: no locks on this file system (%s)", self._path, error)
                return False
            else:
                return True

    def _wait_for_silence(self, holder: dict[str, Any]) -> None:
        _log.warning(
            "%s: waiting %.0f s for a sign of life",
            _text(self._path, holder, "was in use"),
            SILENCE,
        )
        before, end = _time_of(self._path), time.monotonic() + SILENCE
        while time.monotonic() < end:
            time.sleep(min(1.0, BEAT / 4))
            if _time_of(self._path) != before:
                raise WorkdirInUse(_text(self._path, _record(self._path) or holder, "is in use"))

    def _is_at_its_path(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        return False

    def _write(self) -> None:
        record = {
            "host": platform.node(),
            "pid": os.getpid(),
            "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "machine": _machine(),
            "token": self._token,
        }
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(record).encode(), 0)
        os.fsync(self._fd)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(OSError):  # a passing fault
                if _record(self._path).get("token") == self._token:
                    os.utime(self._path)

    @staticmethod
    def _close(fd: int) -> None:
        _held.discard(fd)
        os.close(fd)


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[Lock | None]:
    """Locks a work directory for the block; all processes of a run enter it, process 0 locks.

    Processes that do not know of each other (without `hosts.initialize`) are runs of their own.

    Yields:
      The lock, on process 0.

    Raises:
      WorkdirInUse: on every process, where another run holds it.
      OSError: the lock cannot be written.
    """
    lock, error = None, None
    if hosts.is_main():
        try:
            lock = Lock(workdir)
        except (WorkdirInUse, OSError) as found:
            error = found
    failure = hosts.broadcast(None if error is None else str(error))
    if failure is not None:
        raise error or WorkdirInUse(failure)
    try:
        yield lock
    finally:
        if lock is not None:
            lock.release()


def _record(path: Path) -> dict[str, Any]:
    """Who holds the lock; empty where there is no file, or one that is not written yet."""
    try:
        found = json.loads(path.read_text())
        return found if {"host", "pid", "since", "machine", "token"} <= found.keys() else {}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def _text(path: Path, holder: dict[str, Any], state: str) -> str:
    by = "a process that has just started"
    if holder:
        by = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    return (
        f"{path.parent} {state} by {by} ({path}): wait for that run or end it, or choose another "
        "directory"
    )


def _time_of(path: Path) -> int:
    """The file's time; opened anew, so that a network file system asks its server."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return 0


def _machine() -> str:
    """This machine since it was started, whatever containers call it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()
