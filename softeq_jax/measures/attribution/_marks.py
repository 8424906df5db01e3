r"""Marks of the axes of an array inside a network, and how operations move them.

A layout says how one array lies on the plane; to follow it through an operation it is taken apart
into one mark per axis (rows, columns, tokens, copies of a fiber), since most operations map axes
to axes. An axis without a mark (None) counts channels, heads or anything else on which nothing
acts. Coordinates as in ``_layouts``: pixels of the input from its center.

A window of k entries with dilation d and stride s over a line that was padded by ``lo`` entries
in front and spread out by a factor e reads, for its entry j, the middle position

    (s j + d (k - 1) / 2 - lo) / e

of the input line; that is where entry j lies. Source: measures.md D.7, E.3.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from softeq_jax.measures.base._layouts import (
    Fiber,
    Frame,
    Image,
    Invariant,
    Layout,
    Pair,
    Tokens,
)
from softeq_jax.reps import Rep


@dataclasses.dataclass(frozen=True)
class BatchAxis:
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


Mark = BatchAxis | Line | Chain | Copies | Part | Packed | None
Marks = tuple[Mark, ...] | None
"""The marks of all axes; None: how the array lies is not known."""

BATCH = BatchAxis()


def is_spatial(mark: Mark) -> bool:
    """Whether positions of the plane are spread along an axis with this mark."""
    return isinstance(mark, Line | Chain | Part | Packed)


def marks_of(layout: Layout, shape: tuple[int, ...], frame: Frame | None) -> Marks:
    """A declared layout, axis by axis.

    Args:
      layout: of an array of this shape, which it fits.
      shape: ``[n, ...]``.
      frame: rows and columns of the input; None where it is no image.

    Raises:
      ValueError: a grid is declared, but the input of the network is none.
    """
    marks: list[Mark] = [BATCH, *[None] * (len(shape) - 1)]
    if isinstance(layout, Image | Tokens):
        if frame is None:
            raise ValueError(f"{layout} lies on the pixels of the input, but the input is no image")
        place = layout.placement(shape, frame)
        if isinstance(layout, Tokens):
            sides = layout.sides(shape)
            marks[layout.axis] = Chain(sides, layout.prefix, place.origin, place.pitch)
            return tuple(marks)
        for axis, kind, origin, pitch in zip(
            layout.axes, "yx", place.origin, place.pitch, strict=True
        ):
            marks[axis] = Line(kind, origin, pitch)
        if layout.fiber is not None:
            marks[layout.channel] = Copies(layout.fiber)
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
    lines = {mark.kind: (axis, mark) for axis, mark in enumerate(marks) if isinstance(mark, Line)}
    count = sum(isinstance(mark, Line) for mark in marks)
    chains = [(axis, mark) for axis, mark in enumerate(marks) if isinstance(mark, Chain)]
    parts = [(axis, mark) for axis, mark in enumerate(marks) if isinstance(mark, Part)]
    copies = [(axis, mark.fiber) for axis, mark in enumerate(marks) if isinstance(mark, Copies)]
    kinds = bool(lines) + bool(chains) + bool(parts)
    if not kinds and not copies:
        return Invariant()
    if kinds > 1 or len(copies) > 1:
        return None
    if lines:
        if count != 2 or len(lines) != 2:
            return None
        (y, rows), (x, columns) = lines["y"], lines["x"]
        free = [a for a in range(1, len(marks)) if a not in (y, x)]
        channel, fiber = copies[0] if copies else (free[-1] if free else -1, None)
        return Image(
            (y, x),
            channel,
            pitch=(rows.pitch, columns.pitch),
            origin=(rows.origin, columns.origin),
            fiber=fiber,
            rectangular=True,
        )
    if chains:
        if len(chains) != 1 or copies:
            return None
        axis, chain = chains[0]
        return Tokens(chain.grid, chain.prefix, axis, chain.pitch, chain.origin, True)
    if copies:
        axis, fiber = copies[0]
        return None if parts else Fiber(fiber, (axis,))
    return _fiber_of(parts)


def cornered(layout: Layout, shape: tuple[int, ...], frame: Frame | None) -> Layout:
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


def _fiber_of(parts: list[tuple[int, Part]]) -> Layout | None:
    rep = parts[0][1].rep
    order = {part.index: axis for axis, part in parts if part.rep == rep}
    complete = len(order) == len(parts) and sorted(order) == list(range(len(order)))
    if not complete or (len(order) > 1 and len(order) != len(rep.shape)):
        return None
    return Fiber(rep, tuple(order[index] for index in range(len(order))))


def _corner_pitch(frame: Frame, grid: tuple[int, int]) -> Pair:
    y, x = (
        (side - 1) / (n - 1) if n > 1 else float(side) for side, n in zip(frame, grid, strict=True)
    )
    return y, x


@dataclasses.dataclass(frozen=True)
class Window:
    """A sliding window along one axis."""

    length: int
    stride: int
    low: int
    high: int
    spread: int
    dilation: int

    @property
    def is_trivial(self) -> bool:
        """Whether every entry stays what it is."""
        return (self.length, self.stride, self.low, self.high, self.spread) == (1, 1, 0, 0, 1)

    def slide(self, mark: Mark) -> tuple[bool, Mark]:
        """Whether a mark survives, and the mark of the result."""
        if self.is_trivial or mark is None:
            return True, mark
        if not isinstance(mark, Line):
            return False, None
        shift = (self.dilation * (self.length - 1) / 2 - self.low) / self.spread
        origin = mark.origin + mark.pitch * shift
        return True, Line(mark.kind, origin, mark.pitch * self.stride / self.spread)


def convolved(
    marks: Marks, kernel_shape: Sequence[int], params: dict[str, Any], rank: int
) -> Marks:
    """The marks behind ``conv_general_dilated`` with a constant kernel."""
    numbers = params["dimension_numbers"]
    lhs, rhs, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    if marks is None or params["batch_group_count"] != 1:
        return None
    if marks[lhs[0]] != BATCH or marks[lhs[1]] is not None:
        return None
    result: list[Mark] = [None] * rank
    result[out[0]] = BATCH
    for k in range(rank - 2):
        low, high = params["padding"][k]
        window = Window(
            kernel_shape[rhs[2 + k]],
            params["window_strides"][k],
            low,
            high,
            params["lhs_dilation"][k],
            params["rhs_dilation"][k],
        )
        fits, result[out[2 + k]] = window.slide(marks[lhs[2 + k]])
        if not fits:
            return None
    return tuple(result)


def pooled(marks: Marks, params: dict[str, Any]) -> Marks:
    """The marks behind a reduction over windows."""
    if marks is None:
        return None
    result = []
    for axis, mark in enumerate(marks):
        low, high = params["padding"][axis]
        window = Window(
            params["window_dimensions"][axis],
            params["window_strides"][axis],
            low,
            high,
            params["base_dilation"][axis],
            params["window_dilation"][axis],
        )
        fits, moved = window.slide(mark)
        if not fits:
            return None
        result.append(moved)
    return tuple(result)


def sliced(
    marks: Marks,
    shape: Sequence[int],
    start: Sequence[int],
    stop: Sequence[int],
    step: Sequence[int] | None,
) -> Marks:
    """The marks of ``x[start:stop:step]``; a class token cut out of a sequence has none."""
    if marks is None:
        return None
    result: list[Mark] = []
    for axis, mark in enumerate(marks):
        first, last, stride = start[axis], stop[axis], step[axis] if step else 1
        if (first, last, stride) == (0, shape[axis], 1) or mark is None:
            result.append(mark)
        elif isinstance(mark, Line):
            result.append(Line(mark.kind, mark.origin + mark.pitch * first, mark.pitch * stride))
        elif isinstance(mark, Chain) and last <= mark.prefix:
            result.append(None)
        elif isinstance(mark, Chain) and first <= mark.prefix and last == shape[axis]:
            if stride != 1:
                return None
            result.append(dataclasses.replace(mark, prefix=mark.prefix - first))
        else:
            return None
    return tuple(result)


def padded(marks: Marks, config: Sequence[tuple[int, int, int]]) -> Marks:
    """The marks behind ``pad`` with (low, high, interior) per axis; negative widths crop."""
    if marks is None:
        return None
    result: list[Mark] = []
    for mark, (low, high, interior) in zip(marks, config, strict=True):
        if (low, high, interior) == (0, 0, 0) or mark is None:
            result.append(mark)
        elif isinstance(mark, Line):
            pitch = mark.pitch / (interior + 1)
            result.append(Line(mark.kind, mark.origin - pitch * low, pitch))
        elif isinstance(mark, Chain) and high == 0 and interior == 0 and low > -1:
            result.append(dataclasses.replace(mark, prefix=mark.prefix + low))
        else:
            return None
    return tuple(result)


def reversed_axes(marks: Marks, shape: Sequence[int], axes: Sequence[int]) -> Marks:
    """The marks behind a flip."""
    if marks is None:
        return None
    result = list(marks)
    for axis in axes:
        mark = marks[axis]
        if isinstance(mark, Line):
            last = mark.origin + mark.pitch * (shape[axis] - 1)
            result[axis] = Line(mark.kind, last, -mark.pitch)
        elif mark is not None and shape[axis] > 1:
            return None
    return tuple(result)


def resized(marks: Marks, shape: Sequence[int], new: Sequence[int]) -> Marks:
    """The marks behind ``jax.image.resize``, whose grids share their outer edges."""
    if marks is None:
        return None
    result = list(marks)
    for axis, mark in enumerate(marks):
        if shape[axis] == new[axis]:
            continue
        if isinstance(mark, Line):
            ratio = shape[axis] / new[axis]
            origin = mark.origin + mark.pitch * (ratio - 1) / 2
            result[axis] = Line(mark.kind, origin, mark.pitch * ratio)
        elif mark is not None:
            return None
    return tuple(result)


def concatenated(
    pieces: Sequence[Marks], shapes: Sequence[Sequence[int]], is_constant: Sequence[bool], axis: int
) -> Marks:
    """The marks of pieces put one behind the other along an axis.

    Along rows or columns the longest piece (the first of several) says where the others lie: so
    circular padding extends the grid of what it pads, and ``jnp.roll`` moves the grid along with
    the content. Along tokens, what is in front of the one piece with a grid stays in place.
    """
    known = [
        (marks, shape, offset)
        for marks, shape, offset, constant in zip(
            pieces, shapes, _offsets(shapes, axis), is_constant, strict=True
        )
        if not constant and marks is not None
    ]
    if len(known) < len(is_constant) - sum(is_constant):
        return None
    rank = len(shapes[0])
    result: list[Mark] = [None] * rank
    for other in (a for a in range(rank) if a != axis):
        for marks, _, _ in known:
            fits, result[other] = combined(result[other], marks[other])
            if not fits:
                return None
    along = [(m[axis], s[axis], o) for m, s, o in known if m[axis] is not None]
    if not along:
        return tuple(result)
    lines = [(mark, n, offset) for mark, n, offset in along if isinstance(mark, Line)]
    if len(lines) == len(along):
        mark, _, offset = max(lines, key=lambda piece: piece[1])
        result[axis] = Line(mark.kind, mark.origin - mark.pitch * offset, mark.pitch)
        return tuple(result)
    total = sum(shape[axis] for shape in shapes)
    mark, length, offset = along[0]
    if len(along) == 1 and isinstance(mark, Chain) and offset + length == total:
        result[axis] = dataclasses.replace(mark, prefix=mark.prefix + offset)
        return tuple(result)
    if all(isinstance(mark, Copies) and mark == along[0][0] for mark, _, _ in along):
        result[axis] = along[0][0]
        return tuple(result) if len(along) == len(pieces) else None
    return None


def _offsets(shapes: Sequence[Sequence[int]], axis: int) -> list[int]:
    starts, total = [], 0
    for shape in shapes:
        starts.append(total)
        total += shape[axis]
    return starts
