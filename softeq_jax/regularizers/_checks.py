"""Checks of the numbers that a user passes."""

import math
from typing import Any

import jax
import numpy as np


def is_concrete(value: Any) -> bool:
    """Whether a value is known now, and not only when a compiled program runs."""
    return not isinstance(value, jax.core.Tracer)


def is_zero(value: Any) -> bool:
    """Whether a number is known to be 0."""
    return is_concrete(value) and float(value) == 0.0


def coefficient(value: Any, name: str) -> Any:
    """The number, if it is finite and at least 0 as far as can be told; it may be traced.

    Raises:
      ValueError: it is negative, NaN or infinite, or no single number (names it).
    """
    try:
        shape = np.shape(value)
        ok = not isinstance(value, str | bytes) and shape == ()
        ok = ok and (not is_concrete(value) or 0.0 <= float(value) < math.inf)
    except (TypeError, ValueError):
        ok = False
    if not ok:
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
    return value


def check_power(power: Any) -> int:
    """The power, if it is 1 or 2.

    Raises:
      ValueError: it is something else.
    """
    if isinstance(power, bool) or power not in (1, 2):
        raise ValueError(f"power must be 1 (norms) or 2 (their squares), got {power!r}")
    return int(power)
