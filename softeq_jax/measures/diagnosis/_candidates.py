"""Other meanings of an array that users mean when they declare one: what might fit instead."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.measures.base._layouts import Fiber, Frame, Image, Invariant, Shape
from softeq_jax.measures.diagnosis._meanings import Meaning, Move
from softeq_jax.reps import Multiple, Rep, Sum, irrep, regular, tensor, vector

_ORDERS = 6
"""Orders of fields that are tried."""


class Candidate(NamedTuple):
    """A meaning with the kind of mistake that it would be."""

    kind: str
    meaning: Meaning


def candidates(
    meaning: Meaning, group: Group, shape: Shape, frame: Frame = (1, 1)
) -> list[Candidate]:
    """The plausible meanings of an array besides the declared one; with a frame also points in it,
    in pixels or as shares of its sides."""
    layout = meaning.layout
    if isinstance(layout, Image):
        found = _of_maps(meaning, layout, group, shape)
    elif isinstance(layout, Fiber):
        found = _of_fibers(meaning, layout, group, shape)
    elif isinstance(layout, Invariant):
        found = _of_scalars(group, shape)
    else:
        found = iter(())
    if isinstance(group, PlanarGroup) and max(frame) > 1 and len(shape) > 1 and shape[-1] == 2:
        found = itertools.chain(found, _of_points(group, frame))
    return [candidate for candidate in found if _fits(candidate.meaning, shape)]


def _of_points(group: Group, frame: Frame) -> Iterator[Candidate]:
    """Points on the image, which turn about its center."""
    sides = np.array(frame, float)
    units = {
        "in pixels": (sides - 1) / 2,
        "in pixels from the edge": sides / 2,
        "as shares of the sides": np.array([0.5, 0.5]),
    }
    for (unit, center), rows_first in itertools.product(units.items(), (True, False)):
        order = "row, column" if rows_first else "column, row"

        def enter(y: Any, center: Any = center, rows_first: bool = rows_first) -> Any:
            row, col = (y[..., 0], y[..., 1]) if rows_first else (y[..., 1], y[..., 0])
            return jnp.stack([col - center[1], center[0] - row], -1)

        def leave(v: Any, center: Any = center, rows_first: bool = rows_first) -> Any:
            row, col = center[0] - v[..., 1], v[..., 0] + center[1]
            return jnp.stack([row, col] if rows_first else [col, row], -1)

        words = f"points on the image, {order}, {unit}, which turn about its center"
        layout = Fiber(vector(group), (-1,))
        yield Candidate("representation", Meaning(layout, words, order=(enter, leave)))


def _fits(meaning: Meaning, shape: Shape) -> bool:
    try:
        x = jnp.zeros(shape)
        meaning.layout.check((x if meaning.order is None else meaning.order[0](x)).shape, "it")
    except (ValueError, TypeError):
        return False
    return True


def _flip_conjugate(g: np.ndarray) -> np.ndarray:
    mirror = np.diag([-1.0, 1.0])
    return mirror @ g @ mirror + 0.0


def _inverse(g: np.ndarray) -> np.ndarray:
    return np.linalg.inv(g)


def _of_maps(meaning: Meaning, layout: Image, group: Group, shape: Shape) -> Iterator[Candidate]:
    def new(words: str, **changes: Any) -> Meaning:
        return dataclasses.replace(meaning, words=words, **changes)

    if len(shape) == 4 and layout.axes == (1, 2):
        first = Image((2, 3), 1, fiber=layout.fiber)
        yield Candidate("layout", new("maps with the channels on axis 1 (NCHW)", layout=first))
    if len(shape) == 4 and layout.axes == (2, 3):
        last = Image((1, 2), -1, fiber=layout.fiber)
        yield Candidate("layout", new("maps with the channels on the last axis", layout=last))
    if layout.fiber is not None:
        yield from _of_fiber_in_maps(meaning, layout, group, shape)
    yield from _types_in_maps(meaning, layout, group, shape)
    other = new("maps that turn the other way", twist=_flip_conjugate)
    yield Candidate("representation", dataclasses.replace(other, pixels_alone=True))
    swapped = dataclasses.replace(layout, axes=layout.axes[::-1])
    yield Candidate("layout", new("maps with rows and columns exchanged", layout=swapped))


def _of_fiber_in_maps(
    meaning: Meaning, layout: Image, group: Group, shape: Shape
) -> Iterator[Candidate]:
    rep = layout.fiber
    assert rep is not None
    bare = dataclasses.replace(layout, fiber=None)
    words = "maps of scalars, on which the group moves the pixels alone"
    yield Candidate("representation", dataclasses.replace(meaning, words=words, layout=bare))
    fiber = Fiber(rep, (layout.channel,))
    for kind, other in _of_fibers(dataclasses.replace(meaning, layout=fiber), fiber, group, shape):
        if isinstance(other.layout, Fiber):
            inner = dataclasses.replace(layout, fiber=other.layout.rep)
            pixels = False if other.twist is not None else None
            yield Candidate(
                kind,
                dataclasses.replace(
                    other, layout=inner, pixels_alone=pixels, words=f"maps of {other.words}"
                ),
            )


def _types_in_maps(
    meaning: Meaning, layout: Image, group: Group, shape: Shape
) -> Iterator[Candidate]:
    for rep in _types(group, shape[layout.channel]):
        if rep != layout.fiber:
            inner = dataclasses.replace(layout, fiber=rep)
            words = f"maps of {rep} in the channels"
            yield Candidate(
                "representation", dataclasses.replace(meaning, words=words, layout=inner)
            )
            if isinstance(group, PlanarGroup):
                turned = dataclasses.replace(
                    meaning,
                    words=f"{words}, turning the other way",
                    layout=inner,
                    twist=_flip_conjugate,
                    pixels_alone=False,
                )
                yield Candidate("representation", turned)
    if not layout.fiber:
        words = "maps of pseudoscalars, which reflections negate"
        yield Candidate("representation", dataclasses.replace(meaning, words=words, signed=True))


def _types(group: Group, channels: int) -> list[Rep]:
    """Representations whose copies fill an axis."""
    found = [vector(group)]
    if group.is_finite and (group.order or 0) <= 64:
        found.append(regular(group))
    if isinstance(group, PlanarGroup):
        highest = 3 if group.rotations is None else min(3, (group.rotations - 1) // 2)
        found += [irrep(group, m) for m in range(2, highest + 1)]
    found.append(tensor(group, 2))
    return [rep for rep in found if channels % rep.dim == 0 and not rep.is_trivial]


def _of_scalars(group: Group, shape: Shape) -> Iterator[Candidate]:
    yield Candidate(
        "representation",
        Meaning(Invariant(), "pseudoscalars, which reflections negate", signed=True),
    )
    if isinstance(group, PlanarGroup) and len(shape) in (3, 4):
        yield Candidate("representation", Meaning(Image(), "maps, which turn with the input"))
    for axis in range(len(shape) - 1, 0, -1):
        for rep in _types(group, shape[axis]):
            plain = Meaning(Fiber(rep, (axis,)), f"{rep} on axis {axis}")
            yield Candidate("representation", plain)
            yield Candidate(
                "representation",
                dataclasses.replace(plain, words=f"axial {plain.words}", signed=True),
            )
            if not rep.is_orthogonal:
                dual = Meaning(Fiber(rep.dual, (axis,)), f"{rep.dual} on axis {axis}")
                yield Candidate("representation", dual)


def _of_fibers(meaning: Meaning, layout: Fiber, group: Group, shape: Shape) -> Iterator[Candidate]:
    rep, axes = layout.rep, layout.axes

    def new(words: str, **changes: Any) -> Meaning:
        return dataclasses.replace(meaning, words=words, **changes)

    if not rep.is_orthogonal:
        dual = dataclasses.replace(layout, rep=rep.dual)
        yield Candidate("representation", new(f"the dual, {rep.dual}", layout=dual))
    yield Candidate(
        "representation",
        new(f"axial {rep}, negated once more by reflections", signed=not meaning.signed),
    )
    yield Candidate("representation", Meaning(Invariant(), "invariant scalars"))
    twist = _flip_conjugate if isinstance(group, PlanarGroup) else _inverse
    yield Candidate("representation", new(f"{rep} turning the other way", twist=twist))
    for words, order in _rearranged(meaning, rep, axes, shape):
        yield Candidate("layout", new(words, order=order))
    for parts in _part_orders(rep):
        other = dataclasses.replace(layout, rep=parts)
        yield Candidate("layout", new(f"{parts}, the fields in this order", layout=other))
    fits = [
        a for a in range(1, len(shape)) if shape[a] == rep.dim and a not in _positive(axes, shape)
    ]
    for axis in fits if len(rep.shape) == 1 and meaning.order is None else ():
        other = Fiber(rep, (axis,))
        yield Candidate("layout", new(f"{rep} on axis {axis}", layout=other))
    if meaning.order is None and len(axes) == 1:
        for other in _types(group, shape[axes[0]]):
            if other != rep:
                fiber = dataclasses.replace(layout, rep=other)
                yield Candidate("representation", new(f"{other} instead", layout=fiber))


def _positive(axes: Sequence[int], shape: Shape) -> list[int]:
    return [axis % len(shape) for axis in axes]


def _part_orders(rep: Rep) -> list[Rep]:
    """Direct sums of the same parts in other orders."""
    if isinstance(rep, Sum) and len(set(rep.parts)) > 1:
        orders = set(itertools.permutations(rep.parts)) - {rep.parts}
        return [Sum(rep.group, parts) for parts in sorted(orders, key=repr)[:_ORDERS]]
    return []


def _rearranged(
    meaning: Meaning, rep: Rep, axes: Sequence[int], shape: Shape
) -> Iterator[tuple[str, tuple[Move, Move]]]:
    """Other orders of the entries along the acting axis: components, and copies."""
    axis = axes[-1] % len(shape)
    if meaning.order is not None or len(rep.shape) > 2:
        yield from _flat_rearranged(meaning, rep, shape)
        return
    n, d = shape[axis], rep.group.d
    unit = rep.parts[0].dim if isinstance(rep, Multiple) else min(rep.dim, n)
    if n % unit == 0 and n > unit > 1:
        index = np.arange(n).reshape(unit, n // unit).T.ravel()
        yield f"{rep}, component by component (all first components first)", _along(index, axis)
    if d in (2, 3) and n % d == 0 and unit % d == 0:
        for order in itertools.permutations(range(d)):
            if order != tuple(range(d)):
                names = ", ".join("xyz"[i] for i in order)
                index = (np.arange(n).reshape(-1, d)[:, np.argsort(order)]).ravel()
                yield f"{rep} with components ({names})", _along(index, axis)


def _flat_rearranged(
    meaning: Meaning, rep: Rep, shape: Shape
) -> Iterator[tuple[str, tuple[Move, Move]]]:
    if meaning.order is None or not isinstance(rep, Multiple):
        return
    unit, n = rep.parts[0].dim, rep.dim
    inner, outer = _along(np.arange(n).reshape(unit, n // unit).T.ravel(), 1)
    forth, back = meaning.order

    def ordered(y: Any) -> Any:
        return forth(inner(y.reshape(len(y), -1)).reshape(y.shape))

    def restored(y: Any) -> Any:
        flat = back(y)
        return outer(flat.reshape(len(flat), -1)).reshape(flat.shape)

    yield f"{rep}, component by component (all first components first)", (ordered, restored)


def _along(index: np.ndarray, axis: int) -> tuple[Move, Move]:
    inverse = np.argsort(index)
    return lambda y: jnp.take(y, index, axis), lambda y: jnp.take(y, inverse, axis)
