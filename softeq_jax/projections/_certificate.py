"""Certificates: proven bounds of the movement of a weight, and their sum in squares."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from softeq_jax._text import at_most, clipped, html_table, paragraph

ROUNDING = 1e-12
"""Share of ``||w||`` added to every bound for float64 rounding (measured: below 1e-13).

It covers actions computed in float64; moving a weight in float32 adds rounding of its own."""


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What is guaranteed about ``||g w - w||``, or why nothing is.

    Attributes:
      bound: upper bound of the movement, in the unit of ``norm``. NaN if not certified.
      supremum: upper bound over the whole group; NaN where there is none.
      weight_norm: Frobenius norm of the weight (1 for an a-priori certificate); for a layer an
        upper bound of its operator norm.
      norm: ``"frobenius"`` of a weight array or ``"operator"`` of a layer.
      scope: ``"element"`` (one g), ``"local"`` (all rotations by at most ``angle``; for other
        groups than those of the plane all ``exp(sum t_k A_k)`` with ``|t| <= angle``) or
        ``"global"`` (the group).
      angle: the angle in radians of ``scope``; None if global.
      flip: whether the element contains the left-right flip.
      certified: whether the bound is proven.
      reason: what it covers, or why there is none.
      element: for groups of other than the plane, the rows of the element asked about; of a
        permutation group the permutation.
      parts: for a plan, the certificate of each parameter by path.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.cyclic(2))
      >>> c = sq.projector("i", {"i": V}).certificate([3.0, 4.0])
      >>> c.certified, c.scope, round(c.bound, 6)  # a half turn moves it by twice its length
      (True, 'global', 10.0)
    """

    bound: float
    supremum: float
    weight_norm: float
    norm: str
    scope: str
    angle: float | None
    flip: bool
    certified: bool
    reason: str
    element: tuple[Any, ...] | None = None
    parts: Mapping[str, "Certificate"] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        asked = self.scope if self.angle is None else f"{self.scope}, {self.angle:.4g} rad"
        parts = f", {len(self.parts)} weights" if self.parts else ""
        if not self.certified:
            return clipped(f"Certificate(none, {asked}{parts}: {self.reason})")
        norm = f"{'' if self.norm == 'frobenius' else '<= '}{self.weight_norm:.4g}"
        bound = f"bound={at_most(self.bound)}, {self.norm} norm {norm}"
        return f"Certificate({bound}, {asked}{parts})"

    def _repr_html_(self) -> str:
        of = {"all" if self.parts else "weight": self, **self.parts}
        rows = [
            (path, at_most(c.bound), f"{c.weight_norm:.4g}", c.reason) for path, c in of.items()
        ]
        return paragraph(repr(self)) + html_table(("of", "bound", "norm", "why"), rows)

    @property
    def relative(self) -> float:
        """``bound / ||w||``, at most 2 under orthogonal actions (0 for w = 0).

        Raises:
          ValueError: for a layer, whose norm is known only from above: the ratio would not be
            an upper bound.
        """
        if self.norm != "frobenius":
            raise ValueError("the relative defect of a layer would need its exact operator norm")
        return self.bound / self.weight_norm if self.weight_norm else self.bound

    @property
    def is_vacuous(self) -> bool:
        """Whether the bound says no more than ``||g w - w|| <= 2 ||w||``, or nothing at all."""
        if not self.certified:
            return True
        return self.weight_norm > 0 and self.bound >= 2.0 * self.weight_norm * (1.0 - 1e-9)


def combine(parts: Mapping[str, Certificate]) -> Certificate:
    """The certificate of several weights taken as one vector: bounds add in squares.

    The group acts on the stacked weight by one block for each part. Parts must have been asked
    for the same element. An empty mapping is the zero vector.

    Raises:
      ValueError: the parts are about different elements, or not in the Frobenius norm.

    Example:
      >>> import softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.vector(sq.groups.cyclic(2))})
      >>> a, b = P.certificate([3.0, 0.0]), P.certificate([0.0, 4.0])
      >>> round(sq.projections.combine({"a": a, "b": b}).bound, 6)  # the half turn: 6 and 8
      10.0
    """
    chosen = list(parts.values())
    if not chosen:
        return Certificate(0.0, 0.0, 0.0, "frobenius", "global", None, False, True, "no weight")
    first = chosen[0]
    kinds = {(part.norm, part.scope, part.angle, part.flip, part.element) for part in chosen}
    if len(kinds) > 1 or first.norm != "frobenius":
        raise ValueError(
            "only Frobenius certificates of one group element or range add in squares, got "
            f"(norm, scope, angle, flip, element) = {sorted(map(str, kinds))}{_hint(parts)}"
        )
    missing = [f"{path}: {part.reason}" for path, part in parts.items() if not part.certified]

    def total(name: str) -> float:
        return math.hypot(*(getattr(part, name) for part in chosen))

    return dataclasses.replace(
        first,
        bound=total("bound"),
        supremum=total("supremum"),
        weight_norm=total("weight_norm"),
        certified=not missing,
        reason="; ".join(missing) or "root of the sum of squares over the parameters",
        parts=dict(parts),
    )


def _hint(parts: Mapping[str, Certificate]) -> str:
    """What to ask instead, where one angle was understood in two ways."""
    angles = {part.angle for part in parts.values()}
    one_of = {part.scope: path for path, part in parts.items()}
    if one_of.keys() != {"element", "local"} or len(angles) > 1:
        return ""
    return (
        f": angle= asks for one element of a group of the plane ({one_of['element']!r}), but for "
        f"all elements within that angle of another group ({one_of['local']!r}); ask with within=, "
        "which is a neighbourhood of the identity for both"
    )
