"""Checks of what a user passes as a group element or a size."""

import numbers
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    from softeq_jax.groups._group import Group

LISTABLE = 50_000  # the largest order of a group whose elements are listed
TOLERANCE = 1e-6  # for matrices, which may have been rounded to float32
INDEX_TOLERANCE = 1e-5  # for finding the nearest of a list of elements


def concrete(g: Any, group: "Group", batched: bool = False) -> np.ndarray:
    """``g`` in double precision, once it is known to have the right shape and finite entries.

    Args:
      g: ``[d, d]``, or ``[n, d, d]`` if batched.
      group: which it may belong to.
      batched: whether there is a leading axis.

    Raises:
      ValueError: wrong shape or type, or entries that are no finite numbers.
      TypeError: ``g`` is being traced.
    """
    if isinstance(g, jax.core.Tracer):
        raise TypeError(
            "a group element must be a concrete matrix, but it is being traced; "
            "compute it outside jit, vmap and grad (the array it acts on may be traced)"
        )
    g = np.asarray(g)
    d = group.d
    kinds, field = ("fiucV", "complex or real") if group.is_complex else ("fiuV", "real")
    if g.ndim != 2 + batched or g.shape[-2:] != (d, d) or g.dtype.kind not in kinds:
        size = f"[n, {d}, {d}] array" if batched else f"[{d}, {d}] matrix"
        raise ValueError(
            f"an element of {group} is a {field} {size}, got shape {g.shape}, {g.dtype}"
        )
    g = g.astype(group.dtype)
    if not np.all(np.isfinite(g)):
        raise ValueError(f"an element of {group} has finite entries, got {g.tolist()}")
    return g


def require(group: "Group", defect: float, what: str, scale: float = 1.0) -> None:
    """ValueError if the defect of a property that elements have exceeds 3e-6 of the scale."""
    if not defect <= 3 * TOLERANCE * max(1.0, scale):
        raise ValueError(f"the matrix is not in {group}: {what} (by {defect:.3g})")


def refuse_sampling(group: "Group", why: str) -> None:
    """ValueError: there is no uniform distribution."""
    raise ValueError(
        f"{group} is not compact ({why}), so it has no uniform distribution to sample from; "
        "exp(t) of coordinates t that you choose gives elements"
    )


def whole(n: Any, what: str) -> int:
    """``n`` as an int; ValueError unless it is a positive integer."""
    if isinstance(n, bool | np.bool_) or not isinstance(n, numbers.Integral) or n < 1:
        raise ValueError(f"{what} must be a positive integer, got {n!r}")
    return int(n)
