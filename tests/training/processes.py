"""Starts Python processes for tests, each with a hard limit that kills its whole group."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]


def environment(devices: int = 1, **more: str) -> dict[str, str]:
    """Variables for a process with so many virtual CPU devices."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": path,
        **more,
    }


def start(arguments: list, log: pathlib.Path, env: dict[str, str]) -> subprocess.Popen:
    """Starts `python arguments` in a session of its own; its output goes to a file."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=env,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def finish(processes: list[subprocess.Popen], limit: float, logs: list[pathlib.Path]) -> list[int]:
    """Exit codes; after `limit` seconds everything is killed and the test fails."""
    end = time.monotonic() + limit
    try:
        return [p.wait(timeout=max(0.1, end - time.monotonic())) for p in processes]
    except subprocess.TimeoutExpired:
        output = "\n".join(log.read_text(errors="replace")[-3000:] for log in logs)
        raise AssertionError(f"not done after {limit} s\n{output}") from None
    finally:
        for process in processes:
            kill(process)


def free_port() -> int:
    """A port of this machine that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
