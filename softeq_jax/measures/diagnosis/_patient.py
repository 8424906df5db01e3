"""What is examined: a function, its inputs, and how a group acts on both; passes are counted."""

import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import Group
from softeq_jax.measures.attribution._graph import (
    Graph,
    Operation,
    Scope,
    common,
    evaluate,
    flatten,
)
from softeq_jax.measures.base._functions import Function, check_outputs, one_array
from softeq_jax.measures.base._layouts import Frame
from softeq_jax.measures.diagnosis._elements import Trial
from softeq_jax.measures.diagnosis._meanings import Meaning
from softeq_jax.measures.diagnosis._widened import in_double, widened

_TRANSFORMATION = re.compile(r"\w+\(|\)")
"""What JAX puts around the names of scopes, as in ``vmap(conv)``."""
MOST_PASSES = 30
"""Forward passes of one diagnosis."""


@dataclasses.dataclass(eq=False)
class Patient:
    """A function with its inputs, run as it is and in float64.

    Attributes:
      f: the function.
      x: its inputs, ``[n, ...]``, on the host.
      group: that acts.
      source, target: how it acts on inputs and outputs.
      frame: rows and columns of the input.
      passes: forward passes so far, of either kind.
    """

    f: Function
    x: np.ndarray
    group: Group
    source: Meaning
    target: Meaning
    frame: Frame
    passes: int = 0

    def __post_init__(self) -> None:
        self._wide: dict[bytes, Any] = {}

    def run(self, x: np.ndarray, what: str = "f(x)") -> np.ndarray:
        """``f(x)`` as it is, outside ``jit``; the result is float64, on the host.

        Raises:
          TypeError, ValueError: an output that is no finite floating point array.
        """
        self.passes += 1
        y = one_array(self.f(jnp.asarray(x, self.x.dtype)))
        if not jnp.issubdtype(y.dtype, jnp.floating):
            raise TypeError(f"the output of f must be floating point, got {y.dtype}")
        check_outputs(y, what)
        return np.asarray(y, np.float64)

    @functools.cached_property
    def first(self) -> np.ndarray:
        """``f(x)`` of the first call."""
        return self.run(self.x)

    @functools.cached_property
    def graph(self) -> Graph | None:
        """The operations of f; None where JAX cannot trace it."""
        try:
            traced = jax.make_jaxpr(lambda x: one_array(self.f(x)))(jnp.asarray(self.x))
        except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
            return None
        graph = flatten(traced)
        return graph if isinstance(graph.outputs[0], int) else None

    @functools.cached_property
    def dependent(self) -> tuple[bool, ...]:
        """For every variable of the graph, whether it depends on the input."""
        assert self.graph is not None
        return self.graph.dependent(self.graph.arguments)

    def in_double(self, x: np.ndarray) -> tuple[np.ndarray, dict[int, Any]] | None:
        """``f(x)`` and all variables, in float64; None where f cannot be traced or widened, or
        gives NaN."""
        if self.graph is None:
            return None
        key = x.tobytes()
        if key not in self._wide:
            self.passes += 1
            try:
                y, values = widened(self.graph, [np.asarray(x, np.float64)])
            except (TypeError, ValueError, NotImplementedError):
                self._wide[key] = None
            else:
                self._wide[key] = (np.asarray(y), values) if np.all(np.isfinite(y)) else None
        return self._wide[key]

    def as_traced(self) -> dict[int, Any]:
        """All variables of ``f(x)`` in the precision that f asks for."""
        assert self.graph is not None
        self.passes += 1
        constants = [value for _, value in self.graph.constants]
        return evaluate(self.graph, constants, [jnp.asarray(self.x)])[1]

    def moved(self, trial: Trial, meaning: Meaning | None = None) -> np.ndarray:
        """``g x``, float64."""
        with in_double():
            source = self.source if meaning is None else meaning
            return source.move(self.group, trial.g, np.asarray(self.x, np.float64), self.frame)

    def error(self, trial: Trial, moved: np.ndarray, still: np.ndarray, target: Meaning) -> float:
        """``||f(g x) - rho(g) f(x)|| / ||f(x)||`` from ``f(g x)`` and ``f(x)``.

        Raises:
          ValueError: the shape of the output depends on the element.
        """
        if moved.shape != still.shape:
            raise ValueError(
                f"f changes the shape of its output with the element: {still.shape} became "
                f"{moved.shape} under {trial.name}; it must return one shape, so pad or pool it"
            )
        with in_double():
            expected = target.move(self.group, trial.g, still, self.frame)
        return relative(moved, expected)

    def layer(self, index: int) -> str | None:
        """The layer that an operation of the graph belongs to.

        The path of its module; what has none, between modules, is called by its operation. With
        taps alone it is the tap that it leads to ("output" behind the last). None where nothing
        has a name.
        """
        assert self.graph is not None
        operations = self.graph.operations
        moving = [op for op in operations if any(self.dependent[v] for v in op.outputs)]
        named = [_modules(op) for op in moving]
        operation, own = operations[index], _modules(operations[index])
        taps = [(k, op.tap) for k, op in enumerate(operations) if op.tap]
        if not any(named):
            if not taps:
                return None
            return next((str(name) for k, name in taps if k >= index), "output")
        shared = min(common(named), len(own))
        if where := "/".join(scope.name for scope in own[shared:]):
            return where
        deeper = any(len(scope) > shared for scope in named)
        return operation.name if deeper or not own else own[-1].name


def _modules(operation: Operation) -> tuple[Scope, ...]:
    """The named scopes of an operation, without dissolved calls and names of transformations."""
    names = [_TRANSFORMATION.sub("", scope.name) for scope in operation.scope if not scope.call]
    return tuple(Scope(name) for name in names if name)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """``||a - b|| / ||b||``; 0 where both are zero."""
    norm = max(float(np.linalg.norm(expected)), 1e-30)
    return min(float(np.linalg.norm(found - expected)) / norm, 1e9)
