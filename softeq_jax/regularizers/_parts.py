r"""The two parts of planned weights, and their norms.

The part outside, ``N w``, is computed first and its norm afterwards: in float32 the difference
``||w||^2 - ||P w||^2`` is noise, of either sign, once ``||N w|| / ||w||`` is below about 3e-4.
"""

from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from softeq_jax._paths import naming
from softeq_jax.projections import Plan, Projector

Array = jax.Array | np.ndarray
Params = Any


class PartNorms(NamedTuple):
    """Frobenius norms of the two orthogonal parts of a weight, float32 (float64) scalars.

    Attributes:
      equivariant: ``||P w||``.
      residual: ``||N w||``, ``N = 1 - P``.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> norms = sq.regularizers.PartNorms(equivariant=jnp.float32(4), residual=jnp.float32(3))
      >>> float(norms.equivariant**2 + norms.residual**2)  # that of the weight
      25.0
    """

    equivariant: Array
    residual: Array


class Squares(NamedTuple):
    """Squared norms of the parts of one weight, and the number of its entries.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})
      >>> w = {"bias": np.array([3.0, 1.0])}
      >>> sq.regularizers.part_squares(sq.plan(w, {"bias": P}), w)["bias"].size
      2
    """

    equivariant: Array
    residual: Array
    size: int


def part_norms(plan: Plan, params: Params) -> dict[str, PartNorms]:
    """``||P w||`` and ``||N w||`` of every planned parameter, to be logged; under ``jit``, too.

    Args:
      plan: which parameters are projected, and how.
      params: the parameters.

    Returns:
      From the path of each planned parameter to its norms.

    Raises:
      ValueError: other parameters than those of the plan, a shape that does not fit, or a smooth
        mask (names the path).
      TypeError: a weight of integers, or a real one where the representation is complex.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})
      >>> w = {"bias": np.array([3.0, 1.0])}  # (2, 2) and (1, -1)
      >>> norms = sq.regularizers.part_norms(sq.plan(w, {"bias": P}), w)["bias"]
      >>> round(float(norms.equivariant), 4), round(float(norms.residual), 4)
      (2.8284, 1.4142)
    """
    return {
        path: PartNorms(safe_sqrt(found.equivariant), safe_sqrt(found.residual))
        for path, found in part_squares(plan, params).items()
    }


def part_squares(plan: Plan, params: Params) -> dict[str, Squares]:
    """Squared norms of the parts of every planned parameter, by path.

    Raises:
      ValueError, TypeError: as ``part_norms``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})
      >>> w = {"bias": np.array([3.0, 1.0])}  # (2, 2) and (1, -1)
      >>> found = sq.regularizers.part_squares(sq.plan(w, {"bias": P}), w)["bias"]
      >>> round(float(found.equivariant), 6), round(float(found.residual), 6)
      (8.0, 2.0)
    """
    found = {}
    for path, projector, w in plan.planned(params):
        with naming(path):
            w = widened(w)
            squares = _squares if isinstance(w, np.ndarray) else _differentiable_squares
            found[path] = Squares(*squares(projector, w), w.size)
    return found


def square(x: Array) -> Array:
    """``||x||^2`` of an array of any dtype, in its precision but float32 at least.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> float(sq.regularizers.square(jnp.array([3.0, 4.0])))
      25.0
    """
    wide: Any = widened(x)  # NumPy's stubs know no .real where the dtype is open
    if jnp.issubdtype(wide.dtype, jnp.complexfloating):
        return (wide.real**2 + wide.imag**2).sum()
    return (wide * wide).sum()


@overload
def safe_sqrt(x: jax.Array) -> jax.Array: ...
@overload
def safe_sqrt(x: Array) -> Array: ...
def safe_sqrt(x: Array) -> Array:
    """``sqrt(x)`` of x >= 0, with derivative 0 at 0; a NumPy number stays one."""
    if isinstance(x, np.ndarray | np.generic):
        return np.sqrt(x)
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def widened(w: Array) -> Array:
    """The array in float32 if it has half precision; integers as they are."""
    if not jnp.issubdtype(w.dtype, jnp.inexact):
        return w
    return w.astype(jnp.promote_types(w.dtype, jnp.float32))


def _squares(projector: Projector, w: Array) -> tuple[Array, Array]:
    kept, removed = projector.split(w)
    return square(kept), square(removed)


@jax.custom_jvp
def _differentiable_squares(projector: Projector, w: Array) -> tuple[Array, Array]:
    """``_squares``, with the derivatives ``2 <P w, dw>`` and ``2 <N w, dw>``.

    Both parts are orthogonal projections, so that the gradient needs no second pass through the
    projector.
    """
    return _squares(projector, w)


def _squares_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    (projector, w), (moved, step) = primals, tangents
    if not all(isinstance(leaf, SymbolicZero) for leaf in jax.tree.leaves(moved)):
        moved, step = jax.tree.map(_instantiated, (moved, step), (projector, w))
        return jax.jvp(_squares, (projector, w), (moved, step))
    kept, removed = projector.split(w)
    values = square(kept), square(removed)
    if isinstance(step, SymbolicZero):
        return values, tuple(map(jnp.zeros_like, values))
    return values, (2.0 * _inner(kept, step), 2.0 * _inner(removed, step))


_differentiable_squares.defjvp(_squares_jvp, symbolic_zeros=True)


def _inner(a: jax.Array, b: jax.Array) -> jax.Array:
    if jnp.issubdtype(a.dtype, jnp.complexfloating):
        return jnp.sum(a.real * b.real + a.imag * b.imag)
    return jnp.sum(a * b)


def _instantiated(tangent: Any, primal: Any) -> Any:
    if not isinstance(tangent, SymbolicZero):
        return tangent
    kind = jax.dtypes.result_type(primal)
    if not jnp.issubdtype(kind, jnp.inexact):
        return np.zeros(np.shape(primal), jax.dtypes.float0)
    return jnp.zeros(np.shape(primal), kind)
