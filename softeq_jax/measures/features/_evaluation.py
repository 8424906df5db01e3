"""Evaluating features: of images, of moved images and of other images, batch by batch."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from softeq_jax.measures._functions import (
    Skeleton,
    batches,
    check_inputs,
    compiled,
    split_callable,
)
from softeq_jax.measures._layouts import Image, Layout, as_layout
from softeq_jax.measures.features._footprints import footprints
from softeq_jax.measures.features._positions import Crop, Site, asks_receptive, crops
from softeq_jax.measures.features._taps import Features, feature_layouts, feature_shapes
from softeq_jax.measures.finite._transform import Transform

Array = jax.Array | np.ndarray


class Batch(NamedTuple):
    """One batch of features, all of the padded size.

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
    """

    images: Array
    sites: tuple[Site, ...]
    transforms: tuple[Transform, ...]
    arrays: list[Array]
    skeleton: Skeleton
    input: Layout

    @property
    def frame(self) -> tuple[int, int]:
        """Rows and columns of the images."""
        return self.input.grid(self.images.shape)

    def over(
        self, index: np.ndarray, batch_size: int | None, partners: np.ndarray | None = None
    ) -> Iterator[Batch]:
        """The features of some images, and of the partner of each."""
        for chosen, real in batches(index, batch_size):
            images = self.images[chosen]
            still = _features(self.arrays, images, skeleton=self.skeleton)
            other = {}
            if partners is not None:
                other = _features(
                    self.arrays, self.images[partners[chosen]], skeleton=self.skeleton
                )
            yield Batch(images, still, other, real)

    def moved(self, transform: Transform, images: Array) -> dict[str, jax.Array]:
        """The features of transformed images."""
        return _moved(self.arrays, images, transform, skeleton=self.skeleton, input=self.input)


def evaluation(
    features: Features,
    images: Array,
    transforms: Transform | Sequence[Transform],
    layouts: Any,
    crop: Crop,
    input: Layout | str | Any,
) -> Evaluation:
    """Checks the arguments that every measure of features shares.

    Raises:
      TypeError: images that are no floating point array; transforms that are none.
      ValueError: layouts, crops or transforms that do not fit the images or a feature.
    """
    images = check_inputs(images)
    source = as_layout(input, "input")
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
    declared = feature_layouts(shapes, layouts)
    places = {name: (declared[name], shapes[name]) for name in shapes}
    measured = [
        name
        for name, layout in declared.items()
        if asks_receptive(crop, name) and isinstance(layout, Image) and layout.axes == (1, 2)
    ]
    found = None
    if measured and source.axes == (1, 2) and images.ndim == 4:
        found = footprints(features, images.shape[1:], names=measured, dtype=images.dtype)
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
    return Evaluation(images, sites, moves, arrays, skeleton, source)


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
    arrays: list[Array], images: Array, transform: Transform, *, skeleton: Skeleton, input: Layout
) -> dict[str, jax.Array]:
    frame = input.grid(images.shape)
    return skeleton(arrays)(transform(images, input, frame))
