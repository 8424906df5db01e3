"""Data flow through a traced function: layout, maker and readers of every variable."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from softeq_jax.measures.attribution._graph import (
    Atom,
    Fixed,
    Graph,
    Operation,
    Scopes,
    flatten,
    is_head,
    shared_scopes,
    variable_names,
)
from softeq_jax.measures.attribution._marks import Marks, cornered, layout_of, marks_of
from softeq_jax.measures.attribution._rules import REARRANGING, Operand, Shape, operation_marks
from softeq_jax.measures.base._layouts import Frame, Layout, as_layout, covers


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of the variables of a graph.

    Attributes:
      dependent: of every variable, whether it depends on the input.
      layouts: of the variables that depend on it, are floating point and have a known one.
      operands: what the rules found for every variable.
    """

    dependent: tuple[bool, ...]
    layouts: dict[int, Layout]
    operands: dict[int, Operand]


def propagate(
    graph: Graph,
    root: int,
    layout: Layout,
    output: Layout,
    frame: Frame | None,
    declared: Mapping[str, Any],
    alignment: str,
) -> Facts:
    """The layouts of all variables, followed from that of the input through the operations.

    Args:
      graph: to follow it through.
      root: the variable of the input.
      layout: of the input.
      output: of the output.
      frame: rows and columns of the input; None where it is no image.
      declared: layouts by pattern over the names of variables (see ``variable_names``); they
        replace what the rules say.
      alignment: "pixel": origin and pitch as followed through the strides; "corner": every grid
        is stretched so that its first and last entries lie on those of the input.

    Raises:
      ValueError: a pattern matches no variable, or a declared layout does not fit the shape.
    """
    dependent = graph.dependent([root])
    chosen = _declared(graph, dependent, declared)
    fixed = {v: marks_of(given, graph.shapes[v].shape, frame) for v, given in chosen.items()}
    start = marks_of(layout, graph.shapes[root].shape, frame)
    arguments = [
        Operand(start if v == root else None, graph.shapes[v].shape, v != root)
        for v in graph.arguments
    ]
    facts = _run(graph, arguments, fixed)
    layouts = {}
    for variable, fact in facts.items():
        if not fact.is_constant and graph.is_smooth(variable):
            found = layout_of(fact.marks)
            layouts |= {} if found is None else {variable: found}
    layouts |= {**chosen, graph.output: output, root: layout}
    if alignment == "corner":
        layouts = {v: cornered(at, graph.shapes[v].shape, frame) for v, at in layouts.items()}
    return Facts(dependent, layouts, facts)


def _declared(
    graph: Graph, dependent: Sequence[bool], declared: Mapping[str, Any]
) -> dict[int, Layout]:
    names = {
        v: given
        for v, given in variable_names(graph, dependent).items()
        if dependent[v] and graph.is_smooth(v)
    }
    result = {}
    for pattern, layout in declared.items():
        matches = [v for v, own in names.items() if any(covers(pattern, name) for name in own)]
        if not matches:
            known = list(dict.fromkeys(name for own in names.values() for name in own))
            raise ValueError(
                f"layouts: {pattern!r} matches no array inside the network; their names are "
                f"{known[:40]}{' and more' if len(known) > 40 else ''}"
            )
        for v in matches:
            result[v] = as_layout(layout, f"layouts[{pattern!r}]")
            result[v].check(graph.shapes[v].shape, f"layouts[{pattern!r}]: the array")
    return result


def _run(
    graph: Graph, arguments: Sequence[Operand], fixed: Mapping[int, Marks]
) -> dict[int, Operand]:
    facts = {
        v: Operand(None, graph.shapes[v].shape, True, _small(value)) for v, value in graph.constants
    }
    facts.update(zip(graph.arguments, arguments, strict=True))
    for operation in graph.operations:
        operands = [_operand(facts, v) for v in operation.inputs]
        shapes = [graph.shapes[v].shape for v in operation.outputs]
        if all(operand.is_constant for operand in operands):
            found = [Operand(None, shape, True) for shape in shapes]
        else:
            found = _results(operation, operands, shapes)
        for v, fact in zip(operation.outputs, found, strict=True):
            is_fixed = v in fixed
            facts[v] = dataclasses.replace(fact, marks=fixed[v]) if is_fixed else fact
    return facts


def _operand(facts: Mapping[int, Operand], operand: Atom) -> Operand:
    if isinstance(operand, Fixed):
        value = operand.value
        return Operand(None, getattr(value, "shape", ()), True, value)
    return facts[operand]


def _small(value: Any) -> Any:
    return value if getattr(value, "size", 2) == 1 else None


def _results(
    operation: Operation, operands: Sequence[Operand], shapes: Sequence[Shape]
) -> list[Operand]:
    params = operation.equation.params
    if operation.primitive == "custom_jvp_call":
        return _call(params["call_jaxpr"], operands)
    if operation.primitive == "scan":
        return _scan(params, operands, shapes)
    if operation.primitive == "while":
        before = params["cond_nconsts"]
        consts = operands[before : before + params["body_nconsts"]]
        carry = operands[before + params["body_nconsts"] :]
        return _settle(params["body_jaxpr"], consts, carry, [])[: len(carry)]
    if operation.primitive == "cond":
        branches = [_call(branch, operands[1:]) for branch in params["branches"]]
        results = [_joined(options) for options in zip(*branches, strict=True)]
        if operands[0].is_constant:
            return results
        return [dataclasses.replace(result, is_constant=False) for result in results]
    marks = operation_marks(operation.primitive, operands, params, shapes)
    return [Operand(m, shape, False) for m, shape in zip(marks, shapes, strict=True)]


def _call(closed: Any, operands: Sequence[Operand]) -> list[Operand]:
    graph = flatten(closed)
    facts = _run(graph, operands, {})
    return [_operand(facts, v) for v in graph.outputs]


def _scan(
    params: Mapping[str, Any],
    operands: Sequence[Operand],
    shapes: Sequence[Shape],
) -> list[Operand]:
    """The carry keeps its layout where a step gives it back; stacked axes have no mark."""
    consts, carry = params["num_consts"], params["num_carry"]
    slices = []
    for whole in operands[consts + carry :]:
        marks = whole.marks[1:] if whole.marks is not None and whole.marks[0] is None else None
        slices.append(Operand(marks, whole.shape[1:], whole.is_constant))
    results = _settle(params["jaxpr"], operands[:consts], operands[consts : consts + carry], slices)
    stacked = [
        dataclasses.replace(
            fact, marks=None if fact.marks is None else (None, *fact.marks), shape=shape
        )
        for fact, shape in zip(results[carry:], shapes[carry:], strict=True)
    ]
    return [*results[:carry], *stacked]


def _settle(
    body: Any,
    consts: Sequence[Operand],
    carry: Sequence[Operand],
    rest: Sequence[Operand],
) -> list[Operand]:
    """The results of a loop whose body is repeated until what is known of its carry stays."""
    carry = [dataclasses.replace(fact, value=None) for fact in carry]
    while True:
        results = _call(body, [*consts, *carry, *rest])
        settled = [_joined(pair) for pair in zip(carry, results[: len(carry)], strict=True)]
        if settled == carry:
            return [*settled, *results[len(carry) :]]
        carry = settled


def _joined(options: Sequence[Operand]) -> Operand:
    """What holds whichever of several values it is: unknown where their layouts differ."""
    moving = [option for option in options if not option.is_constant]
    if not moving:
        return dataclasses.replace(options[0], value=None)
    same = all(option.marks == moving[0].marks for option in moving)
    return Operand(moving[0].marks if same else None, moving[0].shape, False)


HEAVY = ("conv_general_dilated", "dot_general", "scan", "while", "cond")
"""Primitives that make a dissolved call a network rather than a single operation."""


class Sets:
    """Disjoint sets of operations."""

    def __init__(self, members: Iterable[int]) -> None:
        self._parent = {member: member for member in members}

    def find(self, member: int) -> int:
        """The smallest member of the set that a member is in."""
        while self._parent[member] != member:
            self._parent[member] = self._parent[self._parent[member]]
            member = self._parent[member]
        return member

    def join(self, members: Iterable[int]) -> None:
        """Unites the sets of these members."""
        roots = sorted({self.find(member) for member in members})
        for root in roots[1:]:
            self._parent[root] = roots[0]

    def groups(self) -> list[list[int]]:
        """The sets, ordered by their smallest members, which come first."""
        result: dict[int, list[int]] = {}
        for member in sorted(self._parent):
            result.setdefault(self.find(member), []).append(member)
        return list(result.values())


class DataFlow:
    """A graph with what is known of it, restricted to what depends on the input.

    Attributes:
      graph: the traced function; operations are spoken of by their positions in it.
      facts: layouts.
      root: the variable of the input.
      output: that of the output.
      moving: the operations that depend on the input, in order.
      maker: the operation that makes a variable.
      readers: the operations that read a variable.
      shared: how many leading scopes all operations share.
    """

    def __init__(self, graph: Graph, facts: Facts) -> None:
        self.graph, self.facts = graph, facts
        self.root, self.output = graph.arguments[-1], graph.output
        self.moving = [
            k
            for k, operation in enumerate(graph.operations)
            if any(facts.dependent[v] for v in operation.outputs)
        ]
        self.maker = {v: k for k in self.moving for v in graph.operations[k].outputs}
        self.readers: dict[int, list[int]] = {self.root: []}
        for k in self.moving:
            for v in dict.fromkeys(self.inputs(k)):
                self.readers.setdefault(v, []).append(k)
        self.shared = shared_scopes([graph.operations[k] for k in self.moving])

    def operation(self, k: int) -> Operation:
        """The operation at a position."""
        return self.graph.operations[k]

    def inputs(self, k: int) -> list[int]:
        """The variables that an operation reads and that depend on the input."""
        operands = self.operation(k).inputs
        return [v for v in operands if isinstance(v, int) and self.facts.dependent[v]]

    def makers(self, k: int) -> list[int]:
        """The operations that make what an operation reads."""
        return [self.maker[v] for v in self.inputs(k) if v != self.root]

    @functools.cached_property
    def calls(self) -> dict[int, Scopes]:
        """The outermost dissolved call around an operation in which nothing heavy or tapped is."""
        heavy: set[Scopes] = set()
        for k in self.moving:
            operation = self.operation(k)
            if operation.primitive in HEAVY or operation.tap:
                heavy.update(operation.scope[:d] for d in range(1, len(operation.scope) + 1))
        result = {}
        for k in self.moving:
            scope = self.operation(k).scope
            start = 0 if is_head(scope) else self.shared
            for depth in range(start + 1, len(scope) + 1):
                if scope[depth - 1].call and scope[:depth] not in heavy:
                    result[k] = scope[:depth]
                    break
        return result

    @functools.cached_property
    def leaves(self) -> dict[int, Scopes]:
        """The module of every operation whose module has no modules inside."""
        modules = {}
        for k in self.moving:
            scope = self.operation(k).scope
            modules[k] = scope[: len(self.calls[k]) - 1] if k in self.calls else scope
        inner = {scope[:depth] for scope in modules.values() for depth in range(len(scope))}
        return {
            k: scope
            for k, scope in modules.items()
            if scope
            and scope not in inner
            and not scope[-1].call
            and (is_head(scope) or len(scope) > self.shared)
        }

    def join_unknown(self, sets: Sets) -> None:
        """Unites the operations around every variable of unknown layout."""
        for v, k in self.maker.items():
            if self.graph.is_smooth(v) and v not in self.facts.layouts:
                sets.join([k, *self.readers.get(v, [])])

    def join_rearranging(self, sets: Sets) -> None:
        """Puts operations that only move entries to the layer before them.

        Those that give an array of unknown layout, such as a flattened map, stay with its readers.
        """
        for k in self.moving:
            operation = self.operation(k)
            known = all(v in self.facts.layouts for v in operation.outputs)
            if operation.primitive not in REARRANGING or not known:
                continue
            before = self.makers(k)
            if before:
                sets.join([k, before[0]])
            else:
                after = {r for v in self.operation(k).outputs for r in self.readers.get(v, [])}
                sets.join([k, *(after if len(after) == 1 else ())])
