r"""A traced function as a flat list of operations, and its evaluation.

Calls are dissolved (``jit``, ``remat``, ``custom_vjp``, closed calls), so that every operation of
a network is seen; each keeps the *scopes* it was traced in: names that modules or
``jax.named_scope`` put on the name stack, and the names of dissolved calls. Four kinds stay whole:
loops and conditionals, functions with a derivative rule of their own for forward mode
(``custom_jvp``, such as ``jax.nn.relu``: the rule is kept), and ``jax.image.resize``. A rule for
reverse mode alone (``custom_vjp``) is replaced by the derivative of the function itself, which
is the one that a Lie derivative asks for.

Names of scopes, operations and variables.

A path is the scopes an operation was traced in, joined by "/", without those that all of the
network shares (the name of the outermost module, a jitted ``predict``).
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

TAP = "softeq/"
"""What the name of a tap starts with, among the names of ``checkpoint_name``."""

_CALLS = {
    **dict.fromkeys(("jit", "pjit", "closed_call", "remat", "remat2", "checkpoint"), "jaxpr"),
    **dict.fromkeys(("core_call", "core_closed_call", "custom_vjp_call"), "call_jaxpr"),
}
_WHOLE = ("_resize",)
_NAMES = {
    "conv_general_dilated": "conv",
    "dot_general": "dot",
    "reduce_sum": "sum",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_window": "pool",
    "reduce_window_sum": "sum_pool",
    "reduce_window_max": "max_pool",
    "reduce_window_min": "min_pool",
    "select_n": "where",
    "logistic": "sigmoid",
}


@dataclasses.dataclass(frozen=True)
class Scope:
    """A name that operations were traced under; ``call`` numbers dissolved calls, else 0."""

    name: str
    call: int = 0


@dataclasses.dataclass(frozen=True)
class Fixed:
    """An operand that is a number in the program."""

    value: Any


Atom = int | Fixed


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """One equation.

    Attributes:
      equation: as traced.
      inputs: numbers of variables, or fixed values.
      outputs: numbers of variables.
      scope: from the outermost in.
      name: of the primitive, or of the function with its own derivative rule.
    """

    equation: jex.JaxprEqn
    inputs: tuple[Atom, ...]
    outputs: tuple[int, ...]
    scope: tuple[Scope, ...]
    name: str

    @property
    def primitive(self) -> str:
        """The primitive's name."""
        return self.equation.primitive.name

    @property
    def tap(self) -> str | None:
        """The name, if this is a tap."""
        name = str(self.equation.params.get("name", ""))
        is_tap = self.primitive == "name" and name.startswith(TAP)
        return name.removeprefix(TAP) if is_tap else None


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A traced function.

    Attributes:
      operations: in order of execution.
      shapes: shape and dtype of every variable.
      arguments: the variables that are its arguments.
      constants: variables of the arrays it closes over, and those arrays.
      outputs: variables or fixed values.
      has_reverse_rules: whether a ``custom_vjp`` was dissolved.
    """

    operations: tuple[Operation, ...]
    shapes: tuple[jax.ShapeDtypeStruct, ...]
    arguments: tuple[int, ...]
    constants: tuple[tuple[int, Any], ...]
    outputs: tuple[Atom, ...]
    has_reverse_rules: bool

    @property
    def output(self) -> int:
        """The variable of the output of a network, which depends on its input."""
        first = self.outputs[0]
        assert isinstance(first, int)
        return first

    def dependent(self, roots: Sequence[int]) -> tuple[bool, ...]:
        """For every variable, whether it depends on one of ``roots``."""
        result = [False] * len(self.shapes)
        for root in roots:
            result[root] = True
        for operation in self.operations:
            if any(isinstance(v, int) and result[v] for v in operation.inputs):
                for out in operation.outputs:
                    result[out] = True
        return tuple(result)

    def is_smooth(self, variable: int) -> bool:
        """Whether a variable is floating point, so that derivatives reach it."""
        return jnp.issubdtype(self.shapes[variable].dtype, jnp.floating)


def tap(x: jax.Array, name: str) -> jax.Array:
    """A tap: the identity on an array inside a network, which makes it an interface of layers.

    ``layerwise(..., by="taps")`` cuts the network at its taps, and ``layouts={name: ...}`` says
    how the array lies on the input. It is ``jax.ad_checkpoint.checkpoint_name`` with a prefix.

    Args:
      x: floating point ``[n, ...]``.
      name: of the tap; different arrays should have different names.

    Returns:
      ``x``.

    Raises:
      ValueError: an empty name.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.arange(32.0, dtype="float32").reshape(2, 4, 4, 1)
      >>> f = lambda x: sq.measures.tap(x**2, "squared").mean((1, 2))
      >>> sq.measures.layerwise(f, x, "translation_x", by="taps").layers
      ('squared', 'output')
    """
    if not name:
        raise ValueError("a tap needs a name")
    return checkpoint_name(x, TAP + name)


def flatten(closed: jex.ClosedJaxpr) -> Graph:
    """The graph of a traced function, its calls dissolved."""
    builder = _Builder()
    arguments = tuple(builder.new(v.aval) for v in closed.jaxpr.invars)
    outputs = builder.inline(closed.jaxpr, closed.consts, arguments, ())
    return Graph(
        tuple(builder.operations),
        tuple(builder.shapes),
        arguments,
        tuple(builder.constants),
        outputs,
        builder.has_reverse_rules,
    )


def check_result(graph: Graph, root: int, count: int) -> None:
    """Refuses outputs without layers in front of them, and those of another form.

    Raises:
      ValueError: the output does not depend on the input, is the input, or has no axis of images.
      TypeError: it is not floating point.
    """
    result = graph.outputs[0]
    if not isinstance(result, int) or not graph.dependent([root])[result]:
        raise ValueError("the output of f does not depend on its input")
    if result == root:
        raise ValueError("f returns its input as it is: there is no layer to attribute to")
    given = graph.shapes[result]
    if not graph.is_smooth(result):
        raise TypeError(f"the output of f must be floating point, got {given.dtype}")
    if not given.shape or given.shape[0] != count:
        raise ValueError(
            f"f must return one entry per image on axis 0: {count} images gave {given.shape}"
        )


def abstract(a: jax.Array | np.ndarray) -> jax.ShapeDtypeStruct:
    """Shape and dtype; those of keys stay as they are."""
    extended = jnp.issubdtype(a.dtype, jax.dtypes.extended)
    dtype = a.dtype if extended else jax.dtypes.canonicalize_dtype(a.dtype)
    return jax.ShapeDtypeStruct(a.shape, dtype)


def evaluate(
    graph: Graph,
    constants: Sequence[Any],
    arguments: Sequence[Any],
    read: Callable[[Operation, int, Any], Any] | None = None,
) -> tuple[list[Any], dict[int, Any]]:
    """The outputs and all variables of a graph, run or (under a transformation) traced.

    Args:
      graph: to run.
      constants: values in the order of ``graph.constants``.
      arguments: values in the order of ``graph.arguments``.
      read: what an operation reads in place of the value of a variable.

    Returns:
      The outputs, and the values of all variables.
    """
    values = dict(zip((v for v, _ in graph.constants), constants, strict=True))
    values.update(zip(graph.arguments, arguments, strict=True))

    def fetch(operation: Operation | None, operand: Atom) -> Any:
        if isinstance(operand, Fixed):
            return operand.value
        if read is None or operation is None:
            return values[operand]
        return read(operation, operand, values[operand])

    for operation in graph.operations:
        equation = operation.equation
        bound = equation.primitive.get_bind_params(equation.params)
        functions, params = bound if isinstance(bound, tuple) else ((), bound)
        inputs = [fetch(operation, operand) for operand in operation.inputs]
        with equation.ctx.manager:
            results = equation.primitive.bind(*functions, *inputs, **params)
        results = results if equation.primitive.multiple_results else [results]
        values.update(zip(operation.outputs, results, strict=True))
    return [fetch(None, operand) for operand in graph.outputs], values


class _Builder:
    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.shapes: list[jax.ShapeDtypeStruct] = []
        self.constants: list[tuple[int, Any]] = []
        self.has_reverse_rules = False
        self._calls = itertools.count(1)

    def new(self, aval: Any) -> int:
        shape, dtype = getattr(aval, "shape", ()), getattr(aval, "dtype", np.dtype(bool))
        self.shapes.append(jax.ShapeDtypeStruct(shape, dtype))
        return len(self.shapes) - 1

    def inline(
        self,
        jaxpr: jex.Jaxpr,
        constants: Sequence[Any],
        arguments: Sequence[Atom],
        scope: tuple[Scope, ...],
    ) -> tuple[Atom, ...]:
        known: dict[jex.Var, Atom] = dict(zip(jaxpr.invars, arguments, strict=True))
        for variable, value in zip(jaxpr.constvars, constants, strict=True):
            number = self.new(variable.aval)
            known[variable] = number
            self.constants.append((number, value))

        def operand(atom: Any) -> Atom:
            return Fixed(atom.val) if isinstance(atom, jex.Literal) else known[atom]

        for equation in jaxpr.eqns:
            inputs = tuple(operand(atom) for atom in equation.invars)
            stack = str(equation.source_info.name_stack)
            here = (*scope, *(Scope(name) for name in stack.split("/") if name))
            name = equation.primitive.name
            called = str(equation.params.get("name", ""))
            if name in _CALLS and not (name in ("jit", "pjit") and called in _WHOLE):
                body = equation.params[_CALLS[name]]
                if name in ("jit", "pjit"):
                    here = (*here, Scope(called.lstrip("_"), next(self._calls)))
                self.has_reverse_rules |= name.startswith("custom_vjp")
                inner = getattr(body, "jaxpr", body)
                outputs = self.inline(inner, getattr(body, "consts", ()), inputs, here)
            else:
                outputs = tuple(self.new(variable.aval) for variable in equation.outvars)
                self.operations.append(
                    Operation(equation, inputs, outputs, here, _display(equation))
                )
            known.update(zip(equation.outvars, outputs, strict=True))
        return tuple(operand(atom) for atom in jaxpr.outvars)


def _display(equation: jex.JaxprEqn) -> str:
    name = equation.primitive.name
    if name == "custom_jvp_call":
        inner = equation.params["call_jaxpr"].jaxpr
        if len(inner.eqns) == 1 and inner.eqns[0].primitive.name in ("jit", "pjit"):
            return str(inner.eqns[0].params["name"]).lstrip("_")
    if name in ("jit", "pjit"):
        return str(equation.params["name"]).lstrip("_")
    return _NAMES.get(name, name)


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
