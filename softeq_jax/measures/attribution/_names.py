r"""Names of scopes, operations and variables.

A path is the scopes an operation was traced in, joined by "/", without those that all of the
network shares (the name of the outermost module, a jitted ``predict``).
"""

from collections.abc import Sequence

from softeq_jax.measures.attribution._graph import Graph, Operation, Scope

HEAD = "softeq_head:"
"""What the scope of the output head starts with; it shares no scope with the network."""

Scopes = tuple[Scope, ...]


def shared_scopes(operations: Sequence[Operation]) -> int:
    """How many leading scopes all operations have in common, those of the head set aside."""
    scopes = [operation.scope for operation in operations if not is_head(operation.scope)]
    return common(scopes)


def common(scopes: Sequence[Scopes]) -> int:
    """The length of the longest common beginning."""
    if not scopes:
        return 0
    length = 0
    for level in zip(*scopes, strict=False):
        if len(set(level)) > 1:
            break
        length += 1
    return length


def is_head(scope: Scopes) -> bool:
    """Whether a scope belongs to the output head."""
    return bool(scope) and scope[0].name.startswith(HEAD)


def path(scope: Scopes, shared: int) -> str:
    """The path of a scope."""
    if is_head(scope):
        scope = (Scope(scope[0].name.removeprefix(HEAD)), *scope[1:])
    else:
        scope = scope[shared:]
    return "/".join(part.name for part in scope)


def operation_name(operation: Operation, shared: int) -> str:
    """The path of an operation and its own name."""
    where = path(operation.scope, shared)
    return f"{where}/{operation.name}" if where else operation.name


def variable_names(graph: Graph, dependent: Sequence[bool]) -> dict[int, list[str]]:
    """Names under which a user may speak of a variable.

    They are: the tap it goes through; the path of every scope (module, dissolved call) that it
    is an output of; the path and name of the operation that computes it. Several variables may
    share a name.
    """
    moving = [op for op in graph.operations if any(dependent[v] for v in op.outputs)]
    shared = shared_scopes(moving)
    consumers: dict[int, list[Scopes]] = {v: [()] for v in graph.outputs if isinstance(v, int)}
    for operation in graph.operations:
        for v in operation.inputs:
            if isinstance(v, int):
                consumers.setdefault(v, []).append(operation.scope)
    names = {}
    for operation in moving:
        scope = operation.scope
        for v in operation.outputs:
            own = [operation.tap] if operation.tap else []
            for depth in range(0 if is_head(scope) else shared, len(scope)):
                inside = scope[: depth + 1]
                if any(user[: depth + 1] != inside for user in consumers.get(v, [])):
                    own.append(path(inside, shared))
            own.append(operation_name(operation, shared))
            names[v] = own
    return names
