r"""One pass over images and transforms that all finite measures share.

For every batch x and every transform T the evaluator yields ``f(T x)``, ``T' f(x)`` and what else
a metric asks for. A metric is a triple of pure functions, like an optimizer of optax:
``init(transforms, n)``, ``update(state, comparison, slot)`` and ``compute(state)``. The function is
compiled once, with its arrays as arguments: batches are filled up to one size, and ``slot.real``
says how many examples count.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import Group
from softeq_jax.measures.base._functions import (
    Array,
    Function,
    Skeleton,
    batches,
    check_inputs,
    check_outputs,
    compiled,
    one_array,
    split_callable,
    with_head,
)
from softeq_jax.measures.base._layouts import Frame, Layout, Shape
from softeq_jax.measures.base._options import Options, Setting, resolved
from softeq_jax.measures.finite._families import group_transforms, haar_transforms
from softeq_jax.measures.finite._metrics import BACK, OTHER, Comparison, Metric, Slot
from softeq_jax.measures.finite._transform import Transform, grid_of, is_planar


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A function with its head, ready to be called on batches.

    Attributes:
      skeleton: what it is without its arrays, for the compiler; None: it is called as it is.
      arrays: its parameters, where it is a pytree.
      plain: the function itself, with its head.
      head: the head.
    """

    skeleton: Skeleton | None
    arrays: list[Array]
    plain: Function
    head: str | Function

    def __call__(self, x: Array) -> jax.Array:
        if self.skeleton is None:
            return jnp.asarray(one_array(self.plain(x)))
        return _call(self.arrays, x, skeleton=self.skeleton, head=self.head)

    def checked(self, x: Array, what: str) -> jax.Array:
        """The output, once it is known to be finite and to have one entry per example.

        Raises:
          ValueError: it is not.
        """
        y = self(x)
        if y.ndim < 1 or y.shape[0] != x.shape[0]:
            raise ValueError(
                f"{what} has shape {y.shape} for {x.shape[0]} inputs: the function must return "
                f"[n, ...], one entry per example"
            )
        if not bool(_all_finite(y)):
            check_outputs(y, what, ": check the inputs and the parameters of the function")
        return y


def program_of(f: Function, head: str | Function, jit: bool = True) -> Program:
    """The function with a head, compiled unless ``jit`` is False.

    Args:
      f: images to outputs ``[n, ...]``; the arrays of a pytree that can be called, such as
        ``jax.tree_util.Partial``, are arguments of the compiled program.
      head: "logits", "probabilities", "log_probabilities" or a function of the output.
      jit: False for functions that JAX cannot trace.

    Raises:
      TypeError: f cannot be called.
      ValueError: an unknown head.
    """
    if not callable(f):
        raise TypeError(f"what is measured must be a function of the images, got {f!r}")
    plain = with_head(f, head)
    if not jit:
        return Program(None, [], plain, head)
    arrays, skeleton = split_callable(f, head)
    return Program(skeleton, arrays, plain, head)


def frame_of(shape: Shape, layout: Layout) -> Frame:
    """Rows and columns of the input; (1, 1) where nothing lies on a grid."""
    return grid_of(shape, layout) if is_planar(layout) else (1, 1)


def move(transform: Transform, x: Array, layout: Layout, frame: Frame) -> jax.Array:
    """``T x``; compiled once per kind where the transform has numbers, else run as it is.

    ``transform.check`` comes first.
    """
    if not jax.tree.leaves(transform):
        return transform(x, layout, frame)
    return _move(transform, x, layout, frame)


def match(transform: Transform, x: Array, layout: Layout, frame: Frame) -> Array:
    """``transform.match``, compiled where it does anything."""
    if transform.filter is None:
        return x
    return _match(transform, x, layout, frame)


def checked_mask(transform: Transform, shape: Shape, layout: Layout, frame: Frame) -> jax.Array:
    """The mask, if it leaves anything.

    Raises:
      ValueError: every entry is masked.
    """
    static = not jax.tree.leaves(transform)
    mask = (transform.mask if static else functools.partial(_mask, transform))(shape, layout, frame)
    if not np.any(np.asarray(mask)):
        raise ValueError(
            f"{transform.name} leaves nothing of an array of shape {shape} inside its mask: "
            f"choose a smaller transform, boundary='circular', or interpolation='bilinear'"
        )
    return mask


@functools.partial(jax.jit, static_argnames=("layout", "frame"))
def _move(transform: Transform, x: Array, layout: Layout, frame: Frame) -> jax.Array:
    return transform(x, layout, frame)


@functools.partial(jax.jit, static_argnames=("shape", "layout", "frame"))
def _mask(transform: Transform, shape: Shape, layout: Layout, frame: Frame) -> jax.Array:
    return transform.mask(shape, layout, frame)


@functools.partial(jax.jit, static_argnames=("layout", "frame"))
def _match(transform: Transform, x: Array, layout: Layout, frame: Frame) -> jax.Array:
    return transform.match(x, layout, frame)


@compiled
def _call(arrays: list[Array], x: Array, *, skeleton: Skeleton, head: str | Function) -> jax.Array:
    return one_array(with_head(skeleton(arrays), head)(x))


@jax.jit
def _all_finite(y: jax.Array) -> jax.Array:
    return jnp.all(jnp.isfinite(y))


SAMPLES = 32
"""Elements that are drawn of an infinite group."""


Transforms = Group | Transform | Sequence[Transform]
"""What is taken for transforms: those of a finite group are its elements."""


def evaluate(
    f: Function,
    images: Array,
    transforms: Transforms,
    metrics: Sequence[Metric],
    **options: Unpack[Options],
) -> list[Any]:
    """Metrics over all images and transforms, in one pass (measures.md D.11).

    Costs ``1 + len(transforms)`` calls of f per image; one more per transform if a metric needs
    ``back``, and one batch more in all if one needs ``other``. f is compiled once for all.

    Args:
      f: images to outputs ``[n, ...]``.
      images: ``[n, ...]``, floating point.
      transforms: what acts.
      metrics: see ``Metric``.
      **options: all but stencil, see ``Options``.

    Returns:
      One result per metric.

    Raises:
      TypeError: integer images, or something that is no transform or option.
      ValueError: non-finite inputs or outputs, no transform, a transform that does not fit a
        layout, an empty mask, or a single image where another one is needed.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(3, 4, 4, 1)).astype("float32")
      >>> error = lambda pair: {"error": abs(pair.moved - pair.expected).max(1)}
      >>> metric = sq.measures.finite.per_image(error)
      >>> f, turn = lambda x: x.max((1, 2)), sq.measures.quarter_turn()
      >>> sq.measures.evaluate(f, x, turn, [metric])[0]["error"]
      array([[0., 0., 0.]])
    """
    metrics, transforms = list(metrics), check_transforms(transforms)
    needs: frozenset[str] = frozenset().union(*(metric.needs for metric in metrics))
    setting = setting_of(images, transforms, resolved(options, "evaluate", without=("stencil",)))
    program = program_of(f, setting.head, setting.jit)
    stream = comparisons(program, images, transforms, setting, needs)
    states = [metric.init(len(transforms), len(images)) for metric in metrics]
    for slot, comparison in stream:
        states = [
            metric.update(state, comparison, slot)
            for metric, state in zip(metrics, states, strict=True)
        ]
    return [metric.compute(state) for metric, state in zip(metrics, states, strict=True)]


def comparisons(
    program: Program,
    images: Array,
    transforms: Sequence[Transform],
    setting: Setting,
    needs: frozenset[str] = frozenset(),
) -> Iterator[tuple[Slot, Comparison]]:
    """The comparisons of every batch and transform, see ``evaluate``."""
    if OTHER in needs and len(images) < 2:
        raise ValueError("another image is needed to compare with, but there is only one")
    start, before = 0, {}
    for x, real in batches(images, setting.batch_size):
        uprights, rolled = {}, {}
        for index, transform in enumerate(transforms):
            kind = transform.filter
            if kind not in uprights:
                uprights[kind] = _upright(program, transform, x, setting)
                if start == 0:
                    check_output(uprights[kind], transforms, setting)
                if OTHER in needs:
                    if start == 0:
                        last = _upright(program, transform, _last(images, len(x)), setting)
                        before[kind] = last[:1]
                    rolled[kind] = jnp.concatenate([before[kind], uprights[kind][:-1]])
                    before[kind] = uprights[kind][real - 1 : real]
            pair = uprights[kind], rolled.get(kind)
            yield (
                Slot(index, start, real),
                _comparison(program, transform, x, *pair, setting, needs),
            )
        start += real


def setting_of(images: Array, transforms: Sequence[Transform], setting: Setting) -> Setting:
    """The setting of images, which are known to be good and moved by every transform.

    Raises:
      TypeError, ValueError: see ``evaluate``.
    """
    images = check_inputs(images)
    setting.input.check(images.shape, "the input")
    frame = frame_of(images.shape, setting.input)
    for transform in transforms:
        transform.check(images.shape, setting.input, frame)
    return dataclasses.replace(setting, frame=frame)


def places(setting: Setting) -> tuple[Layout, Layout, Frame]:
    """Layouts of inputs and outputs, and rows and columns of the inputs, once they are known."""
    assert setting.frame is not None
    return setting.input, setting.output, setting.frame


def check_output(y: jax.Array, transforms: Sequence[Transform], setting: Setting) -> None:
    """ValueError unless the layout fits the outputs and every transform acts on them."""
    _, out, frame = places(setting)
    out.check(y.shape, "the output")
    for transform in transforms:
        transform.check(y.shape, out, frame)


def check_transforms(transforms: Transforms) -> list[Transform]:
    """The transforms as a list; those of a finite group are its elements.

    Raises:
      ValueError: there are none, or infinitely many.
      TypeError: something else.
    """
    if isinstance(transforms, Group):
        return [*group_transforms(transforms)]
    single = isinstance(transforms, Transform | str)
    found: list[Any] = [transforms] if single else list(transforms)
    if not found:
        raise ValueError("the list of transforms is empty")
    for transform in found:
        if not isinstance(transform, Transform):
            raise TypeError(
                f"expected transforms such as measures.finite.shift(0, 1), got {transform!r}; for "
                f"the elements of a group use group_transforms(group)"
            )
    return found


def transforms_of(group: Any, n: int | None = None, key: Any = None) -> list[Transform]:
    """The elements, or samples, of a group as transforms; a list of transforms as it is.

    Raises:
      ValueError: samples without a key, or ``n`` for a list of transforms.
    """
    if not isinstance(group, Group):
        if n is not None:
            raise ValueError("n counts samples of a group; a list of transforms has its own length")
        return check_transforms(group)
    if n is None and group.is_finite:
        return [*group_transforms(group)]
    if key is None:
        raise ValueError(f"samples of {group} need key=jax.random.key(...)")
    return [*haar_transforms(group, key, SAMPLES if n is None else n)]


def names_of(transforms: Sequence[Transform]) -> tuple[str, ...]:
    """The names of transforms, one per row of an estimate."""
    return tuple(transform.name for transform in transforms)


def _upright(program: Program, transform: Transform, x: Array, setting: Setting) -> jax.Array:
    layout, _, frame = places(setting)
    return program.checked(match(transform, x, layout, frame), "f(x)")


def _comparison(
    program: Program,
    transform: Transform,
    x: Array,
    upright: jax.Array,
    rolled: jax.Array | None,
    setting: Setting,
    needs: frozenset[str],
) -> Comparison:
    layout, out, frame = places(setting)
    moved_inputs = move(transform, x, layout, frame)
    moved = program.checked(moved_inputs, f"f(T x) under {transform.name}")
    back = back_mask = None
    if BACK in needs:
        returned = move(transform.inverse, moved_inputs, layout, frame)
        back = program.checked(returned, f"f(T^-1 T x) under {transform.name}")
        back_mask = checked_mask(transform.inverse, upright.shape, out, frame)
    return Comparison(
        moved=jnp.asarray(match(transform, moved, out, frame)),
        expected=move(transform, upright, out, frame),
        mask=checked_mask(transform, upright.shape, out, frame),
        upright=upright,
        inputs=x,
        moved_inputs=moved_inputs,
        other=None if rolled is None else move(transform, rolled, out, frame),
        back=back,
        back_mask=back_mask,
    )


def _last(images: Array, n: int) -> Array:
    """The last image n times."""
    xp = jnp if isinstance(images, jax.Array) else np
    return xp.repeat(images[-1:], n, axis=0)
