"""Ready rules for the weights of vision models that live on a pixel grid."""

from collections.abc import Callable

from softeq_jax import reps
from softeq_jax.groups import Group
from softeq_jax.projections._projector import Array, Projector, projector


def convolution_rule(
    group: Group,
    *,
    cutoff: float | None = None,
    softness: float | None = None,
    mask: str = "hard",
) -> Callable[[str, Array], Projector | None]:
    """A rule for ``plan`` that filters every HWIO convolution kernel larger than 1 x 1.

    Args:
      group: a planar group, acting on the window of each kernel.
      cutoff: see ``Projector.at``; 0 (strict) if neither dial is given.
      softness: see ``Projector.at``.
      mask: see ``Projector.at``.

    Returns:
      A function (path, weight) -> projector, or None for weights that are no such kernel (other
      than four axes, or a 1 x 1 window).

    Raises:
      ValueError: (from the returned function) the window is not square.
    """

    def rule(path: str, weight: Array) -> Projector | None:
        window = tuple(weight.shape[:2])
        if len(weight.shape) != 4 or window == (1, 1):
            return None
        image = reps.image(group, window)
        return projector("h w i o", {"h w": image}, cutoff=cutoff, softness=softness, mask=mask)

    return rule
