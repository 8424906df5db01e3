r"""Contributions of all layers to ``z^T L f`` from one pullback of the cotangent z.

A zero is added to every variable where it enters another layer; the cotangents of these zeros are
the ``g_(v,B)`` of ``_partition``. Which generator acts changes only ``D v``, which is computed once
per variable. For a batch of images there are two compiled stages: the first runs the network
forward, with ``L f`` in forward mode and ``D v`` at every edge, and keeps what a pullback needs;
the second pulls one cotangent z back, as often as asked:

=============  ==================================================================================
``shares``     ``z = L / ||L||^2`` per image and generator: ``z^T c_i`` is the signed share
               ``<c_i, L> / ||L||^2`` (measures.md D.5)
``exact``      the basis cotangents: every entry of every ``c_i``
``hutchinson`` random signs z, shared by generators and layers: ``(z^T c_i)^2`` has mean
               ``||c_i||^2``
=============  ==================================================================================

Every pullback is checked: ``sum_i z^T c_i`` must be ``z^T L``, up to the *gap* that is *allowed*
for rounding. (One pullback per compiled call, rather than a loop inside: XLA runs convolutions in
loops on CPUs many times slower.) Source: measures.md A.5, D.4.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures.attribution._dataflow import Facts
from softeq_jax.measures.attribution._graph import Graph, Operation, evaluate
from softeq_jax.measures.attribution._partition import Partition
from softeq_jax.measures.base._actions import Stencil, act
from softeq_jax.measures.base._functions import check_outputs
from softeq_jax.measures.base._generators import Generator
from softeq_jax.measures.base._layouts import Frame, Layout
from softeq_jax.measures.base._pushes import push_forward

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
    frame: Frame | None
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
    y, pushed = push_forward(function, values.images, moved)
    turned = problem.action(y, problem.facts.layouts[problem.graph.output])
    return pushed - turned, turned, norm(y, 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """What pullbacks start from.

    Attributes:
      total: L f, ``[G, n, ...]``.
      turned: ``D' f(x)``, ``[G, n, ...]``.
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
    """The state of a problem that is run forward."""
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
    """The contributions of all layers to a cotangent that is pulled back.

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
    scale = functools.reduce(
        jnp.add, [norm(moved[k], lead + 1) * norm(cotangents[k], 1) for k in ends]
    )
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
    dtypes.append(problem.graph.shapes[problem.graph.output].dtype)
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


ESTIMATORS = ("shares", "exact", "hutchinson")

Host = dict[str, np.ndarray]


class Stages:
    """The compiled stages of a problem.

    Attributes:
      problem: what is computed.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._start = jax.jit(functools.partial(linearize, problem))
        self._share = jax.jit(functools.partial(_share, problem))
        self._entry = jax.jit(functools.partial(_entry, problem))
        self._probe = jax.jit(functools.partial(_probe, problem))

    def run(
        self, estimator: str, values: Values, key: jax.Array | None, first: int, probes: int
    ) -> Host:
        """All pullbacks of an estimator for one batch.

        Args:
          estimator: one of ``ESTIMATORS``.
          values: the arrays.
          key: of the probes.
          first: index of the first image of the batch, on which its probes depend.
          probes: how many.

        Returns:
          ``total`` ``[n, G, ...]``, the norm ``size`` of the output ``[n]`` and, with one entry
          per pullback k in the order of the estimator: ``layers`` ``[n, k, layers, G]`` (of shares
          k is a generator, and the last axis is absent), ``wanted``, ``rounding``, ``gap`` and
          ``allowed`` ``[n, k, G]`` (``[n, k]``).
        """
        with jax.default_matmul_precision("highest"):
            state = self._start(values)
            results = list(self._pullbacks(estimator, state, key, first, probes))
        host = {
            name: np.moveaxis(np.stack([np.asarray(result[name]) for result in results]), -1, 0)
            for name in results[0]
        }
        total, size = np.asarray(state.total), np.asarray(state.size)
        return {"total": np.moveaxis(total, 1, 0), "size": size, **host}

    def _pullbacks(
        self, estimator: str, state: State, key: jax.Array | None, first: int, probes: int
    ) -> Iterator[dict[str, jax.Array]]:
        if estimator == "shares":
            for index in range(len(self.problem.generators)):
                yield self._share(state, np.int32(index))
        elif estimator == "exact":
            for index in range(math.prod(state.total.shape[2:])):
                yield self._entry(state, np.int32(index))
        else:
            for index in range(probes):
                yield self._probe(state, np.int32(index), key, np.int32(first))


def _share(problem: Problem, state: State, generator: jax.Array) -> dict[str, jax.Array]:
    total = jnp.take(state.total, generator, axis=0)
    square = inner(total, total, 1)
    safe = jnp.where(square > 0, square, 1)
    z = wide(total) / safe.reshape(*safe.shape, *[1] * (total.ndim - 1))
    return contributions(problem, state, z.astype(total.dtype), generator)


def _entry(problem: Problem, state: State, index: jax.Array) -> dict[str, jax.Array]:
    shape, dtype = state.total.shape[1:], state.total.dtype
    basis = jax.nn.one_hot(index, math.prod(shape[1:]), dtype=dtype).reshape(1, *shape[1:])
    return contributions(problem, state, jnp.broadcast_to(basis, shape), None)


def _probe(
    problem: Problem, state: State, index: jax.Array, key: jax.Array, first: jax.Array
) -> dict[str, jax.Array]:
    shape, dtype = state.total.shape[1:], state.total.dtype

    def draw(image: jax.Array) -> jax.Array:
        own = jax.random.fold_in(jax.random.fold_in(key, image), index)
        return jax.random.rademacher(own, shape[1:], dtype)

    z = jax.vmap(draw)(first + jnp.arange(shape[0]))
    return contributions(problem, state, z, None)


TOLERATED = 1e-3
"""Of the sum of ``||L f||^2``, what images may hold whose contributions do not sum to L f."""
NEGLIGIBLE = 0.1
"""Shares are undefined where rounding may make up more than this part of L f."""


def check_finite(host: Host, generators: Sequence[Generator]) -> None:
    """ValueError where f or L f of a batch is not finite."""
    check_outputs(host["size"], "the output of f", ": L f cannot be shared out")
    for g, generator in enumerate(generators):
        check_outputs(
            host["total"][:, g], f"L f for {generator.name}", "; is f differentiable there?"
        )


def without_shares(host: Host, generators: Sequence[Generator]) -> np.ndarray:
    """Images whose derivative is too small to be shared out, or whose sum over the layers fails.

    Too small: ``||L f|| <= eps ||f(x)||``, so that a unit of the generator does not move the last
    bit of the output (of saturated probabilities, for instance). The sum fails where it misses L f
    by more than rounding explains; the pullbacks of an image count jointly.

    Args:
      host: results of ``Stages.run`` for all images.
      generators: for the message.

    Returns:
      bool ``[n, G]``.

    Raises:
      ArithmeticError: the sum fails for images that hold more than ``TOLERATED`` of the sum of
        ``||L f||^2``.
    """
    gap, allowed = (host[name].astype(np.float64) for name in ("gap", "allowed"))
    if gap.ndim == 3:
        gap, allowed = (np.linalg.norm(values, axis=1) for values in (gap, allowed))
    total = np.abs(host["total"])
    weights = np.sum(total.astype(np.float64).reshape(*total.shape[:2], -1) ** 2, axis=-1)
    resolution = float(jnp.finfo(total.dtype).eps) * host["size"].astype(np.float64)
    small = np.sqrt(weights) <= resolution[:, None]
    bad = ~(gap <= allowed) & ~small
    for g, generator in enumerate(generators):
        if weights[bad[:, g], g].sum() > TOLERATED * weights[:, g].sum():
            excess = np.where(bad[:, g], gap[:, g] / np.maximum(allowed[:, g], 1e-300), 0)
            worst = int(np.argmax(excess * weights[:, g]))
            raise ArithmeticError(
                f"{generator.name}: the contributions of the layers miss L f by "
                f"{excess[worst]:.3g} times what rounding explains, at image {worst}. Is f "
                f"deterministic, and does it treat every image by itself (batch norm and "
                f"dropout in evaluation mode)? If its output is saturated, measure the logits, or "
                f"in float64"
            )
    return bad | small


def summarize(host: Host, generators: Sequence[Generator], estimator: str) -> dict[str, Any]:
    """The computed fields of an ``Attribution``, from the pullbacks of all batches; in float64.

    Raises:
      ArithmeticError: see ``without_shares``.
    """
    names = tuple(generator.name for generator in generators)
    totals = host["total"]
    flat = totals.astype(np.float64).reshape(*totals.shape[:2], -1)
    size = np.linalg.norm(flat, axis=-1)
    pulled = host["layers"].astype(np.float64)
    rounding = host["rounding"].astype(np.float64)
    norms = errors = cosines = entries = None
    if estimator == "shares":
        shares = np.moveaxis(pulled, 1, -1)
        relative = rounding
    elif estimator == "exact":
        entries = np.moveaxis(host["layers"], 1, -1)
        exact = np.moveaxis(pulled, 1, -1)
        norms = np.sum(exact**2, axis=-1)
        along = np.einsum("nlgk,ngk->nlg", exact, flat)
        shares = _ratio(along, size[:, None] ** 2)
        cosines = _ratio(along, np.sqrt(norms) * size[:, None])
        relative = _ratio(np.linalg.norm(rounding, axis=1), size)
        entries = entries.reshape(*entries.shape[:3], *totals.shape[2:])
    else:
        squares = pulled**2
        norms = squares.mean(axis=1)
        errors = squares.std(axis=1, ddof=1) / math.sqrt(squares.shape[1])
        mixed = np.einsum("nklg,nkg->nlg", pulled, host["wanted"].astype(np.float64))
        shares = _ratio(mixed, mixed.sum(axis=1, keepdims=True))
        relative = _ratio(np.sqrt(np.mean(rounding**2, axis=1)), size)
    undefined = ~(relative <= NEGLIGIBLE) | (size == 0) | without_shares(host, generators)
    shares = np.where(undefined[:, None], np.nan, shares)
    cosines = None if cosines is None else np.where(undefined[:, None], np.nan, cosines)

    def per_generator(values: np.ndarray | None) -> dict[str, np.ndarray] | None:
        """From axes (image, layer, generator, ...) to (layer, image, ...) for each generator."""
        if values is None:
            return None
        return {name: np.swapaxes(values[:, :, g], 0, 1) for g, name in enumerate(names)}

    return {
        "totals": {name: totals[:, g] for g, name in enumerate(names)},
        "shares": per_generator(shares),
        "squared_norms": per_generator(norms),
        "squared_norm_errors": per_generator(errors),
        "cosines": per_generator(cosines),
        "contributions": per_generator(entries),
        "undefined": {name: int(undefined[:, g].sum()) for g, name in enumerate(names)},
    }


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    nothing = np.full(np.broadcast_shapes(a.shape, b.shape), math.nan)
    return np.divide(a, b, out=nothing, where=b != 0)
