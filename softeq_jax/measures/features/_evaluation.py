"""Evaluation of features: of images, of moved images and of other images, batch by batch."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from softeq_jax._checks import known_options
from softeq_jax.measures.base._functions import (
    Array,
    Skeleton,
    batches,
    check_inputs,
    compiled,
    require_entries,
    split_callable,
)
from softeq_jax.measures.base._layouts import Frame, Image, Layout
from softeq_jax.measures.base._options import Options, resolved
from softeq_jax.measures.features._footprints import footprints
from softeq_jax.measures.features._positions import Crop, Site, asks_receptive, crops
from softeq_jax.measures.features._taps import Features, feature_layouts, feature_shapes
from softeq_jax.measures.finite._transform import Transform


class FeatureOptions(Options, total=False):
    """Options of the measures of features: input and batch_size of all measures, and their own.

    Attributes:
      layouts: name or pattern to layout; see ``infer_layouts``. Features ``[n, c]`` need none.
      crop: what is left out at the edges of feature maps, in entries: None (unless said
        otherwise), a number, "receptive" (everything that padding influences, measured by
        ``footprints``), or a mapping of names to a number, to (top, bottom, left, right), to a
        ``Footprint`` or to "receptive". A map whose entries see the whole image has no receptive
        interior and is then undefined.
      key: a JAX key that draws the partners of the control, and what else is random; None (unless
        said otherwise): nothing is, and the partner is the image half the set away.
    """

    layouts: Mapping[str, Layout | str | Any] | None
    crop: Crop
    key: jax.Array | None


class FeatureBatch(NamedTuple):
    """Features of one batch, all of the padded size.

    Attributes:
      images: the images.
      still: features of the images.
      other: features of the partners; empty without partners.
      real: how many examples count.
    """

    images: Array
    still: dict[str, jax.Array]
    other: dict[str, jax.Array]
    real: int


class Evaluation(NamedTuple):
    """What is evaluated.

    Attributes:
      images: ``[n, h, w, c]``.
      sites: the features, in the order of depth.
      transforms: the transforms.
      arrays: the parameters of the features function.
      skeleton: the function without them.
      input: layout of the images.
      batch_size: images at a time; None: all.
      key: see ``FeatureOptions``.
    """

    images: Array
    sites: tuple[Site, ...]
    transforms: tuple[Transform, ...]
    arrays: list[Array]
    skeleton: Skeleton
    input: Image
    batch_size: int | None
    key: jax.Array | None

    @property
    def frame(self) -> Frame:
        """Rows and columns of the images."""
        return self.input.grid(self.images.shape)

    def over(self, index: np.ndarray, partners: np.ndarray | None = None) -> Iterator[FeatureBatch]:
        """The features of some images, and of the partner of each."""
        for chosen, real in batches(index, self.batch_size):
            images = self.images[chosen]
            still = _features(self.arrays, images, skeleton=self.skeleton)
            other = {}
            if partners is not None:
                other = _features(
                    self.arrays, self.images[partners[chosen]], skeleton=self.skeleton
                )
            yield FeatureBatch(images, still, other, real)

    def moved(self, transform: Transform, images: Array) -> dict[str, jax.Array]:
        """The features of transformed images."""
        return _moved(self.arrays, images, transform, skeleton=self.skeleton, input=self.input)


def evaluation(
    features: Features,
    images: Array,
    transforms: Transform | Sequence[Transform],
    options: FeatureOptions,
    what: str,
) -> Evaluation:
    """The evaluation that arguments stand for, once they are known to be good.

    Args:
      features: see ``feature_correlation``.
      images: see ``feature_correlation``.
      transforms: see ``feature_correlation``.
      options: see ``FeatureOptions``.
      what: takes them, for messages.

    Raises:
      TypeError: images that are no floating point array; transforms or options that are none.
      ValueError: layouts, crops or transforms that do not fit the images or a feature.
    """
    known_options(options, FeatureOptions, what)
    own = ("layouts", "crop", "key")
    shared = {name: value for name, value in options.items() if name not in own}
    setting = resolved(shared, what, without=("output", "head", "jit", "stencil"))
    layouts, crop = options.get("layouts"), options.get("crop")
    images, source = check_inputs(images), setting.input
    if not isinstance(source, Image):
        raise ValueError(f"the inputs of features must be images, got the layout {source!r}")
    source.check(tuple(images.shape), "images")
    moves = (transforms,) if isinstance(transforms, Transform) else tuple(transforms)
    if not moves:
        raise ValueError("no transform was given")
    for move in moves:
        if not isinstance(move, Transform):
            raise TypeError(f"transforms must be those of measures.finite, got {move!r}")
    arrays, skeleton = split_callable(features)
    shapes = feature_shapes(features, images)
    for name, shape in shapes.items():
        require_entries(shape, f"feature {name!r}")
    declared = feature_layouts(shapes, layouts)
    places = {name: (declared[name], shapes[name]) for name in shapes}
    measured = [
        name
        for name, layout in declared.items()
        if asks_receptive(crop, name) and isinstance(layout, Image) and layout.axes == (1, 2)
    ]
    found = None
    if measured and source.axes == (1, 2) and images.ndim == 4:
        h, w, c = images.shape[1:]
        found = footprints(features, (h, w, c), names=measured, dtype=images.dtype)
    edges = crops(places, crop, found)
    frame = source.grid(images.shape)
    sites = tuple(
        Site(name, declared[name], (1, *shape[1:]), frame, edges[name])
        for name, shape in shapes.items()
    )
    for move in moves:
        move.check(images.shape, source, frame)
        for site in sites:
            site.check(move)
    size, key = setting.batch_size, options.get("key")
    return Evaluation(images, sites, moves, arrays, skeleton, source, size, key)


def partners_of(n: int, key: jax.Array | None) -> np.ndarray:
    """int ``[n]``: for every image another one, each used once.

    Without a key the partner is half the set away; with one, it is the next of a random order.

    Raises:
      ValueError: fewer than two images.
    """
    if n < 2:
        raise ValueError("the control compares different images: give at least two")
    if key is None:
        return np.roll(np.arange(n), -(n // 2))
    order = np.asarray(jax.random.permutation(key, n))
    partners = np.empty(n, int)
    partners[order] = np.roll(order, -1)
    return partners


def check_finite(values: dict[str, jax.Array], sites: Sequence[Site], where: str) -> None:
    """ValueError where a feature of an example has a NaN or infinite entry."""
    finite = _finite({site.name: values[site.name] for site in sites})
    for site in sites:
        if not finite[site.name]:
            raise ValueError(f"feature {site.name!r} has NaN or infinite entries {where}")


@jax.jit
def _finite(values: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: jax.numpy.isfinite(value).all() for name, value in values.items()}


@compiled
def _features(arrays: list[Array], images: Array, *, skeleton: Skeleton) -> dict[str, jax.Array]:
    return skeleton(arrays)(images)


@compiled
def _moved(
    arrays: list[Array], images: Array, transform: Transform, *, skeleton: Skeleton, input: Image
) -> dict[str, jax.Array]:
    frame = input.grid(images.shape)
    return skeleton(arrays)(transform(images, input, frame))


class Pairs(NamedTuple):
    """Features at the positions that count, host side, each ``[n, positions, channels]``.

    Attributes:
      carried: ``g' F(x)``, or ``F(x)`` without transport.
      moved: ``F(g x)``.
      still: ``F(x)``.
      other: as ``carried``, of the partner images.
    """

    carried: Any
    moved: Any
    still: Any
    other: Any


def pairs(
    job: Evaluation, index: np.ndarray, partners: np.ndarray, transport: bool
) -> Iterator[dict[str, Pairs]]:
    """The rows of every feature, batch by batch, under the first transform of a job.

    Args:
      job: what is evaluated.
      index: int, the images to go through.
      partners: int ``[n]``, for every image of the job another one.
      transport: whether the action g' carries the positions along first.

    Raises:
      ValueError: NaN or infinite features.
    """
    transform = job.transforms[0]
    for batch in job.over(index, partners):
        moved = job.moved(transform, batch.images)
        check_finite(batch.still, job.sites, "of the images")
        check_finite(moved, job.sites, f"under {transform.name}")
        rows, valid = _rows(moved, batch.still, batch.other, transform, job.sites, transport)
        yield {
            site.name: Pairs(
                *(np.asarray(v, np.float64)[: batch.real, np.asarray(keep) > 0] for v in values)
            )
            for site, values, keep in zip(job.sites, rows, valid, strict=True)
        }


@functools.partial(jax.jit, static_argnames=("sites", "transport"))
def _rows(
    moved: dict[str, jax.Array],
    still: dict[str, jax.Array],
    other: dict[str, jax.Array],
    transform: Transform,
    sites: tuple[Site, ...],
    transport: bool,
) -> tuple[list[Pairs], list[jax.Array]]:
    rows, valid = [], []
    for site in sites:
        y, s, o = (values[site.name] for values in (moved, still, other))
        carried = (site.act(transform, s), site.act(transform, o)) if transport else (s, o)
        rows.append(Pairs(*(site.positions(v) for v in (carried[0], y, s, carried[1]))))
        valid.append(site.valid(transform))
    return rows, valid
