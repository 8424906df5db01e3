"""The question of a certificate: about which group elements it speaks."""

import math
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np

from softeq_jax._checks import known_options, radians
from softeq_jax.groups import LISTABLE, Group, PlanarGroup


class Question(TypedDict, total=False):
    """Which group elements a certificate is about; the whole group if nothing is given.

    Attributes:
      element: one group element ``[d, d]``, or a permutation.
      angle: for groups of the plane one element, the rotation by this angle (of C_n and D_n the
        multiple of their step that it is within rounding), with ``flip`` the element R(angle) F;
        for other Lie groups as ``within``. In radians: more than 2 pi is refused, as degrees.
      flip: whether the element includes the left-right flip.
      within: all ``exp(sum t_k A_k)`` with ``|t| <= within``: for groups of the plane all rotations
        by at most this angle in radians, from 0 to 2 pi; finite and at least 0 for others.
    """

    element: Any
    angle: float | None
    flip: bool
    within: float | None


class Inquiry(NamedTuple):
    """A question that was understood.

    Attributes:
      scope: ``"element"``, ``"local"`` or ``"global"``.
      element: for an element, as ``Group.concise`` gives it.
      radius: largest ``|t|`` for a neighbourhood.
      elements: ``[n, d, d]``, the neighbourhood in a finite group of the plane; None where it has
        more than 50 000 elements.
      angle: field of the certificate.
      flip: field of the certificate.

    Example:
      >>> import softeq_jax as sq
      >>> asked = sq.projections.movement.understand(sq.groups.so(2), within=0.1)
      >>> asked.scope, asked.radius
      ('local', 0.1)
    """

    scope: str
    element: np.ndarray | None = None
    radius: float | None = None
    elements: np.ndarray | None = None
    angle: float | None = None
    flip: bool = False

    @property
    def fields(self) -> dict[str, Any]:
        """Scope, angle, flip and element, as a certificate holds them."""
        rows = None
        if self.element is not None and self.angle is None:
            rows = tuple(self.element.tolist())
            if self.element.ndim == 2:
                rows = tuple(tuple(complex(x) for x in row) for row in rows)
        return {"scope": self.scope, "angle": self.angle, "flip": self.flip, "element": rows}


def understand(group: Group, **question: Unpack[Question]) -> Inquiry:
    """The inquiry about a group that a question puts.

    Raises:
      ValueError: its parts contradict each other, are out of range, or the group has no such
        element.
      TypeError: it has an unknown part.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.so(3)
      >>> sq.projections.movement.understand(G).scope
      'global'
      >>> sq.projections.movement.understand(G, element=G.exp([0.1, 0, 0])).scope
      'element'
    """
    known_options(question, Question, "the question of a certificate")
    element, within = question.get("element"), question.get("within")
    angle, flip = question.get("angle"), bool(question.get("flip", False))
    if element is not None:
        if angle is not None or flip or within is not None:
            raise ValueError("give an element, or an angle, flip and within, not both")
        if not isinstance(group, PlanarGroup):
            return Inquiry("element", element=group.concise(element))
        angle, flip = group.parameters(element)
    if angle is not None:
        angle = float(radians(angle, "angle"))
    if isinstance(group, PlanarGroup):
        return _of_the_plane(group, angle, flip, within)
    if flip:
        raise ValueError(f"flip is a word for groups of the plane; give an element of {group}")
    if angle is not None and within is not None:
        raise ValueError(f"angle and within mean the same for {group}: give one of them")
    radius = angle if within is None else within
    if radius is None:
        return Inquiry("global")
    radius = _radius(radius)
    if not len(group.lie_generators):
        raise ValueError(
            f"{group} has no Lie generators, so no elements within an angle: ask for an element "
            "or for the whole group"
        )
    return Inquiry("local", radius=radius, angle=radius)


def _of_the_plane(
    group: PlanarGroup, angle: float | None, flip: bool, within: float | None
) -> Inquiry:
    step = None if group.rotations is None else 2.0 * math.pi / group.rotations
    if within is not None:
        if angle is not None or flip:
            raise ValueError("within= asks for all rotations up to an angle: drop angle and flip")
        within = float(min(radians(_radius(within), "within"), math.pi))
        if step is None:
            return Inquiry("local", radius=within, angle=within)
        turns = range(int(within / step * (1.0 + 1e-12) + 1e-12) + 1)
        elements = None
        if len(turns) <= LISTABLE:
            elements = np.stack([group.element(j * step) for j in turns])
        return Inquiry("local", radius=within, elements=elements, angle=within)
    if angle is None and not flip:
        return Inquiry("global")
    angle = 0.0 if angle is None else angle
    element = group.element(angle, flip)
    if step is not None:
        angle = step * round(angle / step)
    return Inquiry("element", element=element, angle=angle, flip=flip)


def _radius(value: float) -> float:
    if not 0.0 <= float(value) < math.inf:
        raise ValueError(
            f"within must be a finite angle >= 0 (leave it out for the whole group), got {value}"
        )
    return float(value)
