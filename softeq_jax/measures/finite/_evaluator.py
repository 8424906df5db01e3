r"""One pass over images and transforms that all finite measures share.

For every batch x and every transform T the evaluator yields ``f(T x)``, ``T' f(x)`` and what else
a metric asks for. A metric is a triple of pure functions, like an optimizer of optax:
``init(transforms, n)``, ``update(state, outcome, slot)`` and ``compute(state)``. Batches are
filled up to one size, so that f is compiled once; ``slot.real`` says how many examples count.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import Group
from softeq_jax.measures._functions import Function, batches, check_inputs
from softeq_jax.measures._layouts import Layout, as_layout
from softeq_jax.measures.finite._families import group_transforms
from softeq_jax.measures.finite._program import (
    Program,
    checked_mask,
    frame_of,
    match,
    move,
    program_of,
)
from softeq_jax.measures.finite._transform import Array, Frame, Transform

OTHER = "other"
BACK = "back"


class Outcome(NamedTuple):
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
    """

    moved: jax.Array
    expected: jax.Array
    mask: jax.Array
    upright: jax.Array
    inputs: Array
    moved_inputs: jax.Array
    other: jax.Array | None
    back: jax.Array | None


class Slot(NamedTuple):
    """Where an outcome belongs.

    Attributes:
      transform: its index.
      start: index of the first image.
      real: how many images count; the rest fill up the batch.
    """

    transform: int
    start: int
    real: int


class Metric(NamedTuple):
    """A measure as a stream: pure functions of an accumulator, any pytree.

    Attributes:
      init: from the numbers of transforms and of images to the empty accumulator.
      update: accumulator, outcome and slot to the next accumulator; float64 on the host is safe.
      compute: the result.
      needs: of "other" and "back", what it reads of an outcome.
    """

    init: Callable[[int, int], Any]
    update: Callable[[Any, Outcome, Slot], Any]
    compute: Callable[[Any], Any]
    needs: frozenset[str] = frozenset()


def per_image(
    measure: Callable[[Outcome], dict[str, jax.Array]],
    compute: Callable[[dict[str, np.ndarray]], Any] = lambda values: values,
    needs: frozenset[str] = frozenset(),
) -> Metric:
    """A metric that keeps numbers per image and transform.

    Args:
      measure: from an outcome to named arrays ``[n]``; compiled.
      compute: from the same names with float64 ``[transforms, images]`` to the result.
      needs: as of ``Metric``.
    """
    measure = jax.jit(measure)

    def init(transforms: int, images: int) -> tuple:
        return transforms, images, ()

    def update(state: tuple, outcome: Outcome, slot: Slot) -> tuple:
        transforms, images, pieces = state
        values = {
            name: np.asarray(value, np.float64)[: slot.real]
            for name, value in measure(outcome).items()
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


def evaluate(
    f: Function,
    images: Array,
    transforms: Sequence[Transform],
    metrics: Sequence[Metric],
    *,
    input: str | Layout = "image",
    output: str | Layout | None = None,
    head: str | Function = "logits",
    batch_size: int | None = None,
    jit: bool = True,
) -> list[Any]:
    """Runs metrics over all images and transforms in one pass (measures.md D.11).

    Costs ``1 + len(transforms)`` calls of f per image; one more per transform if a metric needs
    ``back``, and one batch more in all if one needs ``other``. f is compiled once for all.

    Args:
      f: images to outputs ``[n, ...]``.
      images: ``[n, ...]``, floating point.
      transforms: what acts.
      metrics: see ``Metric``.
      input: layout of the images: "image", "tokens", a ``Layout`` or a representation.
      output: layout of the outputs, on which the transforms act too; "invariant": not. None:
        invariant scores ``[n]`` or ``[n, c]``; anything larger has to be declared.
      head: "logits" (the output as it is), "probabilities", "log_probabilities" or a function.
      batch_size: images per call of f; None: all at once.
      jit: False for functions that JAX cannot trace.

    Returns:
      One result per metric.

    Raises:
      TypeError: integer images, or something that is no transform.
      ValueError: non-finite inputs or outputs, no transform, a transform that does not fit a
        layout, an empty mask, or a single image where another one is needed.
    """
    metrics, transforms = list(metrics), check_transforms(transforms)
    needs = frozenset().union(*(metric.needs for metric in metrics))
    program = program_of(f, head, jit)
    stream = outcomes(program, images, transforms, input, output, batch_size, needs)
    states = [metric.init(len(transforms), len(images)) for metric in metrics]
    for slot, outcome in stream:
        states = [
            metric.update(state, outcome, slot)
            for metric, state in zip(metrics, states, strict=True)
        ]
    return [metric.compute(state) for metric, state in zip(metrics, states, strict=True)]


def outcomes(
    program: Program,
    images: Array,
    transforms: Sequence[Transform],
    input: str | Layout = "image",
    output: str | Layout | None = None,
    batch_size: int | None = None,
    needs: frozenset[str] = frozenset(),
) -> Iterator[tuple[Slot, Outcome]]:
    """The outcomes of every batch and transform, see ``evaluate``."""
    transforms = check_transforms(transforms)
    setting = setting_of(images, transforms, input, output)
    if OTHER in needs and len(images) < 2:
        raise ValueError("another image is needed to compare with, but there is only one")
    start, before = 0, {}
    for x, real in batches(images, batch_size):
        uprights, rolled = {}, {}
        for index, transform in enumerate(transforms):
            kind = transform.filter
            if kind not in uprights:
                uprights[kind] = _upright(program, transform, x, setting)
                if start == 0:
                    setting.check_output(uprights[kind], transforms)
                if OTHER in needs:
                    if start == 0:
                        last = _upright(program, transform, _last(images, len(x)), setting)
                        before[kind] = last[:1]
                    rolled[kind] = jnp.concatenate([before[kind], uprights[kind][:-1]])
                    before[kind] = uprights[kind][real - 1 : real]
            pair = uprights[kind], rolled.get(kind)
            yield Slot(index, start, real), _outcome(program, transform, x, *pair, setting, needs)
        start += real


class Setting(NamedTuple):
    """How inputs and outputs lie on the plane.

    Attributes:
      layout: of the inputs.
      out: of the outputs.
      frame: rows and columns of the inputs.
    """

    layout: Layout
    out: Layout
    frame: Frame

    def check_output(self, y: jax.Array, transforms: Sequence[Transform]) -> None:
        """ValueError unless the layout fits the outputs and every transform acts on them."""
        self.out.check(y.shape, "the output")
        for transform in transforms:
            transform.check(y.shape, self.out, self.frame)


def setting_of(
    images: Array, transforms: Sequence[Transform], input: str | Layout, output: str | Layout
) -> Setting:
    """The setting, once the images are known to be good and every transform to act on them.

    Raises:
      TypeError, ValueError: see ``evaluate``.
    """
    images = check_inputs(images)
    layout, out = as_layout(input, "input"), as_layout(output, "output")
    layout.check(images.shape, "the input")
    frame = frame_of(images.shape, layout)
    for transform in transforms:
        transform.check(images.shape, layout, frame)
    return Setting(layout, out, frame)


def check_transforms(transforms: Sequence[Transform]) -> list[Transform]:
    """The transforms as a list; those of a finite group are its elements.

    Raises:
      ValueError: there are none, or infinitely many.
      TypeError: something else.
    """
    if isinstance(transforms, Group):
        transforms = group_transforms(transforms)
    elif isinstance(transforms, Transform | str):
        transforms = [transforms]
    transforms = list(transforms)
    if not transforms:
        raise ValueError("the list of transforms is empty")
    for transform in transforms:
        if not isinstance(transform, Transform):
            raise TypeError(
                f"expected transforms such as measures.finite.shift(0, 1), got {transform!r}; for "
                f"the elements of a group use group_transforms(group)"
            )
    return transforms


def _upright(program: Program, transform: Transform, x: Array, setting: Setting) -> jax.Array:
    return program.checked(match(transform, x, setting.layout, setting.frame), "f(x)")


def _outcome(
    program: Program,
    transform: Transform,
    x: Array,
    upright: jax.Array,
    rolled: jax.Array | None,
    setting: Setting,
    needs: frozenset[str],
) -> Outcome:
    layout, out, frame = setting
    moved_inputs = move(transform, x, layout, frame)
    moved = program.checked(moved_inputs, f"f(T x) under {transform.name}")
    back = None
    if BACK in needs:
        returned = move(transform.inverse, moved_inputs, layout, frame)
        back = program.checked(returned, f"f(T^-1 T x) under {transform.name}")
    return Outcome(
        moved=match(transform, moved, out, frame),
        expected=move(transform, upright, out, frame),
        mask=checked_mask(transform, upright.shape, out, frame),
        upright=upright,
        inputs=x,
        moved_inputs=moved_inputs,
        other=None if rolled is None else move(transform, rolled, out, frame),
        back=back,
    )


def _last(images: Array, n: int) -> Array:
    """The last image n times."""
    xp = jnp if isinstance(images, jax.Array) else np
    return xp.repeat(images[-1:], n, axis=0)
