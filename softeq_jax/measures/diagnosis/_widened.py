"""Values of all variables of a traced function, computed in float64 whatever it asks for."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures.attribution._graph import Fixed, Graph, flatten

_DTYPES = {
    "convert_element_type": "new_dtype",
    "iota": "dtype",
    "dot_general": "preferred_element_type",
    "conv_general_dilated": "preferred_element_type",
}
_BODIES = {"custom_jvp_call": "call_jaxpr", "jit": "jaxpr", "pjit": "jaxpr"}


@contextlib.contextmanager
def in_double() -> Iterator[None]:
    """JAX in float64, with products in full precision."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        yield


def wide(value: Any) -> Any:
    """Floating point and complex arrays in double precision, all else as it is."""
    if jnp.issubdtype(value.dtype, jnp.complexfloating):
        return jnp.asarray(value, jnp.complex128)
    return jnp.asarray(value, jnp.float64) if jnp.issubdtype(value.dtype, jnp.floating) else value


def widened(graph: Graph, arguments: Sequence[Any]) -> tuple[Any, dict[int, Any]]:
    """The first output and all variables, in float64.

    Every operation runs in float64, also where the function rounds to a narrower type on the way;
    loops, conditionals and reductions by a function of the user run as they were traced.

    Args:
      graph: traced in any precision.
      arguments: of the function.
    """
    with in_double():
        values = {v: wide(value) for v, value in graph.constants}
        values.update(zip(graph.arguments, map(wide, arguments), strict=True))
        for operation in graph.operations:
            equation = operation.equation
            inputs = [
                values[operand] if isinstance(operand, int) else _literal(operand, atom.aval)
                for operand, atom in zip(operation.inputs, equation.invars, strict=True)
            ]
            values.update(zip(operation.outputs, _run(equation, inputs), strict=True))
        first = graph.outputs[0]
        return (values[first] if isinstance(first, int) else first.value), values


def _literal(operand: Fixed, aval: Any) -> Any:
    return wide(jnp.asarray(np.asarray(operand.value, aval.dtype)))


def _run(equation: Any, inputs: list[Any]) -> Sequence[Any]:
    name = equation.primitive.name
    if name in _BODIES:
        inner = flatten(equation.params[_BODIES[name]])
        values = widened(inner, inputs)[1]
        return [
            values[v] if isinstance(v, int) else wide(np.asarray(v.value)) for v in inner.outputs
        ]
    if name == "reduce_precision":
        return inputs
    if name == "bitcast_convert_type" or _holds_program(equation.params):
        return _as_traced(equation, inputs)
    params = dict(equation.params)
    key = _DTYPES.get(name)
    if key and params[key] is not None and jnp.issubdtype(params[key], jnp.inexact):
        is_complex = jnp.issubdtype(params[key], jnp.complexfloating)
        params[key] = np.dtype(np.complex128 if is_complex else np.float64)
    try:
        return bind(equation, inputs, params)
    except (TypeError, ValueError, NotImplementedError):
        return _as_traced(equation, inputs)


def _holds_program(params: dict[str, Any]) -> bool:
    flat = [p for v in params.values() for p in (v if isinstance(v, tuple | list) else (v,))]
    return any(hasattr(p, "eqns") or hasattr(p, "jaxpr") for p in flat)


def _as_traced(equation: Any, inputs: list[Any]) -> Sequence[Any]:
    narrow = [
        value.astype(atom.aval.dtype) if jnp.issubdtype(value.dtype, jnp.inexact) else value
        for value, atom in zip(inputs, equation.invars, strict=True)
    ]
    return [wide(value) for value in bind(equation, narrow, equation.params)]


def bind(equation: Any, inputs: Sequence[Any], params: dict[str, Any]) -> Sequence[Any]:
    """The results of one operation with these parameters."""
    bound = equation.primitive.get_bind_params(params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)
    results = equation.primitive.bind(*functions, *inputs, **params)
    return results if equation.primitive.multiple_results else [results]
