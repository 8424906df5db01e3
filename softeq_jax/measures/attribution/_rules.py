r"""One rule per operation: the marks of its results from those of its operands.

An operation without a rule gives an array of unknown layout. Pointwise operations keep the layout
of what they act on, representations included: a ReLU on vectors is charged with not commuting.
Nothing is guessed from shapes, with one exception: where an array of unknown layout is joined
entry by entry with a feature map of the result's shape (the sum behind token mixing), the result
lies as that map does.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from softeq_jax.measures.attribution._marks import (
    BATCH,
    Chain,
    Copies,
    Line,
    Mark,
    Marks,
    Packed,
    combined,
    concatenated,
    convolved,
    is_spatial,
    padded,
    pooled,
    resized,
    reversed_axes,
    sliced,
)

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Operand:
    """What a rule knows of an operand.

    Attributes:
      marks: of its axes; None where unknown, and for constants.
      shape: its shape.
      is_constant: whether it does not depend on the input.
      value: the number itself, of operands that are written into the program.
    """

    marks: Marks
    shape: Shape
    is_constant: bool
    value: Any = None


_POINTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil
    clamp convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1
    floor ge gt integer_pow is_finite le lgamma log log1p logistic lt max min mul name ne neg
    nextafter not or polygamma pow reduce_precision regularized_incomplete_beta rem round rsqrt
    select_n sign sin sinh sqrt square stop_gradient sub tan tanh xor zeta
"""
_MOVES = """
    broadcast_in_dim convert_element_type copy copy_p name optimization_barrier reduce_precision
    reshape squeeze transpose
"""
_REDUCTIONS = """
    reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or reduce_xor argmax argmin
"""
ELEMENTWISE = frozenset(_POINTWISE.split())
"""Primitives whose result at a position depends on their operands at that position."""

REARRANGING = frozenset(_MOVES.split())
"""Primitives that move entries as they are."""

_RUNNING = ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")


def elementwise(operands: Sequence[Operand], shape: Shape) -> Marks:
    """The marks of operands joined entry by entry, sizes of 1 and scalars being broadcast."""
    moving = [operand for operand in operands if not operand.is_constant]
    known = [(operand.marks, operand.shape) for operand in moving if operand.marks is not None]
    if len(known) < len(moving):
        known = [(m, own) for m, own in known if own == shape and any(map(is_spatial, m))]
        if not known:
            return None
    result: list[Mark] = [None] * len(shape)
    for marks, own in known:
        if len(own) != len(shape):
            if own:
                return None
            continue
        for axis, mark in enumerate(marks):
            if own[axis] == shape[axis]:
                fits, result[axis] = combined(result[axis], mark)
                if not fits:
                    return None
    return tuple(result)


def reshaped(marks: Marks, old: Shape, new: Shape) -> Marks:
    """The marks behind a reshape; axes flattened together can be taken apart again."""
    if marks is None:
        return None
    result: list[Mark] = [None] * len(new)
    for olds, news in _factors(old, new):
        before = [axis for axis in olds if old[axis] > 1] if len(olds) > len(news) else olds
        after = [axis for axis in news if new[axis] > 1] if len(news) > len(olds) else news
        if len(before) == len(after) == 1 and old[before[0]] == new[after[0]]:
            result[after[0]] = marks[before[0]]
        elif len(after) == 1:
            result[after[0]] = _merged([marks[a] for a in olds], [old[a] for a in olds])
        elif len(before) == 1:
            parts = _split(marks[before[0]], tuple(new[axis] for axis in after))
            if parts is None:
                return None
            for axis, mark in zip(after, parts, strict=True):
                result[axis] = mark
        elif any(marks[axis] is not None for axis in before):
            return None
    return tuple(result)


def contracted(left: Operand, right: Operand, numbers: Any, rank: int) -> Marks:
    """The marks behind ``dot_general``: batch axes, then the free axes left and right.

    Channels may be mixed by constants. Positions may be summed over only against the same
    positions of an array that depends on the input.
    """
    (contract_left, contract_right), (batch_left, batch_right) = numbers
    sides = (left, contract_left, batch_left), (right, contract_right, batch_right)
    marks = []
    for operand, _, _ in sides:
        if not operand.is_constant and operand.marks is None:
            return None
        marks.append((None,) * len(operand.shape) if operand.is_constant else operand.marks)
    for a, b in zip(contract_left, contract_right, strict=True):
        if (marks[0][a] is not None or marks[1][b] is not None) and marks[0][a] != marks[1][b]:
            return None
    shared = [
        combined(marks[0][a], marks[1][b]) for a, b in zip(batch_left, batch_right, strict=True)
    ]
    if not all(fits for fits, _ in shared):
        return None
    result = [mark for _, mark in shared]
    for mine, (operand, contract, batch) in zip(marks, sides, strict=True):
        taken = {*contract, *batch}
        result += [mine[axis] for axis in range(len(operand.shape)) if axis not in taken]
    distinct = [mark for mark in result if mark is not None]
    repeated = any(distinct.count(mark) > 1 for mark in distinct)
    return None if repeated or len(result) != rank else tuple(result)


def _factors(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Consecutive axes of both shapes that hold the same entries, as finely as possible."""
    groups, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        olds, news = [], []
        if i < len(old):
            olds.append(i)
            i += 1
        if j < len(new):
            news.append(j)
            j += 1
        a, b = math.prod(old[k] for k in olds), math.prod(new[k] for k in news)
        while a != b:
            if (a < b and i < len(old)) or j == len(new):
                olds.append(i)
                a *= old[i]
                i += 1
            else:
                news.append(j)
                b *= new[j]
                j += 1
        groups.append((olds, news))
    return groups


def _merged(marks: list[Mark], sizes: list[int]) -> Mark:
    lines = [mark for mark in marks if isinstance(mark, Line)]
    if len(lines) == len(marks) and [mark.kind for mark in lines] == ["y", "x"]:
        rows, columns = lines
        grid = (sizes[0], sizes[1])
        return Chain(grid, 0, (rows.origin, columns.origin), (rows.pitch, columns.pitch))
    if all(mark is None for mark in marks):
        return None
    return Packed(tuple(sizes), tuple(marks))


def _split(mark: Mark, sizes: Shape) -> Sequence[Mark] | None:
    if mark is None:
        return [None] * len(sizes)
    if isinstance(mark, Packed):
        return mark.marks if mark.sizes == sizes else None
    if isinstance(mark, Chain) and mark.prefix == 0 and mark.grid == sizes:
        (oy, ox), (py, px) = mark.origin, mark.pitch
        return [Line("y", oy, py), Line("x", ox, px)]
    if isinstance(mark, Line) and len(sizes) == 2:
        middle = mark.origin + mark.pitch * (sizes[1] - 1) / 2
        return [Line(mark.kind, middle, mark.pitch * sizes[1]), None]
    if isinstance(mark, Copies) and sizes[-1] == mark.fiber.dim:
        return [*[None] * (len(sizes) - 1), mark]
    return None


def _broadcast(operand: Operand, shape: Shape, axes: Sequence[int]) -> Marks:
    if operand.marks is None:
        return None
    result: list[Mark] = [None] * len(shape)
    for mark, size, axis in zip(operand.marks, operand.shape, axes, strict=True):
        if size == shape[axis]:
            result[axis] = mark
    return tuple(result)


def _without(operand: Operand, axes: Sequence[int]) -> Marks:
    if operand.marks is None or any(operand.marks[axis] == BATCH for axis in axes):
        return None
    return tuple(mark for axis, mark in enumerate(operand.marks) if axis not in axes)


def _squeezed(operand: Operand, axes: Sequence[int]) -> Marks:
    if operand.marks is None:
        return None
    return tuple(mark for axis, mark in enumerate(operand.marks) if axis not in axes)


def _pointwise_along(operand: Operand, axis: int) -> Marks:
    """For operations that mix entries along an axis and keep the shape."""
    marks = operand.marks
    return marks if marks is not None and marks[axis] is None else None


def _dynamic_slice(operands: Sequence[Operand], params: dict[str, Any], shape: Shape) -> Marks:
    whole = operands[0]
    starts = [operand.value for operand in operands[1 : 1 + len(whole.shape)]]
    for axis, start in enumerate(starts):
        if whole.shape[axis] == shape[axis]:
            starts[axis] = 0
        elif start is None and whole.marks is not None and whole.marks[axis] is not None:
            return None
    low = [
        min(max(int(start or 0), 0), n - size)
        for start, n, size in zip(starts, whole.shape, shape, strict=True)
    ]
    high = [a + size for a, size in zip(low, shape, strict=True)]
    return sliced(whole.marks, whole.shape, low, high, None)


def _convolution(operands: Sequence[Operand], params: dict[str, Any], shape: Shape) -> Marks:
    image, kernel = operands
    if image.is_constant or not kernel.is_constant:
        return None
    return convolved(image.marks, kernel.shape, params, len(shape))


def _concatenation(operands: Sequence[Operand], params: dict[str, Any], shape: Shape) -> Marks:
    del shape
    return concatenated(
        [operand.marks for operand in operands],
        [operand.shape for operand in operands],
        [operand.is_constant for operand in operands],
        params["dimension"],
    )


Rule = Callable[[Sequence[Operand], dict[str, Any], Shape], Marks]

_RULES: dict[str, Rule] = {
    "conv_general_dilated": _convolution,
    "dot_general": lambda o, p, s: contracted(o[0], o[1], p["dimension_numbers"], len(s)),
    "concatenate": _concatenation,
    "broadcast_in_dim": lambda o, p, s: _broadcast(o[0], s, p["broadcast_dimensions"]),
    "reshape": lambda o, p, s: reshaped(o[0].marks, o[0].shape, s),
    "squeeze": lambda o, p, s: _squeezed(o[0], p["dimensions"]),
    "transpose": lambda o, p, s: o[0].marks and tuple(o[0].marks[a] for a in p["permutation"]),
    "slice": lambda o, p, s: sliced(
        o[0].marks, o[0].shape, p["start_indices"], p["limit_indices"], p["strides"]
    ),
    "dynamic_slice": _dynamic_slice,
    "pad": lambda o, p, s: padded(o[0].marks, p["padding_config"]),
    "rev": lambda o, p, s: reversed_axes(o[0].marks, o[0].shape, p["dimensions"]),
    "jit": lambda o, p, s: resized(o[0].marks, o[0].shape, s),
    "pjit": lambda o, p, s: resized(o[0].marks, o[0].shape, s),
    **{
        f"reduce_window{kind}": lambda o, p, s: pooled(o[0].marks, p)
        for kind in ("", "_sum", "_max", "_min")
    },
    **dict.fromkeys(_REDUCTIONS.split(), lambda o, p, s: _without(o[0], p["axes"])),
    **dict.fromkeys(_RUNNING, lambda o, p, s: _pointwise_along(o[0], p["axis"])),
    **dict.fromkeys(ELEMENTWISE, lambda o, p, s: elementwise(o, s)),
}


def operation_marks(
    primitive: str, operands: Sequence[Operand], params: dict[str, Any], shapes: Sequence[Shape]
) -> list[Marks]:
    """The marks of all results of a primitive without inner functions."""
    if primitive == "optimization_barrier":
        return [operand.marks for operand in operands]
    if primitive == "sort":
        return [_pointwise_along(operand, params["dimension"]) for operand in operands]
    rule = _RULES.get(primitive)
    return [rule(operands, params, shape) if rule else None for shape in shapes]
