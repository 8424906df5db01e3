"""Checks of concrete numbers; traced ones are taken as they are."""

from typing import Any

import jax
import numpy as np


def is_traced(value: Any) -> bool:
    """Whether a value is known only inside a transformation."""
    return isinstance(value, jax.core.Tracer)


def check_share(value: Any, name: str) -> None:
    """A number, or several, in [0, 1].

    Raises:
      ValueError: outside, or NaN.
    """
    if not is_traced(value) and not np.all((np.asarray(value) >= 0) & (np.asarray(value) <= 1)):
        raise ValueError(f"{name} must be in [0, 1], got {value}")


def check_weight(value: Any, name: str, *, positive: bool = False) -> None:
    """A finite number >= 0, or > 0.

    Raises:
      ValueError: negative, NaN or infinite, or 0 where it must be positive.
    """
    if is_traced(value):
        return
    if not np.isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{name} must be finite and {'> 0' if positive else '>= 0'}, got {value}")
