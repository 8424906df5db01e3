"""The dials of a projector: how much of a weight is kept, said once for all that take them."""

from typing import TypedDict

MASKS = ("hard", "heat", "resolvent")


class Dials(TypedDict, total=False):
    """How much of a weight is kept: exactly one of ``cutoff`` and ``softness``, and the mask.

    Attributes:
      cutoff: b >= 0, in the unit of the levels (1 / radian). A hard mask keeps the levels
        ``<= b (1 + 1e-6)``; a smooth one has width b. 0 is strict, infinity the identity.
      softness: s in [0, 1]. 0 is strict, 1 the identity to the bit. A hard mask keeps whole
        levels, those up to the level whose ``(d_j - n0) / (n - n0)`` is nearest to s (ties to the
        stricter), where d_j are the cumulative dimensions of the levels, n0 the dimension of level
        0 and n that of all levels; the whole space is left to s = 1. A smooth mask gets the width
        at which ``(rank - n0) / (n - n0) = s``.
      mask: ``"hard"``, ``"heat"`` (``exp(-sigma^2 / (2 b^2))``) or ``"resolvent"``
        (``1 / (1 + (sigma / b)^2)``); hard, or the present one, if left out, but heat for a
        softness of ``soften`` and ``models.soft_rules``, which is met. Unlike the level it is
        static: another kind of mask compiles again.

    A dial that does not do what it says is a UserWarning with the levels that there are: a softness
    that is missed by more than 0.02, a cutoff below the lowest level above 0 (strict) or above the
    highest. Nothing is said inside ``jit``.
    """

    cutoff: float | None
    softness: float | None
    mask: str | None


def continuous(dials: Dials, mask: str | None = None) -> Dials:
    """The dials with a mask that meets their softness where they name none: the smooth ``mask``
    given, or heat. Without a softness, and at 0 and 1, which every mask meets, they stay.

    Example:
      >>> import softeq_jax as sq
      >>> sq.projections.continuous({"softness": 0.5})
      {'softness': 0.5, 'mask': 'heat'}
      >>> sq.projections.continuous({"softness": 1.0})
      {'softness': 1.0}
    """
    if dials.get("mask") is not None or dials.get("softness") in (None, 0, 1):
        return dials
    return {**dials, "mask": "heat" if mask in (None, "hard") else mask}
