r"""Contributions of all layers to ``z^T L f`` from one pullback of the cotangent z.

A zero is added to every variable where it enters another layer; the cotangents of these zeros are
the ``g_(v,B)`` of ``_regions``. Which generator acts changes only ``D v``, which is computed once
per variable. Source: measures.md A.5, D.4.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from softeq_jax.measures._actions import act
from softeq_jax.measures._generators import Generator
from softeq_jax.measures._layouts import Layout
from softeq_jax.measures._stencils import Stencil
from softeq_jax.measures.attribution._graph import Graph, Operation, evaluate
from softeq_jax.measures.attribution._propagate import Facts, Frame
from softeq_jax.measures.attribution._regions import Partition

ROUNDING = 64.0
"""How far ``z^T L`` may be off by rounding, in units of the machine precision times the product of
the norms of g and D v at the ends of the network."""


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A traced function, cut into layers, with what acts on its variables.

    Attributes:
      function: ``(arrays, images) -> output``, the function itself.
      graph: its trace with arguments ``(*arrays, images)``.
      facts: layouts.
      partition: layers and edges.
      generators: along which the derivative is taken.
      frame: rows and columns of the input.
      stencil: the spatial derivative.
    """

    function: Callable[[Sequence[Any], Any], Any]
    graph: Graph
    facts: Facts
    partition: Partition
    generators: tuple[Generator, ...]
    frame: Frame
    stencil: Stencil

    @property
    def root(self) -> int:
        """The variable of the images."""
        return self.graph.arguments[-1]

    def action(self, a: jax.Array, layout: Layout) -> jax.Array:
        """``D a`` of every generator, ``[G, n, ...]``."""
        return act(self.generators, a, layout, self.frame, self.stencil)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Values:
    """The arrays of a problem.

    Attributes:
      arrays: of the function (parameters).
      constants: that its trace closes over.
      images: ``[n, ...]``.
    """

    arrays: Sequence[Any]
    constants: Sequence[Any]
    images: Any


def total_derivative(problem: Problem, values: Values) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``L f = J_f D x - D' f(x)`` in forward mode, without the layers; ``[G, n, ...]``.

    Returns:
      L f, the part ``D' f(x)``, and ``||f(x)||`` ``[n]``.
    """

    def function(x: jax.Array) -> jax.Array:
        if problem.graph.has_reverse_rules:
            return evaluate(problem.graph, values.constants, (*values.arrays, x))[0][0]
        return problem.function(values.arrays, x)

    moved = problem.action(values.images, problem.facts.layouts[problem.root])
    y, pushed = jax.vmap(
        lambda tangent: jax.jvp(function, (values.images,), (tangent,)), out_axes=(None, 0)
    )(moved)
    turned = problem.action(y, problem.facts.layouts[problem.graph.outputs[0]])
    return pushed - turned, turned, norm(y, 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """What pullbacks start from.

    Attributes:
      total: L f, ``[G, n, ...]``.
      turned: ``D' f(x)``, likewise.
      size: ``||f(x)||``, ``[n]``.
      actions: ``D v`` of every edge, ``[G, n, ...]``; shared by edges with the same variable.
      back: from a cotangent of the output to those at the edges.
    """

    total: jax.Array
    turned: jax.Array
    size: jax.Array
    actions: list[jax.Array]
    back: Callable[[jax.Array], tuple[list[jax.Array]]]


def linearize(problem: Problem, values: Values) -> State:
    """Runs a problem forward."""
    graph, edges = problem.graph, problem.partition.edges
    block_of = {graph.operations[k]: index for k, index in problem.partition.block_of.items()}
    number = {edge: index for index, edge in enumerate(edges)}

    def run(taps: list[jax.Array]) -> tuple[jax.Array, dict[int, jax.Array]]:
        entered: dict[int, jax.Array] = {}

        def read(operation: Operation, variable: int, value: jax.Array) -> jax.Array:
            edge = number.get((variable, block_of.get(operation, -1)))
            if edge is None:
                return value
            if edge not in entered:
                entered[edge] = value + taps[edge]
            return entered[edge]

        arguments = (*values.arrays, values.images)
        (y,), known = evaluate(graph, values.constants, arguments, read)
        return y, {v: known[v] for v, _ in edges}

    zeros = [jnp.zeros(graph.shapes[v].shape, graph.shapes[v].dtype) for v, _ in edges]
    _, back, known = jax.vjp(run, zeros, has_aux=True)
    actions = {v: problem.action(a, problem.facts.layouts[v]) for v, a in known.items()}
    total, turned, size = total_derivative(problem, values)
    return State(total, turned, size, [actions[v] for v, _ in edges], back)


def contributions(
    problem: Problem, state: State, z: jax.Array, generator: jax.Array | None
) -> dict[str, jax.Array]:
    """Pulls a cotangent back.

    Args:
      problem: what was linearized.
      state: the result of that.
      z: ``[n, ...]``, of the output.
      generator: the index of one; None: all.

    Returns:
      ``layers``: ``z^T c`` ``[layers, G, n]``; ``wanted``: ``z^T L``; ``rounding``: how far the
      sum over the layers may be off by rounding; ``gap``: how far it is off; ``allowed``: what
      rounding and the precision of derivative rules explain; each ``[G, n]``. Without the axis
      G for a single generator.
    """
    chosen = slice(None) if generator is None else generator
    cotangents = [*state.back(z)[0], z]
    moved = [a[chosen] for a in (*state.actions, state.turned)]
    lead = 1 if generator is None else 0
    products = jnp.stack(
        [
            inner(a, jnp.broadcast_to(g, a.shape), lead + 1)
            for a, g in zip(moved, cotangents, strict=True)
        ]
    )
    signs = jnp.asarray(problem.partition.signs, products.dtype)
    layers = jnp.tensordot(signs, products, 1, precision="highest")
    ends = [k for k, (v, _) in enumerate(problem.partition.edges) if v == problem.root]
    ends.append(len(moved) - 1)
    scale = sum(norm(moved[k], lead + 1) * norm(cotangents[k], 1) for k in ends)
    epsilon, tolerance = precision(problem)
    rounding = ROUNDING * epsilon * scale
    total = state.total[chosen]
    wanted = inner(total, jnp.broadcast_to(z, total.shape), lead + 1)
    gap = jnp.abs(jnp.sum(layers, axis=0) - wanted)
    allowed = tolerance * jnp.sum(jnp.abs(products), axis=0) + rounding
    return {
        "layers": layers,
        "wanted": wanted,
        "rounding": rounding,
        "gap": gap,
        "allowed": allowed,
    }


def precision(problem: Problem) -> tuple[float, float]:
    """Machine precision of the coarsest interface, and the tolerance for the sum over layers.

    16-bit floats get those of sums that are accumulated in float32 from rounded terms.
    """
    dtypes = [problem.graph.shapes[v].dtype for v, _ in problem.partition.edges]
    dtypes.append(problem.graph.shapes[problem.graph.outputs[0]].dtype)
    bits = min(jnp.finfo(dtype).bits for dtype in dtypes)
    return {64: (2.3e-16, 1e-10), 32: (1.2e-7, 1e-4)}.get(bits, (1e-4, 0.1))


def wide(a: jax.Array) -> jax.Array:
    """16-bit floats as float32."""
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


def inner(a: jax.Array, b: jax.Array, lead: int) -> jax.Array:
    """The inner product over all but the first ``lead`` axes."""
    return jnp.sum(wide(a) * wide(b), axis=tuple(range(lead, a.ndim)))


def norm(a: jax.Array, lead: int) -> jax.Array:
    """The Euclidean norm over all but the first ``lead`` axes."""
    return jnp.sqrt(inner(a, a, lead))
