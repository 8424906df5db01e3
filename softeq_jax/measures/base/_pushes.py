r"""Derivatives of one function along many directions, from one evaluation.

``jax.vmap`` of ``jvp`` carries all G tangents through the network together: a working set of G
times the batch, which large maps push out of the caches. Linearized once and pushed once for each
direction, written out, every tangent is as large as the batch. Small arrays are faster together:
there it is calls that cost. What is kept of the evaluation is used layer by layer and freed, so
memory does not grow with depth either way.

On CPUs a tangent costs more than an evaluation, whichever way: XLA (jaxlib 0.10) makes one kernel
of convolutions, biases and ReLUs, but does not take the selection by the sign of a ReLU into it,
with which every convolution of a tangent ends: a pass over memory for each layer. A loop over
directions would be a smaller program, but convolutions in loops are many times slower there.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

WRITTEN_OUT = 2**14
"""Entries of a direction from which each is pushed on its own: six images of 32 x 32 x 3. Measured
(experiments/benchmarks/results/speed.md): even at two to four images, ahead from eight on."""
MOST = 16
"""Directions that are written out at most: a program grows with them, and its compilation."""


def push_forward(
    f: Callable[[jax.Array], Any], x: jax.Array, directions: jax.Array
) -> tuple[Any, jax.Array]:
    """``f(x)``, and ``J_f(x) d`` for each direction d of ``[G, n, ...]``.

    Both ways give the same numbers up to rounding; the size of x decides which is taken.

    Raises:
      TypeError: f has no derivative in forward mode.
    """

    def together(directions: jax.Array) -> tuple[Any, jax.Array]:
        return jax.vmap(lambda d: jax.jvp(f, (x,), (d,)), out_axes=(None, 0))(directions)

    if directions[0].size < WRITTEN_OUT or len(directions) > MOST:
        return together(directions)
    # a rule for reverse mode only is refused here; linearize would first when it is compiled
    jax.eval_shape(together, directions[:1])
    y, push = jax.linearize(f, x)
    return y, jnp.stack([push(direction) for direction in directions])
