r"""What is computed for a batch of images, in two compiled stages.

The first stage runs the network forward, with ``L f`` in forward mode and ``D v`` at every edge,
and keeps what a pullback needs. The second pulls one cotangent z back, as often as asked:

=============  ==================================================================================
``shares``     ``z = L / ||L||^2`` per image and generator: ``z^T c_i`` is the signed share
               ``<c_i, L> / ||L||^2`` (measures.md D.5)
``exact``      the basis cotangents: every entry of every ``c_i``
``hutchinson`` random signs z, shared by generators and layers: ``(z^T c_i)^2`` has mean
               ``||c_i||^2``
=============  ==================================================================================

Every pullback is checked: ``sum_i z^T c_i`` must be ``z^T L``, up to the *gap* that is *allowed*
for rounding. (One pullback per compiled call, rather than a loop inside: XLA runs convolutions in
loops on CPUs many times slower.)
"""

import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures.attribution._telescope import (
    Problem,
    State,
    Values,
    contributions,
    inner,
    linearize,
    wide,
)

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
