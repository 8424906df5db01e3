"""What a certificate is asked about: one element, a neighbourhood of the identity, or all."""

import math
from typing import Any, NamedTuple

import numpy as np

from softeq_jax.groups import Group, PlanarGroup


class Asked(NamedTuple):
    """A question about a group.

    Attributes:
      scope: ``"element"``, ``"local"`` or ``"global"``.
      element: ``[d, d]`` for an element.
      radius: largest ``|t|`` for a neighbourhood.
      elements: ``[n, d, d]``, the neighbourhood in a finite group of the plane.
      angle: field of the certificate.
      flip: field of the certificate.
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
            rows = tuple(tuple(complex(x) for x in row) for row in self.element)
        return {"scope": self.scope, "angle": self.angle, "flip": self.flip, "element": rows}


def understand(
    group: Group, element: Any, angle: float | None, flip: bool, within: float | None
) -> Asked:
    """The question that the arguments of ``Projector.certificate`` put.

    Raises:
      ValueError: they contradict each other, are out of range, or the group has no such element.
    """
    if element is not None:
        if angle is not None or flip or within is not None:
            raise ValueError("give an element, or an angle, flip and within, not both")
        if not isinstance(group, PlanarGroup):
            return Asked("element", element=group.check(element))
        angle, flip = group.parameters(element)
    if isinstance(group, PlanarGroup):
        return _planar(group, angle, flip, within)
    if flip:
        raise ValueError(f"flip is a word for groups of the plane; give an element of {group}")
    if angle is not None and within is not None:
        raise ValueError(f"angle and within mean the same for {group}: give one of them")
    radius = angle if within is None else within
    if radius is None:
        return Asked("global")
    radius = _radius(radius)
    if not len(group.lie_generators):
        raise ValueError(
            f"{group} has no Lie generators, so no elements within an angle: ask for an element "
            "or for the whole group"
        )
    return Asked("local", radius=radius, angle=radius)


def _planar(group: PlanarGroup, angle: float | None, flip: bool, within: float | None) -> Asked:
    if within is not None:
        if angle is not None or flip:
            raise ValueError("within= asks for all rotations up to an angle: drop angle and flip")
        within = min(_radius(within), math.pi)
        if group.rotations is None:
            return Asked("local", radius=within, angle=within)
        step = 2.0 * math.pi / group.rotations
        turns = range(int(within / step * (1.0 + 1e-12) + 1e-12) + 1)
        elements = np.stack([group.element(j * step) for j in turns])
        return Asked("local", elements=elements, angle=within)
    if angle is None and not flip:
        return Asked("global")
    angle = 0.0 if angle is None else float(angle)
    return Asked("element", element=group.element(angle, flip), angle=angle, flip=flip)


def _radius(value: float) -> float:
    if not float(value) >= 0.0 or math.isinf(float(value)):
        raise ValueError(f"within must be an angle >= 0, got {value}")
    return float(value)
