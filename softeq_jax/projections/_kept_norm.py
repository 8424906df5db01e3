"""The projection that keeps norms: each slice of a weight as large as it was."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from softeq_jax.projections._filter import Array
from softeq_jax.projections._projector import Projector

LEAST = 1e-6
"""A slice of which the projection keeps a smaller share of the norm stays as it is projected."""


def keep_norm(projector: Projector, w: Array) -> Any:
    r"""``P w`` with the norm of each slice restored ("preserve_norm" of the published filters).

    A slice holds the axes that the group acts on, one for each index of the others, say a window
    for each pair of channels:

    .. math:: v_c = \frac{\|w_c\|}{\|P w_c\|} P w_c .

    A factor for each slice commutes with the action and with P, so v is in the same levels, strict
    where ``P w`` is; its movement is that of ``P w``, slice by slice, times the factor. A
    certificate of ``P w`` or one a priori does not hold for v: ask for that of v itself. Not linear
    in w; gradients flow through the factors.

    Args:
      projector: P.
      w: as ``Projector.__call__`` takes it.

    Returns:
      Of the shape and dtype of w. A slice with ``||P w_c|| < 1e-6 ||w_c||``, rounding to single
      precision, stays ``P w_c``.

    Raises:
      ValueError, TypeError: as ``Projector.__call__``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> P = sq.projector("i o", {"i": V, "o": V})
      >>> np.diag(sq.projections.keep_norm(P, np.diag([3.0, 0.0, 4.0]))).round(4)  # of norm 5
      array([2.8868, 2.8868, 2.8868])
    """
    kept = projector(w)
    numpy = isinstance(kept, np.ndarray)
    xp: Any = np if numpy else jnp
    axes = projector.space.positions
    wide = jnp.promote_types(kept.dtype, jnp.float32)
    given, kept_wide = xp.asarray(w).astype(wide), kept.astype(wide)
    largest = xp.max(xp.abs(given), axis=axes, keepdims=True)
    unit = xp.where(largest > 0, largest, 1.0)  # squares neither overflow nor vanish
    before, after = (
        xp.sum(xp.abs(x / unit) ** 2, axis=axes, keepdims=True) for x in (given, kept_wide)
    )
    restored = (after > 0) & (after >= LEAST**2 * before)
    ratio = xp.where(restored, before, 1.0) / xp.where(restored, after, 1.0)
    return (xp.sqrt(ratio) * kept_wide).astype(kept.dtype)
