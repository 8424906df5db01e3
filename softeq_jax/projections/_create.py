"""The constructor of projectors."""

import math
from collections.abc import Mapping

import numpy as np

from softeq_jax.projections import _levels
from softeq_jax.projections._build import BACKENDS, build_cached, warn_if_strict_only
from softeq_jax.projections._projector import Projector
from softeq_jax.projections._space import parse
from softeq_jax.reps import Rep


def projector(
    spec: str,
    reps: Mapping[str, Rep],
    *,
    cutoff: float | None = None,
    softness: float | None = None,
    mask: str = "hard",
    backend: str | None = None,
    convention: str = "central",
) -> Projector:
    """The projector of weights with these axes onto their (softly) invariant part.

    Args:
      spec: names of the axes, for instance ``"h w i o"`` for a convolution kernel, ``"i o"`` for
        a dense one, ``"1 n c"`` for a position table.
      reps: the representation on each acting axis or group of axes, ``{"h w": image}`` or
        ``{"i": V.dual, "o": V}``. Axes not named here are acted on trivially.
      cutoff: see ``Projector.at``; 0 (strict) if neither dial is given.
      softness: see ``Projector.at``.
      mask: ``"hard"``, ``"heat"`` or ``"resolvent"``.
      backend: to force one of ``"spectral"`` (groups of the plane), ``"orbits"`` (signed
        permutations), ``"isotypic"`` (Schur's lemma), ``"gram"`` (dense eigenvectors),
        ``"krylov"`` (Chebyshev filter) or ``"mean"`` (plain orbit mean); by default it is chosen.
        They agree where they apply; orbits, krylov and mean are strict only.
      convention: ``"central"``, or ``"stacked"`` for the levels of the published code (singular
        values of the stacked generators), for comparison with its numbers only.

    Returns:
      The projector, built in float64 on the host.

    Raises:
      ValueError: see ``Projector.at``; unknown axes, mismatched groups, a back end that cannot
        treat these representations.
    """
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"unknown back end {backend!r}: expected one of {', '.join(BACKENDS)}")
    if convention not in ("central", "stacked"):
        raise ValueError(f"unknown convention {convention!r}: expected 'central' or 'stacked'")
    space = parse(spec, reps)
    if cutoff is None and softness is None:
        cutoff = 0.0
    _levels.check_dials(mask, cutoff, softness)
    warn_if_strict_only(space)
    complete = _levels.needs_all_levels(cutoff, softness)
    built = build_cached(space, complete, backend, convention)
    identity = Projector(
        filters=built.filters,
        dropped=np.zeros(len(built.levels.values) + 1),
        width=np.float64(math.inf),
        space=space,
        known=built.levels,
        kind="hard",
        backend=backend,
        convention=convention,
    )
    return identity.at(cutoff=cutoff, softness=softness, mask=mask)
