r"""Subspace scores: how much of the space that features span survives a transform.

With the rows of A and B the positions of all images (features of x, carried along by g', and of
g x), centered, and U, V orthonormal bases of their column spaces up to a share of the energy,

    equivariance = mean_i sigma_i(U^T V),   invariance = mean_c | corr(F_c(x), F_c(g x)) |.

The first is the mean canonical correlation: it is 1 if any invertible linear map of the channels
takes one to the other. The second aligns channel c with channel c at the same position. After
the ingredients of SEIS (Lin, Farrahi & Cai, 2026) in the form of measures.md C, which is not
claimed to reproduce their scores.
"""

import dataclasses
import math
from typing import Unpack

import jax
import numpy as np

from softeq_jax._text import brief
from softeq_jax.measures.base._functions import Array
from softeq_jax.measures.features._evaluation import (
    FeatureOptions,
    Pairs,
    evaluation,
    pairs,
    partners_of,
)
from softeq_jax.measures.features._moments import Moments, column_correlation, moments
from softeq_jax.measures.features._taps import Features
from softeq_jax.measures.finite._transform import Transform

_ROUNDING = 1e-12  # eigenvalues of a covariance below this share of the largest are noise


@dataclasses.dataclass(frozen=True)
class SubspaceScore:
    """The scores of one feature; NaN where they are refused, with the reason as ``note``.

    Attributes:
      name: of the feature.
      equivariance: mean canonical correlation, in [0, 1].
      equivariance_control: the same against other images (smoothness and shared position
        statistics alone).
      equivariance_chance: the same with the rows of A permuted: what finitely many rows give.
      invariance: mean absolute correlation of a channel with itself.
      invariance_control: against other images.
      invariance_chance: with permuted rows.
      dimensions: of the two subspaces; the mean runs over the smaller number.
      rows: images times positions.
      columns: channels.
      dead_fraction: share of channels that are constant in A or B, left out of the invariance.
      note: why there are no scores, or "".

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype("float32")
      >>> flip, layouts = sq.measures.flip(), {"*": "image"}
      >>> found = sq.measures.subspace_scores(lambda x: {"x": x}, x, flip, layouts=layouts)["x"]
      >>> found.dimensions, found.columns, found.note
      ((2, 2), 2, '')
    """

    name: str
    equivariance: float
    equivariance_control: float
    equivariance_chance: float
    invariance: float
    invariance_control: float
    invariance_chance: float
    dimensions: tuple[int, int]
    rows: int
    columns: int
    dead_fraction: float
    note: str = ""

    __repr__ = brief


def subspace_scores(
    features: Features,
    images: Array,
    transform: Transform,
    *,
    energy: float = 0.99,
    transport: bool = True,
    ratio: float = 10.0,
    eps: float = 1e-5,
    **options: Unpack[FeatureOptions],
) -> dict[str, SubspaceScore]:
    """Canonical correlation of features with those of the transformed images.

    Args:
      features: images to ``{name: array}``.
      images: ``[n, h, w, c]``, n >= 2.
      transform: one of ``measures.finite``.
      energy: share of the variance that the bases keep, in (0, 1].
      transport: whether g' carries the positions of A along for the equivariance. Without it only
        what happens at one position is compared, and no action has to be known.
      ratio: rows per column below which scores are refused (NaN and a note): with too few rows
        any two matrices are correlated, and the score saturates at 1.
      eps: a channel is dead if its standard deviation is at most this share of its root mean
        square.
      **options: see ``FeatureOptions``; the key draws the permutation of rows, too, within a
        batch (None: a fixed one).

    Returns:
      Name to scores, in the order of depth.

    Raises:
      ValueError: see ``feature_correlation``; an energy outside (0, 1], or a ratio below 1.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype("float32")
      >>> flip, layouts = sq.measures.flip(), {"*": "image"}
      >>> found = sq.measures.subspace_scores(lambda x: {"x": x}, x, flip, layouts=layouts)["x"]
      >>> round(found.equivariance, 4), found.rows
      (1.0, 128)
    """
    if not 0 < energy <= 1:
        raise ValueError(f"energy must be in (0, 1], got {energy}")
    if not ratio >= 1:
        raise ValueError(f"ratio must be at least 1, got {ratio}")
    job = evaluation(features, images, transform, options, "subspace_scores")
    index, partners = np.arange(len(images)), partners_of(len(images), job.key)
    seed = 0 if job.key is None else np.asarray(jax.random.key_data(job.key)).ravel()
    rng = np.random.default_rng(seed)
    sums: dict[str, tuple[Moments, ...]] = {}
    shapes = {}
    for batch in pairs(job, index, partners, transport):
        for name, value in batch.items():
            count, columns = value.moved.shape[1:]
            shapes[name] = (len(images) * count, columns)
            if count and shapes[name][0] >= ratio * columns:
                new = _sums(value, rng)
                old = sums.get(name)
                sums[name] = (
                    new if old is None else tuple(a + b for a, b in zip(old, new, strict=True))
                )
    return {
        name: _score(name, sums.get(name), rows, columns, energy, ratio, eps)
        for name, (rows, columns) in shapes.items()
    }


def _sums(value: Pairs, rng: np.random.Generator) -> tuple[Moments, ...]:
    """Against the moved rows: carried, other and permuted rows; then channel by channel still,
    other and permuted ones."""
    carried, moved, still, other = (v.reshape(-1, v.shape[-1]) for v in value)
    order = rng.permutation(len(moved))
    spaces = tuple(moments(rows, moved) for rows in (carried, other, carried[order]))
    channels = tuple(moments(rows, moved, diagonal=True) for rows in (still, other, still[order]))
    return spaces + channels


def _score(
    name: str,
    sums: tuple[Moments, ...] | None,
    rows: int,
    columns: int,
    energy: float,
    ratio: float,
    eps: float,
) -> SubspaceScore:
    angles, means = [math.nan] * 3, [math.nan] * 3
    dimensions, dead, note = (0, 0), math.nan, ""
    if sums is None:
        note = f"refused: {rows} rows for {columns} columns, at least {ratio:g} per column needed"
    else:
        bases = [(_basis(m.xx, energy), _basis(m.yy, energy)) for m in sums[:3]]
        dimensions = (bases[0][0].shape[1], bases[0][1].shape[1])
        if not all(dimensions):
            dead, note = 1.0, "refused: the feature is constant"
        else:
            angles = [_canonical(x, m.xy, y) for (x, y), m in zip(bases, sums[:3], strict=True)]
            found = [np.abs(column_correlation(m, eps)) for m in sums[3:]]
            means = [float(np.nanmean(f)) if np.isfinite(f).any() else math.nan for f in found]
            dead = float(np.isnan(found[0]).mean())
    return SubspaceScore(
        name,
        equivariance=angles[0],
        equivariance_control=angles[1],
        equivariance_chance=angles[2],
        invariance=means[0],
        invariance_control=means[1],
        invariance_chance=means[2],
        dimensions=dimensions,
        rows=rows,
        columns=columns,
        dead_fraction=dead,
        note=note,
    )


def _basis(covariance: np.ndarray, energy: float) -> np.ndarray:
    """``[c, k]``: takes centered rows to the k leading coordinates, with unit norms."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    if values[0] <= 0:
        return np.zeros((len(values), 0))
    solid = int((values > _ROUNDING * values[0]).sum())
    share = np.cumsum(values[:solid]) / values[:solid].sum()
    k = min(int(np.searchsorted(share, energy - _ROUNDING)) + 1, solid)
    return vectors[:, :k] / np.sqrt(values[:k])


def _canonical(x: np.ndarray, xy: np.ndarray, y: np.ndarray) -> float:
    """Mean of the singular values of ``U^T V``, over the smaller of the two dimensions."""
    cosines = np.linalg.svd(x.T @ xy @ y, compute_uv=False)
    return float(np.minimum(cosines, 1.0).mean())
