"""How fast a run goes."""

import dataclasses
import time
from collections.abc import Callable


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
    """

    examples_per_step: int
    clock: Callable[[], float] = time.monotonic
    step: int | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.examples_per_step < 1:
            raise ValueError(f"examples_per_step is {self.examples_per_step}, expected at least 1")

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
