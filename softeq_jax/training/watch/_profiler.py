"""A trace of a few steps."""

import os
from types import TracebackType

import jax


class Profiler:
    """Traces some steps of a run, once, with `jax.profiler`; a context manager.

    Args:
      folder: of the trace, which TensorBoard, XProf and Perfetto read; made if it is missing.
      first_step: the first step to trace. A later one is best: the first compiles.
      last_step: the last step to trace.

    Raises:
      ValueError: unless `0 <= first_step <= last_step`.
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
