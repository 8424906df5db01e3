r"""Layouts of all variables of a traced function, from that of its input."""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from softeq_jax.measures._layouts import Layout, as_layout
from softeq_jax.measures.attribution import _rules
from softeq_jax.measures.attribution._axes import Marks, cornered, layout_of, marks_of
from softeq_jax.measures.attribution._graph import Fixed, Graph, Operation, flatten
from softeq_jax.measures.attribution._names import variable_names

Frame = tuple[int, int] | None


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
    operands: dict[int, _rules.Operand]


def propagate(
    graph: Graph,
    root: int,
    layout: Layout,
    output: Layout,
    frame: Frame,
    declared: Mapping[str, Any],
    alignment: str,
) -> Facts:
    """Follows the input's layout through the operations.

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
        _rules.Operand(start if v == root else None, graph.shapes[v].shape, v != root)
        for v in graph.arguments
    ]
    facts = _run(graph, arguments, fixed)
    layouts = {}
    for variable, fact in facts.items():
        if not fact.is_constant and graph.is_smooth(variable):
            found = layout_of(fact.marks)
            layouts |= {} if found is None else {variable: found}
    layouts |= {**chosen, graph.outputs[0]: output, root: layout}
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
        matches = [v for v, own in names.items() if fnmatch.filter(own, pattern)]
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
    graph: Graph, arguments: Sequence[_rules.Operand], fixed: Mapping[int, Marks]
) -> dict[int, _rules.Operand]:
    facts = {
        v: _rules.Operand(None, graph.shapes[v].shape, True, _small(value))
        for v, value in graph.constants
    }
    facts.update(zip(graph.arguments, arguments, strict=True))
    for operation in graph.operations:
        operands = [_operand(facts, v) for v in operation.inputs]
        shapes = [graph.shapes[v].shape for v in operation.outputs]
        if all(operand.is_constant for operand in operands):
            found = [_rules.Operand(None, shape, True) for shape in shapes]
        else:
            found = _results(operation, operands, shapes)
        for v, fact in zip(operation.outputs, found, strict=True):
            is_fixed = v in fixed
            facts[v] = dataclasses.replace(fact, marks=fixed[v]) if is_fixed else fact
    return facts


def _operand(facts: Mapping[int, _rules.Operand], operand: int | Fixed) -> _rules.Operand:
    if isinstance(operand, Fixed):
        value = operand.value
        return _rules.Operand(None, getattr(value, "shape", ()), True, value)
    return facts[operand]


def _small(value: Any) -> Any:
    return value if getattr(value, "size", 2) == 1 else None


def _results(
    operation: Operation, operands: Sequence[_rules.Operand], shapes: Sequence[_rules.Shape]
) -> list[_rules.Operand]:
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
    marks = _rules.results(operation.primitive, operands, params, shapes)
    return [_rules.Operand(m, shape, False) for m, shape in zip(marks, shapes, strict=True)]


def _call(closed: Any, operands: Sequence[_rules.Operand]) -> list[_rules.Operand]:
    graph = flatten(closed)
    facts = _run(graph, operands, {})
    return [_operand(facts, v) for v in graph.outputs]


def _scan(
    params: Mapping[str, Any],
    operands: Sequence[_rules.Operand],
    shapes: Sequence[_rules.Shape],
) -> list[_rules.Operand]:
    """The carry keeps its layout where a step gives it back; stacked axes have no mark."""
    consts, carry = params["num_consts"], params["num_carry"]
    slices = []
    for whole in operands[consts + carry :]:
        known = whole.marks is not None and whole.marks[0] is None
        marks = whole.marks[1:] if known else None
        slices.append(_rules.Operand(marks, whole.shape[1:], whole.is_constant))
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
    consts: Sequence[_rules.Operand],
    carry: Sequence[_rules.Operand],
    rest: Sequence[_rules.Operand],
) -> list[_rules.Operand]:
    """Repeats a loop's body until what is known of its carry stays as it is."""
    carry = [dataclasses.replace(fact, value=None) for fact in carry]
    while True:
        results = _call(body, [*consts, *carry, *rest])
        settled = [_joined(pair) for pair in zip(carry, results[: len(carry)], strict=True)]
        if settled == carry:
            return [*settled, *results[len(carry) :]]
        carry = settled


def _joined(options: Sequence[_rules.Operand]) -> _rules.Operand:
    """What holds whichever of several values it is: unknown where their layouts differ."""
    moving = [option for option in options if not option.is_constant]
    if not moving:
        return dataclasses.replace(options[0], value=None)
    same = all(option.marks == moving[0].marks for option in moving)
    return _rules.Operand(moving[0].marks if same else None, moving[0].shape, False)
