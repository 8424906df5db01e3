r"""Which operations make a layer, and what it is called."""

from collections.abc import Callable, Sequence

from softeq_jax.measures.attribution._flow import HEAVY, Flow, Sets
from softeq_jax.measures.attribution._graph import Operation
from softeq_jax.measures.attribution._names import (
    Scopes,
    common,
    is_head,
    operation_name,
    path,
)
from softeq_jax.measures.attribution._rules import ELEMENTWISE, REARRANGING

By = str | Callable[[str], str]
Layers = list[tuple[str, list[int]]]
"""Labels with the operations of each layer, in order of execution."""

_LINEAR = ("add", "sub", "mul", "neg", "div", "add_any")
_POWERS = ("integer_pow", "square", "pow")


def layers(flow: Flow, by: By) -> Layers:
    """Groups all operations that depend on the input.

    Args:
      flow: the traced function.
      by: see ``layerwise``.

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


def _named(flow: Flow, *, by_modules: bool) -> Layers:
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


def _chains(flow: Flow) -> dict[int, Scopes]:
    """Pointwise operations in the open, which are read as one function if they follow up."""
    return {
        k: flow.operation(k).scope
        for k in flow.moving
        if k not in flow.leaves
        and k not in flow.calls
        and flow.operation(k).primitive in ELEMENTWISE
        and flow.operation(k).tap is None
    }


def _tapped(flow: Flow) -> Layers:
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
    labels = [label for label, _ in _numbered([(flow.operation(k).tap, [k]) for k in taps])]
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


def _label(flow: Flow, members: Sequence[int], by_modules: bool) -> str:
    telling = [k for k in members if flow.operation(k).primitive not in REARRANGING] or members
    if by_modules:
        modules = {flow.leaves.get(k) for k in telling}
        if len(modules) == 1 and None not in modules:
            return path(modules.pop(), flow.shared)
    calls = {flow.calls.get(k) for k in telling}
    if len(calls) == 1 and None not in calls:
        return path(calls.pop(), flow.shared)
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


def _mixes(flow: Flow, members: Sequence[int]) -> bool:
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
