r"""How operations move the sample positions along rows, columns and tokens.

A window of k entries with dilation d and stride s over a line that was padded by ``lo`` entries
in front and spread out by a factor e reads, for its entry j, the middle position

    (s j + d (k - 1) / 2 - lo) / e

of the input line; that is where entry j lies. Source: measures.md D.7, E.3.
"""

import dataclasses
from collections.abc import Sequence

from softeq_jax.measures.attribution._axes import BATCH, Chain, Copies, Line, Mark, Marks, combined


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
    marks: Marks, kernel_shape: Sequence[int], params: dict[str, object], rank: int
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


def pooled(marks: Marks, params: dict[str, object]) -> Marks:
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
        if not constant
    ]
    if any(marks is None for marks, _, _ in known):
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
    if all(isinstance(mark, Line) for mark, _, _ in along):
        mark, _, offset = max(along, key=lambda piece: piece[1])
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
