"""Who makes and who reads every variable of a traced function."""

import functools
from collections.abc import Iterable

from softeq_jax.measures.attribution._graph import Graph, Operation
from softeq_jax.measures.attribution._names import Scopes, is_head, shared_scopes
from softeq_jax.measures.attribution._propagate import Facts
from softeq_jax.measures.attribution._rules import REARRANGING

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


class Flow:
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
        self.root, self.output = graph.arguments[-1], graph.outputs[0]
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
