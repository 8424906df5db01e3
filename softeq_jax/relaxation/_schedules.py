r"""Schedules of theta over a run: functions of the step that end at exactly zero.

With S steps, a final share h at zero and :math:`A = S - \lceil h S \rceil` active steps, each is
theta times a function of :math:`x = t / A` while t < A, and 0 from step A on.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import is_traced, share, whole

_SHAPES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "triangular": lambda x: 1.0 - jnp.abs(2.0 * x - 1.0),
    "linear": lambda x: 1.0 - x,
    "cosine": lambda x: 0.5 + 0.5 * jnp.cos(jnp.pi * x),
    "constant": jnp.ones_like,
}

_PROBES = 1000


@dataclasses.dataclass(frozen=True)
class Schedule:
    """theta as a function of the step. Immutable and hashable.

    Attributes:
      shape: ``"triangular"``, ``"linear"``, ``"cosine"`` or ``"constant"``.
      steps: of the whole run.
      hold: share of the run, in [0, 1), that ends it at exactly zero: at least one step if it is
        positive.
      theta: the largest value, in [0, 1].

    Raises:
      ValueError: a field out of range, named.

    Example:
      >>> import softeq_jax as sq
      >>> theta = sq.relaxation.Schedule("linear", steps=100)
      >>> [round(float(theta(step)), 4) for step in (0, 45, 90, 99)]
      [1.0, 0.5, 0.0, 0.0]
    """

    shape: str
    steps: int
    hold: float = 0.1
    theta: float = 1.0

    def __post_init__(self) -> None:
        if self.shape not in _SHAPES:
            raise ValueError(f"shape must be one of {sorted(_SHAPES)}, got {self.shape!r}")
        whole(self.steps, "steps")
        if not 0 <= self.hold < 1:
            raise ValueError(f"hold must be in [0, 1), got {self.hold}")
        share(self.theta, "theta")
        if self.active < 1:
            raise ValueError(f"hold={self.hold} leaves none of the {self.steps} steps to relax in")
        if self.shape == "triangular" and self.active < 2:
            raise ValueError(
                f"a triangle over one active step is 0 throughout: steps={self.steps}, "
                f"hold={self.hold} leave too few"
            )

    @property
    def active(self) -> int:
        """Number of steps before the final stretch."""
        return self.steps - math.ceil(self.hold * self.steps * (1 - 1e-12))

    def __call__(self, step: int | jax.Array) -> jax.Array:
        """theta at a step counted from 0, a float32 scalar; steps may be traced.

        Raises:
          ValueError: a negative step.
        """
        if not is_traced(step) and np.any(np.asarray(step) < 0):
            raise ValueError(f"step must be >= 0, got {step}")
        step = jnp.asarray(step)
        x = step.astype(jnp.float32) / self.active
        value = self.theta * jnp.clip(_SHAPES[self.shape](x), 0.0, 1.0)
        last = self.theta if self.shape == "constant" and not self.hold else 0.0
        return jnp.where(step >= self.active, last, value).astype(jnp.float32)


def triangular(steps: int, hold: float = 0.1, theta: float = 1.0) -> Schedule:
    """From 0 up to theta at half of the active steps, and back: ``theta (1 - |2 x - 1|)``.

    Args:
      steps: of the whole run.
      hold: share of the run at exactly zero, at its end.
      theta: the largest value.

    Raises:
      ValueError: see ``Schedule``.

    Example:
      >>> from softeq_jax import relaxation
      >>> theta = relaxation.triangular(100, hold=0.1)  # up, down, and the last tenth at 0
      >>> [round(float(theta(step)), 2) for step in (0, 25, 45, 70, 90, 100)]
      [0.0, 0.56, 1.0, 0.44, 0.0, 0.0]
    """
    return Schedule("triangular", steps, hold, theta)


def linear(steps: int, hold: float = 0.1, theta: float = 1.0) -> Schedule:
    """From theta down to 0: ``theta (1 - x)``. Arguments and errors as ``triangular``.

    Example:
      >>> import softeq_jax as sq
      >>> theta = sq.relaxation.linear(100)
      >>> [round(float(theta(step)), 4) for step in (0, 45, 90)]
      [1.0, 0.5, 0.0]
    """
    return Schedule("linear", steps, hold, theta)


def cosine(steps: int, hold: float = 0.1, theta: float = 1.0) -> Schedule:
    """From theta down to 0: ``theta (1 + cos(pi x)) / 2``. Arguments and errors as
    ``triangular``.

    Example:
      >>> import softeq_jax as sq
      >>> theta = sq.relaxation.cosine(100)
      >>> [round(float(theta(step)), 4) for step in (0, 45, 90)]
      [1.0, 0.5, 0.0]
    """
    return Schedule("cosine", steps, hold, theta)


def constant(steps: int, hold: float = 0.1, theta: float = 1.0) -> Schedule:
    """theta, then 0; with ``hold=0`` theta throughout. Arguments and errors as ``triangular``.

    Example:
      >>> import softeq_jax as sq
      >>> theta = sq.relaxation.constant(100, theta=0.5)
      >>> float(theta(0)), float(theta(89)), float(theta(90))
      (0.5, 0.5, 0.0)
    """
    return Schedule("constant", steps, hold, theta)


def check_schedule(schedule: Callable[[Any], Any], steps: int) -> Callable[[Any], Any]:
    """Checks a schedule against the run it is for; any function of the step will do.

    Args:
      schedule: a ``Schedule``, or a function that is tried at up to 1000 steps of the run.
      steps: of the run.

    Returns:
      The schedule.

    Raises:
      ValueError: ``schedule.steps`` exceeds the run, so that theta would not come down; a value
        outside [0, 1], or no scalar (names the step).
      TypeError: the schedule is no function.

    Example:
      >>> import softeq_jax as sq
      >>> f = sq.relaxation.check_schedule(lambda step: step / 100, steps=100)
      >>> f(50)
      0.5
    """
    if not callable(schedule):
        raise TypeError(f"schedule must be a function of the step, got {schedule!r}")
    if isinstance(schedule, Schedule):
        if schedule.steps > steps:
            raise ValueError(
                f"schedule.steps is {schedule.steps}, longer than the run of steps={steps}"
            )
        return schedule
    for step in np.unique(np.linspace(0, steps - 1, min(steps, _PROBES)).astype(int)):
        value = np.asarray(schedule(int(step)))
        if value.shape != ():
            raise ValueError(f"schedule({step}) must be a scalar, got shape {value.shape}")
        share(value.item(), f"theta = schedule({step})")
    return schedule
