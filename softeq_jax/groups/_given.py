"""What groups that a user gives by generators have in common: how their levels are chosen."""

import dataclasses

import numpy as np

from softeq_jax.groups._group import Group
from softeq_jax.groups._levels import ConjugacyClass
from softeq_jax.groups._listing import Matrices

CANONICAL, GIVEN = "canonical", "given"
SMALLER_CLASSES = "levels= of fewer elements, or of smaller classes, are found faster"


@dataclasses.dataclass(frozen=True, repr=False)
class GivenGroup(Group):
    """A group that is given by generators, as ``from_generators`` makes it.

    Attributes:
      levels: ``"given"``: by the conjugacy classes of the generators; ``"canonical"``: by those of
        all elements; or the elements whose classes count.
      chosen: whether the user chose the levels.
      named: whether it is a group of the library, whose levels are fixed.
      moved: by how much rounded generators were moved.
      rounding: see ``Group``.
    """

    levels: "str | Matrices" = dataclasses.field(default=GIVEN, kw_only=True)
    chosen: bool = dataclasses.field(default=False, kw_only=True, compare=False)
    named: bool = dataclasses.field(default=True, kw_only=True, compare=False)
    moved: float = dataclasses.field(default=0.0, kw_only=True, compare=False)
    rounding: float = dataclasses.field(default=0.0, kw_only=True, compare=False)

    def __repr__(self) -> str:
        """The name, with order, classes that define the levels, and how far generators moved."""
        if self.named:
            return self.name
        order = "" if self.order is None else f"order {self.order}"
        moved = f"rounded generators moved by {self.moved:.2g}" if self.moved else ""
        told = [part for part in (order, self._told_levels(), moved) if part]
        return f"{self.name}[{'; '.join(told)}]" if told else self.name

    def _told_levels(self) -> str:
        classes = self._classes()
        if not classes:
            return ""
        if self.levels == CANONICAL:
            return f"canonical levels, {len(classes)} classes"
        told = [f"{len(c.elements)} of order {round(c.weight**0.5 * 2 * np.pi)}" for c in classes]
        return f"levels by classes of {', '.join(told)}"

    def _classes(self) -> list[ConjugacyClass]:
        factors = self.level_factors() or ()
        return [one for stages in factors for stage in stages for one in stage.classes]

    @property
    def levels_follow_generators(self) -> bool:
        return not self.named and not self.chosen and len(self._classes()) > 0
