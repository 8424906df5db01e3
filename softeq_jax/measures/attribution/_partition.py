r"""Partitions of a traced function into layers, and the interfaces between them.

Any partition into layers B gives an exact attribution (measures.md D.4): a variable v made in A
and read in B != A is an *edge* (v, B), and with ``s_(v,B) = <g_(v,B), D v>``, where ``g_(v,B)`` is
the part of the cotangent of v that comes back from B,

    z^T c_B = sum of s over the edges into B - sum of s over the edges out of B.

Variables of unknown layout must not be edges, so the operations around them are put into one
layer; all else is a matter of reading. The finest partition has one layer per operation.

Layers that commute with the generators by construction contribute zero and are computed together
with a neighbor: ``D`` is linear, acts along rows and columns alone and is the same for every
channel, so whatever the stencil it commutes with sums, with products by what is constant over the
plane, with mixing of channels and with moves of whole axes; and nothing acts on invariants
(measures.md A.5).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from softeq_jax.measures.attribution._dataflow import HEAVY, DataFlow, Sets
from softeq_jax.measures.attribution._graph import (
    Atom,
    Fixed,
    Operation,
    Scopes,
    common,
    is_head,
    operation_name,
    path,
)
from softeq_jax.measures.attribution._marks import Line, Mark, is_spatial
from softeq_jax.measures.attribution._rules import ELEMENTWISE, REARRANGING, Operand
from softeq_jax.measures.base._layouts import Fiber, Image, Invariant, Layout, Tokens

By = str | Callable[[str], str]
Layers = list[tuple[str, list[int]]]
"""Labels with the operations of each layer, in order of execution."""

_LINEAR = ("add", "sub", "mul", "neg", "div", "add_any")
_POWERS = ("integer_pow", "square", "pow")


def layers(flow: DataFlow, by: By) -> Layers:
    """All operations that depend on the input, in groups with labels.

    Args:
      flow: the traced function.
      by: see ``CutOptions``.

    Raises:
      ValueError: an unknown ``by``; "taps" without taps or with a tap of unknown layout.
    """
    if by == "taps":
        return _tapped(flow)
    if callable(by):
        result: dict[str, list[int]] = {}
        for label, members in _named(flow, by_modules=True):
            result.setdefault(str(by(label)), []).extend(members)
        return list(result.items())
    if by not in ("ops", "modules"):
        raise ValueError(
            f"by must be 'modules', 'ops', 'taps' or a function from labels to groups, got {by!r}"
        )
    return _named(flow, by_modules=by == "modules")


def _named(flow: DataFlow, *, by_modules: bool) -> Layers:
    sets = Sets(flow.moving)
    flow.join_unknown(sets)
    for call in set(flow.calls.values()):
        sets.join(k for k, own in flow.calls.items() if own == call)
    if by_modules:
        for scopes in (flow.leaves, _chains(flow)):
            for k, scope in scopes.items():
                sets.join([k, *(m for m in flow.makers(k) if scopes.get(m) == scope)])
    flow.join_rearranging(sets)
    return _numbered([(_label(flow, members, by_modules), members) for members in sets.groups()])


def _chains(flow: DataFlow) -> dict[int, Scopes]:
    """Pointwise operations in the open, which are read as one function if they follow up."""
    return {
        k: flow.operation(k).scope
        for k in flow.moving
        if k not in flow.leaves
        and k not in flow.calls
        and flow.operation(k).primitive in ELEMENTWISE
        and flow.operation(k).tap is None
    }


def _tapped(flow: DataFlow) -> Layers:
    """The operations that lead to each tap and to none before it; the rest lead to the output."""
    taps = [k for k in flow.moving if flow.operation(k).tap]
    if not taps:
        raise ValueError(
            "by='taps' needs taps: put softeq_jax.measures.tap(x, name) into the network, or "
            "name modules with linen(..., taps=[...])"
        )
    for k in taps:
        v = flow.operation(k).outputs[0]
        if v not in flow.facts.layouts:
            name, shape = flow.operation(k).tap, flow.graph.shapes[v].shape
            raise ValueError(
                f"the tap {name!r} of shape {shape} is a feature map whose layout is not "
                f"declared and does not follow from the operations before it: pass "
                f"layouts={{{name!r}: measures.Image(...)}}, measures.Tokens(...) or 'invariant'"
            )
    leads: dict[int, int] = {}
    for order, end in enumerate(taps):
        waiting = [end]
        while waiting:
            k = waiting.pop()
            if k not in leads:
                leads[k] = order
                waiting += flow.makers(k)
    sets = Sets(flow.moving)
    flow.join_unknown(sets)
    for order in range(len(taps) + 1):
        sets.join(k for k in flow.moving if leads.get(k, len(taps)) == order)
    labels = [label for label, _ in _numbered([(str(flow.operation(k).tap), [k]) for k in taps])]
    labels.append("output")
    result = []
    for members in sets.groups():
        orders = sorted({leads.get(k, len(taps)) for k in members})
        result.append(("+".join(labels[order] for order in orders), members))
    return result


def _numbered(named: Layers) -> Layers:
    """Repeated labels get a number."""
    labels = [label for label, _ in named]
    seen: dict[str, int] = {}
    result = []
    for label, members in named:
        seen[label] = seen.get(label, 0) + 1
        many = labels.count(label) > 1
        result.append((f"{label}_{seen[label]}" if many else label, members))
    return result


def _label(flow: DataFlow, members: Sequence[int], by_modules: bool) -> str:
    telling = [k for k in members if flow.operation(k).primitive not in REARRANGING] or members
    if by_modules:
        module = _common(flow.leaves, telling)
        if module is not None:
            return path(module, flow.shared)
    call = _common(flow.calls, telling)
    if call is not None:
        return path(call, flow.shared)
    best = max(telling, key=lambda k: _weight(flow.operation(k)))
    name = operation_name(flow.operation(best), flow.shared)
    scopes = [flow.operation(k).scope for k in telling]
    if len(set(scopes)) == 1 and not _mixes(flow, telling):
        return name
    settled = [
        flow.operation(k).scope for k in telling if flow.operation(k).primitive not in ELEMENTWISE
    ]
    settled = settled or scopes
    together = settled[0][: common(settled)]
    if len(together) > (0 if is_head(together) else flow.shared):
        return path(together, flow.shared)
    modules = dict.fromkeys(path(flow.leaves[k], flow.shared) for k in telling if k in flow.leaves)
    return "+".join(modules) if modules else name


def _common(scopes: dict[int, Scopes], members: Sequence[int]) -> Scopes | None:
    """The scopes that all of these operations have; None where they differ or one has none."""
    found = {scopes.get(k) for k in members}
    return found.pop() if len(found) == 1 else None


def _mixes(flow: DataFlow, members: Sequence[int]) -> bool:
    """Whether several operations of substance were put together."""
    return sum(flow.operation(k).primitive in HEAVY for k in members) > 1


def _weight(operation: Operation) -> int:
    """How much the name of an operation tells of what a layer does."""
    if operation.primitive in HEAVY:
        return 4
    if operation.primitive in REARRANGING:
        return 0
    if operation.primitive in _LINEAR:
        return 1
    return 2 if operation.primitive in _POWERS else 3


@dataclasses.dataclass(frozen=True, eq=False)
class Partition:
    """Layers and the edges between them.

    Attributes:
      layers: labels, in order of execution.
      edges: variables that are read by another block than the one they are made in, with the
        index of the block that reads; a block is a layer with neighbors that contribute zero.
      signs: float64 ``[layers, edges + 1]``: contribution of a layer = signs @ s, the last
        column standing for the output.
      shapes: of what each layer hands on last.
      layouts: of it, in words.
      block_of: block by position of the operation.
    """

    layers: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    signs: np.ndarray
    shapes: tuple[tuple[int, ...], ...]
    layouts: tuple[str, ...]
    block_of: dict[int, int]


def partition(flow: DataFlow, by: By, *, flows_only: bool, skip_still: bool = True) -> Partition:
    """The layers of a traced function, and the edges between them.

    Args:
      flow: with one output that depends on the input, and known layouts of both.
      by: see ``CutOptions``.
      flows_only: whether all generators are flows of the plane.
      skip_still: whether layers that contribute zero by construction are left uncomputed.

    Raises:
      ValueError: as of ``layers``.
    """
    named = layers(flow, by)
    owner = {k: index for index, (_, members) in enumerate(named) for k in members}
    still = [
        skip_still and all(is_still(flow, k, flows_only=flows_only) for k in members)
        for _, members in named
    ]
    block = _blocks(flow, owner, still)
    block_of = {k: block[index] for k, index in owner.items()}
    edges = []
    for v in (flow.root, *flow.maker):
        home = block_of[flow.maker[v]] if v != flow.root else None
        readers = dict.fromkeys(block_of[k] for k in flow.readers.get(v, []))
        if flow.graph.is_smooth(v):
            edges += [(v, index) for index in readers if index != home]
    signs = np.zeros((len(named), len(edges) + 1))
    for column, (v, index) in enumerate(edges):
        signs[index, column] += 1
        if v != flow.root:
            signs[block_of[flow.maker[v]], column] -= 1
    signs[block_of[flow.maker[flow.output]], -1] -= 1
    ends = _last_results(flow, named, owner)
    return Partition(
        tuple(label for label, _ in named),
        tuple(edges),
        signs,
        tuple(() if v is None else flow.graph.shapes[v].shape for v in ends),
        tuple("none" if v is None else _words(flow.facts.layouts.get(v)) for v in ends),
        block_of,
    )


def _blocks(flow: DataFlow, owner: dict[int, int], still: Sequence[bool]) -> list[int]:
    """The layer that each layer is computed with; it is the only one in its block to count."""
    after: list[set[int]] = [set() for _ in still]
    before: list[set[int]] = [set() for _ in still]
    for v, k in flow.maker.items():
        for reader in flow.readers.get(v, []):
            after[owner[k]].add(owner[reader])
            before[owner[reader]].add(owner[k])
    ends = owner[flow.maker[flow.output]]
    starts = {owner[k] for k in flow.readers[flow.root]}
    block = list(range(len(still)))

    def find(index: int) -> int:
        while block[index] != index:
            index = block[index]
        return index

    for index in reversed(range(len(still))):
        if not still[index]:
            continue
        following = {find(other) for other in after[index]} - {index}
        leading = {find(other) for other in before[index]} - {index}
        if len(following) == 1 and index != ends:
            block[index] = following.pop()
        elif len(leading) == 1 and index not in starts:
            block[index] = leading.pop()
    return [find(index) for index in range(len(still))]


def _last_results(flow: DataFlow, named: Layers, owner: dict[int, int]) -> list[int | None]:
    last: dict[int, int] = {}
    for v, k in flow.maker.items():
        if v == flow.output or any(owner[r] != owner[k] for r in flow.readers.get(v, [])):
            last[owner[k]] = v
    return [last.get(index) for index in range(len(named))]


def _words(layout: Layout | None) -> str:
    if isinstance(layout, Image | Tokens) and isinstance(layout.pitch, tuple):
        y, x = layout.pitch
        kind = "image" if isinstance(layout, Image) else "tokens"
        return f"{kind}, pitch {y:g}" if y == x else f"{kind}, pitch {y:g} x {x:g}"
    if isinstance(layout, Fiber):
        return f"{layout.rep}"
    return "unknown" if layout is None else type(layout).__name__.lower()


_SUMS = ("add", "sub", "add_any", "neg")
_PRODUCTS = ("mul", "div")


def is_still(flow: DataFlow, k: int, *, flows_only: bool) -> bool:
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


def _fact(flow: DataFlow, atom: Atom) -> Operand:
    if isinstance(atom, Fixed):
        return Operand(None, getattr(atom.value, "shape", ()), True)
    return flow.facts.operands[atom]


def _is_flat(operand: Operand, out: Operand) -> bool:
    """Whether an operand is broadcast along every spatial axis of the result."""
    if not operand.shape:
        return True
    if len(operand.shape) != len(out.shape):
        return False
    marks = out.marks or ()
    return all(
        size == 1 for size, mark in zip(operand.shape, marks, strict=True) if is_spatial(mark)
    )


def _same_places(operand: Operand, out: Operand) -> bool:
    """Whether an operand that moves lies where the result does, axis by axis."""
    if operand.is_constant or len(operand.shape) != len(out.shape):
        return False
    pairs = zip(operand.marks or (), out.marks or (), strict=True)
    return all(a == b for a, b in pairs if is_spatial(a) or is_spatial(b))


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
    marks = moving.marks
    shared = marks is not None and any(is_spatial(marks[axis]) for axis in batch)
    return not shared and _places(moving) == _places(out)
