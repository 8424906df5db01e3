r"""Fitted linear maps between the features of an image and of its transform.

Following Lenc & Vedaldi (2015) a linear map with bias is fitted on one part of the images,

    M_g = argmin E || F(g x) - M F(x) ||^2,

and judged on the others. Its held-out R^2 bounds what any linear action on the features could
reach; set beside it are the identity, the best permutation of the channels, and a map fitted to
the features of other images (measures.md C).
"""

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any, Unpack

import jax
import numpy as np

from softeq_jax._checks import coefficient
from softeq_jax._text import brief
from softeq_jax.measures._statistics import Estimate
from softeq_jax.measures.base._functions import Array
from softeq_jax.measures.features._evaluation import (
    Evaluation,
    FeatureOptions,
    Pairs,
    evaluation,
    pairs,
    partners_of,
)
from softeq_jax.measures.features._moments import Moments, moments
from softeq_jax.measures.features._taps import Features
from softeq_jax.measures.finite._transform import Transform

KINDS = ("channels", "dense")


@dataclasses.dataclass(frozen=True)
class FittedMap:
    """A fitted map of one feature and how much it leaves unexplained on the held-out images.

    The estimates are ``sum |y - prediction|^2 / sum |y - mean of the training y|^2`` with standard
    errors and intervals over images; ``r2`` is 1 minus them.

    Attributes:
      name: of the feature.
      matrix: float64 ``[p, p]``: the prediction is ``row @ matrix + bias``.
      bias: float64 ``[p]``.
      order: int ``[p]``, the permutation fitted to the training images: output c is input
        ``order[c]``.
      fitted: left unexplained by the map.
      identity: by the input itself.
      permutation: by the permuted input.
      control: by a map fitted to, and applied to, the features of other images.
      r2_train: R^2 of the map on the training images.
      samples: rows that were fitted.
      unknowns: of the map, per output.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype("float32")
      >>> same, flip = lambda x: {"same": x}, sq.measures.flip()
      >>> found = sq.measures.fitted_map_score(same, x, flip, layouts={"*": "image"})["same"]
      >>> bool(np.allclose(found.matrix, np.eye(2))), found.order
      (True, array([0, 1]))
    """

    name: str
    matrix: np.ndarray
    bias: np.ndarray
    order: np.ndarray
    fitted: Estimate
    identity: Estimate
    permutation: Estimate
    control: Estimate
    r2_train: float
    samples: int
    unknowns: int

    __repr__ = brief

    def r2(self, which: str = "fitted") -> tuple[float, float]:
        """Held-out R^2 and its standard error over images.

        Args:
          which: "fitted", "identity", "permutation" or "control".

        Raises:
          ValueError: another name.
        """
        if which not in _MAPS:
            raise ValueError(f"no map {which!r}, choose from {list(_MAPS)}")
        estimate = getattr(self, which)
        return 1 - estimate.value, estimate.standard_error


_MAPS = ("fitted", "identity", "permutation", "control")


def fitted_map_score(
    features: Features,
    images: Array,
    transform: Transform,
    *,
    kind: str = "channels",
    transport: bool = True,
    split: float | tuple[Array, Array] = 0.5,
    ridge: float = 0.0,
    **options: Unpack[FeatureOptions],
) -> dict[str, FittedMap]:
    """R^2 on held-out images of a linear map, fitted from ``F(x)`` to ``F(g x)``.

    Sums are merged in double precision on the host, where the normal equations are solved by
    an eigendecomposition (directions below rounding are left out: the solution of least norm).

    Args:
      features: images to ``{name: array}``.
      images: ``[n, h, w, c]``.
      transform: one of ``measures.finite``.
      kind: "channels": one map of the channels for all positions (of a feature without positions:
        of its vector). "dense": one of all positions and channels together.
      transport: whether the action of g on the map (g' of ``feature_correlation``) carries the
        positions along first. Without it a map of the channels compares a position with itself.
      split: the share of the images to fit on, or the indices of those to fit and to judge on.
      ridge: the penalty, in units of the mean variance of an input: ``ridge * tr(S) / p`` is
        added to the diagonal of the covariance S.
      **options: see ``FeatureOptions``; the key shuffles the images before they are split.

    Returns:
      Name to fitted map, in the order of depth.

    Raises:
      ValueError: see ``feature_correlation``; an unknown kind, a negative ridge, parts that are
        empty, overlap or have fewer than two images, no position left, or fewer training rows
        than unknowns per output without a ridge.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype("float32")
      >>> mix = lambda x: {"mix": x @ np.float32([[1, 2], [0, 1]])}
      >>> found = sq.measures.fitted_map_score(mix, x, sq.measures.flip(), layouts={"*": "image"})
      >>> round(found["mix"].fitted.value, 4)  # nothing is left unexplained
      0.0
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of map is called {kind!r}, choose from {list(KINDS)}")
    coefficient(ridge, "ridge")
    job = evaluation(features, images, transform, options, "fitted_map_score")
    train, test, partners = parts_of(len(images), split, job.key)

    def rows(index: np.ndarray) -> Iterable[dict[str, Pairs]]:
        for batch in pairs(job, index, partners, transport):
            yield {name: formed(name, value, kind) for name, value in batch.items()}

    sums = training_sums(rows(train))
    maps = {name: [_fit(m, ridge, name) for m in pair] for name, pair in sums.items()}
    orders = {name: _best_order(pair[0]) for name, pair in sums.items()}
    return _judged(job, rows(test), sums, maps, orders)


def parts_of(
    n: int, split: Any, key: jax.Array | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training and held-out indices, and a partner from the same part for every image of them."""
    order = np.arange(n) if key is None else np.asarray(jax.random.permutation(key, n))
    if isinstance(split, tuple):
        train, test = (np.asarray(part, int).ravel() for part in split)
        chosen = np.concatenate([train, test])
        if (
            len(np.unique(chosen)) != chosen.size
            or chosen.min(initial=0) < 0
            or (chosen >= n).any()
        ):
            raise ValueError(f"the parts of split must be distinct indices below {n}")
    else:
        if not 0 < split < 1:
            raise ValueError(f"split must be between 0 and 1, got {split}")
        size = round(split * n)
        train, test = order[:size], order[size:]
    if min(len(train), len(test)) < 2:
        raise ValueError(
            f"each part needs two images, got {len(train)} to fit and {len(test)} to judge on"
        )
    partners = np.arange(n)
    for part in (train, test):
        partners[part] = part[partners_of(len(part), None)]
    return train, test, partners


def formed(name: str, value: Pairs, kind: str) -> Pairs:
    """The rows that a kind of map takes; ValueError where the crop leaves none."""
    if not value.moved.shape[1]:
        raise ValueError(f"the crop of feature {name!r} leaves no position")
    if kind == "channels":
        return value
    return Pairs(*(v.reshape(len(v), 1, -1) for v in value))


def _flat(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(-1, rows.shape[-1])


def training_sums(batches: Iterable[dict[str, Pairs]]) -> dict[str, tuple[Moments, Moments]]:
    """Of the carried rows, and of those of other images, against the moved rows."""
    sums: dict[str, tuple[Moments, Moments]] = {}
    for batch in batches:
        for name, value in batch.items():
            y = _flat(value.moved)
            own, other = moments(_flat(value.carried), y), moments(_flat(value.other), y)
            old = sums.get(name)
            sums[name] = (own, other) if old is None else (old[0] + own, old[1] + other)
    return sums


def _fit(m: Moments, ridge: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Matrix ``[p, q]`` and bias ``[q]`` of the least squares fit."""
    p = len(m.x)
    if m.count < p + 1 and not ridge:
        raise ValueError(
            f"feature {name!r}: {m.count} training rows (images x positions) do not determine "
            f"{p + 1} unknowns per output: give more images, a coarser kind, or a ridge"
        )
    values, vectors = np.linalg.eigh(m.xx)
    largest = max(values[-1], 0.0)
    penalty = ridge * values.sum() / p
    kept = values > largest * p * np.finfo(float).eps
    inverse = np.where(kept, 1 / np.where(kept, values + penalty, 1.0), 0.0)
    matrix = vectors @ (inverse[:, None] * (vectors.T @ m.xy))
    return matrix, m.y - m.x @ matrix


def _best_order(m: Moments) -> np.ndarray:
    """For every output the input that the best permutation gives it."""
    from scipy.optimize import linear_sum_assignment

    offset = m.count * (m.y[:, None] - m.x[None, :]) ** 2
    cost = np.diagonal(m.yy)[:, None] - 2 * m.xy.T + np.diagonal(m.xx)[None, :] + offset
    return linear_sum_assignment(cost)[1]


def _judged(
    job: Evaluation,
    batches: Iterable[dict[str, Pairs]],
    sums: dict[str, tuple[Moments, Moments]],
    maps: dict[str, list[tuple[np.ndarray, np.ndarray]]],
    orders: dict[str, np.ndarray],
) -> dict[str, FittedMap]:
    transforms = (job.transforms[0].name,)
    left: dict[str, list] = {name: [] for name in maps}
    for batch, name in itertools.product(batches, maps):
        value = batch[name]
        (matrix, bias), (other_matrix, other_bias) = maps[name]
        predictions = (
            value.carried @ matrix + bias,
            value.carried,
            value.carried[..., orders[name]],
            value.other @ other_matrix + other_bias,
            np.broadcast_to(sums[name][0].y, value.moved.shape),
        )
        left[name].append(
            np.stack([((value.moved - p) ** 2).sum(axis=(1, 2)) for p in predictions])
        )
    result = {}
    for name, parts in left.items():
        *residuals, total = np.concatenate(parts, axis=1)
        m, (matrix, bias) = sums[name][0], maps[name][0]
        estimates = {
            which: Estimate(which, each[None], total[None], transforms)
            for which, each in zip(_MAPS, residuals, strict=True)
        }
        missed = np.trace(m.yy) - 2 * np.sum(matrix * m.xy) + np.sum(matrix * (m.xx @ matrix))
        spread = np.trace(m.yy)
        r2_train = float(1 - missed / spread) if spread > 0 else float("nan")
        result[name] = FittedMap(
            name,
            matrix,
            bias,
            orders[name],
            **estimates,
            r2_train=r2_train,
            samples=m.count,
            unknowns=len(m.x) + 1,
        )
    return result
