r"""What the axes of an array inside a network mean: rows, columns, tokens, copies of a fiber.

A layout says how one array lies on the plane; to follow it through an operation it is taken apart
into one mark per axis, since most operations map axes to axes. An axis without a mark (None)
counts channels, heads or anything else on which nothing acts. Coordinates as in ``_layouts``:
pixels of the input from its center.
"""

import dataclasses
import math

from softeq_jax.measures._layouts import Fiber, Image, Invariant, Layout, Pair, Tokens
from softeq_jax.reps import Rep


@dataclasses.dataclass(frozen=True)
class Batch:
    """The axis that counts the examples."""


@dataclasses.dataclass(frozen=True)
class Line:
    """Rows (``kind`` "y") or columns ("x"): index i lies at ``origin + pitch i``."""

    kind: str
    origin: float
    pitch: float


@dataclasses.dataclass(frozen=True)
class Chain:
    """Tokens: ``prefix`` that stay in place, then a grid row by row."""

    grid: tuple[int, int]
    prefix: int
    origin: Pair
    pitch: Pair


@dataclasses.dataclass(frozen=True)
class Copies:
    """Channels made of copies of a fiber."""

    fiber: Rep


@dataclasses.dataclass(frozen=True)
class Part:
    """The ``index``-th axis of those that a representation acts on."""

    rep: Rep
    index: int


@dataclasses.dataclass(frozen=True)
class Packed:
    """Several axes flattened into one; a later reshape may take them apart again."""

    sizes: tuple[int, ...]
    marks: tuple["Mark", ...]


Mark = Batch | Line | Chain | Copies | Part | Packed | None
Marks = tuple[Mark, ...] | None
"""The marks of all axes; None: how the array lies is not known."""

BATCH = Batch()


def is_spatial(mark: Mark) -> bool:
    """Whether positions of the plane are spread along an axis with this mark."""
    return isinstance(mark, Line | Chain | Part | Packed)


def marks_of(layout: Layout, shape: tuple[int, ...], frame: tuple[int, int] | None) -> Marks:
    """A declared layout, axis by axis.

    Args:
      layout: of an array of this shape, which it fits.
      shape: ``[n, ...]``.
      frame: rows and columns of the input; None where it is no image.

    Raises:
      ValueError: a grid is declared, but the input of the network is none.
    """
    marks: list[Mark] = [BATCH, *[None] * (len(shape) - 1)]
    if isinstance(layout, Image | Tokens) and frame is None:
        raise ValueError(f"{layout} lies on the pixels of the input, but the input is no image")
    if isinstance(layout, Image):
        place = layout.placement(shape, frame)
        for axis, kind, origin, pitch in zip(
            layout.axes, "yx", place.origin, place.pitch, strict=True
        ):
            marks[axis] = Line(kind, origin, pitch)
        if layout.fiber is not None:
            marks[layout.channel] = Copies(layout.fiber)
    elif isinstance(layout, Tokens):
        place = layout.placement(shape, frame)
        marks[layout.axis] = Chain(layout.sides(shape), layout.prefix, place.origin, place.pitch)
    elif isinstance(layout, Fiber):
        for index, axis in enumerate(layout.axes):
            marks[axis] = Part(layout.rep, index)
    return tuple(marks)


def layout_of(marks: Marks) -> Layout | None:
    """The layout with these marks, or None where no layout describes them."""
    if marks is None or marks[0] != BATCH or marks.count(BATCH) != 1:
        return None
    if any(isinstance(mark, Packed) for mark in marks):
        return None
    lines = {mark.kind: axis for axis, mark in enumerate(marks) if isinstance(mark, Line)}
    count = sum(isinstance(mark, Line) for mark in marks)
    chains = [axis for axis, mark in enumerate(marks) if isinstance(mark, Chain)]
    parts = [axis for axis, mark in enumerate(marks) if isinstance(mark, Part)]
    copies = [axis for axis, mark in enumerate(marks) if isinstance(mark, Copies)]
    kinds = bool(lines) + bool(chains) + bool(parts)
    if not kinds and not copies:
        return Invariant()
    if kinds > 1 or len(copies) > 1:
        return None
    if lines:
        if count != 2 or len(lines) != 2:
            return None
        axes = (lines["y"], lines["x"])
        free = [a for a in range(1, len(marks)) if a not in axes]
        rows, columns = (marks[axis] for axis in axes)
        return Image(
            axes,
            copies[0] if copies else free[-1] if free else -1,
            pitch=(rows.pitch, columns.pitch),
            origin=(rows.origin, columns.origin),
            fiber=marks[copies[0]].fiber if copies else None,
            rectangular=True,
        )
    if chains:
        if len(chains) != 1 or copies:
            return None
        chain = marks[chains[0]]
        return Tokens(chain.grid, chain.prefix, chains[0], chain.pitch, chain.origin, True)
    if copies:
        return None if parts else Fiber(marks[copies[0]].fiber, (copies[0],))
    return _fiber_of(marks, parts)


def cornered(layout: Layout, shape: tuple[int, ...], frame: tuple[int, int] | None) -> Layout:
    """The layout with its grid stretched from corner to corner of the input."""
    if not isinstance(layout, Image | Tokens) or frame is None:
        return layout
    grid = layout.grid(shape) if isinstance(layout, Image) else layout.sides(shape)
    return dataclasses.replace(layout, pitch=_corner_pitch(frame, grid), origin=None)


def combined(first: Mark, second: Mark) -> tuple[bool, Mark]:
    """The mark of an axis along which two arrays are joined entry by entry.

    Grids that are shifted against each other are taken to lie midway.

    Returns:
      Whether the two agree, and the mark.
    """
    if first is None or second is None or first == second:
        return True, second if first is None else first
    if isinstance(first, Line) and isinstance(second, Line):
        if first.kind == second.kind and math.isclose(first.pitch, second.pitch):
            return True, Line(first.kind, (first.origin + second.origin) / 2, first.pitch)
    elif isinstance(first, Chain) and isinstance(second, Chain):
        same = (first.grid, first.prefix) == (second.grid, second.prefix)
        pitches = zip(first.pitch, second.pitch, strict=True)
        if same and all(math.isclose(a, b) for a, b in pitches):
            y, x = ((a + b) / 2 for a, b in zip(first.origin, second.origin, strict=True))
            return True, dataclasses.replace(first, origin=(y, x))
    return False, None


def _fiber_of(marks: tuple[Mark, ...], parts: list[int]) -> Layout | None:
    rep = marks[parts[0]].rep
    order = {marks[axis].index: axis for axis in parts if marks[axis].rep == rep}
    complete = len(order) == len(parts) and sorted(order) == list(range(len(order)))
    if not complete or (len(order) > 1 and len(order) != len(rep.shape)):
        return None
    return Fiber(rep, tuple(order[index] for index in range(len(order))))


def _corner_pitch(frame: tuple[int, int], grid: tuple[int, int]) -> Pair:
    y, x = (
        (side - 1) / (n - 1) if n > 1 else float(side) for side, n in zip(frame, grid, strict=True)
    )
    return y, x
