r"""Levels of a weight space with their dimensions, and the masks that the dials cut from them.

A level belongs to an isotypic component, so every subspace "all levels up to b" is stable under
the group and independent of the basis of the Lie algebra and of the choice of generators:
``sigma = sqrt(Casimir)`` where the connected part acts (SO(2): ``|m|``, SO(3):
``sqrt(l (l + 1))``), ``(n / pi) |sin(pi m / n)|`` for C_n, ``2 / pi`` for a flip on what C_n fixes,
for other finite groups sums over conjugacy classes. What has no partner frequency
(``Rep.unmatched``) has level infinity.
"""

import math
from typing import NamedTuple

import numpy as np

from softeq_jax._checks import is_traced, known_options
from softeq_jax.projections._dials import MASKS, Dials

_RELATIVE_CLUSTER = 1e-6
_MISSED = 0.02
_SHOWN = 9


class Levels(NamedTuple):
    """The distinct levels of a projector, hashable.

    Attributes:
      values: the distinct finite levels, ascending, 0 first (even where nothing is invariant).
      dimensions: dimension of each.
      infinite: dimension of what has no finite level, or whose level is not known.
      complete: whether all levels are known; if not, the only value is 0.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> levels = sq.projector("i o", {"i": V, "o": V}, softness=1.0).spectrum
      >>> np.round(np.square(levels.values)), levels.dimensions  # l (l + 1), 2 l + 1
      (array([0., 2., 6.]), (1, 3, 5))
    """

    values: tuple[float, ...]
    dimensions: tuple[int, ...]
    infinite: int
    complete: bool

    @property
    def null_dimension(self) -> int:
        """n0, the dimension of the strictly invariant vectors."""
        return self.dimensions[0]

    @property
    def matched_dimension(self) -> int:
        """n, the dimension of everything that has a finite level."""
        return sum(self.dimensions)

    @property
    def sizes(self) -> np.ndarray:
        """Dimension of each level and, last, of what has none; int ``[len(values) + 1]``."""
        return np.array([*self.dimensions, self.infinite])

    @property
    def total(self) -> int:
        """Dimension of the whole space."""
        return self.matched_dimension + self.infinite


def collect(each: list[tuple[np.ndarray, np.ndarray, int]]) -> tuple[Levels, list[np.ndarray]]:
    """The joint levels of several blocks, all known.

    Args:
      each: for each block the levels of its indices (inf where there is none), the dimension of
        each, and how often the block occurs.

    Returns:
      The levels, and for each block the joint index of each of its indices, the last for infinity.
    """
    sigma = np.concatenate([np.zeros(1), *(s for s, _, _ in each)])
    counts = np.concatenate([np.zeros(1, int), *(c * times for _, c, times in each)])
    finite = np.isfinite(sigma)
    order = np.argsort(sigma[finite], kind="stable")
    ordered = sigma[finite][order]
    new = np.diff(ordered, prepend=-1.0) > _RELATIVE_CLUSTER * np.maximum(ordered, 1e-9)
    position = np.cumsum(new) - 1
    values = ordered[new]
    index = np.full(len(sigma), len(values))
    index[np.flatnonzero(finite)[order]] = position
    dimensions = np.bincount(index, weights=counts, minlength=len(values) + 1)
    levels = Levels(
        tuple(float(v) for v in values),
        tuple(round(float(d)) for d in dimensions[:-1]),
        round(float(dimensions[-1])),
        True,
    )
    ends = np.cumsum([1, *(len(s) for s, _, _ in each)])
    return levels, np.split(index, ends[:-1])[1:]


class DialSetting(NamedTuple):
    """A checked setting of the dials; one of ``cutoff`` and ``softness`` is None."""

    cutoff: float | None
    softness: float | None
    mask: str

    @property
    def needs_all_levels(self) -> bool:
        """Whether it is neither strict nor the identity."""
        b = self.cutoff
        return self.softness not in (None, 0.0, 1.0) or (b is not None and 0.0 < b < math.inf)


def setting(dials: Dials, mask: str, what: str) -> DialSetting:
    """The setting that dials ask of ``what``, with a mask where none is named.

    Raises:
      ValueError: not exactly one of cutoff and softness, one out of range, an unknown mask.
      TypeError: an unknown dial, or one that is traced.
    """
    known_options(dials, Dials, what)
    cutoff, softness, named = dials.get("cutoff"), dials.get("softness"), dials.get("mask")
    mask = mask if named is None else named
    if mask not in MASKS:
        raise ValueError(f"unknown mask {mask!r}: expected one of {', '.join(MASKS)}")
    if (cutoff is None) == (softness is None):
        raise ValueError(
            f"give exactly one of cutoff and softness, got cutoff={cutoff}, softness={softness}"
        )
    for name in ("cutoff", "softness"):
        if is_traced(dials.get(name)):
            raise TypeError(
                f"{name} is traced: a projector is built once, outside jit, vmap and grad, and "
                "given to the compiled function as an argument"
            )
    if cutoff is not None and not float(cutoff) >= 0.0:
        raise ValueError(f"cutoff must be >= 0, got {cutoff}")
    if softness is not None and not 0.0 <= float(softness) <= 1.0:
        raise ValueError(f"softness must be in [0, 1], got {softness}")
    return DialSetting(
        None if cutoff is None else float(cutoff),
        None if softness is None else float(softness),
        mask,
    )


def dropped_at(levels: Levels, wanted: DialSetting) -> tuple[np.ndarray, float]:
    """What a setting removes of each level, and the cutoff it realizes.

    Args:
      levels: the levels to cut; complete, unless the setting is strict or the identity.
      wanted: the setting.

    Returns:
      (1 - mask, float64 ``[len(values) + 1]``; realized cutoff, infinity for the identity).
    """
    cutoff = wanted.cutoff
    if cutoff is None:
        cutoff = _cutoff_of_softness(levels, wanted.mask, wanted.softness)
    values = np.array([*levels.values, np.inf])
    if math.isinf(cutoff) or levels.null_dimension == levels.total:
        return np.zeros(len(values)), math.inf
    if wanted.mask == "hard" or cutoff == 0.0:
        dropped = (values > cutoff * (1.0 + _RELATIVE_CLUSTER)).astype(np.float64)
        if not np.any(dropped * levels.sizes):
            return np.zeros(len(values)), math.inf
        kept = values[dropped == 0]
        return dropped, float(kept.max()) if wanted.mask == "hard" else 0.0
    dropped = _smooth(values, cutoff, wanted.mask)
    return dropped, math.inf if not dropped.any() else cutoff


def realized_softness(levels: Levels, dropped: np.ndarray) -> float:
    """``(rank - n0) / (n - n0)`` of a mask: 1 for the identity and for nothing else, so that asking
    for it gives the same mask back (without unmatched vectors it is the largest float below 1)."""
    if not np.any(dropped):
        return 1.0
    below_one = math.nextafter(1.0, 0.0)
    free = levels.matched_dimension - levels.null_dimension
    if free == 0:
        return below_one if levels.complete else 0.0
    kept = np.array(levels.dimensions[1:]) @ (1.0 - dropped[1:-1])
    return min(float(kept) / free, below_one)


def shortfall(levels: Levels, wanted: DialSetting, dropped: np.ndarray) -> str | None:
    """What a setting does not do, with the levels that there are; None if it does what it says.

    Args:
      levels: all of them.
      wanted: the setting.
      dropped: what it removes of each level.
    """
    dial, value = (
        ("softness", wanted.softness) if wanted.cutoff is None else ("cutoff", wanted.cutoff)
    )
    if value is None or not wanted.needs_all_levels:
        return None
    said = f"{dial}={value:g}"
    n0, n = levels.null_dimension, levels.matched_dimension
    if n == n0:
        return f"{said} does nothing here: the group moves nothing that has a level above 0"
    values, kept = np.array(levels.values[1:]), 1.0 - dropped[1:-1]
    if dial == "cutoff":
        if kept.max() < _RELATIVE_CLUSTER:
            return f"{said} is strict: the lowest level above 0 is {values.min():.4g}"
        if kept.min() > 1.0 - _RELATIVE_CLUSTER and value > values.max() * (
            1.0 + _RELATIVE_CLUSTER
        ):
            return f"{said} removes no level: the highest is {values.max():.4g}"
        return None
    found = realized_softness(levels, dropped)
    if abs(found - value) <= _MISSED:
        return None
    shares = (np.cumsum(levels.dimensions) - n0) / (n - n0)
    order = np.sort(np.argsort(np.abs(shares - value), kind="stable")[:_SHOWN])
    listed = ", ".join(f"{shares[i]:.4g} (cutoff {levels.values[i]:.4g})" for i in order)
    which = "" if len(order) == len(shares) else f", the nearest of {len(shares)}"
    return (
        f"{said} is missed: {found:.4g} is kept, in whole levels, which are{which}: {listed}; "
        f'mask="heat" meets {value:g}'
    )


def _smooth(values: np.ndarray, width: float, mask: str) -> np.ndarray:
    """``1 - exp(-sigma^2 / (2 b^2))`` or ``1 - 1 / (1 + (sigma / b)^2)``, accurate near 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = (values / width) ** 2
        if mask == "heat":
            return -np.expm1(-0.5 * ratio)
        return np.where(np.isinf(ratio), 1.0, ratio / (1.0 + ratio))


def _cutoff_of_softness(levels: Levels, mask: str, softness: float | None) -> float:
    if softness is None or softness == 1.0:
        return math.inf
    if softness == 0.0 or levels.matched_dimension == levels.null_dimension:
        return 0.0
    if mask == "hard":
        return _nearest_level(levels, softness)
    return _width_of_share(levels, mask, softness)


def _nearest_level(levels: Levels, softness: float) -> float:
    n0, n = levels.null_dimension, levels.matched_dimension
    kept = np.cumsum(levels.dimensions)
    proper = kept < levels.total
    distance = np.abs(kept[proper] - n0 - softness * (n - n0))
    nearest = np.flatnonzero(distance <= distance.min() + 1e-9 * (n - n0))[0]  # ties: stricter
    return float(np.array(levels.values)[proper][nearest])


def _width_of_share(levels: Levels, mask: str, share: float) -> float:
    """The width b at which a smooth mask keeps this share of what is outside level 0, by
    bisection on log b over 24 decades around the levels: the kept sum is monotone in b."""
    values, dimensions = np.array(levels.values[1:]), np.array(levels.dimensions[1:])
    low, high = math.log(values.min() * 1e-12), math.log(values.max() * 1e12)
    for _ in range(200):
        middle = 0.5 * (low + high)
        kept = dimensions @ (1.0 - _smooth(values, math.exp(middle), mask))
        if kept < share * dimensions.sum():
            low = middle
        else:
            high = middle
    return math.exp(high)
