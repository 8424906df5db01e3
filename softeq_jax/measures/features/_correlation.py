r"""Correlation of features with their transforms, layer by layer.

For a feature map F, a transform g of the image and its action g' on the map, over the positions
p that count and for every channel c (measures.md B)

    equivariance = E_x E_g mean_c corr_p( F_c(g x), g' F_c(x) )
    invariance   = E_x E_g mean_c corr_p( F_c(g x), F_c(x) ).

Correlation ignores the gain and the offset of a channel, so layers and networks compare, and
unrelated maps score 0 on average, which the cosine of rectified maps does not (1 / pi for
Gaussian ones). Smooth maps score high whatever they show: subtract the control, in which the
other argument belongs to another image. The measure is a reconstruction in the spirit of Bruintjes,
Motyka & van Gemert (2023), whose definitions were not at hand; its numbers are not theirs.
"""

import functools
from collections.abc import Sequence
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures._statistics import Estimate
from softeq_jax.measures.base._functions import Array
from softeq_jax.measures.base._layouts import Invariant
from softeq_jax.measures.features._evaluation import (
    Evaluation,
    FeatureBatch,
    FeatureOptions,
    check_finite,
    evaluation,
    partners_of,
)
from softeq_jax.measures.features._layer_correlation import FeatureCorrelation, LayerCorrelation
from softeq_jax.measures.features._moments import (
    Centered,
    Moments,
    centered,
    column_correlation,
    correlation,
    mean_over,
    moments,
)
from softeq_jax.measures.features._positions import Site
from softeq_jax.measures.features._taps import Features
from softeq_jax.measures.finite._transform import Transform

FEWEST = 3
"""Samples below which a correlation is not reported: of two points it is always 1 or -1."""


def feature_correlation(
    features: Features,
    images: Array,
    transforms: Transform | Sequence[Transform],
    *,
    eps: float = 1e-5,
    floor: float = 0.0,
    units: bool = False,
    **options: Unpack[FeatureOptions],
) -> FeatureCorrelation:
    """Correlation of every feature with its transform, with controls and ceilings.

    Features without positions have invariance alone: the correlation runs over the vector of
    channels. A fiber (a vector on which a group acts) has both. One pass over the images, with
    ``2 + G`` evaluations of the features for G transforms.

    Args:
      features: images to ``{name: array}``, in the order of depth; see ``linen_features``.
      images: ``[n, h, w, c]``, floating point, n >= 2.
      transforms: one or several of ``measures.finite``.
      eps: a channel is dead where its standard deviation over the positions is at most ``eps``
        times its root mean square, in any of F(g x), g' F(x) and F(x). Dead channels are left
        out and counted.
      floor: a channel is dead, too, where its standard deviation is at most this, in units of the
        feature.
      units: also correlate every unit of a feature without positions over the data set.
      **options: see ``FeatureOptions``.

    Returns:
      Per layer, transform and image. Where fewer than 3 positions (or channels) remain a layer
      is undefined, with a note that says so. What rounding in the network leaves of a perfect
      score is part of the result: on accelerators compute it at the highest precision.

    Raises:
      TypeError: images or features that are not floating point; transforms that are none.
      ValueError: fewer than two images, NaN or infinite features, a layout that is missing or
        does not fit, or a transform that does not act on a feature (a shift by a fraction of
        its pitch with interpolation="exact", a turn of a map that is not centered).

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
      >>> features = lambda x: {"relu": jax.nn.relu(x), "sorted": jax.numpy.sort(x, axis=1)}
      >>> shift = sq.measures.finite.shift(1, 0)  # by one pixel
      >>> found = sq.measures.feature_correlation(features, images, shift, layouts={"*": "image"})
      >>> print(found.table())  # what sorts the rows is invariant, what acts by pixel equivariant
      layer   shape    equivariance  control  ceiling     invariance  control  error  dead
      relu    8x8x3   1.000 +- 0.000   0.062    1.000  -0.006 +- 0.028  -0.042  0.000  0.0%
      sorted  8x8x3   0.351 +- 0.009   0.176    1.000   1.000 +- 0.000   0.739  1.131  0.0%
      4 images, 1 transform; +- standard error
    """
    job = evaluation(features, images, transforms, options, "feature_correlation")
    index = np.arange(len(images))
    partners = partners_of(len(images), job.key)
    exact = tuple(tuple(site.is_exact(t) for t in job.transforms) for site in job.sites)
    flat = [site for site in job.sites if not site.is_planar] if units else []
    scores: list[list] = [[] for _ in job.transforms]
    totals: dict[tuple[str, int], tuple[Moments, Moments]] = {}
    for batch in job.over(index, partners):
        check_finite(batch.still, job.sites, "of the images")
        for g, transform in enumerate(job.transforms):
            moved = job.moved(transform, batch.images)
            check_finite(moved, job.sites, f"under {transform.name}")
            known = tuple(row[g] for row in exact)
            found = _scores(
                moved, batch.still, batch.other, transform, eps, floor, job.sites, known
            )
            scores[g].append(jax.tree.map(lambda a, real=batch.real: np.asarray(a)[:real], found))
            for site in flat:
                new = _unit_moments(site, moved, batch)
                old = totals.get((site.name, g))
                totals[site.name, g] = new if old is None else _added(old, new)
    joined = [jax.tree.map(lambda *a: np.concatenate(a), *parts) for parts in scores]
    unit_scores = {
        name_g: tuple(column_correlation(m, eps) for m in pair) for name_g, pair in totals.items()
    }
    layers = tuple(
        _layer(job, site, exact[i], [part[i] for part in joined], unit_scores)
        for i, site in enumerate(job.sites)
    )
    return FeatureCorrelation(layers, tuple(t.name for t in job.transforms), len(images))


@functools.partial(jax.jit, static_argnames=("sites", "exact"))
def _scores(
    moved: dict[str, jax.Array],
    still: dict[str, jax.Array],
    other: dict[str, jax.Array],
    transform: Transform,
    eps: float,
    floor: float,
    sites: tuple[Site, ...],
    exact: tuple[bool, ...],
) -> list[dict[str, jax.Array]]:
    """For every site, arrays ``[n]``."""
    return [
        _site_scores(
            site,
            moved[site.name],
            still[site.name],
            other[site.name],
            transform,
            known,
            functools.partial(centered, axis=1 if site.is_planar else 2, eps=eps, floor=floor),
        )
        for site, known in zip(sites, exact, strict=True)
    ]


def _site_scores(
    site: Site,
    moved: jax.Array,
    still: jax.Array,
    other: jax.Array,
    transform: Transform,
    exact: bool,
    center: functools.partial,
) -> dict[str, jax.Array]:
    carried = site.act(transform, still)
    valid = site.valid(transform)[None, :, None]
    a, t, s, u, o = (
        site.positions(v) for v in (moved, carried, still, site.act(transform, other), other)
    )
    ca, ct, cs, cu, co = (center(v, valid) for v in (a, t, s, u, o))
    alive, alone = _alive(ca, ct, cs), _alive(ca, cu, co)
    difference, size = ((jnp.where(valid > 0, v, 0)) for v in (a - t, t))
    score = functools.partial(_score, axis=1 if site.is_planar else 2)
    n = len(a)
    return {
        "equivariance": score(ca, ct, alive),
        "equivariance_control": score(ca, cu, alone),
        "invariance": score(ca, cs, alive),
        "invariance_control": score(ca, co, alone),
        "ceiling": _ceiling(site, still, carried, transform, exact, center, score, alive),
        "residual": jnp.sqrt(jnp.sum(difference**2, axis=(1, 2))),
        "norm": jnp.sqrt(jnp.sum(size**2, axis=(1, 2))),
        "dead": jnp.mean(~alive.reshape(n, -1), axis=1),
        "samples": jnp.broadcast_to(valid.sum() if site.is_planar else a.shape[2], (n,)),
    }


def _ceiling(
    site: Site,
    still: jax.Array,
    carried: jax.Array,
    transform: Transform,
    exact: bool,
    center: functools.partial,
    score: functools.partial,
    alive: jax.Array,
) -> jax.Array:
    """``corr(g'^-1 g' F, F)``: what interpolation leaves of a perfect score."""
    if exact:
        return jnp.where(alive.any(axis=(1, 2)), 1.0, jnp.nan)
    valid = site.valid_round_trip(transform)[None, :, None]
    returned = site.act(transform.inverse, carried)
    pair = [center(site.positions(v), valid) for v in (returned, still)]
    found = score(*pair, _alive(*pair))
    return jnp.where(valid.sum() >= FEWEST, found, jnp.nan)


def _alive(*series: Centered) -> jax.Array:
    return functools.reduce(jnp.logical_and, (each.alive for each in series))


def _score(a: Centered, b: Centered, alive: jax.Array, axis: int) -> jax.Array:
    return mean_over(correlation(a, b, axis), jnp.squeeze(alive, axis))


def _unit_moments(
    site: Site, moved: dict[str, jax.Array], batch: FeatureBatch
) -> tuple[Moments, Moments]:
    """Of the units of an image against those of the moved one, for the image and its partner."""
    y, x, o = (
        np.asarray(site.positions(values[site.name]))[: batch.real, 0]
        for values in (moved, batch.still, batch.other)
    )
    return moments(x, y, diagonal=True), moments(o, y, diagonal=True)


def _added(old: tuple[Moments, Moments], new: tuple[Moments, Moments]) -> tuple[Moments, Moments]:
    return old[0] + new[0], old[1] + new[1]


def _layer(
    job: Evaluation,
    site: Site,
    exact: tuple[bool, ...],
    parts: list[dict[str, np.ndarray]],
    unit_scores: dict,
) -> LayerCorrelation:
    names = tuple(t.name for t in job.transforms)
    arrays = {key: np.stack([part[key] for part in parts]).astype(np.float64) for key in parts[0]}
    samples = arrays.pop("samples")[:, 0].astype(int)
    note, defined = "", (samples >= FEWEST)[:, None]
    if not defined.all():
        what = "positions" if site.is_planar else "channels"
        note = f"under {FEWEST} {what} for {(~defined).sum()} of {len(names)} transforms"
    vector = isinstance(site.layout, Invariant)
    fields = {}
    for key in _SCORES:
        kept = defined & np.isfinite(arrays[key]) & ~(vector and key in _SPATIAL)
        fields[key] = Estimate(
            key, np.where(kept, arrays[key], 0.0), kept.astype(np.float64), names
        )
    weight = defined.astype(np.float64)
    error = Estimate("error", arrays["residual"] * weight, arrays["norm"] * weight, names)
    units = [unit_scores[site.name, g] for g in range(len(names)) if (site.name, g) in unit_scores]
    return LayerCorrelation(
        name=site.name,
        layout=site.layout,
        shape=tuple(site.shape[1:]),
        crop=site.crop,
        samples=samples,
        exact=np.array(exact),
        **fields,
        error=error,
        dead_fraction=np.where(defined, arrays["dead"], np.nan),
        units=np.stack([u[0] for u in units]) if units else None,
        units_control=np.stack([u[1] for u in units]) if units else None,
        note=note,
    )


_SPATIAL = ("equivariance", "equivariance_control", "ceiling")
_SCORES = (*_SPATIAL, "invariance", "invariance_control")
