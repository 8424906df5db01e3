r"""The movement of a weight under a group of the plane: exact, from its frequencies.

Let c be the coefficients of a weight in its joint frequency basis, and ``(alpha, beta)`` those of
a pair (even, odd) of frequency m. All planar groups act there by known orthogonal 2 x 2 blocks,
so the movement is an identity, not an estimate:

.. math::
   \|R_t w - w\|^2 = \sum_m 4 \sin^2(m t / 2) \, \|w_m\|^2, \qquad
   \|R_t F w - w\|^2 = \sum_m 4 \, \|\cos(m t / 2) \beta_m - \sin(m t / 2) \alpha_m\|^2 .

The m are signed sums of the frequencies of the axes, also where an axis has an unmatched vector,
which turns with 0: such a product has no finite level, but it does turn with the other axes. The
second sum loses every digit of a small movement when its squares are multiplied out, so that the
rows ``(sign(m) alpha, beta)`` of each ``|m|`` are kept as the 2 x 2 triangle T of their QR
decomposition, and the movement is ``hypot_m 2 |T_m (sin h, -cos h)|`` with ``h = |m| t / 2``.
Both imply the general bound ``min(2 ||N w||, |t| ||L w||)`` with N the part outside level 0 and L
the generator. Suprema over continuous angles are taken on a grid of K points and made safe: a
trigonometric polynomial of degree M never exceeds its largest sample by more than the factor
``1 / cos(pi M / K)`` (Ehlich and Zeller), and movement changes by at most ``|s - t| ||L w||``
between two angles (theorem 4b: the group acts isometrically).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from softeq_jax.groups import PlanarGroup
from softeq_jax.projections._certificate import ROUNDING, Certificate
from softeq_jax.projections._choose import Splitting
from softeq_jax.projections._filter import Filter, IdentityFilter, map_blocks
from softeq_jax.projections.backends import SpectralFilter, joint_frequencies
from softeq_jax.projections.movement._question import Inquiry

_OVERSAMPLING = 64
_GRID = 4096
_TERMS = 2**22


@dataclasses.dataclass(frozen=True)
class _Spectrum:
    """What the movement of a weight depends on: three numbers a frequency, for pairs and singles.

    Attributes:
      pairs: int ``[p]``, distinct ``|m|`` of the pairs.
      triangles: float64 ``[p, 2, 2]``, the QR triangles of their rows ``(sign(m) alpha, beta)``.
      singles: int ``[s]``, distinct ``|m|`` of coefficients without a partner.
      even: float64 ``[s]``, norm of those that the flip fixes.
      odd: float64 ``[s]``, norm of those that it negates.
    """

    pairs: np.ndarray
    triangles: np.ndarray
    singles: np.ndarray
    even: np.ndarray
    odd: np.ndarray

    def rotation(self, t: np.ndarray | float) -> np.ndarray:
        """Movement under rotations, any shape of angles."""
        turned = 2.0 * np.sin(0.5 * np.multiply.outer(t, self.frequencies))
        return np.linalg.norm(turned * self.norms, axis=-1)

    def reflection(self, t: np.ndarray | float) -> np.ndarray:
        """Movement under R(t) F, any shape of angles."""
        h = 0.5 * np.multiply.outer(t, self.pairs)
        mirror = np.stack([np.sin(h), -np.cos(h)], axis=-1)
        turned = np.einsum("pij,...pj->...pi", self.triangles, mirror)
        h = 0.5 * np.multiply.outer(t, self.singles)
        each = (turned.reshape(*turned.shape[:-2], -1), np.sin(h) * self.even, np.cos(h) * self.odd)
        return 2.0 * np.linalg.norm(np.concatenate(each, axis=-1), axis=-1)

    @property
    def frequencies(self) -> np.ndarray:
        """Those of the pairs and of the singles, int ``[p + s]``."""
        return np.concatenate([self.pairs, self.singles])

    @property
    def norms(self) -> np.ndarray:
        """Norm of all coefficients of each of ``frequencies``."""
        return np.concatenate(
            [np.linalg.norm(self.triangles, axis=(1, 2)), np.hypot(self.even, self.odd)]
        )

    @property
    def lie_norm(self) -> float:
        """``||L w||``: the fastest the weight moves, per radian."""
        return float(np.linalg.norm(self.frequencies * self.norms))

    def moving_norm(self, has_flip: bool) -> float:
        """``||N w||``: the norm of what the group does not fix."""
        found = [self.norms[self.frequencies != 0]]
        if has_flip:  # what rotations fix: the odd singles, and the odd halves of pairs
            found.append(self.odd[self.singles == 0])
            found.append(self.triangles[self.pairs == 0, :, 1].reshape(-1))
        return float(np.linalg.norm(np.concatenate(found)))

    @property
    def degree(self) -> int:
        return int(self.frequencies[self.norms > 0].max(initial=0))


def plane_of(parts: Splitting) -> PlanarGroup | None:
    """The group, if it is one of the plane and every block is resolved into its frequencies."""
    known = all(isinstance(f, SpectralFilter | IdentityFilter) for f in parts.filters)
    group = parts.space.group
    return group if known and isinstance(group, PlanarGroup) else None


def certificate(
    group: PlanarGroup, parts: Splitting, w: np.ndarray, inquiry: Inquiry
) -> Certificate:
    """The certificate of a weight, float64 with the axes of the space."""
    spectrum = _spectrum(parts, w)
    norm = float(np.linalg.norm(w))
    margin = (ROUNDING + 4.0 * np.finfo(np.float64).eps * spectrum.degree) * norm
    supremum = _group_supremum(group, spectrum)
    if inquiry.scope == "element":
        moved = spectrum.reflection if inquiry.flip else spectrum.rotation
        bound = float(moved(_reduced(inquiry.angle or 0.0)))
    elif inquiry.radius is not None:
        bound = min(_local_supremum(group, spectrum, inquiry.radius), supremum)
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


def _reduced(angle: float) -> float:
    """The angle within half a turn: ``m t / 2`` of a large t would lose its digits."""
    return angle if abs(angle) <= math.tau else math.atan2(math.sin(angle), math.cos(angle))


def _fields(inquiry: Inquiry) -> dict[str, Any]:
    return {"scope": inquiry.scope, "angle": inquiry.angle, "flip": inquiry.flip}


def _spectrum(parts: Splitting, w: np.ndarray) -> _Spectrum:
    found: list[tuple[Filter, Any]] = []

    def collect(filter_: Filter, block: Any) -> Any:
        found.append((filter_, block))
        return block

    map_blocks(parts.space.layout, parts.filters, w, collect)
    rows: dict[int, list[np.ndarray]] = {}
    single: dict[int, list[tuple[float, float]]] = {}
    for (filter_, block), (_, atoms) in zip(found, parts.space.blocks(), strict=True):
        if not isinstance(filter_, SpectralFilter):
            single.setdefault(0, []).append((float(np.linalg.norm(block)), 0.0))
            continue
        c, joint = np.asarray(filter_.analysis(block)), joint_frequencies(atoms)
        alone = joint.partner < 0
        even = np.flatnonzero(~alone & ~joint.odd)
        magnitude = np.abs(joint.frequency)
        for m in np.unique(magnitude[even]):
            at = even[magnitude[even] == m]
            alpha = np.where(joint.frequency[at] < 0, -1.0, 1.0)[:, None] * c[at]
            both = np.stack([alpha.reshape(-1), c[joint.partner[at]].reshape(-1)], axis=1)
            rows.setdefault(int(m), []).append(_triangle(both))
        for m in np.unique(magnitude[alone]):
            at = alone & (magnitude == m)
            halves = (np.linalg.norm(c[at & ~joint.odd]), np.linalg.norm(c[at & joint.odd]))
            single.setdefault(int(m), []).append((float(halves[0]), float(halves[1])))
    triangles = [_triangle(np.concatenate(each)) for each in rows.values()]
    norms = [np.linalg.norm(np.array(each), axis=0) for each in single.values()]
    even, odd = np.array(norms).reshape(-1, 2).T
    return _Spectrum(
        np.array(list(rows), int),
        np.array(triangles).reshape(-1, 2, 2),
        np.array(list(single), int),
        even,
        odd,
    )


def _triangle(rows: np.ndarray) -> np.ndarray:
    """The triangle T ``[2, 2]`` with ``|T v| = |rows v|`` for every v."""
    padded = np.concatenate([rows, np.zeros((2, 2))]) if len(rows) < 2 else rows
    return np.asarray(np.linalg.qr(padded, mode="r"))


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
    rotations = _lattice_of(group, int(np.abs(frequency).max(initial=0)))

    def rotation(t: float) -> float:
        return float(np.max(2.0 * mask * np.abs(np.sin(0.5 * frequency * t)), initial=0.0))

    def reflection(t: float) -> float:
        # on a pair (g - 1) is -2 n n^T with a unit vector n, so its norm with the masks is 2 |f n|
        share = np.where(odd, np.cos(0.5 * frequency * t), np.sin(0.5 * frequency * t)) ** 2
        squared = mask**2 * share + other**2 * (1.0 - share)
        return 2.0 * math.sqrt(float(np.max(squared, initial=0.0)))

    def within_angle(limit: float) -> float:
        if rotations is not None:
            return max(map(rotation, _lattice(rotations, limit)))
        arc = np.minimum(np.abs(frequency) * limit, math.pi)
        return float(np.max(2.0 * mask * np.sin(0.5 * arc), initial=0.0))

    supremum = within_angle(math.pi)
    if group.has_flip:
        angles = [0.0, math.pi] if rotations is None else _lattice(rotations, math.pi)
        supremum = max(supremum, *map(reflection, angles))
    if inquiry.scope == "element":
        angle = _reduced(inquiry.angle or 0.0)
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
        each.append((mask, other, joint.frequency, joint.odd))
    mask, other, frequency, odd = map(np.concatenate, zip(*each, strict=True))
    return mask, other, frequency, odd


def _lattice_of(group: PlanarGroup, degree: int) -> int | None:
    """How many rotations a supremum is taken over one by one; None for every angle of the circle.

    A finer C_n or D_n is bounded by SO(2) or O(2), of which it is a subgroup, with as many samples
    as the largest frequency needs: it comes within a few 1e-3 of them.
    """
    n = group.rotations
    return n if n is not None and n <= max(_GRID, _OVERSAMPLING * degree) else None


def _lattice(rotations: int, limit: float) -> list[float]:
    """The rotation angles of C_n or D_n in [0, limit]."""
    step = 2.0 * math.pi / rotations
    return [j * step for j in range(int(limit / step * (1.0 + 1e-12) + 1e-12) + 1)]


def _group_supremum(group: PlanarGroup, spectrum: _Spectrum) -> float:
    rotations = _lattice_of(group, spectrum.degree)
    if rotations is not None:
        t = np.arange(rotations) * (math.tau / rotations)
        factor = 1.0
    else:
        points = _OVERSAMPLING * max(spectrum.degree, 1)
        t = np.arange(points) * (math.tau / points)
        factor = 1.0 / math.cos(math.pi * spectrum.degree / points)
    largest = _largest(spectrum, spectrum.rotation, t)
    if group.has_flip:
        largest = max(largest, _largest(spectrum, spectrum.reflection, t))
    return min(largest * math.sqrt(factor), 2.0 * spectrum.moving_norm(group.has_flip))


def _largest(
    spectrum: _Spectrum, moved: Callable[[np.ndarray], np.ndarray], t: np.ndarray
) -> float:
    """The largest movement over angles, some million terms at a time."""
    pieces = -(-len(t) * (len(spectrum.frequencies) + 1) // _TERMS)
    return max(float(moved(part).max()) for part in np.array_split(t, pieces))


def _local_supremum(group: PlanarGroup, spectrum: _Spectrum, limit: float) -> float:
    rotations = _lattice_of(group, spectrum.degree)
    if rotations is not None:
        return _largest(spectrum, spectrum.rotation, np.array(_lattice(rotations, limit)))
    if spectrum.degree * limit <= math.pi:
        return float(spectrum.rotation(limit))
    t, step = np.linspace(0.0, limit, _GRID, retstep=True)
    return _largest(spectrum, spectrum.rotation, t) + 0.5 * float(step) * spectrum.lie_norm
