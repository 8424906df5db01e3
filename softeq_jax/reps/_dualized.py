"""What ``.dual`` was applied to: a mark that equality and hash leave out."""

import dataclasses
from typing import Any, TypeVar

_R = TypeVar("_R")


def marked(rep: _R, dualized: bool = True) -> _R:
    """The representation with this mark."""
    return rep if rep.dualized == dualized else dataclasses.replace(rep, dualized=dualized)  # type: ignore


def is_dualized(rep: Any) -> bool:
    """Whether a representation acts on linear functions as far as is known.

    True where ``.dual`` was applied last, to it or to every part of it; parts that are real and
    orthogonal, which are their own duals, need no mark.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.lorentz())
      >>> sq.reps.is_dualized(V), sq.reps.is_dualized(V.dual)
      (False, True)
    """
    if rep.dualized or (rep.is_orthogonal and not rep.is_complex):
        return True
    parts = getattr(rep, "parts", ())
    return len(parts) > 0 and all(is_dualized(part) for part in parts)
