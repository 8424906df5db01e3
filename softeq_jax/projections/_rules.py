"""Rules of a plan for weights that live on a grid of pixels or voxels: convolution kernels."""

from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

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

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.vector(sq.groups.so(3))})
      >>> rule = lambda path, w: P if path == "b" else sq.projections.Untouched("breaks the group")
      >>> sq.plan({"a": np.ones(3), "b": np.ones(3)}, {"*": rule}).reasons
      (('a', 'breaks the group'),)
    """

    reason: str


def convolution_rule(
    group: Group,
    *,
    axes: str | None = None,
    misfits: str = "untouched",
    **dials: Unpack[Dials],
) -> Callable[[str, Array], Projector | Untouched | None]:
    """A rule for ``plan`` that filters every convolution kernel with a window of more than one
    pixel (voxel).

    Args:
      group: acting on the window of each kernel: a planar group on images, a group of orthogonal
        3 x 3 matrices on volumes.
      axes: the layout of the kernels, with ``h`` and ``w`` (``d``, ``h`` and ``w``) for the window:
        ``"h w i o"`` and ``"d h w i o"``, the defaults, as in Flax and Haiku, ``"o i h w"`` and
        ``"o i d h w"`` as in Equinox and PyTorch.
      misfits: what becomes of kernels with a window that the group does not map to itself (1 x 7
        under quarter turns; mirrors and half turns act on it): ``"untouched"``, as most networks
        have both kinds, and reported, see ``Untouched``; or ``"refused"``, a ValueError with the
        path.
      dials: see ``Dials``; strict if neither cutoff nor softness is given.

    Returns:
      A function (path, weight) -> projector, ``Untouched`` for a misfit, or None for weights that
      are no such kernel (another number of axes, or a window of one pixel).

    Raises:
      ValueError: the layout has not four axes with h and w among them, or five with d, h and w, the
        group acts on no such window, another word for misfits, or (from the returned function) a
        window that is refused.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> kernels = {"a": np.ones((3, 3, 1, 2)), "b": np.ones((1, 7, 1, 2))}
      >>> mirror = sq.plan(kernels, {"*": sq.convolution_rule(sq.groups.dihedral(1))})
      >>> [projector.rank() for _, projector, _ in mirror.planned(kernels)]
      [6, 4]
    """
    solid = group.d == 3 if axes is None else len(axes.split()) == 5
    inside, act, obstacle_of = (
        (("d", "h", "w"), reps.voxels, reps.voxel_obstacle)
        if solid
        else (("h", "w"), reps.image, reps.grid_obstacle)
    )
    names = (*inside, "i", "o") if axes is None else tuple(axes.split())
    if len(set(names)) != len(inside) + 2 or not set(inside) <= set(names):
        raise ValueError(
            f"axes must name four axes, h and w among them, or five, d, h and w, got {axes!r}"
        )
    point: Any = (1,) * len(inside)
    obstacle_of(group, point)  # refuses groups of another space
    if misfits not in MISFITS:
        raise ValueError(f"misfits must be one of {', '.join(MISFITS)}, got {misfits!r}")

    def rule(path: str, weight: Array) -> Projector | Untouched | None:
        if len(weight.shape) != len(names):
            return None
        window: Any = tuple(weight.shape[names.index(name)] for name in inside)
        if set(window) == {1}:
            return None
        if misfits == "untouched" and (obstacle := obstacle_of(group, window)):
            return Untouched(obstacle)
        return projector(" ".join(names), {" ".join(inside): act(group, window)}, **dials)

    return rule
