r"""Operations that commute with every flow exactly, whatever the stencil.

``D`` is linear, acts along rows and columns alone and is the same for every channel. So it
commutes with sums, with products by what is constant over the plane, with mixing of channels and
with moves of whole axes; and nothing acts on invariants. Layers made of such operations contribute
zero, and need not be computed. Source: measures.md A.5.
"""

from softeq_jax.measures._layouts import Fiber, Image, Invariant, Tokens
from softeq_jax.measures.attribution._axes import Line, Mark, is_spatial
from softeq_jax.measures.attribution._flow import Flow
from softeq_jax.measures.attribution._graph import Fixed
from softeq_jax.measures.attribution._graph import Operand as Atom
from softeq_jax.measures.attribution._rules import REARRANGING, Operand

_SUMS = ("add", "sub", "add_any", "neg")
_PRODUCTS = ("mul", "div")


def is_still(flow: Flow, k: int, *, flows_only: bool) -> bool:
    """Whether an operation contributes exactly zero.

    Args:
      flow: the traced function.
      k: the operation.
      flows_only: whether all generators are flows of the plane; contrast, for one, does not
        commute with adding a bias.
    """
    operation = flow.operation(k)
    variables = [*flow.inputs(k), *operation.outputs]
    layouts = [flow.facts.layouts.get(v) for v in variables]
    if any(layout is None for layout in layouts):
        return False
    if all(isinstance(layout, Invariant) for layout in layouts):
        return True
    if flow.output in operation.outputs:
        return False
    if not flows_only or any(_has_fiber(layout) for layout in layouts):
        return False
    if operation.primitive in REARRANGING:
        return operation.primitive != "reduce_precision"
    out = flow.facts.operands[operation.outputs[0]]
    ins = [_fact(flow, atom) for atom in operation.inputs]
    if out.marks is None or any(not i.is_constant and i.marks is None for i in ins):
        return False
    moving = [operand for operand in ins if not operand.is_constant]
    if operation.primitive in _SUMS:
        return all(_is_flat(i, out) or _same_places(i, out) for i in ins)
    if operation.primitive in _PRODUCTS:
        spread = [i for i in ins if not _is_flat(i, out)]
        divides = operation.primitive == "div" and not _is_flat(ins[1], out)
        return not divides and len(spread) == 1 and _same_places(spread[0], out)
    if operation.primitive == "pad":
        return len(moving) == 1 and moving[0] is ins[0] and _same_places(ins[0], out)
    if operation.primitive in ("slice", "reduce_sum"):
        return _places(ins[0]) == _places(out)
    if operation.primitive == "dot_general":
        return _mixes_channels(operation.equation.params["dimension_numbers"], ins, out)
    if operation.primitive == "conv_general_dilated":
        numbers = operation.equation.params["dimension_numbers"]
        lengths = {ins[1].shape[axis] for axis in numbers.rhs_spec[2:]}
        return ins[1].is_constant and lengths == {1} and _places(ins[0]) == _places(out)
    return False


def _has_fiber(layout: object) -> bool:
    if isinstance(layout, Image):
        return layout.fiber is not None
    return isinstance(layout, Fiber) or not isinstance(layout, Tokens | Invariant)


def _fact(flow: Flow, atom: Atom) -> Operand:
    if isinstance(atom, Fixed):
        return Operand(None, getattr(atom.value, "shape", ()), True)
    return flow.facts.operands[atom]


def _is_flat(operand: Operand, out: Operand) -> bool:
    """Whether an operand is broadcast along every spatial axis of the result."""
    if not operand.shape:
        return True
    if len(operand.shape) != len(out.shape):
        return False
    return all(
        size == 1 for size, mark in zip(operand.shape, out.marks, strict=True) if is_spatial(mark)
    )


def _same_places(operand: Operand, out: Operand) -> bool:
    """Whether an operand that moves lies where the result does, axis by axis."""
    if operand.is_constant or len(operand.shape) != len(out.shape):
        return False
    return all(
        a == b
        for a, b in zip(operand.marks, out.marks, strict=True)
        if is_spatial(a) or is_spatial(b)
    )


def _places(operand: Operand) -> list[tuple[Mark, int]]:
    """Spatial marks with their lengths, in order."""
    marks = operand.marks or ()
    found = [
        (mark, size) for mark, size in zip(marks, operand.shape, strict=True) if is_spatial(mark)
    ]
    return sorted(found, key=lambda item: item[0].kind if isinstance(item[0], Line) else "")


def _mixes_channels(numbers: tuple, ins: list[Operand], out: Operand) -> bool:
    """Whether a constant matrix mixes channels, the same one at every position."""
    _, (batch_left, batch_right) = numbers
    left, right = ins
    if left.is_constant == right.is_constant:
        return False
    moving, batch = (right, batch_right) if left.is_constant else (left, batch_left)
    shared = any(is_spatial(moving.marks[axis]) for axis in batch)
    return not shared and _places(moving) == _places(out)
