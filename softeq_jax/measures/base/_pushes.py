r"""Derivatives of one function along many directions, from one evaluation.

``jax.vmap`` of ``jvp`` carries all G tangents through the network together: a working set of G
times the batch, which large maps push out of the caches. Linearized once and pushed once for each
direction, written out, every tangent is as large as the batch. Small arrays are faster together:
there it is calls that cost.

A loop in the program would be smaller, but XLA runs convolutions in loops on CPUs many times
slower.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

WRITTEN_OUT = 2**16
"""Entries of a direction from which each is pushed on its own; measured, see ``push_forward``."""
MOST = 16
"""Directions that are written out at most: a program grows with them, and its compilation."""


def push_forward(
    f: Callable[[jax.Array], Any], x: jax.Array, directions: jax.Array
) -> tuple[Any, jax.Array]:
    """``f(x)``, and ``J_f(x) d`` for each direction d of ``[G, n, ...]``.

    Each way gives the same numbers up to rounding. Which is faster depends on the size of x: on two
    cores, 6 convolutions and 4 directions, see ``experiments/benchmarks/results/measures.md``.

    Raises:
      TypeError: f has no derivative in forward mode.
    """
    if directions[0].size < WRITTEN_OUT or len(directions) > MOST:
        return jax.vmap(lambda d: jax.jvp(f, (x,), (d,)), out_axes=(None, 0))(directions)
    y, push = jax.linearize(f, x)
    return y, jnp.stack([push(direction) for direction in directions])
