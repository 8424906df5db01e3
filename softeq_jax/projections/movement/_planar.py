r"""The movement of a weight under a group of the plane: exact, from its frequencies.

Let c be the coefficients of a weight in its joint frequency basis, and ``(alpha, beta)`` those of
a pair (even, odd) of frequency m. All planar groups act there by known orthogonal 2 x 2 blocks,
so the movement is an identity, not an estimate:

.. math::
   \|R_t w - w\|^2 = \sum_m 4 \sin^2(m t / 2) \, \|w_m\|^2, \qquad
   \|R_t F w - w\|^2 = \sum_m 4 \, \|\cos(m t / 2) \beta_m - \sin(m t / 2) \alpha_m\|^2 .

Both imply the general bound ``min(2 ||N w||, |t| ||L w||)`` with N the part outside level 0 and L
the generator. Suprema over continuous angles are taken on a grid of K points and made safe: a
trigonometric polynomial of degree M never exceeds its largest sample by more than the factor
``1 / cos(pi M / K)`` (Ehlich and Zeller), and movement changes by at most ``|s - t| ||L w||``
between two angles (theorem 4b: the group acts isometrically).
"""

import dataclasses
import math
from typing import Any

import numpy as np

from softeq_jax.groups import PlanarGroup
from softeq_jax.projections._certificate import ROUNDING, Certificate
from softeq_jax.projections._choose import Splitting
from softeq_jax.projections._filter import Filter, IdentityFilter, map_blocks
from softeq_jax.projections.backends import JointFrequencies, SpectralFilter, joint_frequencies
from softeq_jax.projections.movement._question import Inquiry

_OVERSAMPLING = 64
_GRID = 4096


@dataclasses.dataclass(frozen=True)
class _Energies:
    """Squared coefficients, and products of each even coefficient with its odd partner.

    Attributes:
      squares: float64 ``[n]``.
      products: float64 ``[n]``, zero but on even halves of pairs.
      frequency: int ``[n]``, signed, 0 where unmatched.
      odd: bool ``[n]``.
    """

    squares: np.ndarray
    products: np.ndarray
    frequency: np.ndarray
    odd: np.ndarray

    def rotation(self, t: np.ndarray | float) -> np.ndarray:
        """Squared movement under rotations, any shape of angles."""
        half = 0.5 * np.multiply.outer(t, self.frequency)
        return 4.0 * np.sin(half) ** 2 @ self.squares

    def reflection(self, t: np.ndarray | float) -> np.ndarray:
        """Squared movement under R(t) F, any shape of angles."""
        angle = np.multiply.outer(t, self.frequency)
        share = np.where(self.odd, np.cos(0.5 * angle) ** 2, np.sin(0.5 * angle) ** 2)
        squared = 4.0 * share @ self.squares - 4.0 * np.sin(angle) @ self.products
        return np.maximum(squared, 0.0)

    @property
    def lie_norm(self) -> float:
        """``||L w||``: the fastest the weight moves, per radian."""
        return math.sqrt(float(self.frequency.astype(np.float64) ** 2 @ self.squares))

    def moving_norm(self, has_flip: bool) -> float:
        """``||N w||``: the norm of what the group does not fix."""
        moving = self.frequency != 0
        if has_flip:
            moving = moving | self.odd
        return math.sqrt(float(self.squares[moving].sum()))

    @property
    def degree(self) -> int:
        present = np.abs(self.frequency[self.squares > 0])
        return int(present.max(initial=0))


def plane_of(parts: Splitting) -> PlanarGroup | None:
    """The group, if it is one of the plane and every block is resolved into its frequencies."""
    known = all(isinstance(f, SpectralFilter | IdentityFilter) for f in parts.filters)
    group = parts.space.group
    return group if known and isinstance(group, PlanarGroup) else None


def certificate(
    group: PlanarGroup, parts: Splitting, w: np.ndarray, inquiry: Inquiry
) -> Certificate:
    """The certificate of a weight, float64 with the axes of the space."""
    energies = _energies(parts, w)
    norm = float(np.linalg.norm(w))
    margin = ROUNDING * norm
    supremum = _group_supremum(group, energies)
    if inquiry.scope == "element":
        moved = energies.reflection if inquiry.flip else energies.rotation
        bound = math.sqrt(float(moved(inquiry.angle or 0.0)))
    elif inquiry.radius is not None:
        bound = min(_local_supremum(group, energies, inquiry.radius), supremum)
    else:
        bound = supremum
    return Certificate(
        bound=bound + margin,
        supremum=supremum + margin,
        weight_norm=norm,
        norm="frobenius",
        certified=True,
        reason="exact movement of the weight as given; for its layer see certificates.convolution",
        **_fields(inquiry),
    )


def _fields(inquiry: Inquiry) -> dict[str, Any]:
    return {"scope": inquiry.scope, "angle": inquiry.angle, "flip": inquiry.flip}


def _energies(parts: Splitting, w: np.ndarray) -> _Energies:
    found: list[tuple[Filter, Any]] = []

    def collect(filter_: Filter, block: Any) -> Any:
        found.append((filter_, block))
        return block

    map_blocks(parts.space, parts.filters, w, collect)
    each = []
    for (filter_, block), (_, atoms) in zip(found, parts.space.blocks(), strict=True):
        if not isinstance(filter_, SpectralFilter):
            total, none = float(np.sum(block**2)), np.zeros(1)
            each.append((np.array([total]), none, none.astype(int), none.astype(bool)))
            continue
        c, joint = np.asarray(filter_.analysis(block)), joint_frequencies(atoms)
        partner = joint.partner
        even = (partner >= 0) & ~joint.odd
        products = np.where(even, np.einsum("ij,ij->i", c, c[partner]), 0.0)
        each.append((np.einsum("ij,ij->i", c, c), products, _turning(joint), joint.odd))
    return _Energies(*map(np.concatenate, zip(*each, strict=True)))


def _turning(joint: JointFrequencies) -> np.ndarray:
    """How often each coefficient turns per turn of the plane; unmatched ones do not."""
    return np.where(joint.unmatched, 0, joint.frequency)


def a_priori(
    group: PlanarGroup, parts: Splitting, dropped: np.ndarray, inquiry: Inquiry
) -> Certificate:
    """What a mask guarantees for every weight: the sup of ``||g P w - P w||`` over ``||w|| = 1``.

    The operator ``(g - 1) P`` is block diagonal. On a pair of frequency m with mask values f and h
    its norm is at most ``2 max(f, h) |sin(m t / 2)|`` under a rotation (equal where f = h, as
    always where the rotation moves the pair) and ``2 |(f sin(m t / 2), h cos(m t / 2))|`` under the
    reflection R(t) F; ``||w||`` is that of the *unfiltered* weight.
    """
    mask, other, frequency, odd = _masks(parts, 1.0 - dropped)

    def rotation(t: float) -> float:
        return float(np.max(2.0 * mask * np.abs(np.sin(0.5 * frequency * t)), initial=0.0))

    def reflection(t: float) -> float:
        # on a pair (g - 1) is -2 n n^T with a unit vector n, so its norm with the masks is 2 |f n|
        share = np.where(odd, np.cos(0.5 * frequency * t), np.sin(0.5 * frequency * t)) ** 2
        squared = mask**2 * share + other**2 * (1.0 - share)
        return 2.0 * math.sqrt(float(np.max(squared, initial=0.0)))

    def within_angle(limit: float) -> float:
        if group.rotations is not None:
            return max(map(rotation, _lattice(group.rotations, limit)))
        arc = np.minimum(np.abs(frequency) * limit, math.pi)
        return float(np.max(2.0 * mask * np.sin(0.5 * arc), initial=0.0))

    supremum = within_angle(math.pi)
    if group.has_flip:
        finite = group.rotations
        angles = [0.0, math.pi] if finite is None else _lattice(finite, math.pi)
        supremum = max(supremum, *map(reflection, angles))
    if inquiry.scope == "element":
        angle = inquiry.angle or 0.0
        bound = reflection(angle) if inquiry.flip else rotation(angle)
    else:
        bound = supremum if inquiry.radius is None else within_angle(inquiry.radius)
    return Certificate(
        bound=bound + ROUNDING,
        supremum=supremum + ROUNDING,
        weight_norm=1.0,
        norm="frobenius",
        certified=True,
        reason="holds for every weight, relative to the norm of the unfiltered one",
        **_fields(inquiry),
    )


def _masks(
    parts: Splitting, mask_of_level: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mask, mask of the other half of the pair, frequency and parity of every coefficient."""
    each = []
    for filter_, (_, atoms) in zip(parts.filters, parts.space.blocks(), strict=True):
        mask = mask_of_level[np.asarray(filter_.index)]
        if isinstance(filter_, IdentityFilter):
            each.append((mask, np.zeros(1), np.zeros(1, int), np.zeros(1, bool)))
            continue
        joint = joint_frequencies(atoms)
        partner = np.where(joint.partner >= 0, joint.partner, 0)
        other = np.where(joint.partner >= 0, mask[partner], 0.0)
        each.append((mask, other, _turning(joint), joint.odd))
    mask, other, frequency, odd = map(np.concatenate, zip(*each, strict=True))
    return mask, other, frequency, odd


def _lattice(rotations: int, limit: float) -> list[float]:
    """The rotation angles of C_n or D_n in [0, limit]."""
    step = 2.0 * math.pi / rotations
    return [j * step for j in range(int(limit / step * (1.0 + 1e-12) + 1e-12) + 1)]


def _group_supremum(group: PlanarGroup, energies: _Energies) -> float:
    if group.rotations is not None:
        t = np.arange(group.rotations) * (2.0 * math.pi / group.rotations)
        factor = 1.0
    else:
        points = _OVERSAMPLING * max(energies.degree, 1)
        t = np.arange(points) * (2.0 * math.pi / points)
        factor = 1.0 / math.cos(math.pi * energies.degree / points)
    squared = float(energies.rotation(t).max())
    if group.has_flip:
        squared = max(squared, float(energies.reflection(t).max()))
    return min(math.sqrt(squared * factor), 2.0 * energies.moving_norm(group.has_flip))


def _local_supremum(group: PlanarGroup, energies: _Energies, limit: float) -> float:
    if group.rotations is not None:
        return math.sqrt(float(energies.rotation(np.array(_lattice(group.rotations, limit))).max()))
    if energies.degree * limit <= math.pi:
        return math.sqrt(float(energies.rotation(limit)))
    t, step = np.linspace(0.0, limit, _GRID, retstep=True)
    return math.sqrt(float(energies.rotation(t).max())) + 0.5 * step * energies.lie_norm
