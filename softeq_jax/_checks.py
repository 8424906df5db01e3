"""Checks of the values that a user passes: one for each kind, with one wording each.

Values that are being traced are taken as they are where a function says so; their size is known
only when the compiled program runs.
"""

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.core import Tracer


def is_traced(value: Any) -> bool:
    """Whether a value is known only inside a transformation."""
    return isinstance(value, Tracer)


def is_zero(value: Any) -> bool:
    """Whether a number is known to be 0."""
    return not is_traced(value) and float(value) == 0.0


def whole(value: Any, name: str, least: int = 1) -> int:
    """The value as an int.

    Raises:
      ValueError: it is no integer, or below the least (names it).
    """
    ok = isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
    if not ok or value < least:
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ValueError(f"{name} must be {kind}, got {value!r}")
    return int(value)


def coefficient(value: Any, name: str, *, positive: bool = False) -> Any:
    """The value, a finite number >= 0 (or > 0) as far as can be told; it may be traced.

    Raises:
      ValueError: it is negative, NaN or infinite, no single number, or 0 where it must be
        positive (names it).
    """
    try:
        ok = not isinstance(value, str | bytes) and np.shape(value) == ()
        ok = ok and (is_traced(value) or 0.0 <= float(value) < math.inf)
        ok = ok and not (positive and is_zero(value))
    except (TypeError, ValueError):
        ok = False
    if not ok:
        raise ValueError(
            f"{name} must be a finite number {'> 0' if positive else '>= 0'}, got {value!r}"
        )
    return value


def share(value: Any, name: str) -> Any:
    """The value, a number or an array of numbers in [0, 1] as far as can be told.

    Raises:
      ValueError: an entry is outside, NaN or no number (names it).
    """
    if is_traced(value):
        return value
    try:
        entries = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        entries = np.array(np.nan)
    if not np.all((entries >= 0.0) & (entries <= 1.0)):
        raise ValueError(f"{name} must be in [0, 1], got {value!r}")
    return value


def radians(value: Any, name: str) -> Any:
    """The value, an angle of at most one whole turn (6.2832 counts as one) in either direction; it
    may be traced.

    Raises:
      ValueError: it is beyond 2 pi, which a number of degrees would be, NaN, or no single number
        (names it).
    """
    if is_traced(value):
        return value
    try:
        angle = float(value) if np.shape(value) == () else math.nan
    except (TypeError, ValueError):
        angle = math.nan
    if not abs(angle) <= 2.0 * math.pi * (1.0 + 1e-4):
        hint = f"; {angle:.6g} degrees are math.radians({angle:.6g})"
        raise ValueError(
            f"{name} is in radians, a finite number of at most one turn (2 pi) in size, got "
            f"{value!r}{hint if math.isfinite(angle) else ''}"
        )
    return value


def known_options(options: Mapping[str, Any], known: type, what: str) -> None:
    """Refuses options that a ``TypedDict`` of options does not declare.

    Args:
      options: those that were given.
      known: the ``TypedDict``.
      what: takes them.

    Raises:
      TypeError: one has another name (names it, and lists the declared ones).
    """
    declared = list(known.__annotations__)
    unknown = sorted(set(options) - set(declared))
    if unknown:
        raise TypeError(
            f"{what} got the unknown option {unknown[0]!r}; it takes {', '.join(declared)}"
        )


def frozen(array: np.ndarray) -> np.ndarray:
    """The same array, made read-only: what is shared or remembered must not be changed."""
    array.setflags(write=False)
    return array
