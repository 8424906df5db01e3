"""Meters of a run: steps per second, memory in use, a trace of a few steps."""

import dataclasses
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import jax

from softeq_jax._checks import whole

_STATM = Path("/proc/self/statm")
_KINDS = {"bytes_in_use": "bytes", "peak_bytes_in_use": "peak_bytes", "bytes_limit": "limit_bytes"}


@dataclasses.dataclass(frozen=True)
class Rates:
    """Steps and examples per second between readings of a clock; immutable.

    The first reading gives no rates, so that what was compiled before it is in none. Read again
    after a pause (an evaluation, a checkpoint) and drop the rates, and the pause is in none.

    Attributes:
      examples_per_step: size of the global batch.
      clock: seconds that never go back.
      step: of the last reading; None before the first.
      seconds: the clock at the last reading.

    Example:
      >>> import softeq_jax as sq
      >>> ticks = iter([0.0, 2.0])
      >>> rates = sq.training.watch.Rates(examples_per_step=32, clock=lambda: next(ticks))
      >>> _, rates = rates.read(step=0)
      >>> rates.read(step=10)[0]
      {'rate/steps_per_second': 5.0, 'rate/examples_per_second': 160.0}
    """

    examples_per_step: int
    clock: Callable[[], float] = time.monotonic
    step: int | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        whole(self.examples_per_step, "examples_per_step")

    def read(self, step: int) -> tuple[dict[str, float], "Rates"]:
        """The rates since the last reading.

        Args:
          step: number of steps that are finished (wait for their results first).

        Returns:
          "rate/steps_per_second" and "rate/examples_per_second", or nothing at the first reading
          and where no step or no time has passed; and what to read the next time.

        Raises:
          ValueError: a step before that of the last reading.
        """
        now = self.clock()
        following = dataclasses.replace(self, step=step, seconds=now)
        if self.step is None:
            return {}, following
        steps, seconds = step - self.step, now - self.seconds
        if steps < 0:
            raise ValueError(f"step is {step}, expected at least {self.step}, the last one read")
        if steps == 0 or seconds <= 0:
            return {}, following
        rate = steps / seconds
        values = {
            "rate/steps_per_second": rate,
            "rate/examples_per_second": rate * self.examples_per_step,
        }
        return values, following


def device_memory() -> dict[str, float]:
    """Bytes in use on each local device, and by this process on the host.

    Returns:
      For local device i "memory/device{i}_bytes", "memory/device{i}_peak_bytes" and
      "memory/device{i}_limit_bytes", as far as it reports them (CPU devices do not); and
      "memory/host_rss_bytes", the resident set of this process: the present one where /proc tells
      it, elsewhere its peak.

    Example:
      >>> import softeq_jax as sq
      >>> sq.training.watch.device_memory()["memory/host_rss_bytes"] > 0
      True
    """
    values = {}
    for index, device in enumerate(jax.local_devices()):
        stats = device.memory_stats() or {}
        for kind, name in _KINDS.items():
            if kind in stats:
                values[f"memory/device{index}_{name}"] = float(stats[kind])
    return {**values, "memory/host_rss_bytes": float(_resident())}


def _resident() -> int:
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Profiler:
    """Traces some steps of a run, once, with `jax.profiler`; a context manager.

    Args:
      folder: of the trace, which TensorBoard, XProf and Perfetto read; made if it is missing.
      first_step: the first step to trace. A later one is best: the first compiles.
      last_step: the last step to trace.

    Raises:
      ValueError: unless `0 <= first_step <= last_step`.

    Example:
      >>> import softeq_jax as sq
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with sq.training.watch.Profiler(folder, 2, 3) as profiler:
      ...         profiler.at(1)  # nothing is traced yet
    """

    def __init__(self, folder: str | os.PathLike[str], first_step: int, last_step: int):
        if not 0 <= first_step <= last_step:
            raise ValueError(
                f"expected 0 <= first_step <= last_step, got first_step={first_step} and "
                f"last_step={last_step}"
            )
        self._folder, self._first, self._last = os.fspath(folder), first_step, last_step
        self._is_running = self._is_over = False

    def at(self, step: int) -> None:
        """Starts or stops the trace; called before each step with its number.

        Steps run behind their dispatch: wait for the step before at `last_step + 1`, or the trace
        ends within it. A run resumed between the two steps is traced from there.

        Raises:
          RuntimeError: another trace is running.
        """
        if self._is_running and step > self._last:
            self.close()
        elif not self._is_running and not self._is_over and self._first <= step <= self._last:
            jax.profiler.start_trace(self._folder)
            self._is_running = True

    def close(self) -> None:
        """Stops the trace if it is running; none is started afterwards."""
        if self._is_running:
            self._is_running = False
            jax.profiler.stop_trace()
        self._is_over = True

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
