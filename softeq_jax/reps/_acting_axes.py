"""Axes of an array that a representation acts on."""

import numbers
from collections.abc import Sequence
from typing import Any


def resolve_axes(rep: Any, shape: tuple[int, ...], axes: Sequence[int] | None) -> tuple[int, ...]:
    """The axes of an array of this shape that ``rep`` (of ``rep.shape``) acts on.

    By default the trailing axes if they have this shape; for two or more acting axes those before
    the last if these have it instead (NHWC); else the last axis, if its length is ``rep.dim``.

    Raises:
      ValueError: the axes cannot be told, fit in several ways, or do not fit.

    Example:
      >>> import softeq_jax as sq
      >>> I = sq.reps.image(sq.groups.cyclic(4), (5, 5))
      >>> sq.reps.resolve_axes(I, (8, 5, 5, 3), None)  # NHWC
      (1, 2)
    """
    r, ndim = len(rep.shape), len(shape)
    trailing, channels_last = tuple(range(ndim - r, ndim)), tuple(range(ndim - r - 1, ndim - 1))
    if axes is not None:
        return _check_axes(rep, shape, tuple(axes))
    is_trailing = ndim >= r and shape[ndim - r :] == rep.shape
    if r > 1 and ndim > r and shape[ndim - r - 1 : -1] == rep.shape:
        leading = tuple(range(r))
        fits = [channels_last]
        fits += [trailing] if is_trailing else []
        fits += [leading] if leading != channels_last and shape[:r] == rep.shape else []
        if len(fits) > 1:
            raise ValueError(
                f"{rep} fits an array of shape {shape} in {len(fits)} ways; choose one with "
                + " or ".join(f"axes={axes}" for axes in fits)
            )
        return channels_last
    if is_trailing:
        return trailing
    if ndim and shape[-1] == rep.dim:
        return (ndim - 1,)
    raise ValueError(
        f"{rep} acts on arrays [..., {', '.join(map(str, rep.shape))}] or "
        f"[..., {rep.dim}], got shape {shape}; name the axes with axes="
    )


def _check_axes(rep: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    whole = all(isinstance(a, numbers.Integral) and -len(shape) <= a < len(shape) for a in axes)
    positive = tuple(int(a) % len(shape) for a in axes) if whole and shape else ()
    if len(positive) != len(rep.shape) or len(set(positive)) != len(positive):
        raise ValueError(
            f"{rep} needs axes= with {len(rep.shape)} different axes of an array of shape "
            f"{shape}, got {axes}"
        )
    if tuple(shape[a] for a in positive) != rep.shape:
        raise ValueError(
            f"{rep} acts on axes of lengths {rep.shape}, but axes {axes} of an array of "
            f"shape {shape} have lengths {tuple(shape[a] for a in positive)}"
        )
    return positive
