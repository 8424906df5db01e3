"""Rules of a plan for weights that live on a pixel grid: convolution kernels."""

from collections.abc import Callable
from typing import Unpack

from softeq_jax import reps
from softeq_jax.groups import Group
from softeq_jax.projections._dials import Dials
from softeq_jax.projections._filter import Array
from softeq_jax.projections._projector import Projector, projector


def convolution_rule(
    group: Group, *, axes: str = "h w i o", **dials: Unpack[Dials]
) -> Callable[[str, Array], Projector | None]:
    """A rule for ``plan`` that filters every convolution kernel larger than 1 x 1.

    Args:
      group: a planar group, acting on the window of each kernel.
      axes: the layout of the kernels, with ``h`` and ``w`` for the window: ``"h w i o"`` as in
        Flax and Haiku, ``"o i h w"`` as in Equinox and PyTorch.
      dials: see ``Dials``; strict if neither cutoff nor softness is given.

    Returns:
      A function (path, weight) -> projector, or None for weights that are no such kernel (other
      than four axes, or a 1 x 1 window).

    Raises:
      ValueError: the layout has no four axes with h and w among them, or (from the returned
        function) the window is not square.
    """
    names = axes.split()
    if len(set(names)) != 4 or not {"h", "w"} <= set(names):
        raise ValueError(f"axes must name four axes, h and w among them, got {axes!r}")

    def rule(path: str, weight: Array) -> Projector | None:
        if len(weight.shape) != 4:
            return None
        window = (weight.shape[names.index("h")], weight.shape[names.index("w")])
        if window == (1, 1):
            return None
        image = reps.image(group, window)
        return projector(axes, {"h w": image}, **dials)

    return rule
