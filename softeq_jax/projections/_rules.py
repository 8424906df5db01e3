"""Rules of a plan for weights that live on a pixel grid: convolution kernels."""

from collections.abc import Callable
from typing import NamedTuple, Unpack

from softeq_jax import reps
from softeq_jax.groups import Group
from softeq_jax.projections._dials import Dials
from softeq_jax.projections._filter import Array
from softeq_jax.projections._projector import Projector, projector

MISFITS = ("untouched", "refused")


class Untouched(NamedTuple):
    """What the function of a rule returns for a weight that it covers and leaves as it is.

    Unlike None, which passes in silence, it is reported: ``plan`` warns, and ``Plan.describe``
    lists it.

    Attributes:
      reason: why, without the path.
    """

    reason: str


def convolution_rule(
    group: Group, *, axes: str = "h w i o", misfits: str = "untouched", **dials: Unpack[Dials]
) -> Callable[[str, Array], Projector | Untouched | None]:
    """A rule for ``plan`` that filters every convolution kernel larger than 1 x 1.

    Args:
      group: a planar group, acting on the window of each kernel.
      axes: the layout of the kernels, with ``h`` and ``w`` for the window: ``"h w i o"`` as in
        Flax and Haiku, ``"o i h w"`` as in Equinox and PyTorch.
      misfits: what becomes of kernels with a window that the group does not map to itself (1 x 7
        under quarter turns; mirrors and half turns act on it): ``"untouched"``, as most networks
        have both kinds, and reported, see ``Untouched``; or ``"refused"``, a ValueError with the
        path.
      dials: see ``Dials``; strict if neither cutoff nor softness is given.

    Returns:
      A function (path, weight) -> projector, ``Untouched`` for a misfit, or None for weights that
      are no such kernel (other than four axes, or a 1 x 1 window).

    Raises:
      ValueError: the layout has no four axes with h and w among them, another word for misfits,
        or (from the returned function) a window that is refused.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> kernels = {"a": np.ones((3, 3, 1, 2)), "b": np.ones((1, 7, 1, 2))}
      >>> mirror = sq.plan(kernels, {"*": sq.convolution_rule(sq.groups.dihedral(1))})
      >>> [projector.rank() for _, projector, _ in mirror.planned(kernels)]
      [6, 4]
    """
    names = axes.split()
    if len(set(names)) != 4 or not {"h", "w"} <= set(names):
        raise ValueError(f"axes must name four axes, h and w among them, got {axes!r}")
    if misfits not in MISFITS:
        raise ValueError(f"misfits must be one of {', '.join(MISFITS)}, got {misfits!r}")

    def rule(path: str, weight: Array) -> Projector | Untouched | None:
        if len(weight.shape) != 4:
            return None
        window = (weight.shape[names.index("h")], weight.shape[names.index("w")])
        if window == (1, 1):
            return None
        if misfits == "untouched" and (obstacle := reps.grid_obstacle(group, window)):
            return Untouched(obstacle)
        return projector(axes, {"h w": reps.image(group, window)}, **dials)

    return rule
