"""Metrics: what is computed of a function's outputs before and after a transform, as a stream."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from softeq_jax.measures.base._functions import Array

OTHER = "other"
BACK = "back"


class Comparison(NamedTuple):
    """What f makes of a batch x and of T x.

    Attributes:
      moved: ``f(T x)``, through ``T.match``.
      expected: ``T' f(x)``.
      mask: weights in [0, 1] that broadcast against them.
      upright: ``f(x)``; the input through ``T.match`` first.
      inputs: x.
      moved_inputs: ``T x``.
      other: ``T' f(x')`` with the image before x in the whole set as x' (before the first comes
        the last); None unless a metric needs it.
      back: ``f(T^-1 T x)``; None unless a metric needs it.
      back_mask: as ``mask``, of what went forth and back; None unless a metric needs it.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> def same(pair):  # a Comparison
      ...     return {"same": (pair.moved == pair.expected).all(1)}
      >>> x = np.random.default_rng(0).normal(size=(3, 4, 4, 1)).astype("float32")
      >>> metric = sq.measures.finite.per_image(same)
      >>> sq.measures.evaluate(lambda x: x.max((1, 2)), x, sq.measures.flip(), [metric])[0]["same"]
      array([[1., 1., 1.]])
    """

    moved: jax.Array
    expected: jax.Array
    mask: jax.Array
    upright: jax.Array
    inputs: Array
    moved_inputs: jax.Array
    other: jax.Array | None
    back: jax.Array | None
    back_mask: jax.Array | None = None


class Slot(NamedTuple):
    """Where a comparison belongs.

    Attributes:
      transform: its index.
      start: index of the first image.
      real: how many images count; the rest fill up the batch.

    Example:
      >>> import softeq_jax as sq
      >>> slot = sq.measures.finite.Slot(transform=0, start=4, real=1)
      >>> slice(slot.start, slot.start + slot.real)  # the images that count
      slice(4, 5, None)
    """

    transform: int
    start: int
    real: int


class Metric(NamedTuple):
    """A measure as a stream: pure functions of an accumulator, any pytree.

    Attributes:
      init: from the numbers of transforms and of images to the empty accumulator.
      update: accumulator, comparison and slot to the next accumulator; float64 on the host is safe.
      compute: the result.
      needs: of "other" and "back", what it reads of a comparison.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> count = sq.measures.finite.Metric(
      ...     init=lambda transforms, images: 0,
      ...     update=lambda total, pair, slot: total + slot.real,
      ...     compute=lambda total: total,
      ... )
      >>> x, f = np.ones((5, 4, 4, 1), "float32"), lambda x: x.max((1, 2))
      >>> sq.measures.evaluate(f, x, sq.measures.flip(), [count], batch_size=2)
      [5]
    """

    init: Callable[[int, int], Any]
    update: Callable[[Any, Comparison, Slot], Any]
    compute: Callable[[Any], Any]
    needs: frozenset[str] = frozenset()


def per_image(
    measure: Callable[[Comparison], dict[str, jax.Array]],
    compute: Callable[[dict[str, np.ndarray]], Any] = lambda values: values,
    needs: frozenset[str] = frozenset(),
) -> Metric:
    """A metric that keeps numbers per image and transform.

    Args:
      measure: from a comparison to named arrays ``[n]``; compiled.
      compute: from the same names with float64 ``[transforms, images]`` to the result.
      needs: as of ``Metric``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> error = lambda pair: {"error": abs(pair.moved - pair.expected).mean(1)}
      >>> metric = sq.measures.finite.per_image(error, lambda found: found["error"].shape)
      >>> x, f = np.ones((3, 4, 4, 1), "float32"), lambda x: x.max((1, 2))
      >>> sq.measures.evaluate(f, x, sq.groups.cyclic(4), [metric])  # transforms and images
      [(4, 3)]
    """
    measure = jax.jit(measure)

    def init(transforms: int, images: int) -> tuple:
        return transforms, images, ()

    def update(state: tuple, comparison: Comparison, slot: Slot) -> tuple:
        transforms, images, pieces = state
        values = {
            name: np.asarray(value, np.float64)[: slot.real]
            for name, value in measure(comparison).items()
        }
        return transforms, images, (*pieces, (slot, values))

    def finish(state: tuple) -> Any:
        transforms, images, pieces = state
        result = {name: np.full((transforms, images), np.nan) for name in pieces[0][1]}
        for slot, values in pieces:
            for name, value in values.items():
                result[name][slot.transform, slot.start : slot.start + slot.real] = value
        return compute(result)

    return Metric(init, update, finish, needs)
