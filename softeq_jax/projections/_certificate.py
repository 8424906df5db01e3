r"""Exact movement of a weight under a planar group, as certificates.

Let ``c = U^T w`` be the coefficients of a weight in the frequency basis of its representation, and
``(alpha, beta)`` those of a pair (even, odd) of frequency m. All planar groups act there by known
orthogonal 2 x 2 blocks, so the movement is an identity, not an estimate:

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
from collections.abc import Mapping

import numpy as np

from softeq_jax.groups import Group
from softeq_jax.reps import Frequencies, Rep

ROUNDING = 1e-12
"""Share of ``||w||`` added to every bound for float64 rounding (measured: below 1e-13).

It covers actions computed in float64; moving a weight in float32 adds rounding of its own."""

_OVERSAMPLING = 64
_GRID = 4096


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What is guaranteed about ``||g w - w||``, or why nothing is.

    Attributes:
      bound: upper bound of the movement, in the unit of ``norm``. NaN if not certified.
      supremum: upper bound over the whole group; NaN where there is none.
      weight_norm: Frobenius norm of the weight (1 for an a-priori certificate); for a layer an
        upper bound of its operator norm.
      norm: ``"frobenius"`` of a weight array or ``"operator"`` of a layer.
      scope: ``"element"`` (one g), ``"local"`` (all rotations by at most ``angle``) or
        ``"global"`` (the group).
      angle: the angle in radians of ``scope``; None if global.
      flip: whether the element contains the left-right flip.
      certified: whether the bound is proven.
      reason: what it covers, or why there is none.
      parts: for a plan, the certificate of each parameter by path.
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
    parts: Mapping[str, "Certificate"] = dataclasses.field(default_factory=dict)

    @property
    def relative(self) -> float:
        """``bound / ||w||``, at most 2 (0 for w = 0).

        Raises:
          ValueError: for a layer, whose norm is known only from above: the ratio would not be
            an upper bound.
        """
        if self.norm != "frobenius":
            raise ValueError("the relative defect of a layer would need its exact operator norm")
        return self.bound / self.weight_norm if self.weight_norm else self.bound


@dataclasses.dataclass(frozen=True)
class _Energies:
    """Squared coefficients by column, and products of each even column with its odd partner."""

    squares: np.ndarray
    products: np.ndarray
    frequencies: Frequencies

    @property
    def frequency(self) -> np.ndarray:
        return _turning(self.frequencies)

    def rotation(self, t: np.ndarray) -> np.ndarray:
        """Squared movement under rotations, any shape of angles."""
        half = 0.5 * np.multiply.outer(t, self.frequency)
        return 4.0 * np.sin(half) ** 2 @ self.squares

    def reflection(self, t: np.ndarray) -> np.ndarray:
        """Squared movement under R(t) F, any shape of angles."""
        angle = np.multiply.outer(t, self.frequency)
        share = np.where(self.frequencies.odd, np.cos(0.5 * angle) ** 2, np.sin(0.5 * angle) ** 2)
        squared = 4.0 * share @ self.squares - 4.0 * np.sin(angle) @ self.products
        return np.maximum(squared, 0.0)

    @property
    def lie_norm(self) -> float:
        """``||L w||``: the fastest the weight moves, per radian."""
        return math.sqrt(float(self.frequency.astype(np.float64) ** 2 @ self.squares))

    def moving_norm(self, has_flip: bool) -> float:
        """``||N w||``: the norm of what the group does not fix."""
        moving = self.frequency > 0
        if has_flip:
            moving = moving | self.frequencies.odd
        return math.sqrt(float(self.squares[moving].sum()))

    @property
    def degree(self) -> int:
        present = self.frequency[self.squares > 0]
        return int(present.max(initial=0))


def weight_certificate(
    rep: Rep,
    w: np.ndarray,
    *,
    angle: float | None = None,
    flip: bool = False,
    within: float | None = None,
) -> Certificate:
    """Certificate of a concrete weight, as given.

    Args:
      rep: the representation on the first axis.
      w: float64 [dim, channels].
      angle: angle in radians of one element; None for the supremum over the group.
      flip: whether that element is R(angle) F.
      within: instead of one element, all rotations by at most this angle in radians.

    Returns:
      A certificate in the Frobenius norm. The bound is the exact movement (for ``"local"`` and
      ``"global"`` of a continuous group: up to the factors of the module docstring), enlarged by
      ``ROUNDING * ||w||``.

    Raises:
      ValueError: non-finite weights, an element that the group lacks, contradictory arguments.
    """
    if not np.all(np.isfinite(w)):
        raise ValueError(f"{int(np.sum(~np.isfinite(w)))} of {w.size} weights are NaN or infinite")
    frequencies = rep.frequencies()
    c = frequencies.basis.T @ w
    partner = frequencies.partner
    even = (partner >= 0) & ~frequencies.odd
    products = np.where(even, np.einsum("ij,ij->i", c, c[partner]), 0.0)
    energies = _Energies(np.einsum("ij,ij->i", c, c), products, frequencies)
    norm = float(np.linalg.norm(w))
    margin = ROUNDING * norm

    scope, angle = _scope(rep.group, angle, flip, within)
    supremum = _group_supremum(rep.group, energies)
    if scope == "element":
        squared = (energies.reflection if flip else energies.rotation)(np.float64(angle))
        bound = math.sqrt(float(squared))
    elif scope == "local":
        bound = min(_local_supremum(rep.group, energies, angle), supremum)
    else:
        bound = supremum
    return Certificate(
        bound=bound + margin,
        supremum=supremum + margin,
        weight_norm=norm,
        norm="frobenius",
        scope=scope,
        angle=angle,
        flip=flip,
        certified=True,
        reason="exact movement of the weight as given; for its layer see certificates.convolution",
    )


def a_priori_certificate(
    rep: Rep,
    mask: np.ndarray,
    *,
    angle: float | None = None,
    flip: bool = False,
    within: float | None = None,
) -> Certificate:
    """What a mask guarantees for every weight: the sup of ``||g P w - P w||`` over ``||w|| = 1``.

    The operator ``(g - 1) P`` is block diagonal. On a pair of frequency m with mask values f and h
    its norm is at most ``2 max(f, h) |sin(m t / 2)|`` under a rotation (equal where f = h, as
    always where the rotation moves the pair) and ``2 |(f sin(m t / 2), h cos(m t / 2))|`` under the
    reflection R(t) F. The arguments and errors are those of ``weight_certificate``, with mask
    float64 [dim] in place of the weight; ``||w||`` is that of the *unfiltered* weight.
    """
    frequencies = rep.frequencies()
    frequency, odd = _turning(frequencies), frequencies.odd

    def rotation(t: float) -> float:
        return float(np.max(2.0 * mask * np.abs(np.sin(0.5 * frequency * t)), initial=0.0))

    partner = np.where(frequencies.partner >= 0, frequencies.partner, np.arange(rep.dim))
    other = np.where(frequencies.partner >= 0, mask[partner], 0.0)

    def reflection(t: float) -> float:
        # on a pair (g - 1) is -2 n n^T with a unit vector n, so its norm with the masks is 2 |f n|
        share = np.where(odd, np.cos(0.5 * frequency * t), np.sin(0.5 * frequency * t)) ** 2
        squared = mask**2 * share + other**2 * (1.0 - share)
        return 2.0 * math.sqrt(float(np.max(squared, initial=0.0)))

    def within_angle(limit: float) -> float:
        if rep.group.rotations is not None:
            return max(rotation(t) for t in _lattice(rep.group, limit))
        arc = np.minimum(frequency * limit, math.pi)
        return float(np.max(2.0 * mask * np.sin(0.5 * arc), initial=0.0))

    scope, angle = _scope(rep.group, angle, flip, within)
    supremum = within_angle(math.pi)
    if rep.group.has_flip:
        angles = _lattice(rep.group, math.pi) if rep.group.rotations else [0.0, math.pi]
        supremum = max(supremum, *(reflection(t) for t in angles))
    if scope == "element":
        bound = reflection(angle) if flip else rotation(angle)
    else:
        bound = within_angle(angle) if scope == "local" else supremum
    return Certificate(
        bound=bound + ROUNDING,
        supremum=supremum + ROUNDING,
        weight_norm=1.0,
        norm="frobenius",
        scope=scope,
        angle=angle,
        flip=flip,
        certified=True,
        reason="holds for every weight, relative to the norm of the unfiltered one",
    )


def combine(parts: Mapping[str, Certificate]) -> Certificate:
    """The certificate of several weights taken as one vector: bounds add in squares.

    The group acts on the stacked weight by one orthogonal block for each part. Parts must have
    been asked for the same element. An empty mapping is the zero vector.

    Raises:
      ValueError: the parts are about different elements, or not in the Frobenius norm.
    """
    chosen = list(parts.values())
    if not chosen:
        return Certificate(0.0, 0.0, 0.0, "frobenius", "global", None, False, True, "no weight", {})
    first = chosen[0]
    kinds = {(part.norm, part.scope, part.angle, part.flip) for part in chosen}
    if len(kinds) > 1 or first.norm != "frobenius":
        raise ValueError(
            "only Frobenius certificates of one group element or range add in squares, got "
            f"(norm, scope, angle, flip) = {sorted(map(str, kinds))}"
        )
    missing = [f"{path}: {part.reason}" for path, part in parts.items() if not part.certified]

    def total(name: str) -> float:
        return math.sqrt(math.fsum(getattr(part, name) ** 2 for part in chosen))

    return dataclasses.replace(
        first,
        bound=total("bound"),
        supremum=total("supremum"),
        weight_norm=total("weight_norm"),
        certified=not missing,
        reason="; ".join(missing) or "root of the sum of squares over the parameters",
        parts=dict(parts),
    )


def _turning(frequencies: Frequencies) -> np.ndarray:
    """How often each column turns per turn of the plane; unmatched columns do not."""
    return np.where(frequencies.unmatched, 0, frequencies.frequency)


def _scope(
    group: Group, angle: float | None, flip: bool, within: float | None
) -> tuple[str, float | None]:
    if within is not None:
        if angle is not None or flip:
            raise ValueError("within= asks for all rotations up to an angle: drop angle and flip")
        if not within >= 0.0:
            raise ValueError(f"within must be an angle >= 0, got {within}")
        return "local", min(float(within), math.pi)
    if angle is None and not flip:
        return "global", None
    angle = 0.0 if angle is None else float(angle)
    group.element(angle, flip)
    if group.rotations is not None:
        step = 2.0 * math.pi / group.rotations
        angle = step * round(angle / step)
    return "element", angle


def _lattice(group: Group, limit: float) -> list[float]:
    """The rotation angles of a finite group in [0, limit]."""
    step = 2.0 * math.pi / group.rotations
    return [j * step for j in range(int(limit / step * (1.0 + 1e-12) + 1e-12) + 1)]


def _group_supremum(group: Group, energies: _Energies) -> float:
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


def _local_supremum(group: Group, energies: _Energies, limit: float) -> float:
    if group.rotations is not None:
        return math.sqrt(float(energies.rotation(np.array(_lattice(group, limit))).max()))
    if energies.degree * limit <= math.pi:
        return math.sqrt(float(energies.rotation(np.float64(limit))))
    t, step = np.linspace(0.0, limit, _GRID, retstep=True)
    return math.sqrt(float(energies.rotation(t).max())) + 0.5 * step * energies.lie_norm
