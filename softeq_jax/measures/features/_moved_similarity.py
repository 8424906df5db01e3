r"""Similarity between the features of moved and unmoved images, layer by layer, without a map.

For a feature F, a transform g and images ``x_1 .. x_n``, a measure s of ``measures.linear_cka`` and
the like compares

    s( [F(x_i)]_i, [F(g x_i)]_i )   with the control   s( [F(x_p(i))]_i, [F(g x_i)]_i ),

where p sends every image to another one. Rows are flattened maps. Nothing has to be known of how g
acts on the feature: if ``F(g x) = rho(g) F(x)`` with any orthogonal matrix, all four measures are
1, whatever the type of the field is; an invariant feature has 1, too. The control says what n
examples, smoothness and the data's own symmetry give by themselves: for ``n <= d + 1`` svcca is 1
in both, and says nothing.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import known_options, whole
from softeq_jax._sizes import require_room
from softeq_jax._text import TextTable, brief, table
from softeq_jax.measures._statistics import given
from softeq_jax.measures.base._functions import Array, Function, check_inputs
from softeq_jax.measures.base._layouts import Layout
from softeq_jax.measures.features._evaluation import (
    Evaluation,
    FeatureOptions,
    check_finite,
    evaluation,
    partners_of,
)
from softeq_jax.measures.features._similarity import (
    compact,
    distance_correlation,
    linear_cka,
    rsa,
    svcca,
)
from softeq_jax.measures.features._taps import Features, named_features
from softeq_jax.measures.finite._transform import Transform

Similarity = Callable[[Array, Array], Array]
SIMILARITIES: dict[str, Similarity] = {
    "linear_cka": linear_cka,
    "svcca": svcca,
    "rsa": rsa,
    "distance_correlation": distance_correlation,
}
_BLOCKS = 8


class SimilarityOptions(TypedDict, total=False):
    """Options of ``feature_similarity``.

    Attributes:
      input: layout of the images, see ``measures.Options``.
      batch_size: images per call of the features; None (unless said otherwise): all at once.
      key: a JAX key that draws the partners of the control; None (unless said otherwise): the
        partner is the image half the set away.
    """

    input: Layout | str
    batch_size: int | None
    key: jax.Array | None


@dataclasses.dataclass(frozen=True)
class LayerSimilarity:
    """One layer of a ``FeatureSimilarity``; by measure, float64 ``[transforms]``.

    Attributes:
      name: of the feature.
      shape: of one example.
      values: similarity of the features of moved and unmoved images; NaN where it is undefined
        (features that are the same for all images).
      errors: their standard errors over images, by a jackknife that leaves out one block of
        images at a time; NaN without blocks.
      control: similarity to the features of other images.
      control_errors: their standard errors.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(16, 6, 6, 1)).astype("float32")
      >>> found = sq.measures.feature_similarity(lambda x: x, x, sq.measures.flip(), blocks=0)
      >>> layer = found.layers[0]
      >>> layer.name, layer.shape, layer.values["linear_cka"].round(4)
      ('output', (6, 6, 1), array([1.]))
    """

    name: str
    shape: tuple[int, ...]
    values: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    control: dict[str, np.ndarray]
    control_errors: dict[str, np.ndarray]

    __repr__ = brief


@dataclasses.dataclass(frozen=True, repr=False)
class FeatureSimilarity:
    """The result of ``feature_similarity``.

    Attributes:
      layers: in the order of depth.
      transforms: their names.
      measures: their names.
      n: number of images.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(16, 6, 6, 1)).astype("float32")
      >>> found = sq.measures.feature_similarity(lambda x: x, x, sq.measures.flip(), blocks=0)
      >>> found.n, found.transforms, found.measures
      (16, ('flip left-right',), ('linear_cka', 'svcca', 'rsa', 'distance_correlation'))
    """

    layers: tuple[LayerSimilarity, ...]
    transforms: tuple[str, ...]
    measures: tuple[str, ...]
    n: int

    def __getitem__(self, name: str) -> LayerSimilarity:
        """The layer of this name."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"no layer {name!r}, only {[layer.name for layer in self.layers]}")

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary of plain numbers per layer, transform and measure."""
        return [
            {
                "depth": depth,
                "layer": layer.name,
                "transform": transform,
                "measure": measure,
                "value": float(layer.values[measure][i]),
                "value_se": float(layer.errors[measure][i]),
                "control": float(layer.control[measure][i]),
                "control_se": float(layer.control_errors[measure][i]),
            }
            for depth, layer in enumerate(self.layers)
            for i, transform in enumerate(self.transforms)
            for measure in self.measures
        ]

    def table(self) -> TextTable:
        """Layers by measures: the mean over transforms, and that of the control in brackets."""

        def cell(layer: LayerSimilarity, measure: str) -> str:
            value, control = (float(each[measure].mean()) for each in (layer.values, layer.control))
            return f"{given(value, '.3f')} ({given(control, '.3f')})"

        rows = [(layer.name, *(cell(layer, m) for m in self.measures)) for layer in self.layers]
        return table(("layer", *self.measures), rows, right="-" + "r" * len(self.measures))

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def feature_similarity(
    features: Features | Function,
    images: Array,
    transforms: Transform | Sequence[Transform],
    *,
    measures: Mapping[str, Similarity] | None = None,
    blocks: int | None = None,
    **options: Unpack[SimilarityOptions],
) -> FeatureSimilarity:
    """Similarity of features of images with those of moved images, by several measures.

    Costs one forward pass for the images and one for each transform, ``n^2 d`` products for a
    feature of d entries and each transform, and for each measure a function of ``[n, n]`` arrays as
    often as there are blocks. The features of all images are held at once.

    Args:
      features: images to ``{name: array}`` (``linen_features``), or to one array, which is then
        called "output". Layouts are not needed.
      images: ``[n, h, w, c]``, n >= 3.
      transforms: one or more of ``measures.finite``.
      measures: name to function of two arrays ``[n, d]``, which is traced; None: the four of
        ``measures.linear_cka``, ``svcca``, ``rsa`` and ``distance_correlation``. Others, such as
        ``functools.partial(rsa, distance="cosine")``, are given the whole rows.
      blocks: of images, for the standard errors; 0 for none, else from 2 to ``n // 3``. None: 8,
        or none for fewer than 24 images.
      **options: see ``SimilarityOptions``.

    Raises:
      TypeError: images, transforms or options that are none.
      ValueError: fewer than three images, a number of blocks out of range, NaN or infinite
        features, a transform that does not act on the images.
      TooLargeError: the features of all images do not fit.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(16, 6, 6, 1)).astype("float32")
      >>> found = sq.measures.feature_similarity(
      ...     lambda x: x.cumsum(axis=1), x, sq.measures.flip(), blocks=0)
      >>> layer = found["output"]  # the flip permutes the entries: an orthogonal map
      >>> [round(float(s["linear_cka"][0]), 3) for s in (layer.values, layer.control)]
      [1.0, 0.405]
    """
    known_options(options, SimilarityOptions, "feature_similarity")
    images = check_inputs(images)
    n = len(images)
    if n < 3:
        raise ValueError(f"similarity needs at least three images, got {n}")
    if blocks is None:
        blocks = _BLOCKS if n >= 3 * _BLOCKS else 0
    if whole(blocks, "blocks", 0) == 1 or 3 * blocks > n:
        raise ValueError(f"blocks must be 0 or from 2 to n // 3 = {n // 3}, got {blocks}")
    settings = FeatureOptions(layouts={"*": "invariant"}, **options)
    f = named_features(features, images)
    job = evaluation(f, images, transforms, settings, "feature_similarity")
    own = SIMILARITIES if measures is None else dict(measures)
    rest = np.array([np.delete(np.arange(n), block) for block in _blocks(n, blocks)], int)
    partners = partners_of(n, job.key)
    layers = []
    for name, still, moved in _rows(job):
        if measures is None:
            still, moved = compact(still), [compact(m) for m in moved]
        found = {
            measure: np.array(
                [
                    [_estimated(function, x, m, rest) for x in (still, still[partners])]
                    for m in moved
                ],
                np.float64,
            )
            for measure, function in own.items()
        }
        parts = ({k: v[:, i, j] for k, v in found.items()} for i in (0, 1) for j in (0, 1))
        shape = next(site.shape[1:] for site in job.sites if site.name == name)
        layers.append(LayerSimilarity(name, shape, *parts))
    names = tuple(transform.name for transform in job.transforms)
    return FeatureSimilarity(tuple(layers), names, tuple(own), n)


def _blocks(n: int, count: int) -> list[np.ndarray]:
    """Indices of blocks of one size; with stride, so that an order of the images does not count."""
    return [np.arange(start, n, count)[: n // count] for start in range(count)]


def _rows(job: Evaluation) -> Iterator[tuple[str, jax.Array, list[jax.Array]]]:
    """Feature by feature: its name, rows ``[n, d]`` of the images and of those moved by each
    transform."""
    n = len(job.images)
    entries = sum(math.prod(site.shape) for site in job.sites)
    require_room(
        4 * entries * n * (1 + len(job.transforms)),
        f"the features of {n} images, moved by {len(job.transforms)} transforms,",
        "take fewer features (filter= of linen_features), images or transforms",
    )
    kept: dict[str, list[list[np.ndarray]]] = {
        site.name: [[] for _ in range(1 + len(job.transforms))] for site in job.sites
    }
    for batch in job.over(np.arange(n)):
        check_finite(batch.still, job.sites, "of the images")
        each = [batch.still]
        for transform in job.transforms:
            each.append(job.moved(transform, batch.images))
            check_finite(each[-1], job.sites, f"under {transform.name}")
        for name, parts in kept.items():
            for part, values in zip(parts, each, strict=True):
                part.append(np.asarray(values[name])[: batch.real].reshape(batch.real, -1))
    for name in list(kept):
        still, *moved = (jnp.asarray(np.concatenate(part)) for part in kept.pop(name))
        yield name, still, moved


def _estimated(
    measure: Similarity, a: jax.Array, b: jax.Array, rest: np.ndarray
) -> tuple[float, float]:
    """A similarity and its jackknife error ``sqrt((B - 1) / B sum_b (s_b - mean)^2)``."""
    value, without = _measured(a, b, rest, measure=measure)
    if not len(rest):
        return float(value), math.nan
    spread = np.asarray(without, np.float64)
    share = (len(rest) - 1) / len(rest)
    return float(value), float(np.sqrt(share * ((spread - spread.mean()) ** 2).sum()))


@functools.partial(jax.jit, static_argnames="measure")
def _measured(
    a: jax.Array, b: jax.Array, rest: jax.Array, *, measure: Similarity
) -> tuple[jax.Array, jax.Array]:
    value = jnp.asarray(measure(a, b))
    if not len(rest):
        return value, value
    return value, jax.lax.map(lambda index: jnp.asarray(measure(a[index], b[index])), rest)
